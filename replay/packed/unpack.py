"""Unpacks an archive from its one file into a folder, the form that is worked with."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from recorder.archive.leftovers import tidy, unpacking
from recorder.format import locations, paths
from recorder.system.durability import sync_files, sync_place
from recorder.system.move_remove import changing, exists, remove
from recorder.system.open_folders import FOLDER_MODE, Tree, make_folders, open_folder, replace_file
from replay.archive.packed_storage import PackedStorage
from replay.archive.reader import open_storage
from replay.archive.safe_files import Damaged
from replay.model.validation import NotARun
from replay.packed.pack import CannotPack


@dataclass(frozen=True)
class Unpacked:
    """The folder that was made, and which members have changed since they were packed, in a line each."""

    archive: Path
    damaged: tuple[str, ...]


def unpack(packed: Path, target: Path | None = None) -> Unpacked:
    """Write the members of a packed archive as a folder; the file stays.

    Members whose checksum has changed are written as they are, so that `repair` can save the rest of the run; those
    that cannot be inflated are missing.

    Args:
        packed: the file.
        target: the folder, which must not exist; by default `<run>.zarr` next to the file.

    Raises:
        CannotPack: if it is not a packed archive, or the target exists.
        OSError: if the disk does.
    """
    packed = locations.named_path(packed)
    target = locations.archive_of(packed) if target is None else target
    try:
        storage = open_storage(packed)
        if not isinstance(storage, PackedStorage):
            raise CannotPack(f"{packed.name} is not packed")
    except NotARun as error:
        raise CannotPack(str(error)) from error
    if paths.DOCUMENT not in storage:
        raise CannotPack(f"{packed.name} is not a recorded run (it has no {paths.DOCUMENT})")
    make_folders(target.parent)
    with changing(target) as place:
        tidy(target, place)
        if exists(target.name, place) or exists(locations.journal_of(target).name, place):
            raise CannotPack(f"{target} exists; remove or rename it, or choose another folder with --output")
        made = unpacking(target)
        try:
            os.mkdir(made, FOLDER_MODE, dir_fd=place)
            damaged = _write(storage, Tree(open_folder(made, place)))
            os.rename(made, target.name, src_dir_fd=place, dst_dir_fd=place)
        except BaseException:
            with contextlib.suppress(OSError):
                remove(made, place)
            raise
        sync_place(target.parent)
    return Unpacked(target, damaged)


def _write(storage: PackedStorage, tree: Tree) -> tuple[str, ...]:
    """Write all members that can be read; gives a line for each that is damaged."""
    damaged = []
    try:
        for name, _ in storage.files():
            try:
                data, right = storage.as_stored(name)
            except Damaged as error:
                damaged.append(f"{name} {error}")
                continue
            if not right:
                damaged.append(f"{name} has a different checksum than when it was packed")
            folder, _, last = name.rpartition("/")
            _make(tree, folder)
            replace_file(last, data, tree.folder(folder))
        sync_files(tree, list(tree.files()))
    finally:
        tree.close()
    return tuple(damaged)


def _make(tree: Tree, folder: str) -> None:
    at = ""
    for part in folder.split("/") if folder else ():
        at = f"{at}/{part}" if at else part
        tree.make(at)
