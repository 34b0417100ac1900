"""Rebuilds an archive from its journal when writing it during the run failed: the disk may have room by now."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

from recorder.archive.leftovers import rebuilding, restore, unfinished
from recorder.archive.writer import ArchiveWriter
from recorder.format import paths, protocol
from recorder.format.framing import Decoder
from recorder.format.protocol import Message
from recorder.journal.journal import Journal
from recorder.system.durability import sync_place
from recorder.system.move_remove import changing, exists, move, remove
from recorder.system.open_folders import Tree, make_folders, open_folder


def rebuild(journal: Journal, archive: Path) -> None:
    """Make the whole archive next to what there is of it, and put it in its place once it is complete and on the disk.

    Of a run without a row no archive is made.

    Raises:
        OSError: if the disk still fails, or another run's archive is in its place; what there was is then as it was.
        ValueError: if the journal has no header or no end.
    """
    make_folders(archive.parent)  # it may have been moved away
    with changing(archive) as place:
        restore(archive, place)
        made = rebuilding(archive)
        remove(made, place)
        try:
            _write(journal, archive, made)
            if exists(made, place):
                _put_in_place(archive, place, made)
        except BaseException:
            with contextlib.suppress(OSError):
                remove(made, place)
            raise
        sync_place(archive.parent)
        with contextlib.suppress(OSError):
            remove(unfinished(archive), place)


def _write(journal: Journal, archive: Path, made: str) -> None:
    writer, end = ArchiveWriter(archive.with_name(made)), None
    older: Tree | None = None
    began: object = None
    try:
        for message in _messages(journal):
            if message["t"] == protocol.END:
                end = message
            else:
                began = message["time"] if message["t"] == protocol.HEADER else began
                writer.feed(message)
        if end is None:
            raise ValueError("the journal has no end")
        # What is not there, cannot be looked into or is a link by now has nothing to give.
        with contextlib.suppress(OSError):
            older = Tree(open_folder(str(archive)))
        if older is not None:
            try:
                if not _may_be_of(older, began):
                    raise FileExistsError(errno.EEXIST, "another run's archive is in its place", str(archive))
                writer.carry(older)
            finally:
                older.close()
        writer.feed(end)
        writer.sync()
    finally:
        writer.close()


def _may_be_of(archive: Tree, began: object) -> bool:
    """Whether an archive is of the run that began then, as far as that is known."""
    try:
        return bool(json.loads(archive.read(paths.DOCUMENT))["attributes"]["time"] == began)
    except (OSError, ValueError, LookupError, TypeError):
        return True


def _put_in_place(archive: Path, place: int, made: str) -> None:
    aside = unfinished(archive)
    remove(aside, place)
    moved = exists(archive.name, place)
    if moved:
        move(archive.name, place, aside, place)
    try:
        os.rename(made, archive.name, src_dir_fd=place, dst_dir_fd=place)
    except BaseException:
        if moved:
            move(aside, place, archive.name, place)
        raise


def _messages(journal: Journal) -> Iterator[Message]:
    decoder, offset = Decoder(), 0
    while data := journal.read(offset):
        offset += len(data)
        decoder.feed(data)
        yield from decoder
