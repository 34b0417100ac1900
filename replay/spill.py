"""Rows of a long live run that have left memory: blocks in a file without a name, read when somebody looks at them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES: Final = 8 << 20
"""Of one block at most, beyond its times: what is read to look at one row."""


class SpilledRows:
    """The first rows of a stream, in blocks of one size; within a block column by column, so that one metric is read
    without the others. The file has no name and is gone with the process.
    """

    def __init__(self, columns: Mapping[str, slice], width: int) -> None:
        """`columns` of each metric in a row of so many values. Raises OSError if no temporary file can be made."""
        self._columns, self._width = columns, width
        self.block_rows = max(1, BLOCK_BYTES // max(1, 4 * width))
        self._block_bytes = self.block_rows * (4 * width + 8)
        self._file = tempfile.TemporaryFile(prefix="ltxtui-rows-", buffering=0)  # noqa: SIM115 - as long as this
        self._blocks = 0

    @property
    def rows(self) -> int:
        return self._blocks * self.block_rows

    def add(self, times: NDArray[np.float64], rows: NDArray[np.float32]) -> None:
        """Append one block: times [block_rows] and rows [block_rows, width]. Raises OSError if the disk is full."""
        data = memoryview(times.astype("<f8").tobytes() + np.ascontiguousarray(rows.T, "<f4").tobytes())
        at = self._blocks * self._block_bytes
        while data:  # a disk that is nearly full takes a part
            written = os.pwrite(self._file.fileno(), data, at)
            data, at = data[written:], at + written
        self._blocks += 1

    def times(self) -> NDArray[np.float64]:
        """Unix time of each row [rows]."""
        found = np.empty(self.rows, np.float64)
        for number, into in enumerate(self._split(found)):
            self._read(number, 0, into)
        return found

    def column(self, metric: str) -> NDArray[np.float32]:
        """All rows of one metric [rows, values]."""
        columns = self._columns[metric]
        first, count = columns.start, columns.stop - columns.start
        found = np.empty((self.rows, count), np.float32)
        part = np.empty((count, self.block_rows), np.float32)
        for number, into in enumerate(self._split(found)):
            self._read(number, self._offset(first), part)
            into[:] = part.T
        return found

    def block(self, first: int, end: int) -> NDArray[np.float32]:
        """Rows as they travel [end − first, width]."""
        found = np.empty((end - first, self._width), np.float32)
        part = np.empty((self._width, self.block_rows), np.float32)
        for number in range(first // self.block_rows, -(-end // self.block_rows)):
            start = number * self.block_rows
            low, high = max(first, start), min(end, start + self.block_rows)
            self._read(number, self._offset(0), part)
            found[low - first : high - first] = part[:, low - start : high - start].T
        return found

    def _offset(self, column: int) -> int:
        return self.block_rows * (8 + 4 * column)

    def _split(self, values: NDArray[np.generic]) -> Iterator[NDArray[np.generic]]:
        return (values[at : at + self.block_rows] for at in range(0, self.rows, self.block_rows))

    def _read(self, number: int, offset: int, into: NDArray[np.generic]) -> None:
        got = os.preadv(self._file.fileno(), [into.data.cast("B")], number * self._block_bytes + offset)
        if got != into.nbytes:
            raise OSError(f"a block of rows is short: {got:,} of {into.nbytes:,} bytes")
