"""The pump behind a slow disk: what waits is written together; rows are given up beyond a bound, told once."""

from __future__ import annotations

import logging
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from recorder import pump as pump_module
from recorder.archive import ArchiveWriter
from recorder.archivist import Archivist
from recorder.journal import Journal, JournalReader
from recorder.pump import Pump
from recorder.rows import Row


class HangingJournal(Journal):
    """Takes nothing until it is let go."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reached, self.free = threading.Event(), threading.Event()

    def append(self, data: bytes, vital: bool = False) -> None:
        self.reached.set()
        assert self.free.wait(30)
        super().append(data, vital)


def row(step: int) -> Row:
    return Row(0, "video", step, 0.0, (0.5,), torch.zeros(3), lambda: None, lambda step, values: [])


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
    assert texts == ["60 steps were not recorded: 40 waited to be written already"]
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
