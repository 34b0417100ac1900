"""Runs on an S3 server: uploaded, listed and read, with the requests that it takes; `make stores` has the packages."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import s3fs
from click.testing import CliRunner

from ltxtui.app import Dashboard, Options
from ltxtui.cli import cli
from ltxtui.screens.run import Opening
from recorder.format import locations
from replay import load, open_run
from replay.library.archive_line import from_archive
from replay.remote.stores import fetch, files, filesystem, index, listing
from replay.remote.stores import source as sources
from replay.remote.stores.address import parse_store
from replay.remote.stores.index import IndexLine
from replay.remote.stores.source import StoreSource
from tests.ltxtui import driving
from tests.stores.conftest import NAME, STEPS
from tests.stores.loopback_s3 import DENIED, EXPIRED, LoopbackS3

MOST_TO_LIST, MOST_OF_A_ZIP, MOST_OF_A_FOLDER = 5, 6, 30
"""Requests: a list of 1,000 runs, and a replay up to the first screen."""
SLOW_SECONDS = 6.0
"""That each request takes of a store that is slow: a key that waited for one would take as long."""
ERROR = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
Command = Callable[..., subprocess.CompletedProcess[str]]


def store() -> s3fs.S3FileSystem:
    return s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)


def invoke(*words: object) -> Any:
    return CliRunner().invoke(cli, [str(word) for word in words])


def one_line(done: Any, *parts: str, status: int = 1) -> None:
    assert done.exit_code == status, done.output
    [line] = done.stderr.splitlines()
    assert all(part in line for part in parts), line


# -- upload


def test_a_run_is_uploaded_once_and_never_overwritten(s3: LoopbackS3, archive: Path, packed: Path) -> None:
    done = invoke("upload", archive, "s3://runs/all")
    assert done.exit_code == 0 and done.stdout == f"s3://runs/all/{NAME}.zarr.zip\n"
    assert s3.count("PUT") == 2 and s3.count() <= 10  # the run and the index
    assert store().cat_file(f"runs/all/{NAME}.zarr.zip") == packed.read_bytes()
    assert archive.is_dir()
    s3.requests.clear()
    again = invoke("upload", packed, "s3://runs/all")
    assert again.exit_code == 0 and "is there already" in again.stderr
    assert not any(NAME in line for line in s3.requests if line.startswith("PUT"))
    store().pipe_file(f"runs/other/{NAME}.zarr.zip", b"somebody's")
    refused = invoke("upload", archive, "s3://runs/other")
    one_line(refused, "exists with other content and is not overwritten", "the run is kept here", "ltxtui upload")
    assert store().cat_file(f"runs/other/{NAME}.zarr.zip") == b"somebody's"


def test_two_that_upload_at_once_do_not_overwrite_each_other(s3: LoopbackS3, archive: Path) -> None:
    """The object comes into being after it was looked for and before it is written."""

    def first(method: str, path: str) -> None:
        if method == "PUT" and path.endswith(".zip"):
            s3.answer = None
            store().pipe_file(f"runs/all/{NAME}.zarr.zip", b"the other one's")

    s3.answer = first
    one_line(invoke("upload", archive, "s3://runs/all"), "is not overwritten")
    assert store().cat_file(f"runs/all/{NAME}.zarr.zip") == b"the other one's"


def test_record_uploads_at_its_end(s3: LoopbackS3, ltxtui: Command, tmp_path: Path) -> None:
    done = ltxtui("record", "--model", "nano", "--steps", 3, "--upload", "s3://runs/new", "--pack")
    assert done.returncode == 0, done.stderr
    [name] = [Path(p).name for p in store().ls("runs/new", detail=False) if p.endswith(".zip")]
    assert (tmp_path / "runs" / name).read_bytes() == store().cat_file(f"runs/new/{name}")
    assert done.stdout.splitlines()[-1] == f"runs/{name}"
    assert f"uploaded: s3://runs/new/{name}" in done.stderr
    for answer, said in ((None, "no such bucket"), (("400 Bad Request", EXPIRED), "have expired")):
        s3.answer = None if answer is None else lambda method, path, answer=answer: answer
        place = "s3://nowhere/x" if answer is None else "s3://runs/new"
        refused = ltxtui("record", "--model", "nano", "--steps", 3, "--upload", place, "--runs-dir", "none")
        assert refused.returncode == 1 and said in refused.stderr and len(refused.stderr.splitlines()) == 1
        assert not (tmp_path / "none").exists()  # before anything is loaded


def test_credentials_that_expire_in_mid_upload_lose_nothing(
    s3: LoopbackS3, archive: Path, packed: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other-run.zarr.zip"
    other.write_bytes(packed.read_bytes())
    puts: list[str] = []

    def expires(method: str, path: str) -> tuple[str, bytes] | None:
        puts.extend([path] if method == "PUT" else [])
        return ("400 Bad Request", EXPIRED) if len(puts) > 1 else None

    s3.answer = expires
    done = invoke("upload", archive, other, "s3://runs/all")
    line = done.stderr.splitlines()[-1]
    assert done.exit_code == 1 and "credentials have expired" in line and "1 of 2 runs uploaded" in line
    assert "all runs are kept here" in line and "again with: ltxtui upload" in line
    assert archive.is_dir() and other.is_file()
    s3.answer = None
    assert [Path(p).name for p in store().ls("runs/all", detail=False)] == [f"{NAME}.zarr.zip"]
    again = invoke("upload", archive, other, "s3://runs/all")
    assert again.exit_code == 0 and again.stderr.count("is there already") == 1
    assert len(json.loads(invoke("runs", "--runs-dir", "s3://runs/all", "--json").stdout)["runs"]) == 2


def test_a_store_that_denies_is_told(s3: LoopbackS3, archive: Path) -> None:
    s3.answer = lambda method, path: ("403 Forbidden", DENIED)
    one_line(invoke("upload", archive, "s3://runs/all"), "permission denied", "the run is kept here")
    one_line(invoke("runs", "--runs-dir", "s3://runs/all"), "permission denied")
    one_line(invoke("explain", f"s3://runs/all/{NAME}"), "permission denied")


# -- lists


def fill(s3: LoopbackS3, packed: Path, count: int) -> list[str]:
    """Runs as if uploaded, with their index, put into the store by moto itself."""
    data, info = packed.read_bytes(), from_archive(packed)
    names = [f"20261122-{n:06d}-run.zarr.zip" for n in range(count)]
    lines = [IndexLine.of(info, name, len(data), sha256="0" * 64) for name in names]
    backend = s3.bucket("runs")
    for name in names:
        backend.put_object("runs", f"many/{name}", data)
    backend.put_object("runs", f"many/{index.NAME}", index.written_index(lines))
    s3.requests.clear()
    return names


def test_a_thousand_runs_are_listed_in_few_requests(s3: LoopbackS3, packed: Path) -> None:
    names = fill(s3, packed, 1000)
    done = invoke("runs", "--runs-dir", "s3://runs/many", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["runs"]
    assert {run["path"] for run in found} == {f"s3://runs/many/{name}" for name in names}
    assert {run["steps"] for run in found} == {STEPS}
    print(f"a list of 1,000 runs: {s3.count()} requests")
    assert s3.count() <= MOST_TO_LIST, s3.requests


def test_runs_that_the_index_lacks_are_read_once(s3: LoopbackS3, archive: Path, packed: Path) -> None:
    fs = store()
    fs.put_file(str(packed), "runs/some/packed.zarr.zip")
    fs.put(str(archive), "runs/some/folder.zarr", recursive=True)
    fs.pipe_file("runs/some/broken.zarr.zip", b"PK nonsense")
    s3.requests.clear()
    done = invoke("runs", "--runs-dir", "s3://runs/some", "--json")
    said = json.loads(done.stdout)
    assert {run["name"]: run["steps"] for run in said["runs"]} == {"packed": STEPS, "folder": STEPS}
    assert [one["path"] for one in said["unreadable"]] == ["s3://runs/some/broken.zarr.zip"]
    assert s3.count() <= 8
    fs.rm_file("runs/some/broken.zarr.zip")
    s3.requests.clear()
    again = json.loads(invoke("runs", "--runs-dir", "s3://runs/some", "--json").stdout)
    assert again["runs"] == said["runs"] and s3.count() == 1


# -- reading


def test_every_reader_takes_an_address(s3: LoopbackS3, archive: Path, packed: Path) -> None:
    fs = store()
    fs.put_file(str(packed), f"runs/all/{NAME}.zarr.zip")
    fs.put(str(archive), "runs/all/folder.zarr", recursive=True)
    for name in (f"{NAME}.zarr.zip", "folder.zarr"):
        url = f"s3://runs/all/{name}"
        assert invoke("explain", url).output == invoke("explain", archive).output
        same, here = (
            invoke("export", url, "--to", "csv", "-o", "-"),
            invoke("export", archive, "--to", "csv", "-o", "-"),
        )
        assert same.stdout_bytes == here.stdout_bytes and here.exit_code == 0
        assert invoke("report", url, "-o", f"{name}.html").exit_code == 0
        assert json.loads(invoke("compare", url, archive, "--json").stdout)["divergences"] == [None]
        tree, there = open_run(archive), open_run(url)
        assert tree.identical(there)
        assert load(url).steps == STEPS
    assert invoke("explain", "s3://runs/all/red-disc").exit_code == 0
    one_line(invoke("explain", "s3://runs/all/x"), "no run there has 'x' in its name", "ltxtui runs --runs-dir")
    assert invoke("explain", "s3://runs/all/").stdout.count("complete") == 2


def test_a_large_archive_is_read_without_its_latents(
    s3: LoopbackS3, archive: Path, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "SMALL_BYTES", 100_000)
    fs = store()
    fs.put_file(str(packed), "runs/large.zarr.zip")
    s3.requests.clear()
    run, here = load("s3://runs/large.zarr.zip"), load(archive)
    assert s3.count() <= 8, s3.requests
    for stage, known in zip(run.stages, here.stages, strict=True):
        for name, stream in known.streams.items():
            for metric in stream.metrics:
                assert np.array_equal(stage.streams[name].values(metric), stream.values(metric), equal_nan=True)
    assert not run.damage
    tree = open_run("s3://runs/large.zarr.zip")
    assert np.array_equal(tree["stage_0/video"]["sigma"], open_run(archive)["stage_0/video"]["sigma"])


# -- the dashboard


def drawn(url: str, act: Callable[[Any, Dashboard, StoreSource], Any]) -> None:
    """Open the dashboard on an address, as `ltxtui replay` does, and act on it."""
    source = StoreSource(parse_store(url))

    async def show() -> None:
        app = Dashboard(source, Options(opening=Opening(), runs_dir=Path("none")))
        async with app.run_test(size=(120, 36)) as pilot:
            await act(pilot, app, source)

    asyncio.run(show())


def test_a_folder_is_drawn_after_few_requests(s3: LoopbackS3, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store().put(str(archive), "runs/folder.zarr", recursive=True)
    s3.requests.clear()
    counts: list[int] = []

    async def act(pilot: Any, app: Dashboard, source: StoreSource) -> None:
        stream = load(archive).stages[0].streams["video"]
        await driving.until(pilot, lambda: source.arrived > 0 and source.quiet)
        await driving.settled(pilot)
        counts.append(s3.count())
        deck = app.deck
        assert np.array_equal(deck.run.stages[0].streams["video"].values("sigma"), stream.values("sigma"))
        assert not deck.findings.known and deck.total == STEPS
        await pilot.press("4")
        await driving.until(pilot, lambda: not source.fetching and deck.findings.known)
        for metric in stream.metrics:
            found = deck.run.stages[0].streams["video"].values(metric)
            assert np.array_equal(found, stream.values(metric), equal_nan=True)
        assert deck.findings.verdict.text == "ok" and not deck.run.damage and len(deck.run.system) > 0

    monkeypatch.setattr(sources, "DRAWN_SECONDS", 2.0)
    drawn("s3://runs/folder.zarr", act)
    print(f"a folder up to the first screen: {counts[0]} requests")
    assert counts[0] <= MOST_OF_A_FOLDER, s3.requests


def test_a_zip_is_drawn_after_few_requests(s3: LoopbackS3, packed: Path) -> None:
    store().put_file(str(packed), "runs/run.zarr.zip")
    s3.requests.clear()

    async def act(pilot: Any, app: Dashboard, source: StoreSource) -> None:
        await driving.loaded(pilot)
        assert app.deck.total == STEPS

    drawn("s3://runs/run.zarr.zip", act)
    print(f"a zip up to the first screen: {s3.count()} requests")
    assert s3.count() <= MOST_OF_A_ZIP, s3.requests


@pytest.mark.parametrize("trouble", ["slow", "errors"])
def test_a_store_in_trouble_never_freezes_a_key(
    s3: LoopbackS3, archive: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store().put(str(archive), "runs/folder.zarr", recursive=True)

    async def act(pilot: Any, app: Dashboard, source: StoreSource) -> None:
        await driving.until(pilot, lambda: source.arrived > 0 and source.quiet)
        s3.delay = SLOW_SECONDS
        if trouble == "errors":
            s3.answer = lambda method, path: ("500 Internal Server Error", ERROR)
        longest = 0.0
        for key in ("2", "3", "left", "4", "right", "5", "1", "home", "6", "left", "end"):
            began = time.perf_counter()
            await pilot.press(key)
            longest = max(longest, time.perf_counter() - began)
        print(f"{trouble}: the slowest key took {1e3 * longest:.0f} ms")
        assert longest < SLOW_SECONDS
        if trouble == "errors":
            await driving.until(pilot, lambda: "trying again" in source.note)
        s3.delay, s3.answer = 0.0, None
        await driving.until(pilot, lambda: not source.fetching and app.deck.findings.known)
        assert app.deck.findings.verdict.text == "ok"

    callers: set[threading.Thread] = set()
    called = filesystem.called

    def watched(*given: Any, **more: Any) -> Any:
        callers.add(threading.current_thread())
        return called(*given, **more)

    monkeypatch.setattr(files, "called", watched)
    monkeypatch.setattr(sources, "_FIRST_REST", 0.2)
    drawn("s3://runs/folder.zarr", act)
    assert callers and threading.main_thread() not in callers


def test_a_store_that_never_answers_is_given_up(s3: LoopbackS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "CALL_SECONDS", 0.3)
    s3.delay = 2.0
    began = time.monotonic()
    one_line(invoke("explain", "s3://runs/x.zarr.zip"), "has not answered in 0 s; try again later")
    assert time.monotonic() - began < 2.0


def test_the_dashboard_is_left_while_the_store_is_silent(s3: LoopbackS3, archive: Path) -> None:
    store().put(str(archive), "runs/folder.zarr", recursive=True)
    s3.delay = SLOW_SECONDS
    source = StoreSource(parse_store("s3://runs/folder.zarr"))

    async def show() -> float:
        app = Dashboard(source, Options(opening=Opening(), runs_dir=Path("none")))
        async with app.run_test(size=(120, 36)) as pilot:
            await pilot.press("q")
            began = time.monotonic()
        return time.monotonic() - began

    assert asyncio.run(show()) < SLOW_SECONDS / 2
    assert not source.opened


# -- sweeps


def test_a_sweep_is_uploaded_with_its_runs(s3: LoopbackS3, ltxtui: Command) -> None:
    shock = ["--shock", "restart:sigma=0.9,db=3", "--seeds", 1, "--steps", 4, "--upload", "s3://runs/sweep"]
    done = ltxtui("sweep", "sw", "--model", "nano", *shock, seconds=300)
    assert done.returncode == 0, done.stderr
    names = {Path(p).name for p in store().find("runs/sweep")}
    runs = [name for name in names if name.endswith(locations.PACKED_SUFFIX)]
    assert {"sweep.json", f"results-of-{len(runs)}-runs.csv", index.NAME} < names
    assert len(runs) == len(list(Path("sw/runs").glob("*.zarr"))) > 1
    found = listing.list_store(parse_store("s3://runs/sweep/runs"))
    assert {f"{one.info.name}.zarr.zip" for one in found.runs} == set(runs)
    again = ltxtui("sweep", "sw", "--upload", "s3://runs/sweep")
    assert again.returncode == 0 and again.stderr.count("is there already") == len(runs)
