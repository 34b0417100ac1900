"""A packed run is the run: every value and message of it, in every command; dishonest zip files are refused."""

from __future__ import annotations

import json
import shutil
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest
import torch
import xarray
import zarr
from click.testing import CliRunner

from benchmarks.mutations import valid_messages
from ltxtui.cli import cli, completion
from recorder import record
from recorder.archive import zip_writer
from recorder.archive.writer import ArchiveWriter
from recorder.format import locations
from recorder.sweep.spec import Job
from replay import open_run
from replay.archive import zip_directory
from replay.archive.lazy_rows import as_recorded
from replay.archive.reader import Archive
from replay.archive.safe_files import Damaged
from replay.archive.store import StoreReader
from replay.integrity.check import check
from replay.integrity.repair import CannotRepair, repair
from replay.integrity.repair_packed import repair_run
from replay.library import edit, listing
from replay.library.cache import ListingCache
from replay.library.watcher import RunWatcher
from replay.model.validation import NotARun
from replay.packed.pack import CannotPack, pack
from replay.packed.unpack import unpack
from replay.sources.open import load
from replay.sources.reconnect import ReconnectingSource
from replay.sweep.results import discard, find_runs, read_run
from tests import recorded
from tests.waiting import until

NAME = "20261122-143015-red-disc"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A small archive with everything that one may have: latents and a kept snapshot too."""
    path = tmp_path / "runs" / f"{NAME}.zarr"
    writer = ArchiveWriter(path)
    for message in valid_messages():
        if message["t"] == "end":
            for stream, shape in (("video", (2, 2, 2, 2, 4)), ("audio", (2, 8, 4))):
                tensor = np.arange(np.prod(shape)).reshape(shape)
                for step in (0, 2):
                    writer.add_snapshot(0, stream, step, {"latents": tensor.astype(np.float16)})
                writer.keep(0, stream, 1, 0.5, None, {"x": tensor.astype(np.float32)})
        writer.feed(message)
    return path


def moved(archive: Path, small: bool) -> Path:
    """The archive packed into another folder, under its own name."""
    there = archive.parent.parent / "packed"
    there.mkdir()
    return pack(archive, there / f"{NAME}.zarr.zip", small=small)


def messages(path: Path) -> list[dict[str, Any]]:
    return [one for message in Archive(path).messages() for one in as_recorded(message)]


@pytest.mark.parametrize("small", [False, True])
def test_every_message_and_value_is_the_folders(archive: Path, small: bool) -> None:
    packed = moved(archive, small)
    assert messages(packed) == messages(archive)
    one, other = load(archive), load(packed)
    assert one.header == other.header and one.events == other.events and one.damage == other.damage == ""
    for stage, same in zip(one.stages, other.stages, strict=True):
        for name, stream in stage.streams.items():
            for metric in stream.metrics:
                np.testing.assert_array_equal(stream.values(metric), same.streams[name].values(metric))
            for step in stream.previews:
                np.testing.assert_array_equal(
                    stream.previews[step].pixels(), same.streams[name].previews[step].pixels()
                )
    theirs, ours = StoreReader(archive), StoreReader(packed)
    arrays = [f.parent.relative_to(archive).as_posix() for f in archive.rglob("zarr.json")]
    for node in arrays:
        if node != "." and theirs.document(node)["node_type"] == "array":
            array, same_array = theirs.array(node), ours.array(node)
            np.testing.assert_array_equal(same_array.read(), array.read())
            np.testing.assert_array_equal(same_array.read(1, 2), array.read(1, 2))
            assert (array.held(), array.covered()) == (same_array.held(), same_array.covered())


@pytest.mark.parametrize("small", [False, True])
def test_every_command_says_the_same(archive: Path, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = moved(archive, small)
    recorded.archive(archive.parent, "other")
    shutil.copytree(archive.parent / "other.zarr", packed.parent / "other.zarr")

    def said(folder: Path, *words: str) -> str:
        done = CliRunner().invoke(cli, [*words, "--runs-dir", str(folder)])
        assert done.exit_code in (0, 3), done.output
        text = done.output.replace(str(folder), "").replace(".zarr.zip", ".zarr")
        return "\n".join(line for line in text.splitlines() if '"bytes"' not in line and "MB" not in line)

    for words in (
        ("compare", "red-disc", "other"), ("compare", "red-disc", "other", "--json"), ("explain", "red-disc", "--json"),
        ("explain", "red-disc", "--verbose"), ("runs", "check", "red-disc", "--json"), ("runs", "--json"),
    ):  # fmt: skip
        assert said(packed.parent, *words) == said(archive.parent, *words), words
    line, same = listing.describe_run(archive), listing.describe_run(packed)
    assert {**line.as_json(), "bytes": 0, "path": ""} == {**same.as_json(), "bytes": 0, "path": ""}
    assert same.bytes == packed.stat().st_size


@pytest.mark.parametrize("small", [False, True])
def test_plain_xarray_and_open_run_read_it(archive: Path, small: bool) -> None:
    packed = moved(archive, small)
    ours = open_run(packed).load()
    assert ours.identical(open_run(archive).load())
    with zarr.storage.ZipStore(packed, mode="r") as store:
        by_store = xarray.open_datatree(store, engine="zarr", mask_and_scale=False, decode_timedelta=False).load()
    url = f"zip::file://{packed.absolute()}"
    by_url = xarray.open_datatree(url, engine="zarr", mask_and_scale=False, decode_timedelta=False).load()
    assert by_store.identical(ours) and by_url.identical(ours)


def test_a_damaged_folder_reads_the_same_when_it_is_packed(archive: Path) -> None:
    chunk = archive / "stage_0/video/mean/c/0/0"
    data = bytearray(chunk.read_bytes())
    data[3] ^= 0xFF
    chunk.write_bytes(data)
    (archive / "stage_0/audio/sigma/c/0").unlink()
    packed = moved(archive, False)
    assert repr(messages(packed)) == repr(messages(archive))
    assert [line.replace(str(packed), str(archive)) for line in check(packed).problems] == check(archive).problems


def test_the_root_document_is_first_and_members_are_stored(archive: Path) -> None:
    with zipfile.ZipFile(pack(archive)) as packed:
        names = packed.namelist()
        assert names[0] == "zarr.json" and {i.compress_type for i in packed.infolist()} == {zipfile.ZIP_STORED}
        assert sorted(names) == sorted(f.relative_to(archive).as_posix() for f in archive.rglob("*") if f.is_file())
        assert packed.testzip() is None
    first = pack(archive).read_bytes()
    small = pack(archive, small=True).read_bytes()
    assert len(small) < 0.7 * len(first) and pack(archive).read_bytes() == first, "equal archives give equal files"


def test_unpacking_gives_the_bytes_back(archive: Path, tmp_path: Path) -> None:
    packed = pack(archive, small=True)
    made = unpack(packed, tmp_path / "elsewhere" / "x.zarr")
    assert made.damaged == () and not (tmp_path / "elsewhere" / ".x.unpacking.zarr").exists()
    for file in archive.rglob("*"):
        if file.is_file():
            assert (made.archive / file.relative_to(archive)).read_bytes() == file.read_bytes()
    assert check(made.archive).sound
    with pytest.raises(CannotPack, match="exists; remove or rename it"):
        unpack(packed)


# -- lists, names and changes


def test_a_packed_run_is_listed_once_and_by_its_name(archive: Path) -> None:
    pack(archive)
    assert [run.path for run in listing.list_runs(archive.parent)] == [archive], "the folder is what is worked with"
    shutil.rmtree(archive)
    cache = ListingCache(archive.parent)
    (run,) = listing.list_runs(archive.parent, cache)
    assert (run.name, run.path.name, run.status) == (NAME, f"{NAME}.zarr.zip", "complete")
    assert listing.list_runs(archive.parent, cache) == [run] and len(cache) == 1
    assert load(archive).steps == load(run.path).steps, "the path that the recorder printed still leads to it"
    for given in ("red-disc", NAME, f"{NAME}.zarr", f"{NAME}.zarr.zip"):
        done = CliRunner().invoke(cli, ["runs", "check", given, "--runs-dir", str(archive.parent)])
        assert done.exit_code == 0 and "sound" in done.output, given


@pytest.mark.parametrize("small", [False, True])
def test_a_packed_run_is_tagged_renamed_and_deleted(archive: Path, small: bool) -> None:
    packed = pack(archive, small=small)
    shutil.rmtree(archive)
    before = dict(members(packed))
    edit.set_tags(packed, ["a", "b"])
    after = dict(members(packed))
    assert listing.describe_run(packed).tags == ("a", "b") and check(packed).sound
    assert next(iter(after)) == "zarr.json" and after.keys() == before.keys()
    assert [name for name in before if before[name] != after[name]] == ["zarr.json"]
    renamed = edit.rename(packed, "blue disc")
    assert renamed.name == "20261122-143015-blue-disc.zarr.zip" and load(renamed).steps
    with pytest.raises(CannotRepair, match="is packed; repair it with: ltxtui runs repair"):
        repair(renamed)
    with pytest.raises(CannotRepair, match="nothing to repair"):
        repair_run(renamed)
    edit.delete(renamed)
    assert list(renamed.parent.iterdir()) == []


def test_what_is_not_finished_is_not_packed(tmp_path: Path) -> None:
    live = recorded.Recording(tmp_path, NAME)
    live.write(recorded.whole(NAME)[:10])
    with pytest.raises(CannotPack, match="is being recorded; wait"):
        pack(live.path)
    live.die()
    with pytest.raises(CannotPack, match="was not finalised; repair it first: ltxtui runs repair"):
        pack(live.path)
    repair(live.path)
    packed = pack(live.path)
    with pytest.raises(CannotPack, match="is packed already"):
        pack(packed)
    other = recorded.archive(tmp_path, "other", at=1e9)
    with pytest.raises(CannotPack, match="exists and is not this run"):
        pack(other, packed)


def test_a_run_is_packed_and_its_folder_removed(archive: Path) -> None:
    done = CliRunner().invoke(cli, ["pack", str(archive), "--replace", "--small"])
    assert done.exit_code == 0 and done.output.strip() == str(archive) + ".zip", done.output
    assert [p.name for p in archive.parent.iterdir()] == [f"{NAME}.zarr.zip"] and check(archive).sound


# -- zip files of others


def test_a_changed_member_is_found_and_the_rest_is_saved(archive: Path, tmp_path: Path) -> None:
    packed = pack(archive)
    with zipfile.ZipFile(packed) as file:
        info = file.getinfo("stage_0/video/mean/c/0/0")
    data = bytearray(packed.read_bytes())
    data[info.header_offset + 30 + len(info.filename)] ^= 0xFF
    packed.write_bytes(data)
    shutil.rmtree(archive)
    assert any("stage_0/video/mean/c/0/0 has a different checksum" in problem for problem in check(packed).problems)
    assert "stage_0/video/mean is incomplete" in load(packed).damage
    done = CliRunner().invoke(cli, ["unpack", str(packed)])
    assert done.exit_code == 1 and "damaged: stage_0/video/mean/c/0/0 has a different checksum" in done.output
    packed.unlink()
    (lost,) = repair(archive).lost
    assert "stage_0/video/mean" in lost and check(archive).sound and load(archive).steps


def members(packed: Path) -> Iterator[tuple[str, tuple[int, bytes]]]:
    """How every member of a packed archive is compressed, and its bytes."""
    with zipfile.ZipFile(packed) as file:
        for info in file.infolist():
            yield info.filename, (info.compress_type, file.read(info))


@pytest.mark.parametrize("small", [False, True])
def test_a_damaged_packed_run_is_not_tagged_and_repaired_in_its_place(archive: Path, small: bool) -> None:
    packed = pack(archive, small=small)
    shutil.rmtree(archive)
    with zipfile.ZipFile(packed) as file:
        info = file.getinfo("stage_0/video/mean/c/0/0")
    data = bytearray(packed.read_bytes())
    data[info.header_offset + 30 + len(info.filename)] ^= 0xFF
    packed.write_bytes(data)
    with pytest.raises(edit.CannotChange, match="has a damaged member: stage_0/video/mean/c/0/0"):
        edit.set_tags(packed, ["a"])
    assert packed.read_bytes() == data
    done = CliRunner().invoke(cli, ["runs", "repair", str(packed)])
    assert done.exit_code == 0 and "lost: " in done.output and "stage_0/video/mean" in done.output, done.output
    assert check(packed).sound and load(packed).steps
    kept = packed.parent / "20261122-143015-red-disc.before-repair"
    assert sorted(p.name for p in packed.parent.iterdir() if not p.name.startswith(".")) == [kept.name, packed.name]
    assert [p.name for p in kept.iterdir()] == [packed.name] and (kept / packed.name).read_bytes() == data


def stored(name: str, data: bytes, **more: Any) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    for field, value in more.items():
        setattr(info, field, value)
    return info, data


def zipped(path: Path, *members: tuple[zipfile.ZipInfo, bytes], root: bytes = b"{}") -> bytes:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("zarr.json", root)
        for info, data in members:
            file.writestr(info, data)
    return path.read_bytes()


def doubled(path: Path) -> bytes:
    with pytest.warns(UserWarning, match="Duplicate"):
        return zipped(path, stored("zarr.json", b"{}"))


def patched(data: bytes, central: Callable[[bytearray, int], None]) -> bytes:
    """The file with the first entry of its directory changed."""
    changed = bytearray(data)
    central(changed, data.index(b"PK\x01\x02"))
    return bytes(changed)


def overlapping(path: Path) -> bytes:
    data = zipped(path, stored("a", b"x" * 50))
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    changed = bytearray(data)
    struct.pack_into("<I", changed, second + 42, 10)
    return bytes(changed)


def bomb(path: Path) -> bytes:
    return zipped(path, stored("stage_0/video/mean/c/0/0", bytes(64 << 20), compress_type=zipfile.ZIP_DEFLATED))


def quilt(path: Path) -> bytes:
    """Members that are small each: some hundred megabytes from a megabyte."""
    info = [stored(f"c/{n}", bytes(64 << 10), compress_type=zipfile.ZIP_DEFLATED) for n in range(5000)]
    return zipped(path, *info)


HOSTILE: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "climbs": (lambda p: zipped(p, stored("../x", b"")), "leads out of the archive"),
    "climbs inside": (lambda p: zipped(p, stored("stage_0/../../x", b"")), "leads out of the archive"),
    "absolute": (lambda p: zipped(p, stored("/etc/passwd", b"")), "leads out of the archive"),
    "backslash": (lambda p: zipped(p, stored("..\\x", b"")), "leads out of the archive"),
    "empty part": (lambda p: zipped(p, stored("a//b", b"")), "not a plain path"),
    "control": (lambda p: zipped(p, stored("a\x1b[2J", b"")), "not a plain path"),
    "long": (lambda p: zipped(p, stored("a" * 500, b"")), "not a plain path"),
    "link": (lambda p: zipped(p, stored("a", b"/etc/passwd", create_system=3, external_attr=0o120777 << 16)), "a link"),
    "device": (lambda p: zipped(p, stored("a", b"", create_system=3, external_attr=0o020666 << 16)), "a link or no"),
    "doubled": (doubled, "two members 'zarr.json'"),
    "file and folder": (lambda p: zipped(p, stored("a", b""), stored("a/b", b"")), "a file and a folder 'a'"),
    "encrypted": (
        lambda p: patched(zipped(p), lambda d, at: struct.pack_into("<H", d, at + 8, 1)), "is encrypted"
    ),
    "bzip2": (lambda p: zipped(p, stored("a", b"x", compress_type=zipfile.ZIP_BZIP2)), "another way than deflate"),
    "two sizes": (
        lambda p: patched(zipped(p), lambda d, at: struct.pack_into("<I", d, at + 24, 1 << 30)), "of two sizes"
    ),
    "beyond": (
        lambda p: patched(zipped(p), lambda d, at: struct.pack_into("<I", d, at + 42, 1 << 30)), "beyond its end"
    ),
    "overlap": (overlapping, "overlaps another one"),
    "bomb": (bomb, "inflates from"),
    "many small bombs": (quilt, "inflates from"),
    "cut": (lambda p: zipped(p)[:-10], "it was cut, or is not complete yet"),
    "prefix": (lambda p: b"#!/bin/sh\n" + zipped(p), "bytes that do not belong to it"),
    "inside a folder": (lambda p: zipped(p, stored("run.zarr/zarr.json", b"{}"))[:0] + nested(p), "no zarr.json"),
    "text": (lambda p: b"hello", "is not a recorded run"),
    "empty": (lambda p: b"", "is not a recorded run"),
}  # fmt: skip


def nested(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("run.zarr/zarr.json", "{}")
    return path.read_bytes()


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_zips_are_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    make, reason = HOSTILE[kind]
    path = tmp_path / "run.zarr.zip"
    path.write_bytes(make(path))
    tracemalloc.start()
    try:
        with pytest.raises(NotARun, match=reason) as refused:
            load(path)
        assert "\n" not in str(refused.value) and tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    for words in (["replay"], ["unpack"], ["explain"], ["runs", "check"]):
        done = CliRunner().invoke(cli, [*words, str(path)])
        assert done.exit_code == 1 and len(done.output.strip().splitlines()) <= 2, done.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.zarr.zip"]
    assert sorted(p.name for p in tmp_path.parent.iterdir() if p.name == "x") == []


def test_a_member_that_inflates_to_more_than_it_says_is_damaged(archive: Path) -> None:
    packed = pack(archive, small=True)
    with zipfile.ZipFile(packed) as file:
        info = next(i for i in file.infolist() if i.compress_type and i.filename.endswith("sigma/zarr.json"))
    data = bytearray(packed.read_bytes())
    entry = data.index(info.filename.encode(), data.index(b"PK\x01\x02")) - 46
    struct.pack_into("<I", data, entry + 24, info.file_size - 3)
    packed.write_bytes(data)
    with pytest.raises(Damaged, match="inflates to more"):
        StoreReader(packed).storage.read(info.filename, 1 << 20)
    load(packed)


def test_a_local_header_must_be_the_directorys(archive: Path) -> None:
    packed = pack(archive)
    data = packed.read_bytes()
    packed.write_bytes(data.replace(b"stage_0/video/mean/zarr.json", b"stage_0/video/meen/zarr.json", 1))
    with pytest.raises(Damaged, match="another header than the directory says"):
        StoreReader(packed).storage.read("stage_0/video/mean/zarr.json", 1 << 20)
    assert "the copy in the consolidated metadata is used" in load(packed).damage


def test_a_file_that_is_replaced_gives_no_bytes_of_another_run(archive: Path) -> None:
    packed = pack(archive)
    run = load(packed)
    stream = run.stages[0].streams["video"]
    packed.write_bytes(packed.read_bytes() + b"\0")
    assert np.isnan(stream.values("mean")).all()


def test_large_sizes_of_zip64_are_read(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 10)
    packed = pack(archive)
    assert b"PK\x06\x06" in packed.read_bytes() and check(packed).sound
    monkeypatch.undo()
    assert messages(packed) == messages(archive)


def test_a_chunk_beyond_what_is_kept_is_inflated_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from replay.archive import packed_storage

    monkeypatch.setattr(packed_storage, "_KEPT_BYTES", 1000)
    values = np.random.default_rng(0).integers(0, 9, 100_000).astype("<f4")
    with zipfile.ZipFile(path := tmp_path / "x.zarr.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x/c/0", values.tobytes())
    found = np.zeros(500, "<f4")
    with packed_storage.PackedStorage(path).chunks("x") as files:
        assert files is not None
        files.read_into("c/0", 4 * 70_000, found, values.nbytes)
    np.testing.assert_array_equal(found, values[70_000:70_500])


def test_what_is_all_one_value_is_packed_so_that_readers_take_it(tmp_path: Path) -> None:
    data = {"zarr.json": b"{}", "a/c/0": bytes(1 << 20), "b/c/0": json.dumps(list(range(9000))).encode()}
    zip_writer.write_zip(tmp_path / "x.zarr.zip", data, data.__getitem__, small=True)
    with zipfile.ZipFile(tmp_path / "x.zarr.zip") as file:
        kinds = {i.filename: i.compress_type for i in file.infolist()}
    assert kinds == {"zarr.json": zipfile.ZIP_STORED, "a/c/0": zipfile.ZIP_STORED, "b/c/0": zipfile.ZIP_DEFLATED}
    assert zip_writer.MAX_RATIO < zip_directory.MAX_RATIO and zlib.crc32(b"") == 0


# -- other readers


def test_a_sweep_reads_packed_runs(tmp_path: Path) -> None:
    path = tmp_path / "runs" / f"{NAME}.zarr"
    writer = ArchiveWriter(path)
    mark = {"user": {"sweep": {"id": "abc", "arm": "smooth", "seed": 3}}}
    for message in recorded.whole(NAME):
        header = {"metadata": {**message["metadata"], **mark}} if message["t"] == "header" else {}
        writer.feed({**message, **header})
    job = Job("smooth", 3)
    row = read_run(path, job, {})
    sweep = SimpleNamespace(id="abc")
    (found,) = find_runs(tmp_path, sweep)  # type: ignore[arg-type]
    pack(path)
    shutil.rmtree(path)
    (packed,) = find_runs(tmp_path, sweep)  # type: ignore[arg-type]
    assert (packed.job, packed.state) == (found.job, found.state) and packed.path == locations.packed_of(path)
    assert repr(read_run(packed.path, job, {})) == repr(row) and row.run == NAME
    assert discard([packed]) == 1 and not packed.path.exists()


def test_the_home_screens_watcher_follows_a_run_into_its_file(tmp_path: Path) -> None:
    live = recorded.Recording(tmp_path, NAME)
    messages = recorded.whole(NAME)
    live.write(messages[:12])
    shelf = RunWatcher(tmp_path)
    shelf.update()
    assert [(run.name, run.status) for run in shelf.runs] == [(NAME, "live")]
    writer = ArchiveWriter(live.path, pack=True)
    for message in messages:
        writer.feed(message)
    live.write(messages[12:])
    live.die()
    locations.journal_of(live.path).unlink()
    shelf.forget(live.path)
    until(lambda: shelf.update() or [(run.path.name, run.status) for run in shelf.runs])
    until(lambda: shelf.update() or not shelf.pending)
    (run,) = shelf.runs
    assert (run.name, run.path, run.status) == (NAME, locations.packed_of(live.path), "complete")
    assert shelf.unreadable == []
    locations.packed_of(live.path).write_bytes(b"PK\x03\x04 cut")
    shelf.forget(locations.packed_of(live.path))
    until(lambda: shelf.update() or shelf.unreadable)
    assert "it was cut, or is not complete yet" in shelf.unreadable[0].reason and shelf.unreadable[0].name == NAME
    shelf.close()


def test_a_viewer_that_lost_its_socket_reads_the_file(tmp_path: Path, runtime_dir: Path) -> None:
    shape = (1, 4, 3, 6, 8)
    sample, velocity = torch.ones(shape), torch.zeros(shape)
    with record(runs_dir=tmp_path, pack=True) as run:
        run.step(sigma=0.9, sigma_next=0.8, sample=sample, velocity=velocity)
        assert run.socket_path is not None
        source = ReconnectingSource(run.socket_path, None)
        seen: list[Any] = []
        until(lambda: seen.extend(source.poll()) or [m for m in seen if m["t"] == "step"])
        source._source.close()  # type: ignore[union-attr]
        run.step(sigma=0.8, sigma_next=0.7, sample=sample, velocity=velocity)
    until(lambda: seen.extend(source.poll()) or any(m["t"] == "end" for m in seen))
    source.close()
    assert sum(m.get("count", 1) for m in seen if m["t"] == "step") == 2


def test_a_shell_completes_names_and_tags_of_packed_runs(archive: Path) -> None:
    edit.set_tags(archive, ["keep"])
    pack(archive)
    shutil.rmtree(archive)
    context = click.Context(cli, info_name="ltxtui")
    context.params = {"runs_dir": archive.parent}
    assert NAME in [item.value for item in completion.recorded(context, "2026")]
    assert [item.value for item in completion.tags(context, "k")] == ["keep"]
