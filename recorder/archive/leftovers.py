"""Archives under hidden names: half made, or moved aside, alongside the run that they belong to.

    .<run>.rebuilding.zarr        made from the journal by the recorder
    .<run>.unfinished.zarr        the archive that it replaces
    .<run>.repairing-<pid>.zarr   made by a repair
    .<run>.repaired.zarr          the same, complete and on the disk, until the old archive has been moved away
    .<run>.deleted                an archive that is being removed

A process that is killed leaves them. The next one that changes the run calls `tidy`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from recorder.format.locations import ARCHIVE_SUFFIX
from recorder.system.move_remove import exists, hidden_name, is_folder, move, remove, short_stem


def rebuilding(archive: Path) -> str:
    """The name of an archive while it is rebuilt from its journal."""
    return hidden_name(archive.stem, f"rebuilding{ARCHIVE_SUFFIX}")


def unfinished(archive: Path) -> str:
    """The name of the archive that the rebuilt one replaces."""
    return hidden_name(archive.stem, f"unfinished{ARCHIVE_SUFFIX}")


def repairing(archive: Path) -> str:
    """The name of an archive while this process repairs it."""
    return hidden_name(archive.stem, f"repairing-{os.getpid()}{ARCHIVE_SUFFIX}")


def repaired(archive: Path) -> str:
    """The name of a repaired archive that is on the disk, until the old one has been moved away."""
    return hidden_name(archive.stem, f"repaired{ARCHIVE_SUFFIX}")


def deleted(archive: Path) -> str:
    """The name of an archive while it is removed."""
    return hidden_name(archive.stem, "deleted")


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
        rf"\.{re.escape(short_stem(archive.stem))}\.repairing(-[0-9]+)?{re.escape(ARCHIVE_SUFFIX)}"
    )
    for name in os.listdir(place):
        known = (ready, rebuilding(archive), unfinished(archive), deleted(archive))
        if name in known or made_by_repair.fullmatch(name):
            remove(name, place)
    return completed
