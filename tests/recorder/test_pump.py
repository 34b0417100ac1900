"""The pump behind a slow disk: what waits is written together; rows are given up beyond a bound, told once."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recorder.archive.writer import ArchiveWriter
from recorder.journal.journal import Journal, JournalReader
from recorder.writing import archive_thread as archivist_module
from recorder.writing import journal_thread as pump_module
from recorder.writing.archive_thread import Archivist
from recorder.writing.items import RowItem, StageEndItem
from recorder.writing.journal_thread import Pump


class HangingJournal(Journal):
    """Takes nothing until it is let go."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reached, self.free = threading.Event(), threading.Event()

    def append(self, data: bytes, vital: bool = False) -> None:
        self.reached.set()
        assert self.free.wait(30)
        super().append(data, vital)


def row(step: int) -> RowItem:
    return RowItem(0, "video", step, 0.0, (0.5,), torch.zeros(3), lambda: None, lambda step, values: [])


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
    assert journal.reached.wait(30)
    for step in range(1, 101):
        pump.put(row(step))
    journal.free.set()
    assert pump.close({"t": "end", "time": 0.0, "status": "complete", "error": None})
    assert archivist.close()
    journal.close()
    messages = JournalReader(tmp_path / "run.journal").poll()
    assert [m["step"] for m in messages if m["t"] == "step"] == list(range(41))
    assert [m["t"] for m in messages].index("event") > 20  # not while more may be given up
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
    assert journal.reached.wait(30)
    for step in range(1, 50):
        pump.put(row(step))
    journal.free.set()
    assert pump.close({"t": "end", "time": 0.0, "status": "complete", "error": None})
    assert archivist.close()
    journal.close()
    messages = JournalReader(tmp_path / "run.journal").poll()
    assert [m["step"] for m in messages[:-1]] == list(range(50)) and messages[-1]["t"] == "end"
    # The first alone, 32 together, and as soon as few wait one by one again; each told once it was in the file.
    sizes = [later - earlier for earlier, later in pairwise(written)]
    assert written == sorted(set(written)) and max(sizes) > 30 * written[0]
    assert len(written) < 25


def test_pictures_beyond_the_bound_are_left_out_and_told_of_once(tmp_path: Path) -> None:
    journal = HangingJournal(tmp_path / "run.journal")
    archivist = Archivist(ArchiveWriter(tmp_path / "run.zarr"), lambda event: None)
    archivist.error = RuntimeError("there is no header, so nothing is folded here")
    pump = Pump(journal, archivist, lambda: None)
    drawn: list[int] = []

    def picture(step: int) -> dict[str, Any]:
        drawn.append(step)
        return {"t": "preview", "step": step}

    def put(step: int) -> None:
        pump.put(replace(row(step), picture=lambda: picture(step)))

    put(0)
    assert journal.reached.wait(30)
    for step in range(1, 101):
        put(step)
    held = [pump._queue.get() for _ in range(100)]
    assert [r.picture is not None for r in held if isinstance(r, RowItem)] == [True] * 64 + [False] * 36
    for item in held:
        pump._queue.put(item)
    journal.free.set()
    assert pump.close({"t": "end", "time": 0.0, "status": "complete", "error": None})
    assert archivist.close()
    journal.close()
    messages = JournalReader(tmp_path / "run.journal").poll()
    assert [m["step"] for m in messages if m["t"] == "step"] == list(range(101))
    assert [m["step"] for m in messages if m["t"] == "preview"] == drawn == list(range(65))
    texts = [m["text"] for m in messages if m["t"] == "event"]
    assert texts == ["36 pictures were not recorded: 64 rows or more waited"]


@pytest.fixture
def recorded(tmp_path: Path) -> Any:
    """Takes rows and gives the messages that came of them, each after a `wait` for 30 s at most."""

    def record(*rows: RowItem) -> list[dict[str, Any]]:
        journal = Journal(tmp_path / "run.journal")
        archivist = Archivist(ArchiveWriter(tmp_path / "run.zarr"), lambda event: None)
        archivist.error = RuntimeError("there is no header, so nothing is folded here")
        pump = Pump(journal, archivist, lambda: None)
        for item in rows:
            pump.put(item)
        assert pump.close({"t": "end", "time": 0.0, "status": "complete", "error": None})
        assert archivist.close()
        journal.close()
        found: list[dict[str, Any]] = JournalReader(tmp_path / "run.journal").poll()
        return found

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
        for what in ("the time of a step on the GPU", "a picture", "a message")
    ]


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
    assert waits.wait(30)
    assert pump.close({"t": "end", "time": 0.0, "status": "complete", "error": None})
    assert clock[0] >= 2 * 60 and [r.getMessage()[:33] for r in caplog.records] == ["the run ends once the device has "]
    journal.close()
    archivist.close()
    assert [m["t"] for m in JournalReader(tmp_path / "run.journal").poll()] == [
        "step" if what == "row" else "event",
        "end",
    ]
