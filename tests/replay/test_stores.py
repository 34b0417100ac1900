"""Runs on stores, with fsspec's file system in memory: addresses, files, the index, uploads, and what goes wrong."""

from __future__ import annotations

import threading
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from replay import load
from replay.archive.safe_files import Awaited
from replay.integrity.check import check
from replay.model.run import Run
from replay.packed.pack import CannotPack, pack
from replay.remote.address import BadAddress
from replay.remote.stores import fetch, filesystem, index, upload
from replay.remote.stores import source as sources
from replay.remote.stores.address import StoreAddress, is_store, parse_store
from replay.remote.stores.filesystem import UnknownScheme, file_system
from replay.remote.stores.listing import find_run, list_store
from replay.remote.stores.mirror import Mirror, MirrorStorage
from replay.remote.stores.problems import StoreProblem, problem_of
from replay.remote.stores.source import StoreSource
from replay.remote.stores.upload import UploadTarget
from tests import recorded
from tests.waiting import until

NAME = "20261122-143015-red-disc"
FOLDER = parse_store("memory://bucket/runs")
MEMORY = MemoryFileSystem()


@pytest.fixture(autouse=True)
def empty_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("LTXTUI_CACHE", str(tmp_path / "cache"))
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return recorded.archive(tmp_path, NAME, steps=6)


def stored(archive: Path, name: str = "run.zarr") -> StoreAddress:
    """The archive as a folder on the store."""
    MEMORY.pipe(
        {f"/bucket/runs/{name}/{f.relative_to(archive)}": f.read_bytes() for f in archive.rglob("*") if f.is_file()}
    )
    return FOLDER.below(name)


def assert_same(found: Run, there: Run) -> None:
    assert found.steps == there.steps > 0 and found.events == there.events and not found.damage
    for stage, known in zip(found.stages, there.stages, strict=True):
        for name, stream in known.streams.items():
            for metric in stream.metrics:
                assert np.array_equal(stage.streams[name].values(metric), stream.values(metric), equal_nan=True)


# -- addresses


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("s3://bucket/runs/red-disc.zarr.zip", "packed", "red-disc"),
        ("S3://bucket/runs/red-disc.zarr/", "archive", "red-disc"),
        ("s3:/bucket/runs", "runs", "runs"),
        ("gs://bucket/run.zip", "packed", "run"),
        ("hf://datasets/me/runs/red-disc", "runs", "red-disc"),
        ("https://host:8000/a%20b.zarr.zip?X-Amz-Signature=abc#x", "packed", "a-b"),
    ],
)
def test_an_address_says_what_it_names(text: str, kind: str, name: str) -> None:
    address = parse_store(text)
    assert is_store(text) and (address.kind, address.name) == (kind, name)
    assert "Signature" not in address.shown and ("Signature" in str(address)) == ("Signature" in text)


@pytest.mark.parametrize("text", ["runs", "ssh://gpu-box/x", "host://a", "file:///x", "C:/x", "./s3://b", "a b://c"])
def test_what_is_no_address_of_a_store(text: str) -> None:
    assert not is_store(text)
    with pytest.raises(BadAddress):
        parse_store(text)


@pytest.mark.parametrize("text", ["s3://", "s3:///", "zip::s3://b/x.zip", "s3://key:secret@bucket/x", "s3://b/\0"])
def test_bad_addresses_are_refused_without_telling_a_secret(text: str) -> None:
    with pytest.raises(BadAddress) as error:
        parse_store(text)
    assert "secret" not in str(error.value)


def test_an_unknown_scheme_is_told() -> None:
    with pytest.raises(UnknownScheme, match=r"nowhere:// is no store that is known; s3://, gs://"):
        file_system(parse_store("nowhere://bucket/x"))


# -- reading


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("form", ["packed", "deflated", "folder"])
def test_an_archive_is_read_as_it_is_here(
    archive: Path, form: str, small: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not small:
        monkeypatch.setattr(fetch, "SMALL_BYTES", 1000)
    if form == "folder":
        address = stored(archive)
    else:
        packed = pack(archive, tmp_path / "x.zarr.zip", small=form == "deflated")
        address = FOLDER.below("x.zarr.zip")
        MEMORY.put_file(str(packed), "/bucket/runs/x.zarr.zip")
    assert_same(load(str(address)), load(archive))
    first = fetch.fetch(address)
    assert fetch.fetch(address) == first and first.is_relative_to(tmp_path / "cache")
    assert check(fetch.fetch(address, whole=True)).sound


def test_another_object_of_the_same_name_and_size_is_fetched_again(tmp_path: Path) -> None:
    first, other = (pack(recorded.archive(tmp_path, name), None) for name in ("run-a", "run-b"))
    assert first.stat().st_size == other.stat().st_size
    for packed, name in ((first, "run-a"), (other, "run-b")):
        MEMORY.pipe_file("/bucket/x.zarr.zip", packed.read_bytes())
        assert load("memory://bucket/x.zarr.zip").name == name


def test_names_that_lead_out_of_the_cache_are_not_fetched(archive: Path, tmp_path: Path) -> None:
    address = stored(archive)
    for name in ("../../escape", ".hidden", "a//b", "x/" * 20 + "y", "a\nb"):
        MEMORY.store[f"/bucket/runs/run.zarr/{name}"] = MEMORY.store["/bucket/runs/run.zarr/zarr.json"]
    assert_same(load(fetch.fetch(address)), load(archive))
    kept = {p.relative_to(tmp_path / "cache").parts[3:] for p in (tmp_path / "cache").rglob("*") if p.is_file()}
    assert not any({"escape", ".hidden", "b", "y", "a\nb"} & set(parts) for parts in kept)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.zarr.zip", b"not a zip file at all", "is not a recorded run"),
        ("x.zarr.zip", b"PK\x03\x04 and then it was cut", "it was cut"),
        ("x.zarr/other", b"", "has no zarr.json"),
        ("x.zarr/zarr.json", b"{", "damaged metadata"),
        ("nothing", b"", "does not exist"),
    ],
)
def test_what_is_no_archive_is_told(name: str, content: bytes, said: str) -> None:
    MEMORY.pipe_file(f"/bucket/runs/{name}", content)
    with pytest.raises((OSError, ValueError), match=said):
        load("memory://bucket/runs/x.zarr.zip" if "zip" in name else "memory://bucket/runs/x.zarr")


def test_a_part_of_a_name_is_enough(archive: Path) -> None:
    stored(archive, "red-disc.zarr"), stored(archive, "red-square.zarr")
    assert str(find_run(FOLDER.below("disc"))) == "memory://bucket/runs/red-disc.zarr"
    with pytest.raises(StoreProblem, match=r"2 runs match .*/red: red-square.zarr, red-disc.zarr; be more specific"):
        find_run(FOLDER.below("red"))
    with pytest.raises(StoreProblem, match="no run there has 'blue' in its name"):
        find_run(FOLDER.below("blue"))
    with pytest.raises(StoreProblem, match="names no run; list them with: ltxtui runs --runs-dir memory://bucket"):
        find_run(parse_store("memory://bucket"))


class WebServer(ThreadingHTTPServer):
    """Serves the current folder on loopback, without a word."""

    request_queue_size = 256  # a folder's files are asked for at once; five may wait otherwise, and the others are late

    def __init__(self, folder: Path) -> None:
        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                """In place of a line on standard error."""

        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


def test_archives_behind_a_web_server_are_read(archive: Path) -> None:
    pytest.importorskip("aiohttp", reason="the extra `http` is not installed")
    packed = pack(archive)
    server = WebServer(archive.parent)
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        for name in (packed.name, archive.name):  # of a folder nothing is listed: its files follow from its metadata
            assert_same(load(f"{address}/{name}"), load(archive))
        with pytest.raises(OSError, match=r"none.zarr.zip does not exist"):
            load(f"{address}/none.zarr.zip?X-Amz-Signature=abc")
        with pytest.raises(StoreProblem, match="cannot be listed; name one of them"):
            list_store(parse_store(address))
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(OSError, match="cannot be reached"):
        load(f"{address}/{packed.name}")


# -- the dashboard's source


def fed(source: StoreSource) -> Run:
    until(lambda: source.opened or source.failed)
    run = Run()
    while messages := source.poll():
        for message in messages:
            run.feed(message)
    return run


def test_values_come_after_they_were_asked_for(archive: Path) -> None:
    source = StoreSource(stored(archive))
    run = fed(source)
    stream = run.stages[0].streams["video"]
    assert run.steps and np.isnan(stream.values("velocity_rms")).all() and source.fetching
    until(lambda: source.arrived)
    assert np.array_equal(
        stream.values("velocity_rms"), load(archive).stages[0].streams["video"].values("velocity_rms")
    )
    until(lambda: not source.fetching)
    while messages := source.poll():
        for message in messages:
            run.feed(message)
    assert_same(run, load(archive))
    assert not source.note and not source.damage
    source.close()
    again = StoreSource(FOLDER.below("run.zarr"))  # all of it is in the cache
    run = fed(again)
    assert not np.isnan(run.stages[0].streams["video"].values("velocity_rms")).any()
    until(lambda: not again.fetching)


def test_a_store_that_fails_is_asked_again(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_FIRST_REST", 0.05)
    broken = threading.Event()
    real = MemoryFileSystem.cat_file

    def fails(self: MemoryFileSystem, path: str, *given: Any, **more: Any) -> bytes:
        if broken.is_set():
            raise TimeoutError("no answer")
        data: bytes = real(self, path, *given, **more)
        return data

    monkeypatch.setattr(MemoryFileSystem, "cat_file", fails)
    source = StoreSource(stored(archive))
    run = fed(source)
    broken.set()
    values = run.stages[0].streams["video"].values("velocity_rms")
    assert np.isnan(values).all()
    until(lambda: "does not answer in time; try again later; trying again in" in source.note)
    broken.clear()
    until(lambda: not source.fetching)
    assert np.isfinite(run.stages[0].streams["video"].values("velocity_rms")).all() and not source.note
    source.close()


@pytest.mark.parametrize("form", ["folder", "packed"])
def test_what_is_gone_or_damaged_is_missing_and_is_asked_for_once(
    archive: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "SMALL_BYTES", 1000)
    lost = "stage_0/video/velocity_rms/c/0/0"
    if form == "folder":
        address = stored(archive)
        source = StoreSource(address)
        until(lambda: source.opened)
        del MEMORY.store[f"/bucket/runs/run.zarr/{lost}"]
    else:
        file = pack(archive, tmp_path / "x.zarr.zip")
        packed = file.read_bytes()
        with zipfile.ZipFile(file) as opened:
            at = opened.getinfo(lost).header_offset + 30 + len(lost)
        address = FOLDER.below("x.zarr.zip")
        MEMORY.pipe_file("/bucket/runs/x.zarr.zip", packed[:at] + b"?" + packed[at + 1 :])
        source = StoreSource(address)
    stream = fed(source).stages[0].streams["video"]
    stream.values("std")
    until(lambda: not source.fetching)
    assert not np.isnan(stream.values("std")).any() and np.isnan(stream.values("velocity_rms")).all()
    assert "velocity_rms is incomplete" in source.note
    assert np.isnan(load(str(address)).stages[0].streams["video"].values("velocity_rms")).all()
    source.close()


def test_a_run_that_is_not_there_ends_the_reading() -> None:
    source = StoreSource(FOLDER.below("x.zarr"))
    until(lambda: source.failed)
    with pytest.raises(OSError, match="does not exist"):
        source.poll()


def test_other_threads_never_fetch(archive: Path, tmp_path: Path) -> None:
    files = fetch.files_of(MEMORY, stored(archive))
    storage = MirrorStorage(Mirror(files, tmp_path / "m.zarr"))
    name = "stage_0/video/sigma/c/0"
    seen: list[str] = []

    def ask() -> None:
        try:
            storage.read(name, 1 << 20)
        except Awaited as awaited:
            seen.append(str(awaited))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert seen == [name] == storage.take_wanted()
    assert storage.read(name, 1 << 20) == (archive / name).read_bytes()


# -- lists and uploads


def test_an_upload_is_listed_by_its_index(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = pack(archive, archive.parent / "other.zarr.zip")
    made = upload.upload([archive, other], UploadTarget(FOLDER))
    assert [str(one) for one in made] == [f"{FOLDER}/{NAME}.zarr.zip", f"{FOLDER}/other.zarr.zip"]
    monkeypatch.setattr(fetch, "open_mirror", None)  # no archive is read
    found = list_store(FOLDER)
    assert {one.info.name: one.info.steps for one in found.runs} == {
        NAME: load(archive).steps,
        "other": load(archive).steps,
    }
    assert found.runs[0].info.verdict == list_store(FOLDER).runs[0].info.verdict
    assert {str(one.address) for one in found.runs} == set(map(str, made))
    MEMORY.rm_file(f"/bucket/runs/{NAME}.zarr.zip")
    assert [one.info.name for one in list_store(FOLDER).runs] == ["other"]


def test_an_index_that_is_none_is_left_alone(archive: Path) -> None:
    for content in (b"mine", b'{"format": "ltxtui-index", "version": 99}\n', b"\xff\x00"):
        MEMORY.pipe_file(f"/bucket/runs/{index.NAME}", content)
        upload.upload([archive], UploadTarget(FOLDER))
        assert MEMORY.cat_file(f"/bucket/runs/{index.NAME}") == content
        assert [one.info.name for one in list_store(FOLDER).runs] == [NAME]
    bad = b'{"format": "ltxtui-index", "version": 1}\nnonsense\n{"object": 3}\n[]\n'
    MEMORY.pipe_file(f"/bucket/runs/{index.NAME}", bad)
    assert [one.info.steps for one in list_store(FOLDER).runs] == [load(archive).steps]


def test_an_upload_overwrites_nothing(archive: Path) -> None:
    MEMORY.pipe_file(f"/bucket/runs/{NAME}.zarr.zip", b"another")
    with pytest.raises(StoreProblem, match="exists with other content and is not overwritten"):
        upload.upload([archive], UploadTarget(FOLDER))
    assert MEMORY.cat_file(f"/bucket/runs/{NAME}.zarr.zip") == b"another" and archive.is_dir()


def test_a_run_that_has_not_ended_is_not_uploaded(tmp_path: Path) -> None:
    running = recorded.Recording(tmp_path, NAME)
    running.write(recorded.whole(NAME)[:-1])
    with pytest.raises(CannotPack, match="is being recorded"):
        upload.upload([running.path], UploadTarget(FOLDER))
    running.die()
    with pytest.raises(CannotPack, match="was not finalised"):
        upload.upload([running.path], UploadTarget(FOLDER))
    assert not MemoryFileSystem.store


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://host/runs", "can be read, and not be written"),
        ("s3://bucket/x.zarr", "runs are uploaded packed"),
        ("s3://bucket/x.zip", "ends in .zarr.zip"),
    ],
)
def test_where_nothing_can_be_uploaded_to(text: str, said: str) -> None:
    with pytest.raises(StoreProblem, match=said):
        UploadTarget.of(parse_store(text))


# -- what goes wrong


class NoCredentialsError(Exception):
    """Named as botocore's."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError("The provided token has expired."), "the credentials have expired; log in with aws"),
        (PermissionError("Access Denied"), "permission denied (Access Denied); log in with aws"),
        (NoCredentialsError("Unable to locate credentials"), "there are no credentials; .* FSSPEC_S3_ANON=true"),
        (FileNotFoundError("The specified bucket does not exist"), "there is no such bucket"),
        (FileNotFoundError("x"), "does not exist"),
        (TimeoutError(), "does not answer in time"),
        (FileExistsError("x"), "is not overwritten"),
        (RuntimeError("a\nb https://host/x?X-Amz-Signature=abc"), "the store says: a b https://host/x?…"),
    ],
)
def test_every_error_is_one_line_with_the_way_out(error: Exception, said: str) -> None:
    found = str(problem_of(error, parse_store("s3://bucket/x")))
    assert found.startswith("s3://bucket/x") and "\n" not in found and "Signature" not in found
    assert all(part in found for part in said.split(" .* "))


def test_a_call_that_does_not_return_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "CALL_SECONDS", 0.05)
    over = threading.Event()
    began = time.monotonic()
    with pytest.raises(StoreProblem, match="has not answered in 0 s"):
        filesystem.called(FOLDER, lambda: over.wait(60))
    assert time.monotonic() - began < 30
    over.set()
