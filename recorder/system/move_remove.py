"""Moving and removing a run's files: by one process at a time, never through a link, and also where a rename cannot."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from recorder.format.locations import run_name
from recorder.system import durability, file_locks
from recorder.system.open_folders import FOLDER_MODE, Tree, open_folder, open_place, replace_file

_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
PATIENCE_SECONDS = 1.0
"""How long to wait for another process that changes the same run."""


_LONGEST_STEM = 200
"""Bytes; file systems take names of 255, and what follows the stem needs room."""


class Busy(OSError):
    """Another process is changing the run's files."""


def short_stem(stem: str) -> str:
    """A run's name, cut to a length that leaves room for what follows it; a cut one ends in a hash of the full name."""
    data = os.fsencode(stem)
    if len(data) <= _LONGEST_STEM:
        return stem
    known = hashlib.sha256(data).hexdigest()[:16]
    return f"{data[: _LONGEST_STEM - 17].decode(errors='ignore')}-{known}"


def hidden_name(stem: str, what: str) -> str:
    """A name for a file or folder that belongs to a run and that no list of runs shows."""
    return f".{short_stem(stem)}.{what}"


@contextlib.contextmanager
def changing(archive: Path) -> Iterator[int]:
    """The right to move and remove a run's files, until the block ends or the process dies.

    Yields:
        A descriptor of the folder that they are in, good in the block.

    Raises:
        Busy: if another process has it.
        OSError: if that folder cannot be written.
    """
    place = open_place(archive.parent)
    try:
        name = hidden_name(run_name(archive), "lock")
        lock = _locked(name, place, archive)
        try:
            yield place
        finally:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=place)
            os.close(lock)
    finally:
        os.close(place)


def _locked(name: str, place: int, archive: Path) -> int:
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        # For this user only: any user that can open it can keep others from changing the run.
        try:
            lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=place)
        except OSError as error:
            if error.errno in _NOT_WRITABLE:
                raise type(error)(error.errno, os.strerror(error.errno), str(archive.parent)) from error
            raise
        try:
            file_locks.acquire(lock)
            # Its previous holder removes it: then a lock on it has no effect on later processes.
            if os.path.samestat(os.fstat(lock), os.stat(name, dir_fd=place, follow_symlinks=False)):
                return lock
        except FileNotFoundError:
            pass  # as above
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(lock)
                raise Busy(errno.EBUSY, "another process changes it just now; try again", str(archive)) from None
            time.sleep(0.01)
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def exists(name: str, place: int) -> bool:
    """Whether a folder has an entry of that name, be it a link that leads nowhere. Raises OSError."""
    return _mode(name, place) is not None


def is_folder(name: str, place: int) -> bool:
    """Whether a folder has a real folder of that name, no link. Raises OSError."""
    mode = _mode(name, place)
    return mode is not None and stat.S_ISDIR(mode)


def _mode(name: str, place: int) -> int | None:
    try:
        return os.stat(name, dir_fd=place, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def move(name: str, place: int, to: str, other: int) -> None:
    """Give a file or folder another name, or another folder; what has that name already is replaced if it is a file.

    A folder of a container's image cannot be renamed (overlayfs): it is copied, and removed once the copy is on the
    disk.

    Raises:
        OSError: if that cannot be done; it is then at its old path.
    """
    try:
        os.rename(name, to, src_dir_fd=place, dst_dir_fd=other)
    except OSError as error:
        if error.errno != errno.EXDEV or not is_folder(name, place):
            raise
        _copy(name, place, to, other)
        remove(name, place)


def remove(name: str, place: int) -> None:
    """Remove a file, a link or a folder with all that is in it, if it is there. Raises OSError."""
    if is_folder(name, place):
        shutil.rmtree(name, dir_fd=place)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=place)


def _copy(name: str, place: int, to: str, other: int) -> None:
    """Copy a folder: completely under its new name, or not at all."""
    beside = hidden_name(to, f"{os.getpid()}.copied")
    os.mkdir(beside, FOLDER_MODE, dir_fd=other)
    try:
        old, new = Tree(open_folder(name, place)), Tree(open_folder(beside, other))
        try:
            _copy_entries(old, new, "")
            durability.sync_files(new, list(new.files()))
        finally:
            old.close()
            new.close()
        os.rename(beside, to, src_dir_fd=other, dst_dir_fd=other)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True, dir_fd=other)
        raise


def _copy_entries(old: Tree, new: Tree, name: str) -> None:
    with os.scandir(old.folder(name)) as entries:
        found = [(e.name, e.is_dir(follow_symlinks=False), e.is_symlink()) for e in entries]
    for entry, is_a_folder, is_a_link in found:
        path = f"{name}/{entry}" if name else entry
        if is_a_folder:
            new.make(path)
            _copy_entries(old, new, path)
        elif is_a_link:
            os.symlink(os.readlink(entry, dir_fd=old.folder(name)), entry, dir_fd=new.folder(name))
        else:
            replace_file(entry, old.read(path), new.folder(name))
