"""Uploads runs that have ended: each as one object, which is never overwritten, and a line in the folder's index.

A run that is there already, byte for byte, counts as uploaded: an upload that was cut off is simply made again.
"""

from __future__ import annotations

import errno
import hashlib
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from recorder.format import locations
from replay.library.archive_line import from_archive
from replay.model.validation import NotARun
from replay.packed.pack import CannotPack, check_ended, pack
from replay.remote.stores import index
from replay.remote.stores.address import StoreAddress
from replay.remote.stores.files import ranges
from replay.remote.stores.filesystem import called, file_system
from replay.remote.stores.index import IndexLine
from replay.remote.stores.listing import entries_of, read_lines
from replay.remote.stores.problems import StoreProblem

_TRIES: Final = 4
"""Writes of the index, where others write it at the same time."""

Told = Callable[[StoreAddress, bool], None]
"""Called after each run with its address, and whether it was there already."""


@dataclass(frozen=True)
class UploadTarget:
    """Where a run is uploaded to.

    Attributes:
        folder: on the store.
        object: the name there; empty for the run's own.
    """

    folder: StoreAddress
    object: str = ""

    @classmethod
    def of(cls, address: StoreAddress) -> UploadTarget:
        """A folder of runs, or the packed archive itself.

        Raises:
            StoreProblem: if nothing can be written there.
        """
        if address.scheme in ("http", "https"):
            raise StoreProblem(f"{address.shown} can be read, and not be written; upload to s3://, gs:// or hf://")
        if address.kind == "archive":
            raise StoreProblem(f"{address.shown}: runs are uploaded packed; give a folder, or a name that ends in .zip")
        if address.kind == "runs":
            return cls(address)
        name = address.path.rpartition("/")[2]
        if not name.endswith(locations.PACKED_SUFFIX):
            raise StoreProblem(f"{address.shown}: the name of a run ends in {locations.PACKED_SUFFIX}")
        return cls(address.above, name)


def check_target(target: UploadTarget) -> str:
    """Reach for a place before a run is made; what cannot be read but may be written is told, in a line.

    Raises:
        StoreProblem, MissingStoreExtra, UnknownScheme: if nothing can be uploaded there.
    """
    fs = file_system(target.folder)
    root = fs._strip_protocol(str(target.folder)).rstrip("/")
    try:
        called(target.folder, lambda: fs.ls(root, detail=False))
    except StoreProblem as problem:
        if problem.kind == "denied":  # who may write need not be allowed to list
            return f"{problem}; the upload is tried all the same"
        if problem.kind != "missing":  # the folder is made by its first object
            raise
    return ""


def upload(paths: Sequence[Path], target: UploadTarget, told: Told | None = None) -> list[StoreAddress]:
    """Upload runs that have ended, and add them to the index; their files here stay as they are.

    Args:
        paths: archives, as folders or packed.
        target: where to.
        told: called after each.

    Raises:
        StoreProblem, MissingStoreExtra, UnknownScheme: at the first that cannot be uploaded; those before it are in the
            index.
        CannotPack: if a run has not ended, or cannot be read.
        OSError: if the disk fails.
    """
    fs = file_system(target.folder)
    there = _Known.of(fs, target.folder) if len(paths) > 1 else _Known()
    lines: list[IndexLine] = []
    try:
        for path in paths:
            line, existed = _upload(fs, path, target, there)
            lines.append(line)
            if told is not None:
                told(target.folder.below(line.object), existed)
    finally:
        if lines:
            _add_to_index(fs, target.folder, lines)
    return [target.folder.below(line.object) for line in lines]


@dataclass(frozen=True)
class _Known:
    """What is known of a folder on a store before many runs are uploaded, so that each needs one request.

    Attributes:
        sizes: of the archives there by their names; None if they are not known.
        lines: of the index.
    """

    sizes: Mapping[str, int] | None = None
    lines: Mapping[str, IndexLine] = field(default_factory=dict)

    @classmethod
    def of(cls, fs: Any, folder: StoreAddress) -> _Known:
        try:
            entries, index_size = entries_of(fs, folder)
            lines = {} if index_size is None else read_lines(fs, folder, index_size)
        except (StoreProblem, index.NotAnIndex) as problem:
            return cls({} if getattr(problem, "missing", False) else None)
        return cls({name: entry.size for name, entry in entries.items()}, lines)

    def lacks(self, name: str) -> bool:
        """Whether there is no such object."""
        return self.sizes is not None and name not in self.sizes

    def has(self, name: str, size: int, sha256: str) -> bool:
        """Whether it has these bytes, by the index."""
        line = self.lines.get(name)
        return line is not None and line.sha256 == sha256 and (self.sizes or {}).get(name) == size == line.size


def _upload(fs: Any, path: Path, target: UploadTarget, there: _Known) -> tuple[IndexLine, bool]:
    check_ended(path)
    name = target.object or f"{locations.run_name(path)}{locations.PACKED_SUFFIX}"
    with tempfile.TemporaryDirectory(prefix="ltxtui-upload-") as place:
        packed = path if path.is_file() else pack(path, Path(place) / f"run{locations.PACKED_SUFFIX}")
        try:
            info = from_archive(packed)
        except NotARun as error:
            raise CannotPack(str(error)) from error
        with packed.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = packed.stat().st_size
        existed = there.has(name, size, sha256)
        existed = existed or put(fs, packed, target.folder.below(name), sha256, new=there.lacks(name))
    return IndexLine.of(info, name, size, sha256=sha256), existed


def put(fs: Any, file: Path, address: StoreAddress, sha256: str, *, new: bool = False) -> bool:
    """Write a file as a new object; returns whether it was there already.

    Args:
        fs: of the address.
        file: here.
        address: of the object.
        sha256: of the file.
        new: that no such object was there a moment ago.

    Raises:
        StoreProblem: if it cannot be written, or another object has its place.
    """
    url, size = fs._strip_protocol(str(address)), file.stat().st_size
    if not new and _same(fs, address, size, sha256):
        return True
    write = partial(fs.put_file, str(file), url)
    try:
        try:
            called(address, partial(write, mode="create"), size)
        except StoreProblem as problem:
            # A store that knows no such condition: nothing was there a moment ago.
            if getattr(problem.__cause__, "errno", None) != errno.ENOSYS:
                raise
            called(address, write, size)
    except StoreProblem as problem:
        # An answer that was lost makes the package write again.
        if problem.kind != "exists" or not _same(fs, address, size, sha256):
            raise
    return False


def _same(fs: Any, address: StoreAddress, size: int, sha256: str) -> bool:
    """Whether an object has these bytes; False if there is none. Raises StoreProblem if it has others."""
    url = fs._strip_protocol(str(address))
    try:
        there = called(address, lambda: fs.info(url)).get("size")
    except StoreProblem as problem:
        if problem.missing or problem.kind == "denied":  # who may write need not be allowed to read
            return False
        raise
    if there == size:
        digest = hashlib.sha256()
        for piece in ranges(fs, address, 0, size):
            digest.update(piece)
        if digest.hexdigest() == sha256:
            return True
    raise StoreProblem(
        f"{address.shown} exists with other content and is not overwritten; choose another folder or name", "exists"
    )


def _add_to_index(fs: Any, folder: StoreAddress, lines: Sequence[IndexLine]) -> None:
    """Add lines to the index of a folder. Others may do so at the same time: it is read again to see."""
    at = folder.below(index.NAME)
    url = fs._strip_protocol(str(at))
    new = {line.object: line for line in lines}
    for attempt in range(_TRIES):
        try:
            known: dict[str, IndexLine] = read_lines(fs, folder)
        except index.NotAnIndex:
            return  # somebody else's object, or a newer version's; lists read the archives
        except StoreProblem as problem:
            if not problem.missing:
                return
            known = {}
        if attempt and all(name in known and known[name].sha256 == line.sha256 for name, line in new.items()):
            return
        data = index.written_index((known | new).values())
        try:
            called(at, partial(fs.pipe_file, url, data), len(data))
        except StoreProblem:
            return  # the runs are there, and lists read them one by one
        time.sleep(random.random() * 0.1 * (attempt + 1))


def upload_file(file: Path, address: StoreAddress) -> bool:
    """Write a file that belongs to runs as a new object; returns whether it was there already. Raises as `put`."""
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    return put(file_system(address), file, address, sha256)
