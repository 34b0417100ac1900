"""A journal that is short, torn, damaged or empty hides nothing that its archive has, and repair loses none of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recorder.archive.writer import ArchiveWriter
from recorder.format import locations
from recorder.format.framing import encode
from recorder.format.protocol import Message
from recorder.journal.journal import Journal
from replay.integrity.check import check
from replay.integrity.repair import CannotRepair, repair
from replay.library import listing
from replay.library.watcher import RunWatcher
from replay.model import validation
from replay.model.run import NotARun, Run
from replay.sources import journal_lock
from replay.sources.open import JournalSource, Liveness, load, open_path
from replay.sources.reconnect import ReconnectingSource
from tests.waiting import PATIENCE_SECONDS

STEPS = 20
METRICS = [
    {"name": "sigma", "unit": "1", "dims": ["step"], "shape": [], "label": "σ", "description": ""},
    {"name": "mean", "unit": "1", "dims": ["step", "batch"], "shape": [1], "label": "mean", "description": ""},
]
HEADER = {"t": "header", "format": "ltxtui-run", "version": 1, "run": "r", "time": 1.0, "archive": "", "metadata": {}}
END = {"t": "end", "time": 99.0, "status": "complete", "error": None}


def stage(index: int = 0) -> list[Message]:
    declared = {"stage": index, "call": index, "tile": None, "time": 1.0, "sigmas": [1.0] * STEPS, "metadata": {}}
    stream = {"stage": index, "stream": "video", "grid": [1, 2, 2], "shape": [1, 4, 2], "coordinates": {}}
    return [{"t": "stage", **declared}, {"t": "stream", **stream, "metrics": METRICS}]


def step(n: int, index: int = 0) -> Message:
    data = np.array([n, n + 0.5], "<f4").tobytes()
    return {"t": "step", "stage": index, "stream": "video", "step": n, "time": 2.0 + n, "data": data}


def picture(n: int, index: int = 0) -> Message:
    place = {"stage": index, "stream": "video", "step": n, "shape": [1, 2, 2, 3], "frames": [0]}
    return {"t": "preview", **place, "fit": 1, "data": bytes([n % 256]) * 12}


def event(n: int, index: int = 0) -> Message:
    place = {"stage": index, "step": n, "stream": None}
    # Two of the same text and time are two events.
    return {"t": "event", "time": 3.0 + n // 2, **place, "kind": "warning", "text": "e", "payload": {}}


def sample(n: int) -> Message:
    return {"t": "system", "time": 2.5 + n, "values": {"process_cpu": float(n)}}


def messages(pictures: bool = True) -> list[Message]:
    """A run of two stages, without its end."""
    found: list[Message] = [HEADER]
    for index in (0, 1):
        found += stage(index)
        for n in range(STEPS):
            found.append(step(n, index))
            found += [picture(n, index)] * pictures
            if n % 7 == 3:
                found += [event(n, index), event(n, index), sample(n + STEPS * index)]
    return found


def archived(path: Path, told: list[Message], folded: int | None = None) -> None:
    writer = ArchiveWriter(path)
    for number, message in enumerate(told):
        writer.feed(message)
        if number == folded:
            writer.write_rows()


def framed(told: list[Message]) -> bytes:
    return b"".join(map(encode, told))


def flipped(told: list[Message], at: int) -> bytes:
    """The journal of messages of which one is damaged."""
    data = bytearray(framed(told))
    data[len(framed(told[:at])) + 12] ^= 0xFF
    return bytes(data)


def assert_all_there(run: Run, told: list[Message]) -> None:
    whole = Run()
    for message in told:
        whole.feed(message)
    assert [e["step"] for e in run.events] == [e["step"] for e in whole.events]
    assert [s["time"] for s in run.system] == [s["time"] for s in whole.system]
    assert len(run.stages) == len(whole.stages)
    for one, other in zip(run.stages, whole.stages, strict=True):
        mine, theirs = one.streams["video"], other.streams["video"]
        np.testing.assert_array_equal(mine.data, theirs.data)
        np.testing.assert_array_equal(mine.times, theirs.times)
        assert sorted(mine.previews) == sorted(theirs.previews)
        for n in mine.previews:
            np.testing.assert_array_equal(mine.previews[n].pixels(), theirs.previews[n].pixels())


SHORT: dict[str, Callable[[list[Message]], bytes]] = {
    "empty": lambda told: b"",
    "torn in its header": lambda told: framed(told)[:9],
    "header only": lambda told: framed(told[:1]),
    "without its stage": lambda told: framed(told[:2]),
    "half": lambda told: framed(told[: len(told) // 4]),
    "torn": lambda told: framed(told[: len(told) // 4]) + encode(told[len(told) // 4])[:7],
    "damaged": lambda told: flipped(told, len(told) // 4),
    "damaged at once": lambda told: flipped(told, 0),
    "damaged in its second stage": lambda told: flipped(told, 3 * len(told) // 4),
    "damaged before its first picture": lambda told: flipped(told, 4),
    "without its end": lambda told: framed(told[:-1]),
    "whole": framed,
}


@pytest.mark.parametrize("pictures", [True, False])
@pytest.mark.parametrize("short", SHORT)
def test_a_short_journal_hides_nothing_of_a_finished_archive(tmp_path: Path, short: str, pictures: bool) -> None:
    path, told = tmp_path / "r.zarr", [*messages(pictures), END]
    archived(path, told)
    locations.journal_of(path).write_bytes(SHORT[short](told))
    source, run = open_path(path), Run()
    while found := source.poll():
        for message in found:
            run.feed(message)
    assert_all_there(run, told)
    assert source.liveness is Liveness.FINISHED
    assert ("beyond its journal" in source.note) == (short != "whole")
    (line,) = listing.list_runs(tmp_path)
    shelf = RunWatcher(tmp_path)
    shelf.update(5)
    shelf.close()
    assert not shelf.unreadable and shelf.runs == [line]
    assert (line.status, line.steps) == ("complete", 2 * STEPS)
    report = check(path)
    problems = "\n".join(report.problems)
    # Where the journal is whole too its recorder ended before the archive was on the disk: nothing is wrong.
    beside = "\n".join(report.notes) if short == "whole" else problems
    assert "a journal is left next to the finished archive" in beside and report.sound == (short == "whole")
    assert ("ends before the archive" in problems) == (short not in ("whole", "without its end"))
    done = repair(path)
    assert done.lost == [] and done.rows == {"stage_0/video": STEPS, "stage_1/video": STEPS}
    assert check(path).sound and check(path).notes == []
    # A journal of the same run that ends as the archive does has nothing that the archive lacks.
    same = short == "whole" or (short.startswith("damaged") and short != "damaged at once")
    assert (done.kept is None) == same and not locations.journal_of(path).exists()
    again = load(path)
    assert_all_there(again, told)
    assert again.end is not None and again.end["status"] == "complete"


@pytest.mark.parametrize("pictures", [True, False])
@pytest.mark.parametrize(("folded", "damaged"), [(None, 15), (10, 15), (60, 12), (60, 55), (50, 20)])
def test_repair_keeps_every_row_that_was_readable(
    tmp_path: Path, folded: int | None, damaged: int, pictures: bool
) -> None:
    path, told = tmp_path / "r.zarr", messages(pictures)
    archived(path, told, folded)
    locations.journal_of(path).write_bytes(flipped(told, damaged))
    before = load(path)
    done = repair(path)
    after = load(path)
    assert done.rows == {f"stage_{s.index}/video": s.steps for s in before.stages} and check(path).sound
    assert after.steps == before.steps > 0 and len(after.events) == len(before.events)
    for one, other in zip(before.stages, after.stages, strict=True):
        np.testing.assert_array_equal(one.streams["video"].data, other.streams["video"].data)
        assert sorted(one.streams["video"].previews) == sorted(other.streams["video"].previews)
        for n, shown in other.streams["video"].previews.items():
            assert shown.pixels().flat[0] == n


def test_a_journal_that_contradicts_itself_is_mended_from_the_archive(tmp_path: Path) -> None:
    path, told = tmp_path / "r.zarr", [*messages(), END]
    archived(path, told)
    locations.journal_of(path).write_bytes(framed([*told[:10], {**step(3), "data": bytes(4)}, *told[10:-1]]))
    done = repair(path)
    assert "after its message 10" in done.lost[0] and len(done.lost) == 1
    assert done.rows == {"stage_0/video": STEPS, "stage_1/video": STEPS}


def test_what_the_archive_lost_too_is_told(tmp_path: Path) -> None:
    path, told = tmp_path / "r.zarr", [*messages(), END]
    archived(path, told)
    locations.journal_of(path).write_bytes(framed(told[:10]))
    chunk = path / "stage_0/video/mean/c/0/0"
    chunk.write_bytes(bytes([chunk.read_bytes()[0] ^ 1]) + chunk.read_bytes()[1:])
    done = repair(path)
    (lost,) = done.lost
    assert "stage_0/video/mean is incomplete" in lost
    stream = load(path).stages[0].streams["video"]
    held = sum(m["t"] == "step" for m in told[:10])
    assert np.isfinite(stream.values("mean")[:held]).all() and np.isnan(stream.values("mean")[held:]).all()
    assert np.isfinite(stream.values("sigma")).all()


def test_an_archive_of_other_metrics_adds_no_rows(tmp_path: Path) -> None:
    path, told = tmp_path / "r.zarr", messages()
    other = [{**m, "metrics": METRICS[:1]} if m["t"] == "stream" else m for m in told]
    archived(path, [*({**m, "data": m["data"][:4]} if m["t"] == "step" else m for m in other), END])
    locations.journal_of(path).write_bytes(framed(told[:10]))
    run = load(path)
    assert run.stages[0].steps == sum(m["t"] == "step" for m in told[:10]) and run.stages[1].steps == STEPS


def test_an_archive_of_another_run_adds_nothing(tmp_path: Path) -> None:
    path, told = tmp_path / "r.zarr", messages()
    archived(path, [{**HEADER, "run": "another"}, *told[1:], END])
    locations.journal_of(path).write_bytes(framed(told[:10]))
    run = load(path)
    assert run.name == "r" and run.steps == sum(m["t"] == "step" for m in told[:10]) and run.end is None


@pytest.mark.parametrize("read", ["journal", "archive", "both"])
def test_each_message_is_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str) -> None:
    path, told = tmp_path / "r.zarr", [*messages(), END]
    if read != "journal":
        archived(path, told)
    if read != "archive":
        locations.journal_of(path).write_bytes(framed(told if read == "journal" else told[:30]))
    events = sum(m["t"] == "event" for m in told)
    some = sum(m["t"] == "event" for m in told[:30])
    taken: list[object] = []
    check_event = validation.check_event
    monkeypatch.setattr(validation, "check_event", lambda event: taken.append(check_event(event)))
    run = load(path)
    assert len(run.events) == events > some > 0
    # Of two files some events are in both: those of the archive are checked to be recognised.
    assert len(taken) == (events + some if read == "both" else events)


def test_repair_leaves_a_run_alone_that_it_cannot_write_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, told = tmp_path / "r.zarr", messages()
    locations.journal_of(path).write_bytes(framed(told))
    fold = ArchiveWriter.feed
    monkeypatch.setattr(ArchiveWriter, "feed", lambda self, m: None if m.get("step") == STEPS - 1 else fold(self, m))
    with pytest.raises(CannotRepair, match=r"19 of 20 rows of stage_0/video"):
        repair(path)
    assert [p.name for p in tmp_path.iterdir()] == ["r.journal"]


def test_an_empty_journal_without_an_archive_is_still_no_run(tmp_path: Path) -> None:
    (tmp_path / "r.journal").write_bytes(b"")
    with pytest.raises(NotARun, match="it is empty"):
        open_path(tmp_path / "r.journal")
    assert listing.list_runs(tmp_path) == []


def test_a_viewer_that_lost_its_connection_gets_what_only_the_archive_has(runtime_dir: Path, tmp_path: Path) -> None:
    from recorder.journal.server import Server

    path, told = tmp_path / "r.zarr", [*messages(), END]
    told[0] = {**HEADER, "archive": str(path)}
    journal = Journal(locations.journal_of(path))
    server = Server(journal, runtime_dir / "r.sock")
    for message in told[:30]:
        journal.append(encode(message))
    server.notify()
    source, run = ReconnectingSource(runtime_dir / "r.sock", retry=(0.0,)), Run()

    def follow(until: Callable[[], bool]) -> None:
        limit = time.monotonic() + PATIENCE_SECONDS
        while not until():
            assert time.monotonic() < limit
            for message in source.poll():
                run.feed(message)
            time.sleep(0.002)

    follow(lambda: run.version >= 30)
    archived(path, told)
    os.truncate(locations.journal_of(path), len(framed(told[:12])))
    journal.release(remove=False)
    server.close()
    server.join(PATIENCE_SECONDS)
    follow(lambda: run.end is not None)
    assert_all_there(run, told)
    source.close()


def test_a_journal_that_is_deleted_and_written_anew_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = messages()
    path = tmp_path / "r.journal"
    journal = Journal(path)
    journal.append(framed(told[:10]))
    source = JournalSource(path)
    assert len(source.poll()) == 10 and source.poll() == []
    path.unlink()
    for _ in range(3):
        assert source.poll() == [] and source.liveness is Liveness.LIVE, "its recorder has not noticed yet"
    journal.append(encode(told[10]))
    assert source.poll() == told[10:11] and source.liveness is Liveness.LIVE
    assert journal.flush() and path.exists()
    journal.append(encode(told[11]))
    assert source.poll() == told[11:12] and source.liveness is Liveness.LIVE, "the new file is followed"
    journal.release(remove=True)
    assert source.poll() == [] and source.liveness is Liveness.LIVE, "it may come back for some seconds"
    monkeypatch.setattr(journal_lock, "GRACE_SECONDS", 0.0)
    assert source.poll() == [] and source.liveness is Liveness.UNFINISHED
    journal.close()
    source.close()


def test_a_viewer_never_takes_a_journal_for_dead_while_it_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "r.journal"
    journal = Journal(path)
    journal.append(encode(HEADER))
    source, stop = JournalSource(path), threading.Event()

    def delete() -> None:
        while not stop.is_set():
            path.unlink(missing_ok=True)
            journal.flush()

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            source.poll()
            assert source.liveness is Liveness.LIVE
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
    journal.close()
    source.close()
