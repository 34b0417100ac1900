"""One array of an archive: its rows, read from its chunks when they are asked for.

Shapes and chunk sizes are claims of the archive's author: memory is taken for what the files hold.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from recorder.format import paths
from replay.archive.array_metadata import array_spec
from replay.archive.safe_files import Damaged, Missing
from replay.archive.storage import ChunkFiles, Storage

Values = NDArray[Any]
_BELIEVED_BYTES: Final = 16 << 20
"""Missing chunks of an array up to this size are filled in without asking how much of it is there."""


class Opened(Protocol):
    """What an array needs of its archive, a `StoreReader`."""

    storage: Storage

    def note(self, name: str, text: str) -> None: ...


class ArrayReader:
    """One array of an archive, whose rows are read when they are asked for."""

    def __init__(self, store: Opened, name: str, document: dict[str, Any]) -> None:
        """Raises Damaged if the document is not one that the recorder writes."""
        self.store, self.name = store, name
        spec = array_spec(document)
        self.shape, self._chunk = spec.shape, spec.chunk
        self.dtype = np.dtype(spec.data_type).newbyteorder("<")
        self.chunk_bytes = math.prod(self._chunk) * self.dtype.itemsize
        self._fill: float | int = math.nan if self.dtype.kind == "f" else 0

    @property
    def rows(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def chunk_rows(self) -> int:
        """Rows of one chunk."""
        return self._chunk[0]

    def read(self, first: int = 0, end: int | None = None, skip: frozenset[str] = frozenset()) -> Values:
        """Rows from `first` to before `end` [end − first, …], filled (NaN or 0) where chunks are missing or damaged.

        Args:
            first: row.
            end: row; None for all.
            skip: keys of chunks that are known to be damaged.

        Raises:
            Damaged: if so little of it exists that filling it in would take as much memory as its author claims.
        """
        end = self.rows if end is None else min(end, self.rows)
        count = max(0, end - first)
        inner, size = self.shape[1:], self.chunk_rows
        numbers = range(first // size, -(-end // size)) if count and 0 not in inner else range(0)
        with self.store.storage.chunks(self.name) as files:
            there = sorted(self._there(files, numbers))
            self._believe(files, there, count)
            absent = len(numbers) - len(there)
            found = (
                np.full((count, *inner), self._fill, self.dtype) if absent else np.empty((count, *inner), self.dtype)
            )
            first_bad = ""
            for number in there:
                start = number * size
                at, to = max(first, start), min(end, start + size)
                into = found[at - first : to - first]
                try:
                    self._read_chunk(files, number, at - start, into, skip)
                except Damaged as error:
                    into[...] = self._fill
                    absent += 1
                    first_bad = first_bad or f", {self.key(number)} {error}"
        if absent:
            of = f"{absent:,} of {len(numbers):,} chunks" if len(numbers) > 1 else "its chunk"
            self.store.note(self.name, f"is incomplete: {of} cannot be read{first_bad}")
        return found

    def read_whole(self, first: int, end: int, skip: frozenset[str] = frozenset()) -> Values:
        """Rows as `read` gives them. Raises Damaged if any of them is missing."""
        size = self.chunk_rows
        if not 0 <= first < end <= self.rows:
            raise Damaged(f"has no rows {first} to {end}")
        if (end - first) * self.row_bytes > self.chunk_bytes:
            raise Damaged("is read a chunk at a time only")
        found = np.empty((end - first, *self.shape[1:]), self.dtype)
        with self.store.storage.chunks(self.name) as files:
            for number in range(first // size, -(-end // size)):
                at, to = max(first, number * size), min(end, (number + 1) * size)
                self._read_chunk(files, number, at - number * size, found[at - first : to - first], skip)
        return found

    def steps(self, rows: int) -> list[int]:
        """Numbers below `rows` of existing chunks, of an array that has one row per chunk."""
        with self.store.storage.chunks(self.name) as files:
            return sorted(n for n in self._there(files, range(rows)) if self._chunk_size(files, n) >= 0)

    def held(self) -> int:
        """Rows that are on disk, at any position: not those in the holes of a sparse file."""
        with self.store.storage.chunks(self.name) as files:
            numbers = range(-(-self.rows // self.chunk_rows))
            found = sum(self._held_bytes(files, n) for n in self._there(files, numbers))
        return min(self.rows, found * self.chunk_rows // self.chunk_bytes)

    def covered(self) -> int:
        """Rows that have complete chunk files, at any position. Some file systems store zeros as holes."""
        with self.store.storage.chunks(self.name) as files:
            numbers = range(-(-self.rows // self.chunk_rows))
            complete = sum(self._chunk_size(files, n) == self.chunk_bytes for n in self._there(files, numbers))
        return min(self.rows, complete * self.chunk_rows)

    def look(self, rows: int, checksums: Mapping[str, int], most: int) -> int:
        """Note chunks of the first rows that are missing, of another size or checksum; gives the bytes looked into.

        Args:
            rows: that count.
            checksums: of chunks by their paths in the archive; those without one are checked by size only.
            most: bytes of the chunks that are read for their checksums at most; if they are more, none is.
        """
        numbers = range(-(-min(rows, self.rows) // self.chunk_rows))
        read = self.chunk_bytes * len(numbers)
        absent, first_bad, taken = 0, "", 0
        with self.store.storage.chunks(self.name) as files:
            for number in numbers:
                key = self.key(number)
                size = self._chunk_size(files, number)
                problem = ""
                if size < 0:
                    problem = "is missing"
                elif size != self.chunk_bytes:
                    problem = f"has {size:,} bytes instead of {self.chunk_bytes:,}"
                elif files is not None and read <= most and f"{self.name}/{key}" in checksums:
                    taken += size
                    try:
                        if zlib.crc32(files.read(key, size)) != checksums[f"{self.name}/{key}"]:
                            problem = "has a different checksum than when it was written"
                    except Damaged as error:
                        problem = str(error)
                if problem:
                    absent += 1
                    first_bad = first_bad or f", {key} {problem}"
        if absent:
            of = f"{absent:,} of {len(numbers):,} chunks are" if len(numbers) > 1 else "its chunk is"
            self.store.note(self.name, f"is incomplete: {of} damaged{first_bad}")
        return taken

    def key(self, number: int) -> str:
        """The path of a chunk from the array's folder."""
        return paths.chunk(number, len(self.shape))

    # Inside

    def _there(self, files: ChunkFiles | None, numbers: range) -> Iterator[int]:
        """Those of some chunks that have an entry, in no order."""
        return iter(()) if files is None else files.numbers(numbers)

    def _chunk_size(self, files: ChunkFiles | None, number: int) -> int:
        """Bytes of a chunk; −1 if there is none."""
        return -1 if files is None else files.size(self.key(number))

    def _held_bytes(self, files: ChunkFiles | None, number: int) -> int:
        """Bytes of a complete chunk that exist; 0 if it is incomplete."""
        if files is None or self._chunk_size(files, number) != self.chunk_bytes:
            return 0
        return files.held(self.key(number))

    def _believe(self, files: ChunkFiles | None, there: list[int], count: int) -> None:
        """Refuse an array that claims far more than the files hold."""
        claimed = count * self.row_bytes
        if claimed <= _BELIEVED_BYTES:
            return
        held = sum(self._held_bytes(files, n) for n in there)
        if held * 8 < claimed:
            raise Damaged(f"claims {claimed:,} bytes, of which {held:,} are there")

    def _read_chunk(self, files: ChunkFiles | None, number: int, at: int, into: Values, skip: frozenset[str]) -> None:
        """Fill rows from a chunk. Raises Damaged if it is missing, of another size, or known to be damaged."""
        key = self.key(number)
        if files is None:
            raise Missing("is missing")
        if key in skip:
            raise Damaged("has a different checksum than when it was written")
        files.read_into(key, at * (self.chunk_bytes // self.chunk_rows), into, self.chunk_bytes)
