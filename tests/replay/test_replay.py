"""Live, journal and archive give the same numbers through the same interface; what is no run is said to be none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from recorder import record
from recorder.archive import stream_writer
from recorder.archive.writer import ArchiveWriter
from recorder.format import locations
from recorder.format.framing import encode
from replay.integrity.check import check
from replay.library import listing
from replay.model.run import NotARun, Run
from replay.sources.open import ArchiveSource, JournalSource, Liveness, SocketSource, load, open_path
from tests.conftest import UNGUIDED, nano_call
from tests.waiting import until


@pytest.fixture(scope="module")
def recorded(nano_pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One nano run of two stages, as a live viewer, a tailed journal and its archive saw it."""
    import os
    import tempfile

    runs = tmp_path_factory.mktemp("runs")
    os.environ["LTXTUI_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="ltx-", dir="/tmp")
    live, tailed = Run(), Run()
    with record(nano_pipe, runs_dir=runs, name="two") as run:
        nano_pipe(**nano_call(steps=3, **UNGUIDED))
        socket = SocketSource(run.socket_path)
        journal = JournalSource(locations.journal_of(run.path))
        copy = runs / "copied.journal"
        nano_pipe(**nano_call(steps=4, **UNGUIDED))
        until(lambda: load(run.path).steps == 7)  # the last rows may still be on their way to the journal
        shutil.copy(locations.journal_of(run.path), copy)
    for source, into in ((socket, live), (journal, tailed)):
        while source.liveness is Liveness.LIVE:
            for message in source.poll():
                into.feed(message)
        source.close()
    shutil.rmtree(os.environ["LTXTUI_RUNTIME_DIR"], ignore_errors=True)
    return {"path": run.path, "live": live, "tailed": tailed, "copy": copy, "runs": runs}


def assert_same(a: Run, b: Run) -> None:
    assert a.header == b.header and a.end == b.end and a.events == b.events
    assert len(a.stages) == len(b.stages)
    for one, other in zip(a.stages, b.stages, strict=True):
        assert one.declaration == other.declaration and one.ended == other.ended
        assert one.streams.keys() == other.streams.keys()
        for name in one.streams:
            s, t = one.streams[name], other.streams[name]
            assert s.declaration == t.declaration
            assert s.data.tobytes() == t.data.tobytes()
            np.testing.assert_array_equal(s.times, t.times)


def test_live_journal_and_archive_give_the_same_run(recorded: dict[str, Any]) -> None:
    archived = load(recorded["path"])
    assert [s.steps for s in archived.stages] == [3, 4]
    assert_same(recorded["live"], archived)
    assert_same(recorded["tailed"], archived)
    assert isinstance(open_path(recorded["path"]), ArchiveSource)


def test_a_journal_left_behind_opens_as_unfinished_and_folds_into_the_same_archive(
    recorded: dict[str, Any], tmp_path: Path
) -> None:
    source = open_path(recorded["copy"])
    run = Run()
    for message in source.poll():
        run.feed(message)
    assert source.liveness is Liveness.UNFINISHED and run.steps == 7 and run.end is None
    writer = ArchiveWriter(tmp_path / "again.zarr")
    for message in JournalSource(recorded["copy"]).poll():
        writer.feed(message)
    writer.finish({"status": "complete", "error": None, "time": 0.0})
    again, original = load(tmp_path / "again.zarr"), load(recorded["path"])
    for one, other in zip(again.stages, original.stages, strict=True):
        assert one.streams["video"].data.tobytes() == other.streams["video"].data.tobytes()


def test_a_torn_journal_shows_everything_before_and_says_so(recorded: dict[str, Any], tmp_path: Path) -> None:
    torn = tmp_path / "torn.journal"
    torn.write_bytes(recorded["copy"].read_bytes()[:-5])
    source = open_path(torn)
    assert len(source.poll()) > 10 and "torn" in source.note


def test_a_damaged_journal_is_supplemented_from_what_was_folded(recorded: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    shutil.copytree(recorded["path"], path)
    data = bytearray(recorded["copy"].read_bytes())
    data[len(data) // 3] ^= 0xFF
    locations.journal_of(path).write_bytes(data)
    source = open_path(path)
    run = Run()
    while messages := source.poll():
        for message in messages:
            run.feed(message)
    assert "damaged" in source.note
    assert [s.steps for s in run.stages] == [3, 4]


def test_long_stages_are_folded_in_blocks_and_readable_meanwhile(
    recorded: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_writer, "LONG_ROWS", 2000)
    messages = JournalSource(recorded["copy"]).poll()
    opening = [m for m in messages if m["t"] in ("header", "stage", "stream") and m.get("stage", 0) == 0]
    rows = [m for m in messages if m["t"] == "step" and m["stage"] == 0 and m["stream"] == "video"]
    writer = ArchiveWriter(tmp_path / "long.zarr")
    for message in opening:
        writer.feed(message)
    for i in range(2500):  # planned were 3: the arrays grow
        writer.feed({**rows[i % 3], "step": i})
    unfinished = load(tmp_path / "long.zarr")
    assert unfinished.stages[0].streams["video"].rows == 2048
    writer.finish({"status": "complete", "error": None, "time": 0.0})
    finished = load(tmp_path / "long.zarr").stages[0].streams["video"]
    assert finished.rows == 2500
    assert finished.data[2499].tobytes() == rows[2499 % 3]["data"]
    assert zarr.open_group(str(tmp_path / "long.zarr"))["stage_0/video/sigma"].shape == (2500,)
    # Thousands of small files would make opening slow, so that chunks were merged.
    assert zarr.open_group(str(tmp_path / "long.zarr"))["stage_0/video/sigma"].chunks == (2500,)
    assert check(tmp_path / "long.zarr").problems == []


def test_listing_needs_only_one_small_file_per_run(recorded: dict[str, Any]) -> None:
    found = {r.name: r for r in listing.list_runs(recorded["runs"])}
    run = found[recorded["path"].stem]
    assert (run.status, run.stages, run.steps, run.planned) == ("complete", 2, 7, 7)
    assert run.prompt == "a red ball moving left" and run.seconds and run.bytes > 10_000
    assert found["copied"].status == "unfinished" and found["copied"].steps == 7


@pytest.mark.parametrize(
    "damage", ["missing", "file", "foreign", "empty", "newer", "not json", "text journal", "no rows"]
)
def test_what_is_no_run_is_refused_with_a_reason(damage: str, recorded: dict[str, Any], tmp_path: Path) -> None:
    path, says = tmp_path / "x.zarr", "not a recorded run"
    if damage == "missing":
        says = "does not exist"
    elif damage == "file":
        path.write_text("hello")
    elif damage == "foreign":
        zarr.open_group(str(path), mode="w", attributes={"some": "thing"})
        says = "not a run recorded by ltxtui"
    elif damage == "empty":
        path.mkdir()
    elif damage in ("newer", "no rows", "not json"):
        shutil.copytree(recorded["path"], path)
        file = path / "zarr.json"
        content = json.loads(file.read_text())
        if damage == "newer":
            content["attributes"]["version"] = 99
            says = "newer than this program"
        else:
            del content["attributes"]["rows"]
            says = "damaged"
        file.write_text("{" if damage == "not json" else json.dumps(content))
    else:
        path = tmp_path / "x.journal"
        path.write_text("this is just some text, longer than a frame\n")
        says = "no readable message"
    with pytest.raises(NotARun, match=says):
        load(path)


def test_a_missing_array_is_nan_and_said_to_be_missing(recorded: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    shutil.copytree(recorded["path"], path)
    shutil.rmtree(path / "stage_0/video/sigma")
    source, run = open_path(path), Run()
    for message in source.poll():
        run.feed(message)
    stream = run.stages[0].streams["video"]
    assert "stage_0/video/sigma is missing" in source.note
    assert stream.rows == 3 and np.isnan(stream.series("sigma")).all()
    whole = load(recorded["path"]).stages[0].streams["video"]
    assert stream.values("mean").tobytes() == whole.values("mean").tobytes()


def header(**more: Any) -> dict[str, Any]:
    base = {"t": "header", "format": "ltxtui-run", "version": 1, "run": "x", "time": 0.0, "archive": "", "metadata": {}}
    return {**base, **more}


STAGE = {"t": "stage", "stage": 0, "call": 0, "tile": None, "time": 0.0, "sigmas": [1.0], "metadata": {}}
METRIC = {"name": "sigma", "unit": "1", "dims": ["step"], "shape": [], "label": "s", "description": ""}
STREAM = {
    "t": "stream",
    "stage": 0,
    "stream": "video",
    "grid": [1],
    "shape": [1],
    "metrics": [METRIC],
    "coordinates": {},
}
STEP = {"t": "step", "stage": 0, "stream": "video", "step": 0, "time": 0.0, "data": bytes(4)}


@pytest.mark.parametrize(
    "messages",
    [
        [STAGE],
        [header(format="x")],
        [header(version="1")],
        [header(), STEP],
        [header(), STAGE, STEP],
        [header(), STAGE, STREAM, {**STEP, "data": bytes(8)}],
        [header(), STAGE, STREAM, {**STEP, "step": 10**12}],
        [header(), STAGE, STREAM, {**STEP, "step": -1}],
        [header(), STAGE, STREAM, {**STEP, "count": 10**9}],
        [header(), STAGE, {**STREAM, "metrics": [{**METRIC, "shape": [10**9]}]}],
        [header(), STAGE, {**STREAM, "metrics": [{**METRIC, "shape": "x"}]}],
        [header(), {**STAGE, "stage": 5}],
        [header(), {**STAGE, "sigmas": 7}],
    ],
)
def test_messages_that_contradict_the_format_are_refused(messages: list[dict]) -> None:
    run = Run()
    with pytest.raises(NotARun):
        for message in messages:
            run.feed(message)


def test_unknown_types_are_skipped_and_repeats_are_harmless() -> None:
    run = Run()
    for message in (header(), {"t": "hologram"}, STAGE, STAGE, STREAM, STREAM, STEP, STEP, {**STEP, "step": 1}):
        run.feed(message)
        encode(message)
    assert run.stages[0].streams["video"].rows == 2
