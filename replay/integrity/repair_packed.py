"""Repairs a packed run: what can be read is unpacked, repaired as a folder, and packed in the place of the file."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path

from recorder.format import locations
from recorder.system.fsync import sync_folder
from recorder.system.move_remove import remove
from recorder.system.open_folders import open_place
from replay.integrity.check import check
from replay.integrity.repair import CannotRepair, Repaired, repair
from replay.packed.pack import CannotPack, pack
from replay.packed.unpack import unpack


def repair_run(path: Path) -> Repaired:
    """Repair a run, whether it is a folder or packed. A packed run stays packed.

    Raises:
        CannotRepair: as `repair`.
        OSError: as `repair`.
    """
    named = locations.named_path(path)
    journal = named if named.suffix == locations.JOURNAL_SUFFIX else locations.journal_of(named)
    packed = locations.archive_in_place(locations.archive_of(journal))
    if not (locations.is_packed(packed) and packed.is_file()) or journal.is_file():
        return repair(path)
    if packed.is_symlink():
        raise CannotRepair(f"{packed.name} is a link; repair its target")
    if check(packed).sound:
        raise CannotRepair(f"{packed.name} is complete; there is nothing to repair")
    return _repaired(packed)


def _repaired(packed: Path) -> Repaired:
    try:
        made = unpack(packed)
    except CannotPack as error:
        raise CannotRepair(str(error)) from error
    place = open_place(packed.parent)
    try:
        try:
            done = repair(made.archive)
        except BaseException:
            with contextlib.suppress(OSError):
                remove(made.archive.name, place)
            raise
        kept = done.kept
        assert kept is not None  # what is not sound is replaced
        # The file is the original: in the folder of old files it takes the place of what was unpacked from it.
        os.rename(packed.name, f"{kept.name}/{packed.name}", src_dir_fd=place, dst_dir_fd=place)
        with contextlib.suppress(OSError):
            remove(f"{kept.name}/{made.archive.name}", place)
        sync_folder(place)
        again = pack(done.archive, packed)
        remove(done.archive.name, place)
        sync_folder(place)
    except CannotPack as error:
        raise CannotRepair(f"{error}; {done.archive.name} is the repaired run") from error
    finally:
        os.close(place)
    return replace(done, archive=again, lost=[*made.damaged, *done.lost])
