"""Writes Zarr v3 as plain files: groups, uncompressed arrays, consolidated metadata; as zarr-python writes them.

The writer is our own for two reasons. zarr-python needs 6 to 12 times the CPU time for the same archive, in the process
that samples (`python -m benchmarks.zarr_python`). A recorder must decide when a file replaces the old one, when bytes
are on the disk, and which links are followed. Any Zarr reader opens the result; ours is `replay.archive.store`. Tests
hold every document equal to the one that zarr-python writes.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recorder.archive.consolidated import root_text
from recorder.format import paths
from recorder.format.array_document import array_document, chunk_grid, chunk_shape
from recorder.system import durability
from recorder.system.open_folders import FOLDER_MODE, Tree, make_folders, open_folder, open_place
from recorder.system.open_folders import replace_file as replace_file

Values = NDArray[Any]


class StoreWriter:
    """One archive's folder: its nodes' documents, in memory and on disk.

    The folder stays open and everything is written from there, through no link: a folder that replaces it meanwhile
    is not written to.
    """

    def __init__(self, path: Path, attributes: dict[str, Any]) -> None:
        """Make the folder with its root group. Raises OSError, FileExistsError if it exists."""
        self.path = path
        self._tree = self._open()
        self._unsynced: set[str] = set()
        """Files that were written since the last `sync`."""
        self._documents: dict[str, dict[str, Any]] = {}
        self._texts: dict[str, str] = {}
        """The documents of all nodes but the root, as they were written."""
        self.checksums: dict[str, int] = {}
        """CRC-32 of every chunk file by its path from the root, as it was last written."""
        self.written = 0
        """Files so far: a caller that waits for a slow disk sees progress."""
        self.group("", attributes)

    def _open(self) -> Tree | None:
        """The folder, made; None if there is none yet. Raises OSError, FileExistsError if it exists."""
        return Tree(new_folder(self.path))

    @property
    def tree(self) -> Tree:
        """The archive's folder. Raises FileNotFoundError if there is none."""
        if self._tree is None:
            raise FileNotFoundError(errno.ENOENT, "the archive has no folder", str(self.path))
        return self._tree

    def __contains__(self, name: str) -> bool:
        return name in self._documents

    def attributes(self, name: str) -> dict[str, Any]:
        """A node's attributes, as written; not to be changed."""
        found: dict[str, Any] = self._documents[name]["attributes"]
        return found

    def lengths(self, group: str) -> dict[str, int]:
        """Length of every dimension that arrays of a group have."""
        inside = (d for n, d in self._documents.items() if n.rpartition("/")[0] == group and "shape" in d)
        return {dim: n for d in inside for dim, n in zip(d["dimension_names"], d["shape"], strict=True)}

    def group(self, name: str, attributes: dict[str, Any]) -> None:
        """Make a group, or give one new attributes; its parents must be there."""
        self._make_node(name)
        self._put(name, {"attributes": attributes, "zarr_format": 3, "node_type": "group"})

    def array(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        dims: Sequence[str],
        attributes: dict[str, Any],
        *,
        rows: int | None = None,
        values: Values | None = None,
    ) -> ArrayWriter:
        """Make an array, of `rows` rows per chunk and complete along its other axes.

        Args:
            name: path from the root, such as `stage_0/video/sigma`.
            shape: sizes.
            dtype: `float16` … `float64`, `int64` or `uint8`.
            dims: a name per axis.
            attributes: JSON-like, without NaN.
            rows: of a chunk, along the first axis; None for all.
            values: what to write at once, of this shape.
        """
        kind = np.dtype(dtype)
        document = array_document(shape, kind.name, chunk_shape(shape, rows), dims, attributes)
        self._make_node(name)
        self._put(name, document)
        made = ArrayWriter(self, name, document)
        if values is not None:
            made.write(0, np.asarray(values, kind))
        elif made.shape:
            made.make_folders(0)  # now rather than when the first rows are folded, which is mostly when the run ends
        return made

    def adopt(self, name: str, other: Tree) -> ArrayWriter | None:
        """Copy a node of another archive with its chunks; None if it is a group or is not there, or not readable."""
        try:
            document = json.loads(other.read(paths.document(name)))
            array = None if document["node_type"] == "group" else ArrayWriter(self, name, document)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        self._make_node(name)
        self._put(name, document)
        try:
            chunks = list(other.files(f"{name}/{paths.CHUNKS}")) if array is not None else []
        except OSError:
            chunks = []
        for chunk in chunks:
            if not chunk.endswith(".part"):
                self.write(chunk, data := other.read(chunk), below=name)
                self.checksums[chunk] = zlib.crc32(data)
        return array

    def update(self, name: str, **changes: Any) -> None:
        """Change fields of a node's document, atomically on disk."""
        self._put(name, {**self._documents[name], **changes})

    def consolidate(self, attributes: dict[str, Any]) -> None:
        """Put all documents into the root's, so that readers open one file, with the root's last attributes.

        Checksums are written before, in a separate file that Zarr readers ignore.
        """
        self.write(paths.CHECKSUMS, json.dumps({"crc32": self.checksums}).encode())
        groups = {name for name in self._texts if self._documents[name]["node_type"] == "group"}
        root = {**self._documents[""], "attributes": attributes}
        self.write(paths.DOCUMENT, root_text(root, self._texts, groups).encode())

    def write(self, name: str, data: bytes, below: str | None = None) -> None:
        """Write a file by its path from the root, completely or not at all.

        Folders on the way that are missing are made, but only below that of the node `below`: where that is gone, the
        archive was deleted, and one that is half rewritten would pass for a complete one.

        Raises:
            OSError: when the disk does.
        """
        above, _, last = name.rpartition("/")
        try:
            replace_file(last, data, self.tree.folder(above))
        except FileNotFoundError:
            if below is None:
                raise
            self.make_folders(above, below)
            replace_file(last, data, self.tree.folder(above))
        self._unsynced.add(name)
        self.written += 1

    def read(self, name: str) -> bytes:
        """A file by its path from the root. Raises OSError."""
        return self.tree.read(name)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there. Raises OSError."""
        self.tree.remove(name)

    def need_folder(self) -> None:
        """See to it that what is written from now on is in a folder. Raises OSError."""

    def seal(self) -> None:
        """Give a complete archive its last form. Raises OSError."""

    def make_folders(self, name: str, below: str) -> None:
        """Make a folder and those on the way to it, below a node's own. Raises OSError."""
        at = below
        for part in name[len(below) + 1 :].split("/"):
            at = f"{at}/{part}"
            self.tree.make(at)

    def sync(self) -> None:
        """Force everything onto the disk that was written so far, with its entry in its folder.

        Raises:
            OSError: when the disk does; nothing is known then of what is there.
        """
        written, self._unsynced = self._unsynced, set()
        durability.sync_tree(self.tree, written, self.path.parent)

    def check_place(self) -> None:
        """Raises FileNotFoundError if the archive was moved or replaced, so that what is written could not be found."""
        if not self.tree.is_at(self.path):
            raise FileNotFoundError(errno.ENOENT, "the archive was moved or replaced", str(self.path))

    def discard(self) -> None:
        """Remove the archive, as far as that is possible, and nothing that is in its place by now."""
        self.tree.clear()
        if self.tree.is_at(self.path):
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def close(self) -> None:
        """Close the folder; nothing can be written afterwards. May be called twice."""
        if self._tree is not None:
            self._tree.close()

    def _make_node(self, name: str) -> None:
        if name:
            self.tree.make(name)

    def _put(self, name: str, document: dict[str, Any]) -> None:
        text = json.dumps(document, allow_nan=False)
        self._documents[name] = document
        if name:
            self._texts[name] = text
        self.write(paths.document(name), text.encode())


def new_folder(path: Path) -> int:
    """Make an archive's folder and open it. Raises OSError, FileExistsError if it exists."""
    make_folders(path.parent)
    place = open_place(path.parent)
    try:
        os.mkdir(path.name, FOLDER_MODE, dir_fd=place)
        made = open_folder(path.name, place)
    finally:
        os.close(place)
    if os.listdir(made):  # noqa: PTH208 - a descriptor, which no link leads away from
        os.close(made)
        raise FileExistsError(errno.EEXIST, "another archive was put in its place", str(path))
    return made


class ArrayWriter:
    """One array: written in rows along its first axis."""

    def __init__(self, store: StoreWriter, name: str, document: dict[str, Any]) -> None:
        self._store = store
        self._name = name
        self.shape: tuple[int, ...] = tuple(document["shape"])
        self._chunk: tuple[int, ...] = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
        self._dtype = np.dtype(document["data_type"]).newbyteorder("<")
        self._fill = math.nan if self._dtype.kind == "f" else 0

    def write(self, first: int, values: Values) -> None:
        """Write rows from `first` on, complete along the other axes. Raises OSError when the disk does."""
        values = values.astype(self._dtype, copy=False)
        if not self.shape:
            self._write_chunk(0, values)
            return
        size, end = self._chunk[0], first + len(values)
        for number in range(first // size, -(-end // size)):
            start = number * size
            at, to = max(first, start), min(end, start + size)
            # What the chunk holds already stays, before and behind what is written.
            chunk = self._read_chunk(number) if to - at < size else None
            if chunk is None:
                chunk = np.full(self._chunk, self._fill, self._dtype)
            chunk[at - start : to - start] = values[at - first : to - first]
            self._write_chunk(number, chunk)

    @property
    def chunk_rows(self) -> int:
        """Rows of one chunk."""
        return self._chunk[0]

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * int(self._dtype.itemsize)

    def resize(self, rows: int, chunk_rows: int | None = None) -> None:
        """Another number of rows; chunks beyond it are removed.

        Args:
            rows: the new number.
            chunk_rows: rows of a chunk from now on. Where that is another number, what was written is written again,
                which needs memory for all of it.

        Raises:
            OSError: when the disk does.
        """
        size = self._chunk[0]
        for number in range(-(-rows // size), -(-self.shape[0] // size)):
            # Of a chunk that was never written there may be no folder either.
            if self._store.checksums.pop(key := self._key(number), None) is not None:
                self._store.remove(key)
        self.shape = (rows, *self.shape[1:])
        if chunk_rows is None or chunk_rows == size:
            self._store.update(self._name, shape=list(self.shape))
            return
        there = [n for n in range(-(-rows // size)) if self._key(n) in self._store.checksums]
        values = self._values(min(rows, (there[-1] + 1) * size)) if there else None
        old = [self._key(n) for n in there]
        for key in old:
            del self._store.checksums[key]
        self._chunk = (chunk_rows, *self._chunk[1:])
        self._store.update(self._name, shape=list(self.shape), chunk_grid=chunk_grid(self._chunk))
        if values is not None:
            self.write(0, values)
        for key in old:
            if key not in self._store.checksums:
                self._store.remove(key)

    def _values(self, rows: int) -> Values:
        """The first rows, filled where no chunk was written."""
        values = np.full((rows, *self.shape[1:]), self._fill, self._dtype)
        for first in range(0, rows, self._chunk[0]):
            if (chunk := self._read_chunk(first // self._chunk[0])) is not None:
                values[first : first + len(chunk)] = chunk[: rows - first]
        return values

    def make_folders(self, number: int) -> None:
        """The folders of a chunk."""
        self._store.make_folders(self._key(number).rpartition("/")[0], self._name)

    def _key(self, number: int) -> str:
        """A chunk's path from the root."""
        return f"{self._name}/{paths.chunk(number, len(self.shape))}"

    def _read_chunk(self, number: int) -> Values | None:
        key = self._key(number)
        if key not in self._store.checksums:
            return None  # never written
        data = self._store.read(key)
        return np.frombuffer(data, self._dtype).reshape(self._chunk).copy()

    def _write_chunk(self, number: int, values: Values) -> None:
        key = self._key(number)
        data = np.ascontiguousarray(values).tobytes()
        self._store.write(key, data, below=self._name)
        self._store.checksums[key] = zlib.crc32(data)
