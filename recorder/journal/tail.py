"""Reads a journal while it grows, also when its recorder has to write it again."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from recorder.format.framing import CorruptMessage, Decoder
from recorder.format.protocol import Message

READ_BYTES = 1 << 18


class NotAFile(OSError):
    """A pipe, a device or a folder where a journal should be."""


def open_journal(path: Path) -> int:
    """Open a journal for reading; gives the descriptor. A pipe of that name is never waited for.

    Raises:
        NotAFile: if something other than a regular file has that name.
        OSError: if it cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotAFile(errno.EINVAL, "is not a file", str(path))
    return fd


def is_deleted(fd: int, path: Path) -> bool:
    """Whether an open file was deleted. Raises OSError if nothing can be learnt of it.

    Some file systems count no links of files that are there, so a count of 0 is believed only if `path` does not lead
    to the file.
    """
    found = os.fstat(fd)
    if found.st_nlink > 0:
        return False
    try:
        return not os.path.samestat(path.stat(), found)
    except OSError:
        return True


class JournalReader:
    """Follows a journal file from its beginning; never changes it and never waits.

    After each `poll`, `note` says why the rest cannot be read, if that is so: a torn last message (normal after a
    crash) or a damaged one, where the readable part ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _opened(path)
        self._decoder = Decoder()
        self._broken = ""

    @property
    def note(self) -> str:
        if self._broken:
            return self._broken
        if self._decoder.pending:
            return f"the last message is torn ({self._decoder.pending} bytes); everything before it is shown"
        return ""

    @property
    def broken(self) -> bool:
        """True once a damaged message has been met; nothing after it can be read."""
        return bool(self._broken)

    def poll(self, limit: int = 1 << 24) -> list[Message]:
        """Whole messages that were added since the last call, from about `limit` bytes at most."""
        found: list[Message] = []
        taken = 0
        while taken < limit and not self._broken and (data := self._read()):
            taken += len(data)
            self._decoder.feed(data)
            try:
                for message in self._decoder:
                    found.append(message)  # one by one: what precedes a damaged message is not lost with it
            except CorruptMessage as error:
                self._broken = f"damaged at byte {self._decoder.consumed:,}: {error}; everything before it is shown"
        return found

    def _read(self) -> bytes:
        data = self._file.read(READ_BYTES)
        if data or not is_deleted(self._file.fileno(), self._path):
            return data
        # Deleted, and written again by its recorder with what it held: continue there.
        try:
            anew = _opened(self._path)
        except OSError:
            return b""
        anew.seek(self._file.tell())
        self._file.close()
        self._file = anew
        return self._file.read(READ_BYTES)

    def close(self) -> None:
        self._file.close()


def _opened(path: Path) -> BinaryIO:
    return os.fdopen(open_journal(path), "rb")
