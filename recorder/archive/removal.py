"""Removes the files of a run that is not being recorded."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from recorder.archive.leftovers import deleted, tidy
from recorder.format import locations, paths
from recorder.journal.journal import is_being_written
from recorder.system.move_remove import changing, is_folder, remove
from recorder.system.open_folders import open_folder


def remove_run(archive: Path) -> bool:
    """Remove a run, finished or not. Of an archive that is a link, only the link.

    Returns:
        False if it is being recorded; nothing is changed then.

    Raises:
        Busy: if another process changes the run.
        OSError: if the disk refuses.
    """
    with changing(archive) as place:
        if is_being_written(locations.journal_of(archive)):
            return False
        remove_files(archive, place)
    return True


def remove_files(archive: Path, place: int) -> None:
    """Remove archive and journal, inside of `move_remove.changing`, which yields `place`. Raises OSError."""
    tidy(archive, place)
    if is_folder(archive.name, place):
        _remove_archive(archive, place)
    else:
        remove(archive.name, place)
    # The archive first: while the journal exists, so does everything that the run acknowledged.
    remove(locations.journal_of(archive).name, place)


def _remove_archive(archive: Path, place: int) -> None:
    """Remove an archive, renamed first: no list shows a run that is half removed."""
    going = deleted(archive)
    remove(going, place)
    try:
        os.rename(archive.name, going, src_dir_fd=place, dst_dir_fd=place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # It is part of a container's image and cannot be renamed. Without its root document it is not a run either.
        going = archive.name
        folder = open_folder(going, place)
        try:
            remove(paths.DOCUMENT, folder)
        finally:
            os.close(folder)
    remove(going, place)
