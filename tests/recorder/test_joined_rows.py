"""Rows in one message: the archive is the same as of single rows, and is made of fewer messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from recorder.archive.writer import ArchiveWriter
from recorder.format.protocol import Message
from recorder.writing.items import RowItem
from recorder.writing.joined_rows import joined, values_of
from tests.ltxtui import fake


def files(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def as_item(message: Message) -> RowItem:
    """The row that a message was made of."""
    values = torch.from_numpy(np.frombuffer(message["data"], "<f4").copy())
    place = (message["stage"], message["stream"], message["step"], message["time"])
    return RowItem(*place, (), values, lambda: None, lambda *_: [])


def test_the_archive_is_the_same(tmp_path: Path) -> None:
    given = [m for m in fake.messages(300, stages=2, streams=("video",)) if m["t"] != "preview"]
    single, together = (ArchiveWriter(tmp_path / f"{name}.zarr") for name in ("single", "together"))
    waiting: list[RowItem] = []
    fed = 0
    for message in given:
        single.feed(message)
        if message["t"] == "step":
            waiting.append(as_item(message))
        if waiting and (message["t"] != "step" or len(waiting) == 7):
            together.feed(joined(waiting, values_of(waiting, lambda error: None)))
            fed += 1
            waiting = []
        if message["t"] != "step":
            together.feed(message)
    assert files(tmp_path / "single.zarr") == files(tmp_path / "together.zarr")
    assert fed < 300 / 3


def test_a_single_row_is_a_message_of_its_own() -> None:
    row = RowItem(0, "video", 4, 1.0, (0.5,), torch.ones(2), lambda: None, lambda *_: [])
    message = joined([row], values_of([row], lambda error: None))
    assert "count" not in message and message["time"] == 1.0
    assert np.frombuffer(message["data"], "<f4").tolist() == [0.5, 1.0, 1.0]
