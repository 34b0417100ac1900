"""Rows that are written together are taken in together: the archive is the same as of single rows."""

from __future__ import annotations

from pathlib import Path

from recorder.archive.writer import ArchiveWriter
from recorder.format.protocol import Message
from recorder.journal.journal import Journal, JournalReader
from recorder.writing.archive_thread import Archivist
from recorder.writing.group_writer import MAX_GROUP, GroupWriter
from recorder.writing.joined_rows import follows, is_row, joined, together
from tests.ltxtui import fake


class Counting(ArchiveWriter):
    """Keeps what it is given."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.fed: list[Message] = []

    def feed(self, message: Message) -> None:
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
        archive, journal, seen = Counting(tmp_path / f"{name}.zarr"), Journal(tmp_path / f"{name}.journal"), []
        archivist = Archivist(archive, lambda event: None)
        out = GroupWriter(journal, archivist, lambda: None, also=seen.append)
        for message in given:
            out.write(message)
        out.flush()
        assert archivist.close() and archivist.ended and archivist.error is None
        assert files(tmp_path / f"{name}.zarr") == files(tmp_path / f"{name}-single.zarr")
        assert seen == given and list(JournalReader(journal.path).poll()) == given, "only the archive gets them joined"
        rows = [m.get("count", 1) for m in archive.fed if m["t"] == "step"]
        assert sum(rows) == sum(m["t"] == "step" for m in given) and max(rows) <= MAX_GROUP
        assert name == "two" or len(rows) <= 2 * (-(-300 // MAX_GROUP)) + 8
        journal.close()


def test_only_the_next_single_row_of_the_same_stream_follows() -> None:
    row = {"t": "step", "stage": 0, "stream": "video", "step": 4, "time": 1.0, "data": b"a"}
    assert is_row(row) and not is_row({**row, "count": 1}) and not is_row({**row, "t": "event"}) and not is_row(None)
    assert follows({**row, "step": 6}, row, 2)
    for other in ({"step": 5}, {"step": 6, "stage": 1}, {"step": 6, "stream": "audio"}):
        assert not follows({**row, **other}, row, 2)
    assert joined([row]) is row
    both = joined([row, {**row, "step": 5, "time": 2.0, "data": b"b"}])
    assert (both["count"], both["step"], both["data"]) == (2, 4, b"ab") and len(both["time"]) == 16


def test_what_comes_between_rows_keeps_its_place() -> None:
    row = {"t": "step", "stage": 0, "stream": "video", "step": 0, "time": 1.0, "data": b"a"}
    event = {"t": "event", "text": "between"}
    first, second, third, fourth = ({**row, "step": step} for step in range(4))
    found = list(together([first, second, event, third, {**third, "step": 0}, fourth]))
    assert [(m.get("step"), m.get("count", 1)) for m in found] == [(0, 2), (None, 1), (2, 1), (0, 1), (3, 1)]
