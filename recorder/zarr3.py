"""Writes Zarr v3 as plain files: groups, uncompressed arrays, consolidated metadata; as zarr-python writes them.

zarr-python takes 5 ms to make an array and holds the interpreter's lock meanwhile, which a run that has some hundred of
them felt (`make bench` compares both). The format is small: a JSON document per node and a file per chunk. Any Zarr
reader reads it, ours is `replay.store`; tests hold every document equal to what zarr-python would have written.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
CHECKSUMS = "checksums.json"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_EMPTY = {"kind": "inline", "must_understand": False, "metadata": {}}


def replace_file(path: str | Path, data: bytes) -> None:
    """Write a file as a whole or not at all. With plain calls, since a run has hundreds of small files.

    Raises:
        OSError: when the disk does.
    """
    beside = f"{path}.{os.getpid()}.part"
    try:
        fd = os.open(beside, _NEW, 0o644)
    except FileExistsError:
        # Left by a process that was killed, or laid there by whoever made the archive, to be written through.
        os.unlink(beside)  # noqa: PTH108
        fd = os.open(beside, _NEW, 0o644)
    try:
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(fd, left) :]
        finally:
            os.close(fd)
        os.replace(beside, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)  # noqa: PTH108 - a torn file would take the room that others need
        raise


class Store:
    """One archive's folder: its nodes' documents, in memory and on disk."""

    def __init__(self, path: Path, attributes: dict[str, Any]) -> None:
        """Make the folder with its root group. Raises OSError, FileExistsError if it is there."""
        self.path = path
        self.root = os.fspath(path)
        path.mkdir(parents=True)
        self._documents: dict[str, dict[str, Any]] = {}
        self.checksums: dict[str, int] = {}
        """CRC-32 of every chunk file by its path from the root, as it was last written."""
        self.written = 0
        """Files so far: whoever waits for a slow disk sees that it gets on."""
        self.group("", attributes)

    def __contains__(self, name: str) -> bool:
        return name in self._documents

    def attributes(self, name: str) -> dict[str, Any]:
        """A node's attributes, as they were written; not to be changed."""
        found: dict[str, Any] = self._documents[name]["attributes"]
        return found

    def lengths(self, group: str) -> dict[str, int]:
        """Length of every dimension that arrays of a group have."""
        inside = (d for n, d in self._documents.items() if n.rpartition("/")[0] == group and "shape" in d)
        return {dim: n for d in inside for dim, n in zip(d["dimension_names"], d["shape"], strict=True)}

    def group(self, name: str, attributes: dict[str, Any]) -> None:
        """Make a group, or give one new attributes; its parents must be there."""
        _make_folder(f"{self.root}/{name}")
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
    ) -> Array:
        """Make an array, of so many rows per chunk and whole along its other axes.

        Args:
            name: path from the root, such as `stage_0/video/sigma`.
            shape: sizes.
            dtype: `float16` … `float64`, `int64` or `uint8`.
            dims: a name per axis.
            attributes: JSON-like, without NaN.
            rows: of a chunk, along the first axis; None for all.
            values: what to write at once, of this shape.
        """
        chunk = [max(1, n) for n in shape]
        if rows is not None:
            chunk[0] = rows
        kind = np.dtype(dtype)
        codec = {"name": "bytes"} if kind.itemsize == 1 else {"name": "bytes", "configuration": {"endian": "little"}}
        document = {
            "shape": list(shape),
            "data_type": kind.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": "NaN" if kind.kind == "f" else 0,
            "codecs": [codec],
            "attributes": attributes,
            "dimension_names": list(dims),
            "zarr_format": 3,
            "node_type": "array",
            "storage_transformers": [],
        }
        _make_folder(f"{self.root}/{name}")
        self._put(name, document)
        made = Array(self, name, document)
        if values is not None:
            made.write(0, np.asarray(values, kind))
        elif made.shape:
            made.make_folders(0)  # now rather than when the first rows are folded, which is mostly when the run ends
        return made

    def adopt(self, name: str, other: Path) -> Array | None:
        """Copy a node of another archive with its chunks; None if it is a group or is not there, or not readable."""
        try:
            document = json.loads((other / name / "zarr.json").read_bytes())
            array = None if document["node_type"] == "group" else Array(self, name, document)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        _make_folder(f"{self.root}/{name}")
        self._put(name, document)
        for chunk in sorted((other / name / "c").rglob("*")) if array is not None else ():
            if chunk.is_file() and not chunk.name.endswith(".part"):
                copied = self.path / chunk.relative_to(other)
                copied.parent.mkdir(parents=True, exist_ok=True)
                data = chunk.read_bytes()
                replace_file(copied, data)
                self.checksums[copied.relative_to(self.path).as_posix()] = zlib.crc32(data)
        return array

    def update(self, name: str, **changes: Any) -> None:
        """Change fields of a node's document, atomically on disk."""
        self._put(name, {**self._documents[name], **changes})

    def consolidate(self, attributes: dict[str, Any]) -> None:
        """Put all documents into the root's, so that readers open one file, with the root's last attributes.

        Checksums are written before, in a file of their own that Zarr readers do not look at.
        """
        replace_file(f"{self.root}/{CHECKSUMS}", json.dumps({"crc32": self.checksums}).encode())
        names = sorted((n for n in self._documents if n), key=lambda n: (n.count("/"), n))
        documents = {n: self._documents[n] for n in names}
        for name, document in documents.items():
            if document["node_type"] == "group":
                documents[name] = {**document, "consolidated_metadata": _EMPTY}
        self.update("", attributes=attributes, consolidated_metadata={**_EMPTY, "metadata": documents})

    def _put(self, name: str, document: dict[str, Any]) -> None:
        text = json.dumps(document, allow_nan=False)
        self._documents[name] = document
        replace_file(f"{self.root}/{name}/zarr.json" if name else f"{self.root}/zarr.json", text.encode())
        self.written += 1


def _make_folder(path: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)  # noqa: PTH102


class Array:
    """One array: written in rows along its first axis."""

    def __init__(self, store: Store, name: str, document: dict[str, Any]) -> None:
        self._store = store
        self._name = name
        self.shape: tuple[int, ...] = tuple(document["shape"])
        self._chunk: tuple[int, ...] = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
        self._dtype = np.dtype(document["data_type"]).newbyteorder("<")
        self._zeros = (0,) * (len(self.shape) - 1)
        self._fill = math.nan if self._dtype.kind == "f" else 0

    def write(self, first: int, values: Values) -> None:
        """Write rows from `first` on, whole along the other axes. Raises OSError when the disk does."""
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

    def resize(self, rows: int) -> None:
        """Another number of rows; chunks that lie beyond are removed."""
        size = self._chunk[0]
        for number in range(-(-rows // size), -(-self.shape[0] // size)):
            key = self._key(number)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._store.root}/{key}")  # noqa: PTH108
            self._store.checksums.pop(key, None)
        self.shape = (rows, *self.shape[1:])
        self._store.update(self._name, shape=list(self.shape))

    def merge(self, size: int) -> None:
        """The same values in chunks of so many rows: fewer files. Needs memory for all of them."""
        rows = self.shape[0]
        values = np.full((rows, *self.shape[1:]), self._fill, self._dtype)
        for first in range(0, rows, self._chunk[0]):
            if (chunk := self._read_chunk(first // self._chunk[0])) is not None:
                values[first : first + len(chunk)] = chunk[: rows - first]
        self.resize(0)
        self._chunk = (size, *self._chunk[1:])
        self.shape = (rows, *self.shape[1:])
        grid = {"name": "regular", "configuration": {"chunk_shape": list(self._chunk)}}
        self._store.update(self._name, shape=list(self.shape), chunk_grid=grid)
        self.write(0, values)

    def make_folders(self, number: int) -> None:
        """The folders of a chunk. Below the array's own only: where that is gone, the archive was deleted, and half of
        it made anew would pass for a whole one."""
        folder = f"{self._store.root}/{self._name}"
        for part in self._key(number)[len(self._name) + 1 :].split("/")[:-1]:
            folder = f"{folder}/{part}"
            _make_folder(folder)

    def _key(self, number: int) -> str:
        """A chunk's path from the root."""
        places = (number, *self._zeros) if self.shape else ()
        return "/".join([self._name, "c", *map(str, places)])

    def _read_chunk(self, number: int) -> Values | None:
        key = self._key(number)
        if key not in self._store.checksums:
            return None  # never written
        data = Path(self._store.root, key).read_bytes()
        return np.frombuffer(data, self._dtype).reshape(self._chunk).copy()

    def _write_chunk(self, number: int, values: Values) -> None:
        key = self._key(number)
        path, data = f"{self._store.root}/{key}", np.ascontiguousarray(values).tobytes()
        try:
            replace_file(path, data)
        except FileNotFoundError:
            self.make_folders(number)
            replace_file(path, data)
        self._store.checksums[key] = zlib.crc32(data)
        self._store.written += 1
