"""Archives under hidden names: incomplete, or moved aside, next to the run that they belong to.

    .<run>.rebuilding.zarr        made from the journal by the recorder
    .<run>.unfinished.zarr        the archive that it replaces
    .<run>.repairing-<pid>.zarr   made by a repair
    .<run>.repaired.zarr          the same, complete and on the disk, until the old archive has been moved away
    .<run>.packing.zarr.zip       made by packing
    .<run>.unpacking.zarr         made by unpacking
    .<run>.deleted                an archive that is being removed

A process that is killed leaves them. The next one that changes the run calls `tidy`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from recorder.format.locations import ARCHIVE_SUFFIX, PACKED_SUFFIX, run_name
from recorder.system.move_remove import exists, hidden_name, is_folder, move, remove, short_stem


def rebuilding(archive: Path) -> str:
    """The name of an archive while it is rebuilt from its journal."""
    return hidden_name(run_name(archive), f"rebuilding{ARCHIVE_SUFFIX}")


def unfinished(archive: Path) -> str:
    """The name of the archive that the rebuilt one replaces."""
    return hidden_name(run_name(archive), f"unfinished{ARCHIVE_SUFFIX}")


def repairing(archive: Path) -> str:
    """The name of an archive while this process repairs it."""
    return hidden_name(run_name(archive), f"repairing-{os.getpid()}{ARCHIVE_SUFFIX}")


def repaired(archive: Path) -> str:
    """The name of a repaired archive that is on the disk, until the old one has been moved away."""
    return hidden_name(run_name(archive), f"repaired{ARCHIVE_SUFFIX}")


def packing(archive: Path) -> str:
    """The name of an archive while it is packed."""
    return hidden_name(run_name(archive), f"packing{PACKED_SUFFIX}")


def unpacking(archive: Path) -> str:
    """The name of an archive while it is unpacked."""
    return hidden_name(run_name(archive), f"unpacking{ARCHIVE_SUFFIX}")


def deleted(archive: Path) -> str:
    """The name of an archive while it is removed."""
    return hidden_name(run_name(archive), "deleted")


def restore(archive: Path, place: int) -> None:
    """Put an unfinished archive back if a process died after it had moved it aside. Raises OSError."""
    if is_folder(unfinished(archive), place) and not exists(archive.name, place):
        move(unfinished(archive), place, archive.name, place)


def tidy(archive: Path, place: int) -> bool:
    """Put back or complete what a killed process left of a run, and remove the rest.

    Args:
        archive: path of the run's archive.
        place: descriptor of its folder, as `move_remove.changing` yields it.

    Returns:
        Whether a repair had been killed just before its last rename and was completed.

    Raises:
        OSError: if that cannot be done.
    """
    restore(archive, place)
    ready, completed = repaired(archive), False
    if is_folder(ready, place) and not exists(archive.name, place):
        move(ready, place, archive.name, place)
        completed = True
    made_by_repair = re.compile(
        rf"\.{re.escape(short_stem(run_name(archive)))}\.repairing(-[0-9]+)?{re.escape(ARCHIVE_SUFFIX)}"
    )
    for name in os.listdir(place):
        known = (ready, *(name(archive) for name in (rebuilding, unfinished, packing, unpacking, deleted)))
        if name in known or made_by_repair.fullmatch(name):
            remove(name, place)
    return completed
