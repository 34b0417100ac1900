"""Forces files and folders onto the disk, so that a power cut leaves them. It may take long: not where one samples."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Iterable
from pathlib import Path

from recorder.system.fsync import sync_folder, to_disk
from recorder.system.open_folders import Tree, open_file, open_place

_SYNCED_AT_ONCE = {0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x794C7630}
"""Kinds of file systems (statfs(2)) whose `syncfs` was seen to be complete: ext4, xfs, btrfs, tmpfs, overlayfs.

Others, such as FUSE, only hand over what waits in memory: there files are forced one by one.
"""
_SINCE = (5, 11)
"""Linux versions before this one do not report, or not through overlayfs, that `syncfs` failed."""


def sync_place(path: Path) -> None:
    """Force the entries of a folder and of those above it onto the disk, so that it is found again. Raises OSError."""
    path = path.absolute()
    for folder in (path, *path.parents):
        try:
            descriptor = open_place(folder)
        except PermissionError:
            continue  # one that cannot be read; nor did this user make anything in it
        try:
            sync_folder(descriptor)
        finally:
            os.close(descriptor)
        if os.path.ismount(folder):  # what is above it belongs to another file system
            break


def sync_tree(tree: Tree, files: Iterable[str], place: Path) -> None:
    """Force files of a folder onto the disk, the folders that they are in, and the entry of it all in `place`.

    Raises:
        OSError: when the disk does.
    """
    if not _sync_file_system(tree.root):
        _sync_one_by_one(tree, files)
        sync_place(place)


def sync_files(tree: Tree, files: Iterable[str]) -> None:
    """The same without the entry. Raises OSError when the disk does."""
    if not _sync_file_system(tree.root):
        _sync_one_by_one(tree, files)


def _sync_one_by_one(tree: Tree, files: Iterable[str]) -> None:
    folders = {""}
    for name in sorted(set(files)):
        above, _, last = name.rpartition("/")
        with contextlib.suppress(FileNotFoundError):  # removed since
            descriptor = open_file(last, tree.folder(above))
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        while above:
            folders.add(above)
            above = above.rpartition("/")[0]
    for name in sorted(folders, key=lambda n: -n.count("/")):
        with contextlib.suppress(FileNotFoundError):
            sync_folder(tree.folder(name))
    to_disk(tree.root)  # on macOS `fsync` leaves it all in the drive's cache, which this empties


def _sync_file_system(descriptor: int) -> bool:
    """Force all of a file system onto the disk with one call; False where that cannot be relied on. Raises OSError."""
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if os.uname().sysname != "Linux" or version is None or (int(version[1]), int(version[2])) < _SINCE:
        return False
    try:
        library = ctypes.CDLL(None, use_errno=True)
        syncfs, fstatfs = library.syncfs, library.fstatfs
    except (OSError, AttributeError):
        return False
    told = ctypes.create_string_buffer(512)  # larger than `struct statfs` anywhere; its first field is the kind
    if fstatfs(descriptor, told) != 0 or ctypes.c_long.from_buffer(told).value & 0xFFFFFFFF not in _SYNCED_AT_ONCE:
        return False
    if syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return True
