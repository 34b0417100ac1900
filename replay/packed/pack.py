"""Packs the archive of a finished run into one file."""

from __future__ import annotations

import shlex
from pathlib import Path

from recorder.archive.leftovers import tidy
from recorder.archive.zip_writer import write_zip
from recorder.format import locations
from recorder.journal.journal import is_being_written
from recorder.system.move_remove import changing
from replay.archive.array_metadata import MAX_CHUNK_BYTES
from replay.archive.disk_storage import DiskStorage
from replay.archive.open_storage import attributes_of
from replay.archive.packed_storage import PackedStorage
from replay.archive.reader import root_attributes
from replay.archive.safe_files import Damaged
from replay.model.validation import NotARun


class CannotPack(ValueError):
    """Why a run is not packed or unpacked, in one line."""


def pack(archive: Path, target: Path | None = None, *, small: bool = False) -> Path:
    """Write the archive of a finished run as one zip file; the folder stays. Gives the path of the file.

    The file has the bytes of the folder's files, damaged ones too. It is on the disk and was read back when this
    returns.

    Args:
        archive: the folder.
        target: the file; by default `<run>.zarr.zip` in the same folder. One that is there is replaced if it is a
            packed archive of the same run.
        small: deflate the members.

    Raises:
        CannotPack: if the run is live or was not finalised, is packed already, or another file is at the target.
        OSError: if the disk does.
    """
    archive = locations.named_path(archive)
    target = locations.packed_of(archive) if target is None else target
    if archive.is_file():
        raise CannotPack(f"{archive.name} is packed already")
    check_ended(archive)
    with changing(archive) as place:
        tidy(archive, place)
        storage = DiskStorage(archive)
        if target.exists():
            _check_replaced(storage, target)
        names = [name for name, plain in storage.files() if plain and not name.endswith(".part")]
        try:
            write_zip(target, names, lambda name: storage.read(name, MAX_CHUNK_BYTES), small=small)
        except Damaged as error:
            raise CannotPack(f"a file of {archive.name} {error}") from error
    _check_readable(target, names)
    return target


def check_ended(archive: Path) -> None:
    """Raises CannotPack if the run of an archive, a folder or packed, has not ended."""
    journal = locations.journal_of(archive)
    if is_being_written(journal):
        raise CannotPack(f"{archive.name} is being recorded; wait for its end")
    repair = f"repair it first: ltxtui runs repair {shlex.quote(str(archive))}"
    if not archive.exists() and journal.is_file():
        raise CannotPack(f"{locations.run_name(archive)} was not finalised; {repair}")
    try:
        ended = "ended" in root_attributes(archive)
    except NotARun as error:
        raise CannotPack(str(error)) from error
    if not ended:
        raise CannotPack(f"{archive.name} was not finalised; {repair}")


def _check_replaced(storage: DiskStorage, target: Path) -> None:
    """Raises CannotPack if a file is not a packed archive of this run."""
    try:
        same = attributes_of(PackedStorage(target)).get("time") == attributes_of(storage).get("time")
    except Damaged:
        same = False
    if not same:
        raise CannotPack(f"{target} exists and is not this run; choose another name with --output, or remove it")


def _check_readable(target: Path, names: list[str]) -> None:
    """Raises CannotPack if the file does not have all members, with their checksums."""
    try:
        storage = PackedStorage(target)
        for name in names:
            storage.read(name, MAX_CHUNK_BYTES)
    except Damaged as error:
        raise CannotPack(f"{target} cannot be read back: {error}") from error
