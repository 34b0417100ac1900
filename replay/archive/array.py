"""One array of an archive: its rows, read from chunk files when they are asked for.

Shapes and chunk sizes are claims of the archive's author: memory is taken for what the files hold.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from recorder.format import paths
from replay.archive.array_metadata import array_spec
from replay.archive.safe_files import Damaged, Missing, bytes_on_disk, open_file, read_file

Values = NDArray[Any]
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BELIEVED_BYTES: Final = 16 << 20
"""Missing chunks of an array up to this size are filled in without asking how much of it is there."""
_SMALL_BYTES: Final = 64 << 10
"""Chunks up to this size are not searched for holes."""


class Opened(Protocol):
    """What an array needs of its archive, a `StoreReader`."""

    path: Path

    def folder(self, name: str) -> bool: ...

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
            Damaged: if so little of it is there that filling it in would take the memory that its author chose.
        """
        end = self.rows if end is None else min(end, self.rows)
        count = max(0, end - first)
        inner, size = self.shape[1:], self.chunk_rows
        numbers = range(first // size, -(-end // size)) if count and 0 not in inner else range(0)
        with self._folder() as folder:
            there = sorted(self._there(folder, numbers))
            self._believe(folder, there, count)
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
                    self._read_chunk(folder, number, at - start, into, skip)
                except Damaged as error:
                    into[...] = self._fill
                    absent += 1
                    first_bad = first_bad or f", {self.key(number)} {error}"
        if absent:
            of = f"{absent:,} of {len(numbers):,} chunks" if len(numbers) > 1 else "its chunk"
            self.store.note(self.name, f"is not whole: {of} cannot be read{first_bad}")
        return found

    def read_whole(self, first: int, end: int, skip: frozenset[str] = frozenset()) -> Values:
        """Rows as `read` gives them. Raises Damaged if any of them is not there."""
        size = self.chunk_rows
        if not 0 <= first < end <= self.rows:
            raise Damaged(f"has no rows {first} to {end}")
        if (end - first) * self.row_bytes > self.chunk_bytes:
            raise Damaged("is read a chunk at a time only")
        found = np.empty((end - first, *self.shape[1:]), self.dtype)
        with self._folder() as folder:
            for number in range(first // size, -(-end // size)):
                at, to = max(first, number * size), min(end, (number + 1) * size)
                self._read_chunk(folder, number, at - number * size, found[at - first : to - first], skip)
        return found

    def steps(self, rows: int) -> list[int]:
        """Numbers below `rows` of chunks that are there, of an array that has one row per chunk."""
        with self._folder() as folder:
            return sorted(n for n in self._there(folder, range(rows)) if self._chunk_size(folder, n) >= 0)

    def held(self) -> int:
        """Rows that are on disk, wherever they lie: not those in the holes of a sparse file."""
        with self._folder() as folder:
            numbers = range(-(-self.rows // self.chunk_rows))
            found = sum(self._bytes_on_disk(folder, n) for n in self._there(folder, numbers))
        return min(self.rows, found * self.chunk_rows // self.chunk_bytes)

    def covered(self) -> int:
        """Rows that whole chunk files are there for, wherever they lie. Some file systems store zeros as holes."""
        with self._folder() as folder:
            numbers = range(-(-self.rows // self.chunk_rows))
            whole = sum(self._chunk_size(folder, n) == self.chunk_bytes for n in self._there(folder, numbers))
        return min(self.rows, whole * self.chunk_rows)

    def look(self, rows: int, checksums: Mapping[str, int], most: int) -> int:
        """Note chunks of the first rows that are missing, of another size or checksum; gives the bytes looked into.

        Args:
            rows: that count.
            checksums: of chunks by their paths in the archive; those that have none are only looked at from outside.
            most: bytes of the chunks that are read for their checksums at most; if they are more, none is.
        """
        numbers = range(-(-min(rows, self.rows) // self.chunk_rows))
        read = self.chunk_bytes * len(numbers)
        absent, first_bad, taken = 0, "", 0
        with self._folder() as folder:
            for number in numbers:
                key = self.key(number)
                size = self._chunk_size(folder, number)
                said = ""
                if size < 0:
                    said = "is missing"
                elif size != self.chunk_bytes:
                    said = f"has {size:,} bytes instead of {self.chunk_bytes:,}"
                elif read <= most and f"{self.name}/{key}" in checksums:
                    taken += size
                    try:
                        if zlib.crc32(read_file(key, size, folder)) != checksums[f"{self.name}/{key}"]:
                            said = "has another checksum than when it was written"
                    except Damaged as error:
                        said = str(error)
                if said:
                    absent += 1
                    first_bad = first_bad or f", {key} {said}"
        if absent:
            of = f"{absent:,} of {len(numbers):,} chunks are" if len(numbers) > 1 else "its chunk is"
            self.store.note(self.name, f"is not whole: {of} damaged{first_bad}")
        return taken

    def key(self, number: int) -> str:
        """The path of a chunk from the array's folder."""
        return paths.chunk(number, len(self.shape))

    # Inside

    @contextlib.contextmanager
    def _folder(self) -> Iterator[int | None]:
        """The array's folder, opened; None if it is not there."""
        descriptor = None
        if self.store.folder(self.name):
            with contextlib.suppress(OSError):
                descriptor = os.open(self.store.path / self.name, _FOLDER)
        try:
            yield descriptor
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _there(self, folder: int | None, numbers: range) -> Iterator[int]:
        """Those of some chunks that have an entry, in no order; looked up one by one if they are few."""
        if folder is None:
            return
        if len(numbers) <= 16:
            yield from numbers
            return
        try:
            listed = os.open(paths.CHUNKS, _FOLDER, dir_fd=folder)
        except OSError:
            return
        try:
            for name in os.listdir(listed):  # noqa: PTH208 - a descriptor, which no link leads away from
                # Not `00` either, which would be counted as another one of chunk 0.
                if (
                    name.isascii()
                    and name.isdigit()
                    and len(name) < 14
                    and name == str(int(name))
                    and int(name) in numbers
                ):
                    yield int(name)
        finally:
            os.close(listed)

    def _parents_are_folders(self, folder: int, key: str) -> bool:
        """Whether the folders on the way to a chunk are real ones."""
        parts = key.split("/")[:-1]
        try:
            return all(
                stat.S_ISDIR(os.stat("/".join(parts[: i + 1]), dir_fd=folder, follow_symlinks=False).st_mode)
                for i in range(len(parts))
            )
        except OSError:
            return False

    def _chunk_size(self, folder: int | None, number: int) -> int:
        """Bytes of a chunk's file; −1 if there is none."""
        key = self.key(number)
        if folder is None or not self._parents_are_folders(folder, key):
            return -1
        try:
            found = os.stat(key, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return -1
        if not stat.S_ISREG(found.st_mode):
            return -1
        return found.st_size

    def _bytes_on_disk(self, folder: int | None, number: int) -> int:
        """Bytes of a whole chunk that are on disk; 0 if it is not whole."""
        size = self._chunk_size(folder, number)
        if size != self.chunk_bytes or size <= _SMALL_BYTES:
            return size if size == self.chunk_bytes else 0
        try:
            descriptor, size = open_file(self.key(number), folder)
        except Damaged:
            return 0
        try:
            return bytes_on_disk(descriptor, size)
        finally:
            os.close(descriptor)

    def _believe(self, folder: int | None, there: list[int], count: int) -> None:
        """Refuse an array that claims far more than is there."""
        claimed = count * self.row_bytes
        if claimed <= _BELIEVED_BYTES:
            return
        held = sum(self._bytes_on_disk(folder, n) for n in there)
        if held * 8 < claimed:
            raise Damaged(f"claims {claimed:,} bytes, of which {held:,} are there")

    def _read_chunk(self, folder: int | None, number: int, at: int, into: Values, skip: frozenset[str]) -> None:
        """Fill rows from a chunk. Raises Damaged if it is missing, of another size, or known to be damaged."""
        key = self.key(number)
        if folder is None:
            raise Missing("is missing")
        if key in skip:
            raise Damaged("has another checksum than when it was written")
        if not self._parents_are_folders(folder, key):
            raise Missing("is missing")
        descriptor, size = open_file(key, folder)
        try:
            if size != self.chunk_bytes:
                raise Damaged(f"has {size:,} bytes instead of {self.chunk_bytes:,}")
            offset = at * (self.chunk_bytes // self.chunk_rows)
            if into.size and os.preadv(descriptor, [into.data], offset) != into.nbytes:
                raise Damaged("was cut while it was read")
        except OSError as error:
            raise Damaged(f"cannot be read: {error.strerror or error}") from error
        finally:
            os.close(descriptor)
