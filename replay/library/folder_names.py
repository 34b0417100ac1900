"""The archives of a folder by their file names, and what changes when one of them does."""

from __future__ import annotations

import os
from pathlib import Path

from recorder.format import locations, paths

Stamp = tuple[int, ...]
"""Time of change and size of what a line was read from; if it differs, the line is read again."""


def names_in(runs_dir: Path) -> dict[str, bool]:
    """File names of the archives that a folder has or, by their journals, will have; whether there is a journal.

    Nothing but the folder is read. Of a run that is there as a folder and packed, the folder is listed.

    Raises:
        OSError: if the folder cannot be read, or does not exist.
    """
    found: dict[str, bool] = {}
    packed: list[str] = []
    for name in os.listdir(runs_dir):  # noqa: PTH208 - of 50,000 entries only the names are needed
        if name.startswith("."):
            continue
        if name.endswith(locations.ARCHIVE_SUFFIX):
            found.setdefault(name, False)
        elif name.endswith(locations.JOURNAL_SUFFIX):
            found[name.removesuffix(locations.JOURNAL_SUFFIX) + locations.ARCHIVE_SUFFIX] = True
        elif name.endswith(locations.PACKED_SUFFIX):
            packed.append(name)
    unpacked = len(locations.PACKED_SUFFIX) - len(locations.ARCHIVE_SUFFIX)
    found.update(dict.fromkeys((name for name in packed if name[:-unpacked] not in found), False))
    return found


def stamp_of(archive: Path, has_journal: bool = True) -> Stamp | None:
    """The stamp of an archive and of its journal, if it may have one; None if neither can be read."""
    return stamp_in(str(archive.parent), archive.name, has_journal)


def stamp_in(folder: str, name: str, has_journal: bool) -> Stamp | None:
    """The same of an archive by its folder and its file name, for thousands of them."""
    path = f"{folder}/{name}"
    packed = name.endswith(locations.PACKED_SUFFIX)
    found = _looked_at(path if packed else f"{path}/{paths.DOCUMENT}")
    if has_journal:
        ending = locations.PACKED_SUFFIX if packed else locations.ARCHIVE_SUFFIX
        found += _looked_at(path.removesuffix(ending) + locations.JOURNAL_SUFFIX)
    return found or None


def _looked_at(file: str) -> Stamp:
    try:
        status = os.stat(file)  # noqa: PTH116 - thousands of times per pass, and a Path costs more than the call
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size
