"""The pump behind a slow disk: waiting rows are written together; dropped rows are reported once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recorder.archive.writer import ArchiveWriter
from recorder.format.protocol import MAX_RECORDER_MESSAGE
from recorder.journal.journal import Journal, JournalReader
from recorder.writing import archive_thread as archivist_module
from recorder.writing import journal_thread as pump_module
from recorder.writing.archive_thread import Archivist
from recorder.writing.items import RowItem, StageEndItem
from recorder.writing.journal_thread import Pump
from tests.waiting import PATIENCE_SECONDS


class HangingJournal(Journal):
    """Takes nothing until it is let go."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reached, self.free = threading.Event(), threading.Event()

    def append(self, data: bytes, vital: bool = False) -> None:
        self.reached.set()
        assert self.free.wait(PATIENCE_SECONDS)
        super().append(data, vital)


def row(step: int) -> RowItem:
    return RowItem(0, "video", step, 0.0, (0.5,), torch.zeros(3), lambda: None, lambda step, values: [])


def steps_of(messages: list[dict[str, Any]]) -> list[int]:
    """The steps of all rows, also of those that are in one message."""
    found = [range(m["step"], m["step"] + m.get("count", 1)) for m in messages if m["t"] == "step"]
    return [step for steps in found for step in steps]


def test_rows_beyond_the_bound_are_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pump_module, "MAX_WAITING_ROWS", 40)
    caplog.set_level(logging.WARNING, "recorder")
    journal = HangingJournal(tmp_path / "run.journal")
    told: list[Any] = []
    archivist = Archivist(ArchiveWriter(tmp_path / "run.zarr"), told.append)
    archivist.error = RuntimeError("there is no header, so nothing is folded here")
    pump = Pump(journal, archivist, lambda: None)
    pump.put(row(0))
    assert journal.reached.wait(PATIENCE_SECONDS)
    for step in range(1, 101):
        pump.put(row(step))
    journal.free.set()
    assert pump.close({"t": "end", "time": 0.0, "status": "complete", "error": None})
    assert archivist.close()
    journal.close()
    messages = JournalReader(tmp_path / "run.journal").poll()
    assert steps_of(messages) == list(range(41))
    before = messages[: [m["t"] for m in messages].index("event")]
    assert len(steps_of(before)) > 20  # not while more may be given up
    texts = [m["text"] for m in messages if m["t"] == "event"]
    assert texts == ["60 steps were not recorded: 40 were waiting to be written"]
    assert [r.message for r in caplog.records if "not recorded" in r.message] == texts
    assert messages[-1]["t"] == "end"


def test_what_waits_is_written_together(tmp_path: Path) -> None:
    journal = HangingJournal(tmp_path / "run.journal")
    written: list[int] = []
    archivist = Archivist(ArchiveWriter(tmp_path / "run.zarr"), lambda event: None)
    archivist.error = RuntimeError("there is no header, so nothing is folded here")
    pump = Pump(journal, archivist, lambda: written.append(journal.size))
    pump.put(row(0))
    assert journal.reached.wait(PATIENCE_SECONDS)
    for step in range(1, 50):
        pump.put(row(step))
    journal.free.set()
    assert pump.close({"t": "end", "time": 0.0, "status": "complete", "error": None})
    assert archivist.close()
    journal.close()
    messages = JournalReader(tmp_path / "run.journal").poll()
    assert steps_of(messages) == list(range(50)) and messages[-1]["t"] == "end"
    # The first alone, then what waits in messages of 32 at most; each is reported once it is in the file.
    assert [m.get("count", 1) for m in messages[:-1]] == [1, 32, 17]
    assert len(written) == len(set(written)) == len(messages)


def test_pictures_beyond_the_bound_are_left_out_and_told_of_once(tmp_path: Path) -> None:
    journal = HangingJournal(tmp_path / "run.journal")
    drawn: list[int] = []

    def picture(step: int) -> dict[str, Any]:
        drawn.append(step)
        return {"t": "preview", "step": step}

    def put(pump: Pump) -> None:
        for step in range(101):
            pump.put(replace(row(step), picture=partial(picture, step)))
            assert journal.reached.wait(PATIENCE_SECONDS)  # the first is on its way
        held = [pump._queue.get() for _ in range(100)]
        assert [r.picture is not None for r in held if isinstance(r, RowItem)] == [True] * 64 + [False] * 36
        for item in held:
            pump._queue.put(item)
        journal.free.set()

    messages = written(journal, put)
    assert steps_of(messages) == list(range(101))
    assert [m["step"] for m in messages if m["t"] == "preview"] == drawn == list(range(65))
    texts = [m["text"] for m in messages if m["t"] == "event"]
    assert texts == ["36 pictures were not recorded: 64 rows or more waited"]


def written(journal: Journal, put: Callable[[Pump], None]) -> list[dict[str, Any]]:
    """The messages in a journal once a pump has taken what is put into it; the end is the last."""
    archivist = Archivist(ArchiveWriter(journal.path.with_suffix(".zarr")), lambda event: None)
    archivist.error = RuntimeError("there is no header, so nothing is folded here")
    pump = Pump(journal, archivist, lambda: None)
    put(pump)
    assert pump.close({"t": "end", "time": 0.0, "status": "complete", "error": None})
    assert archivist.close()
    journal.close()
    found: list[dict[str, Any]] = JournalReader(journal.path).poll()
    assert found[-1]["t"] == "end"
    return found


@pytest.fixture
def recorded(tmp_path: Path) -> Any:
    """Takes rows and gives the messages that came of them, each after a `wait` for 30 s at most."""

    def record(*rows: RowItem) -> list[dict[str, Any]]:
        def put(pump: Pump) -> None:
            for item in rows:
                pump.put(item)

        return written(Journal(tmp_path / "run.journal"), put)

    return record


@pytest.fixture
def behind(tmp_path: Path) -> Any:
    """Takes rows that all wait while the journal hangs, and gives the messages that came of them."""

    def record(*rows: RowItem) -> list[dict[str, Any]]:
        journal = HangingJournal(tmp_path / "run.journal")

        def put(pump: Pump) -> None:
            pump.put({"t": "event", "kind": "note", "text": ""})
            assert journal.reached.wait(PATIENCE_SECONDS)
            for item in rows:
                pump.put(item)
            journal.free.set()

        return written(journal, put)[1:-1]

    return record


def test_what_fails_in_the_pump_costs_no_row_and_is_told_once(recorded: Any) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("events of two devices")

    odd = [replace(row(step), schedule=(0.5, fail), picture=fail) for step in range(3)]
    odd.append(replace(row(3), watch=fail, picture=lambda: {"t": "preview", "step": 3}))
    messages = recorded(*odd)
    steps = [np.frombuffer(m["data"], "<f4") for m in messages if m["t"] == "step"]
    assert len(steps) == 4 and all(s[0] == 0.5 and np.isnan(s[1]) for s in steps[:3])
    assert [m["step"] for m in messages if m["t"] == "preview"] == [3]
    assert [m["text"] for m in messages if m["t"] == "event"] == [
        f"{what} could not be recorded: events of two devices"
        for what in ("the time of a step on the GPU", "a picture", "what happened in a step")
    ]
    assert not [m for m in messages if m["t"] == "missed"]


def numbered(step: int, stream: str = "video", **more: Any) -> RowItem:
    """A row whose numbers and time are its step's."""
    values = torch.tensor([float(step), -float(step)])
    return RowItem(0, stream, step, 100.0 + step, (step / 2,), values, lambda: None, lambda *_: [], **more)


def test_rows_in_one_message_hold_what_each_holds(behind: Any) -> None:
    messages = behind(*(numbered(step) for step in range(30)))
    first = messages[0]
    assert (first["t"], first["step"], first["count"]) == ("step", 0, 14 + 16)
    assert np.frombuffer(first["time"], "<f8").tolist() == [100.0 + step for step in range(30)]
    values = np.frombuffer(first["data"], "<f4").reshape(30, 3)
    assert values.tolist() == [[step / 2, step, -step] for step in range(30)]


def test_only_rows_that_follow_each_other_share_a_message(behind: Any) -> None:
    rows = [numbered(step) for step in range(4)] + [numbered(step) for step in (6, 7)]
    rows += [numbered(step, "audio") for step in range(3)] + [numbered(8, picture=lambda: {"t": "preview", "step": 8})]
    rows += [numbered(step) for step in range(9, 40)]
    messages = behind(*rows)
    found = [(m["t"], m.get("stream"), m["step"], m.get("count", 1)) for m in messages]
    assert found[:5] == [
        ("step", "video", 0, 4),
        ("step", "video", 6, 2),
        ("step", "audio", 0, 3),
        ("step", "video", 8, 1),
        ("preview", None, 8, 1),
    ]
    assert steps_of(messages) == [row.step for row in rows]


def test_events_come_right_after_their_rows_and_a_failure_costs_its_own_row_alone(behind: Any) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("a lost device")

    def noted(step: int, values: Any) -> list[dict[str, Any]]:
        return [{"t": "event", "kind": "note", "text": f"{step}: {values[1]}"}]

    rows = [numbered(step) for step in range(40)]
    rows[3] = replace(rows[3], watch=noted)
    rows[5] = replace(rows[5], watch=fail)
    messages = behind(*rows)
    found = [m.get("text", m.get("count", 1)) for m in messages[:5]]
    told = "what happened in a step could not be recorded: a lost device"
    assert found == [4, "3: 3.0", 2, told, 26]
    assert steps_of(messages) == list(range(40))


def test_a_row_that_does_not_arrive_is_missing_alone(behind: Any) -> None:
    def fail() -> None:
        raise RuntimeError("a lost device")

    rows = [numbered(step) for step in range(40)]
    rows[3] = replace(rows[3], wait=fail)
    messages = behind(*rows)
    assert steps_of(messages) == [step for step in range(40) if step != 3]
    assert [m["count"] for m in messages if m["t"] == "missed"] == [1]


@pytest.mark.parametrize("what", ["row", "stage end"])
def test_a_slow_device_is_not_taken_for_a_disk_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """The clock that patience is measured by leaps a minute at every look, for as long as the device is waited for."""
    computing, looks, clock = threading.Event(), [0], [0.0]

    def leaping() -> float:
        looks[0] += 1
        clock[0] += 0 if computing.is_set() else 60
        if looks[0] > 3:
            computing.set()
        return clock[0]

    monkeypatch.setattr(archivist_module, "time", SimpleNamespace(monotonic=leaping))
    archivist = Archivist(ArchiveWriter(tmp_path / "run.zarr"), lambda event: None)
    archivist.error = RuntimeError("there is no header, so nothing is folded here")
    journal = Journal(tmp_path / "run.journal")
    pump = Pump(journal, archivist, lambda: None)
    waits = threading.Event()

    def wait() -> None:
        waits.set()
        assert computing.wait(60)

    watch: Any = SimpleNamespace(stream="video", summary=lambda measured: {}, ended=lambda: [])
    pump.put(replace(row(0), wait=wait) if what == "row" else StageEndItem({"t": "event"}, [(watch, {}, wait)]))
    assert waits.wait(PATIENCE_SECONDS)
    assert pump.close({"t": "end", "time": 0.0, "status": "complete", "error": None})
    assert clock[0] >= 2 * 60 and [r.getMessage()[:33] for r in caplog.records] == ["the run ends once the device has "]
    journal.close()
    archivist.close()
    assert [m["t"] for m in JournalReader(tmp_path / "run.journal").poll()] == [
        "step" if what == "row" else "event",
        "end",
    ]


def test_wide_rows_share_a_message_only_as_far_as_its_readers_accept(behind: Any) -> None:
    wide = torch.zeros(100_000 // 4)
    messages = behind(*(replace(numbered(step), measured=wide + step) for step in range(40)))
    assert steps_of(messages) == list(range(40)) and {m["t"] for m in messages} == {"step"}
    assert 1 < max(m.get("count", 1) for m in messages) < 32


def test_a_row_that_no_reader_would_accept_is_told_of_as_missed(recorded: Any) -> None:
    messages = recorded(replace(row(0), measured=torch.zeros(MAX_RECORDER_MESSAGE // 4)), row(1))
    assert steps_of(messages) == [1]
    assert [m["count"] for m in messages if m["t"] == "missed"] == [1]
    assert "over 1,048,576" in next(m["text"] for m in messages if m["t"] == "event")


def test_short_runs_of_rows_are_written_in_full_groups(tmp_path: Path) -> None:
    class Counting(HangingJournal):
        writes = 0

        def append(self, data: bytes, vital: bool = False) -> None:
            self.writes += 1
            super().append(data, vital)

    journal = Counting(tmp_path / "run.journal")

    def put(pump: Pump) -> None:
        pump.put({"t": "event", "kind": "note", "text": ""})
        assert journal.reached.wait(PATIENCE_SECONDS)
        for step in range(0, 320, 2):
            for stream in ("video", "audio"):
                pump.put(numbered(step, stream))
                pump.put(numbered(step + 1, stream))
        journal.free.set()

    messages = written(journal, put)
    assert len(steps_of(messages)) == 640 and max(m.get("count", 1) for m in messages) == 2
    # 640 rows by 32, the event before them, and what is written one by one once few wait.
    assert journal.writes <= 640 / 32 + 1 + pump_module.FEW_WAITING + 1
