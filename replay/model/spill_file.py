"""Rows of a long live run that have left memory: blocks in a file without a name, read when they are used."""

from __future__ import annotations

import errno
import os
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES: Final = 8 << 20
"""Of one block at most, besides its times: what is read for one row."""
FILE_BYTES: Final = 16 << 30
"""Of one run's file at most."""
FREE_PART: Final = 16
"""One FREE_PART-th of the file system is left free for other programs."""


class SpillFile:
    """The file of one run, made when it is first written to. It has no name and is gone with the process."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="ltxtui-rows-", buffering=0)  # noqa: SIM115 - as long as this
        self._end = 0

    def append(self, data: bytes) -> int:
        """Append bytes; returns their offset. Raises OSError if there is no room; nothing has been added then."""
        there = os.fstatvfs(self._file.fileno())
        free = (there.f_bavail - there.f_blocks // FREE_PART) * there.f_frsize
        if len(data) > min(free, FILE_BYTES - self._end):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left, at = memoryview(data), self._end
        while left:  # a disk that is nearly full takes a part
            written = os.pwrite(self._file.fileno(), left, at)
            left, at = left[written:], at + written
        start, self._end = self._end, at
        return start

    def read(self, at: int, into: NDArray[np.generic]) -> None:
        """Fill an array with what was written from there on. Raises OSError if that is not there."""
        got = os.preadv(self._file.fileno(), [into.data.cast("B")], at) if into.nbytes else 0
        if got != into.nbytes:
            raise OSError(f"a block of rows is short: {got:,} of {into.nbytes:,} bytes")


class SpilledRows:
    """The first rows of a stream, in blocks; within a block column by column, so that one metric is read without the
    others.
    """

    def __init__(self, columns: Mapping[str, slice], width: int, file: SpillFile | None = None) -> None:
        """Raises OSError if no temporary file can be made.

        Args:
            columns: of each metric in a row.
            width: values of a row.
            file: where blocks are written, for several streams; one of its own by default.
        """
        self._columns, self._width = columns, width
        self.block_rows = max(1, BLOCK_BYTES // max(8, 4 * width))
        """Rows of a block at most."""
        self._file = SpillFile() if file is None else file
        self._firsts = array("q")
        """The first row of each block."""
        self._places = array("q")
        self.rows = 0

    def add(self, times: NDArray[np.float64], rows: NDArray[np.float32]) -> None:
        """Append one block: times [n] and rows [n, width]. Raises OSError if there is no room."""
        place = self._file.append(times.astype("<f8").tobytes() + np.ascontiguousarray(rows.T, "<f4").tobytes())
        self._places.append(place)
        self._firsts.append(self.rows)
        self.rows += len(rows)

    def times(self) -> NDArray[np.float64]:
        """Unix time of each row [rows]."""
        found = np.empty(self.rows, np.float64)
        for first, end, place in self._blocks():
            self._file.read(place, found[first:end])
        return found

    def column(self, metric: str) -> NDArray[np.float32]:
        """All rows of one metric [rows, values]."""
        columns = self._columns[metric]
        found = np.empty((self.rows, columns.stop - columns.start), np.float32)
        for first, end, place in self._blocks():
            found[first:end] = self._part(place, end - first, columns).T
        return found

    def block(self, first: int, end: int) -> NDArray[np.float32]:
        """Rows as they travel [end − first, width]."""
        found = np.empty((end - first, self._width), np.float32)
        for start, stop, place in self._blocks(first, end):
            low, high = max(first, start), min(end, stop)
            part = self._part(place, stop - start, slice(0, self._width))
            found[low - first : high - first] = part[:, low - start : high - start].T
        return found

    def _blocks(self, first: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int]]:
        """First row, end and place of each block that has some of the rows."""
        last = self.rows if end is None else end
        for number in range(max(0, bisect_right(self._firsts, first) - 1), len(self._firsts)):
            start = self._firsts[number]
            if start >= last:
                return
            stop = self._firsts[number + 1] if number + 1 < len(self._firsts) else self.rows
            yield start, stop, self._places[number]

    def _part(self, place: int, rows: int, columns: slice) -> NDArray[np.float32]:
        """Some columns of a block [columns, rows]."""
        part = np.empty((columns.stop - columns.start, rows), np.float32)
        self._file.read(place + rows * (8 + 4 * columns.start), part)
        return part
