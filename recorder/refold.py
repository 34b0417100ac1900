"""Folds a run's journal into its archive anew, where folding on the way had failed: the disk may have room by now."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from recorder import locations, words
from recorder.archive import ArchiveWriter
from recorder.journal import Journal
from recorder.messages import Decoder
from recorder.words import Message


def refold(journal: Journal, archive: Path) -> None:
    """Make the whole archive beside what there is of it, and put it in its place once it is complete.

    Raises:
        OSError: if the disk still fails; the unfinished archive, if there was one, is then as it was.
        ValueError: if the journal has no header or no end.
    """
    made = archive.with_name(f".{archive.stem}.refolding{locations.ARCHIVE_SUFFIX}")
    shutil.rmtree(made, ignore_errors=True)
    try:
        writer, end = ArchiveWriter(made), None
        for message in _messages(journal):
            if message["t"] == words.END:
                end = message
            else:
                writer.feed(message)
        if end is None:
            raise ValueError("the journal has no end")
        writer.carry(archive)
        writer.feed(end)
        old = archive.with_name(f".{archive.stem}.unfinished{locations.ARCHIVE_SUFFIX}")
        if archive.exists():
            archive.rename(old)
        made.rename(archive)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _messages(journal: Journal) -> Iterator[Message]:
    decoder, offset = Decoder(), 0
    while data := journal.read(offset):
        offset += len(data)
        decoder.feed(data)
        yield from decoder
