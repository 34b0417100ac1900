"""Rows of all streams of a run: how many are in memory, which go to the run's file, and when no more are kept."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from replay.model.spill_file import SpillFile
from replay.model.stream import StreamData

COLUMN_BYTES: Final = 512 << 20
"""Of one metric of a stream, and of all rows' times: reading one reads the whole of it into memory."""


class RowMemory:
    """Adds rows to streams, within a number of bytes of memory.

    Beyond it, the streams that hold most write their rows to one file. When that has no room either, no more rows are
    taken, and the run shows its first ones.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[tuple[int, str], StreamData] = {}
        self._ended: set[tuple[int, str]] = set()
        self._bytes = 0
        self._rows = 0
        self._file: SpillFile | None = None
        self.full = False

    def takes(self, stream: StreamData, count: int) -> bool:
        """Whether there is room for `count` more rows; once there was none, a stream gets no more."""
        place = stream.stage, stream.name
        if (stream.rows + count) * stream.widest_bytes > COLUMN_BYTES or 8 * (self._rows + count) > COLUMN_BYTES:
            self._ended.add(place)
        return not self.full and place not in self._ended

    def append(self, stream: StreamData, first: int, times: NDArray[np.float64], rows: NDArray[np.float32]) -> None:
        """Add rows from `first` on."""
        before, rows_before = stream.memory_bytes, stream.rows
        stream.append(first, times, rows, self._shared)
        self._held[stream.stage, stream.name] = stream
        self._bytes += stream.memory_bytes - before
        self._rows += stream.rows - rows_before
        if self._bytes > self._limit:
            self._make_room()

    def _shared(self) -> SpillFile:
        """The file of all streams: thousands of them must not take a descriptor each. Raises OSError."""
        if self._file is None:
            self._file = SpillFile()
        return self._file

    def _make_room(self) -> None:
        for stream in sorted(self._held.values(), key=lambda s: s.memory_bytes, reverse=True):
            before = stream.memory_bytes
            stream.spill(self._shared)
            self._bytes -= before - stream.memory_bytes
            if not stream.memory_bytes:
                del self._held[stream.stage, stream.name]
            if self._bytes <= self._limit // 2:
                break
        self.full = self._bytes > self._limit
