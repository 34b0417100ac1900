"""An archive that is one zip file: its members are read in place, inflated within limits, and checked by their CRC-32.

The file is opened for each access and must be the one whose directory was read.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recorder.format import paths
from replay.archive.safe_files import Damaged, Missing, open_file
from replay.archive.storage import is_chunk_number
from replay.archive.zip_directory import STORED, ZipMember, read_directory
from replay.archive.zip_members import data_at, member_pieces, whole_member

_KEPT_BYTES: Final = 32 << 20
"""The member that was inflated last is kept up to this size: pictures of one chunk are read one by one."""


class PackedStorage:
    """The zip file of an archive; members lie in it by their paths from the archive's root."""

    def __init__(self, path: Path) -> None:
        """Read the directory.

        Raises:
            Missing: if it is not a zip file, or does not exist.
            Damaged: if it is a zip file that is not read, with the reason.
        """
        self.path = path
        self._stamp: tuple[int, ...] = ()
        with self._opened() as descriptor:
            self._members = read_directory(partial(os.pread, descriptor), os.fstat(descriptor).st_size)
        self._names = sorted(self._members)
        self._folders = folders_of(self._names)
        self._kept: tuple[str, bytes] = ("", b"")

    def __contains__(self, name: object) -> bool:
        """Whether there is a member of this name."""
        return name in self._members

    def is_folder(self, name: str) -> bool:
        return name in self._folders

    def folders(self, name: str) -> list[str]:
        return sorted(self._folders.get(name, ()))

    def read(self, name: str, limit: int) -> bytes:
        member = self.member(name)
        if member.size > limit:
            raise Damaged(f"has {member.size:,} bytes, over the limit of {limit:,}")
        with self._opened() as descriptor:
            return whole_member(partial(os.pread, descriptor), member)

    @contextlib.contextmanager
    def chunks(self, name: str) -> Iterator[_PackedChunks | None]:
        if name not in self._folders:
            yield None
            return
        with contextlib.ExitStack() as stack:
            opened = None
            with contextlib.suppress(Damaged):  # it is gone, or another file has its place
                opened = _PackedChunks(self, name, stack.enter_context(self._opened()))
            yield opened

    def files(self) -> Iterator[tuple[str, bool]]:
        return ((name, True) for name in self._names)

    def total_bytes(self) -> int:
        return self._stamp[2]

    def below(self, folder: str) -> Iterator[str]:
        """Names of the members right in a folder, without its path."""
        prefix = f"{folder}/"
        for name in self._names[bisect.bisect_left(self._names, prefix) :]:
            if not name.startswith(prefix):
                break
            yield name[len(prefix) :]

    def member(self, name: str) -> ZipMember:
        """Raises Missing."""
        found = self._members.get(name)
        if found is None:
            raise Missing("is missing")
        return found

    def as_stored(self, name: str) -> tuple[bytes, bool]:
        """A complete member, and whether its CRC-32 is right. Raises Missing, Damaged if it cannot be read at all."""
        member = self.member(name)
        with self._opened() as descriptor:
            data = b"".join(member_pieces(partial(os.pread, descriptor), member))
        return data, zlib.crc32(data) == member.crc

    def read_part(self, descriptor: int, name: str, offset: int, into: NDArray[Any], size: int) -> None:
        """Fill an array from a member. Raises as `ChunkFiles.read_into`."""
        member = self.member(name)
        if member.size != size:
            raise Damaged(f"has {member.size:,} bytes instead of {size:,}")
        if not into.size:
            return
        if member.method == STORED:
            if (
                os.preadv(descriptor, [into.data], data_at(partial(os.pread, descriptor), member) + offset)
                != into.nbytes
            ):
                raise Damaged("was cut while it was read")
        elif member.size <= _KEPT_BYTES:
            data = self._inflated(descriptor, member)
            into[...] = np.frombuffer(data, into.dtype, into.size, offset).reshape(into.shape)
        else:
            self._fill(descriptor, member, offset, into)

    def _inflated(self, descriptor: int, member: ZipMember) -> bytes:
        name, data = self._kept
        if name != member.name:
            data = whole_member(partial(os.pread, descriptor), member)
            self._kept = (member.name, data)
        return data

    def _fill(self, descriptor: int, member: ZipMember, offset: int, into: NDArray[Any]) -> None:
        """Inflate up to the end of a part, and keep only that."""
        part, at = np.empty(into.nbytes, np.uint8), 0
        for piece in member_pieces(partial(os.pread, descriptor), member):
            first, end = max(offset, at), min(offset + part.size, at + len(piece))
            if first < end:
                part[first - offset : end - offset] = np.frombuffer(piece, np.uint8)[first - at : end - at]
            at += len(piece)
            if at >= offset + part.size:
                break
        into[...] = part.view(into.dtype).reshape(into.shape)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        # Links on the way to it are the user's own.
        descriptor, _ = open_file(self.path.resolve())
        try:
            found = os.fstat(descriptor)
            stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            if self._stamp and stamp != self._stamp:
                raise Damaged("was replaced after it had been opened")
            self._stamp = stamp
            try:
                yield descriptor
            except OSError as error:
                raise Damaged(f"cannot be read: {error.strerror or error}") from error
        finally:
            os.close(descriptor)


class _PackedChunks:
    """The members below an array's folder."""

    def __init__(self, storage: PackedStorage, folder: str, descriptor: int) -> None:
        self._storage, self._folder, self._descriptor = storage, folder, descriptor

    def numbers(self, wanted: range) -> Iterator[int]:
        if len(wanted) <= 16:
            yield from wanted
            return
        names = dict.fromkeys(n.partition("/")[0] for n in self._storage.below(f"{self._folder}/{paths.CHUNKS}"))
        yield from (int(name) for name in names if is_chunk_number(name, wanted))

    def size(self, key: str) -> int:
        try:
            return self._member(key).size
        except Missing:
            return -1

    def held(self, key: str) -> int:
        return max(0, self.size(key))  # what a member may inflate to is limited when the directory is read

    def read(self, key: str, limit: int) -> bytes:
        return self._storage.read(f"{self._folder}/{key}", limit)

    def read_into(self, key: str, offset: int, into: NDArray[Any], size: int) -> None:
        self._storage.read_part(self._descriptor, f"{self._folder}/{key}", offset, into, size)

    def _member(self, key: str) -> ZipMember:
        return self._storage.member(f"{self._folder}/{key}")


def folders_of(names: list[str]) -> dict[str, set[str]]:
    """By folder, the names of the folders in it, of files by their paths."""
    found: dict[str, set[str]] = {"": set()}
    for name in names:
        inside = name.rpartition("/")[0]
        while inside and inside not in found:
            found[inside] = set()
            inside = inside.rpartition("/")[0]
    for name in found:
        if name:
            above, _, last = name.rpartition("/")
            found[above].add(last)
    return found
