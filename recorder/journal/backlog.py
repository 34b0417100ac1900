"""Framed messages that wait in memory for a disk that does not take them: bounded, and readable by offset."""

from __future__ import annotations

from bisect import bisect_right

MEMORY_BYTES = 64 << 20
VITAL_BYTES = 8 << 20
"""Beyond that, for messages without which later ones cannot be read."""


class Backlog:
    """Messages that follow byte `start` of a journal's file. Not locked: its journal does that."""

    def __init__(self) -> None:
        self._messages: list[bytes] = []
        self._offsets: list[int] = []
        self.start = 0
        self.end = 0
        self.dropped = 0
        """Messages given up because memory was full too."""

    def __bool__(self) -> bool:
        return bool(self._messages)

    def add(self, data: bytes, start: int, vital: bool) -> None:
        """Keep a message, or count it as dropped; `start` is where the file ends, for the first one."""
        if not self._messages:
            self.start = self.end = start
        if self.end - self.start + len(data) > MEMORY_BYTES + (VITAL_BYTES if vital else 0):
            self.dropped += 1
            return
        self._messages.append(data)
        self._offsets.append(self.end)
        self.end += len(data)

    @property
    def messages(self) -> list[bytes]:
        """In their order; not to be changed."""
        return self._messages

    def taken(self, count: int) -> None:
        """The first `count` messages are in the file now."""
        del self._messages[:count], self._offsets[:count]
        self.start = self._offsets[0] if self._offsets else self.end

    def read(self, offset: int, count: int) -> bytes:
        """At most about `count` bytes from `offset` on."""
        at = bisect_right(self._offsets, offset) - 1
        pieces: list[bytes] = []
        wanted = count
        while 0 <= at < len(self._messages) and wanted > 0:
            piece = self._messages[at][max(0, offset - self._offsets[at]) :]
            pieces.append(piece)
            wanted -= len(piece)
            at += 1
        return b"".join(pieces)[:count]
