"""Rows that wait for the archive are taken in together: the archive is the same as of single rows."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

from recorder.archive.writer import ArchiveWriter
from recorder.format.protocol import Message
from recorder.writing.archive_thread import Archivist
from recorder.writing.joined_rows import MAX_JOINED, follows, is_row, joined
from tests.ltxtui import fake


class Slow(ArchiveWriter):
    """Waits at its first message until all the others are in the queue; counts what it is given."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.go = Event()
        self.fed: list[Message] = []

    def feed(self, message: Message) -> None:
        self.go.wait()
        self.fed.append(message)
        super().feed(message)


def files(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_the_archive_is_the_same_and_made_of_fewer_messages(tmp_path: Path) -> None:
    messages = [m for m in fake.messages(300, stages=2, streams=("video",)) if m["t"] != "preview"]
    streams = [m for m in fake.messages(30) if m["t"] != "preview"]  # two streams in turn: no row follows another
    for name, given in (("one", messages), ("two", streams)):
        single = ArchiveWriter(tmp_path / f"{name}-single.zarr")
        for message in given:
            single.feed(message)
        slow = Slow(tmp_path / f"{name}.zarr")
        reports: list[Any] = []
        archivist = Archivist(slow, reports.append)
        for message in given:
            archivist.put(message)
        slow.go.set()
        assert archivist.close() and archivist.ended and archivist.error is None and not reports
        assert files(tmp_path / f"{name}.zarr") == files(tmp_path / f"{name}-single.zarr")
        rows = [m.get("count", 1) for m in slow.fed if m["t"] == "step"]
        assert sum(rows) == sum(m["t"] == "step" for m in given) and max(rows) <= MAX_JOINED
        assert name == "two" or len(rows) <= 2 * (-(-300 // MAX_JOINED)) + 2


def test_only_the_next_single_row_of_the_same_stream_follows() -> None:
    row = {"t": "step", "stage": 0, "stream": "video", "step": 4, "time": 1.0, "data": b"a"}
    assert is_row(row) and not is_row({**row, "count": 1}) and not is_row({**row, "t": "event"}) and not is_row(None)
    assert follows({**row, "step": 6}, row, 2)
    for other in ({"step": 5}, {"step": 6, "stage": 1}, {"step": 6, "stream": "audio"}):
        assert not follows({**row, **other}, row, 2)
    assert joined([row]) is row
    both = joined([row, {**row, "step": 5, "time": 2.0, "data": b"b"}])
    assert (both["count"], both["step"], both["data"]) == (2, 4, b"ab") and len(both["time"]) == 16
