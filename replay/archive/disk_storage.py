"""An archive that is a folder: its files are opened through no link, and never waited for."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from recorder.format import paths
from replay.archive.safe_files import Damaged, Missing, bytes_on_disk, open_file, read_file
from replay.archive.storage import is_chunk_number

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SMALL_BYTES: Final = 64 << 10
"""Chunks up to this size are not searched for holes."""


class DiskStorage:
    """The folder of an archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: set[str] = {""}

    def is_folder(self, name: str) -> bool:
        """Whether a node's folder is a real one, and those above it are: links are not followed."""
        if name in self._known:
            return True
        if not self.is_folder(name.rpartition("/")[0]):
            return False
        try:
            real = stat.S_ISDIR(os.lstat(self.path / name).st_mode)
        except (OSError, ValueError):
            return False
        if real:
            self._known.add(name)
        return real

    def folders(self, name: str) -> list[str]:
        if not self.is_folder(name):
            return []
        try:
            with os.scandir(self.path / name) as entries:
                return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
        except OSError:
            return []

    def read(self, name: str, limit: int) -> bytes:
        return read_file(self.path / name, limit)

    @contextlib.contextmanager
    def chunks(self, name: str) -> Iterator[_DiskChunks | None]:
        descriptor = None
        if self.is_folder(name):
            with contextlib.suppress(OSError):
                descriptor = os.open(self.path / name, _FOLDER)
        try:
            yield None if descriptor is None else _DiskChunks(descriptor)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def files(self) -> Iterator[tuple[str, bool]]:
        folders = [""]
        while folders:
            inside = folders.pop()
            try:
                with os.scandir(self.path / inside) as entries:
                    found = sorted(entries, key=lambda e: e.name)
            except OSError:
                continue
            for entry in found:
                name = f"{inside}/{entry.name}" if inside else entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                else:
                    yield name, entry.is_file(follow_symlinks=False)

    def total_bytes(self) -> int:
        """Bytes of all files; links are not followed."""
        total = 0
        folders = [str(self.path)]
        while folders:
            try:
                with os.scandir(folders.pop()) as entries:
                    for entry in entries:
                        with contextlib.suppress(OSError):  # a file removed in between no longer counts
                            if entry.is_dir(follow_symlinks=False):
                                folders.append(entry.path)
                            else:
                                total += entry.stat(follow_symlinks=False).st_size
            except OSError:
                continue
        return total


class _DiskChunks:
    """The chunk files below an array's folder, by its descriptor."""

    def __init__(self, folder: int) -> None:
        self._folder = folder

    def numbers(self, wanted: range) -> Iterator[int]:
        """Looked up one by one if they are few."""
        if len(wanted) <= 16:
            yield from wanted
            return
        try:
            listed = os.open(paths.CHUNKS, _FOLDER, dir_fd=self._folder)
        except OSError:
            return
        try:
            names = os.listdir(listed)  # noqa: PTH208 - a descriptor, which no link leads away from
            yield from (int(name) for name in names if is_chunk_number(name, wanted))
        finally:
            os.close(listed)

    def size(self, key: str) -> int:
        if not self._parents_are_folders(key):
            return -1
        try:
            found = os.stat(key, dir_fd=self._folder, follow_symlinks=False)
        except OSError:
            return -1
        return found.st_size if stat.S_ISREG(found.st_mode) else -1

    def held(self, key: str) -> int:
        size = self.size(key)
        if size <= _SMALL_BYTES:
            return max(0, size)
        try:
            descriptor, size = open_file(key, self._folder)
        except Damaged:
            return 0
        try:
            return bytes_on_disk(descriptor, size)
        finally:
            os.close(descriptor)

    def read(self, key: str, limit: int) -> bytes:
        return read_file(key, limit, self._folder)

    def read_into(self, key: str, offset: int, into: NDArray[Any], size: int) -> None:
        if not self._parents_are_folders(key):
            raise Missing("is missing")
        descriptor, found = open_file(key, self._folder)
        try:
            if found != size:
                raise Damaged(f"has {found:,} bytes instead of {size:,}")
            if into.size and os.preadv(descriptor, [into.data], offset) != into.nbytes:
                raise Damaged("was cut while it was read")
        except OSError as error:
            raise Damaged(f"cannot be read: {error.strerror or error}") from error
        finally:
            os.close(descriptor)

    def _parents_are_folders(self, key: str) -> bool:
        """Whether the folders on the way to a chunk are real ones."""
        parts = key.split("/")[:-1]
        try:
            return all(
                stat.S_ISDIR(os.stat("/".join(parts[: i + 1]), dir_fd=self._folder, follow_symlinks=False).st_mode)
                for i in range(len(parts))
            )
        except OSError:
            return False
