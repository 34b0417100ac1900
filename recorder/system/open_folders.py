"""Folders that stay open: files are written into the opened folder, even if its name moves, and through no link."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from recorder.format import paths
from recorder.system import fork_guard
from recorder.system.fsync import to_disk

FOLDER_MODE = 0o755
PRIVATE_MODE = 0o700
"""Of folders that only the user may read."""
FILE_MODE = 0o644
"""Less the umask: no other user may write, also where the umask forbids nothing."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def make_folders(path: Path, mode: int = FOLDER_MODE) -> None:
    """Make a folder and those above it that are missing, none of which others may write to.

    Raises:
        OSError: if that is not possible; FileExistsError if something else has that name.
    """
    try:
        os.mkdir(path, mode)  # noqa: PTH102 - `Path.mkdir` gives the folders above it another mode
    except FileExistsError:
        if not path.is_dir():
            raise
    except FileNotFoundError:
        if path.parent == path or path.parent.exists():
            raise
        make_folders(path.parent, mode)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode)  # noqa: PTH102


def open_place(path: Path) -> int:
    """Open the folder that holds archives; links on the way to it are the user's own. Raises OSError."""
    return os.open(path, _FOLDER)


def open_folder(name: str, at: int | None = None) -> int:
    """Open a folder by its name in another one. Raises OSError: NotADirectoryError if it is a link."""
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=at)


def open_file(name: str, at: int) -> int:
    """Open a file for reading by its name in a folder; no link, and never waits. Raises OSError."""
    return os.open(name, _READ, dir_fd=at)


def replace_file(path: str | Path, data: bytes, folder: int | None = None, sync: bool = False) -> None:
    """Write a file completely or not at all. With plain calls, since a run has hundreds of small files.

    Args:
        path: where, from the working directory or from `folder`.
        data: all of it.
        folder: descriptor of a folder that the path begins at.
        sync: force it onto the disk before the old one goes.

    Raises:
        OSError: when the disk does.
    """
    beside = f"{path}.{os.getpid()}.part"
    try:
        fd = os.open(beside, _NEW, FILE_MODE, dir_fd=folder)
    except FileExistsError:
        # Left by a process that was killed, or put there by the author of the archive, to be written through.
        os.unlink(beside, dir_fd=folder)
        fd = os.open(beside, _NEW, FILE_MODE, dir_fd=folder)
    try:
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(fd, left) :]
            if sync:
                to_disk(fd)
        finally:
            os.close(fd)
        os.replace(beside, path, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside, dir_fd=folder)  # a torn file would take the room that others need
        raise


def replaceable(path: str | Path) -> Path | None:
    """Where the file that a user named is replaced: behind its links. None for a device or pipe, to be written into."""
    place = Path(os.path.realpath(path))
    return None if place.exists() and not place.is_file() else place


class Tree:
    """A folder that stays open, and what is below it by paths such as `stage_0/video/zarr.json`; links are refused.

    For one thread at a time.
    """

    def __init__(self, root: int) -> None:
        """Take over the descriptor of a folder."""
        # The root, then the folders on the way to where something was done last: mostly the next is done there too.
        self._open = [root]
        self._names: list[str] = []
        # A forked child would keep the file system busy. Only the list is watched, so that a tree can be collected.
        self._ticket = fork_guard.watch(partial(_close, self._open))

    @property
    def root(self) -> int:
        """Raises OSError if the tree was closed."""
        return self.folder("")

    def folder(self, name: str) -> int:
        """Descriptor of a folder, which stays the tree's and is good until the next call. Raises OSError."""
        if not self._open:
            raise OSError("the folder was closed")
        parts = name.split("/") if name else []
        same = 0
        while same < min(len(parts), len(self._names)) and parts[same] == self._names[same]:
            same += 1
        while len(self._names) > same:
            self._names.pop()
            os.close(self._open.pop())
        for part in parts[same:]:
            if part in ("", ".", ".."):
                raise OSError(errno.EINVAL, "leads out of the archive", name)
            self._open.append(open_folder(part, self._open[-1]))
            self._names.append(part)
        return self._open[-1]

    def make(self, name: str) -> None:
        """Make a folder; the one above it must be there. One that exists is fine. Raises OSError."""
        above, _, last = name.rpartition("/")
        with contextlib.suppress(FileExistsError):
            os.mkdir(last, FOLDER_MODE, dir_fd=self.folder(above))

    def read(self, name: str, most: int = -1) -> bytes:
        """A complete file, or the first bytes of it. Raises OSError."""
        above, _, last = name.rpartition("/")
        with os.fdopen(open_file(last, self.folder(above)), "rb") as file:
            return file.read(most)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there. Raises OSError."""
        above, _, last = name.rpartition("/")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(last, dir_fd=self.folder(above))

    def files(self, name: str = "") -> Iterator[str]:
        """Paths of all plain files below a folder, sorted in each. Raises OSError."""
        with os.scandir(self.folder(name)) as entries:
            found = sorted(entries, key=lambda e: e.name)
        for entry in found:
            path = f"{name}/{entry.name}" if name else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from self.files(path)
            elif entry.is_file(follow_symlinks=False):
                yield path

    def nodes(self, name: str) -> list[str]:
        """Paths of a folder and of those below it that hold a `zarr.json`, sorted; none if it cannot be read."""
        try:
            return sorted(n for f in self.files(name) if (n := paths.parse_document(f)))
        except OSError:
            return []

    def is_at(self, path: Path) -> bool:
        """Whether a path still leads to this very folder, and through no link of that name."""
        try:
            return os.path.samestat(os.lstat(path), os.fstat(self.root))
        except OSError:
            return False

    def clear(self) -> None:
        """Remove all that is in the folder; what cannot be removed stays."""
        root = self.root
        with os.scandir(root) as entries:
            found = [(e.name, e.is_dir(follow_symlinks=False)) for e in entries]
        for name, is_folder in found:
            with contextlib.suppress(OSError):
                if is_folder:
                    shutil.rmtree(name, ignore_errors=True, dir_fd=root)
                else:
                    os.unlink(name, dir_fd=root)

    def close(self) -> None:
        """May be called twice."""
        fork_guard.unwatch(self._ticket)
        _close(self._open)

    def __del__(self) -> None:
        self.close()


def _close(descriptors: list[int]) -> None:
    while descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptors.pop())
