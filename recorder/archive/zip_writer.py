"""Writes an archive as one zip file, the form that travels: any Zarr reader with a zip store opens `run.zarr.zip`.

Members are stored, so that parts of a chunk can be read in place; deflated only on request. The root document is the
first of them. Equal archives give equal files: members have no time.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from recorder.archive.leftovers import packing
from recorder.format import paths
from recorder.system.durability import sync_place
from recorder.system.fsync import to_disk
from recorder.system.open_folders import FILE_MODE, open_place

MAX_RATIO = 32
"""A member that deflate shrinks more than this is stored: readers refuse what inflates too much."""
_TIME = (1980, 1, 1, 0, 0, 0)
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def in_order(names: Iterable[str]) -> list[str]:
    """Names of an archive's files in the order in which they are packed: the root document, documents, chunks."""
    return sorted(names, key=lambda n: (n != paths.DOCUMENT, paths.parse_chunk(n) is not None, n))


def write_zip(
    target: Path,
    names: Iterable[str],
    read: Callable[[str], bytes],
    *,
    small: bool = False,
    sync: bool = True,
    at_once: bool = False,
) -> None:
    """Write files as the members of a new zip file, completely or not at all.

    Args:
        target: its path; a file of that name is replaced.
        names: of the files from the archive's root.
        read: gives the content of a file.
        small: deflate members.
        sync: force it onto the disk before it gets its name.
        at_once: make the file in memory first. zipfile goes back to the header of every member, which costs several
            calls of the operating system in a file.

    Raises:
        OSError: when the disk does.
    """
    place = open_place(target.parent)
    try:
        beside = packing(target)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=place)  # left by a process that was killed
        try:
            with os.fdopen(os.open(beside, _NEW, FILE_MODE, dir_fd=place), "w+b") as file:
                made = io.BytesIO() if at_once else file
                with zipfile.ZipFile(made, "w") as packed:
                    for name in in_order(names):
                        _add(packed, name, read(name), small)
                if isinstance(made, io.BytesIO):
                    file.write(made.getbuffer())
                file.flush()
                if sync:
                    to_disk(file.fileno())
            os.rename(beside, target.name, src_dir_fd=place, dst_dir_fd=place)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside, dir_fd=place)
            raise
    finally:
        os.close(place)
    if sync:
        sync_place(target.parent)


def _add(packed: zipfile.ZipFile, name: str, data: bytes, small: bool) -> None:
    info = zipfile.ZipInfo(name, _TIME)
    info.create_system, info.external_attr = 3, FILE_MODE << 16
    if small and len(data) / MAX_RATIO < len(zlib.compress(data, 9)) < len(data):
        info.compress_type = zipfile.ZIP_DEFLATED
    packed.writestr(info, data, compresslevel=9)


class PackedFiles:
    """The members of a packed archive that this program wrote: none is inflated, so none is larger than the file."""

    def __init__(self, packed: Path) -> None:
        """Open it. Raises OSError, ValueError if it is not a zip file."""
        try:
            self._file = zipfile.ZipFile(packed)
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise ValueError(str(error)) from error

    def read(self, name: str, most: int = -1) -> bytes:
        """A complete member, or the first bytes of it. Raises FileNotFoundError, ValueError if it is damaged."""
        try:
            info = self._file.getinfo(name)
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise ValueError(f"{name} is compressed")
            with self._file.open(info) as member:
                return member.read(most)
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None
        except (zipfile.BadZipFile, RuntimeError) as error:
            raise ValueError(str(error)) from error

    def close(self) -> None:
        self._file.close()


def sync_zip(target: Path) -> None:
    """Force a packed archive onto the disk, with its entry in its folder. Raises OSError."""
    descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        to_disk(descriptor)
    finally:
        os.close(descriptor)
    sync_place(target.parent)
