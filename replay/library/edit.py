"""What a user does to recorded runs: rename, tag and delete them. Never to a run that is being recorded."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from recorder.archive.leftovers import tidy
from recorder.archive.removal import remove_files
from recorder.format import locations, paths
from recorder.format.array_document import MAX_DOCUMENT_BYTES
from recorder.journal.journal import is_being_written
from recorder.system.fsync import sync_folder
from recorder.system.move_remove import changing, exists, move
from recorder.system.open_folders import open_folder, replace_file
from replay.archive.reader import root_attributes
from replay.archive.safe_files import Damaged, checked, parse, read_file
from replay.library.run_info import MAX_TAGS, TAG_CHARACTERS, TAGS_ATTRIBUTE
from replay.model.run import NotARun
from replay.packed import change

_TIME = re.compile(r"^\d{8}-\d{6}-")


class CannotChange(ValueError):
    """A run that is not changed, with the reason in one line."""


def name_part(archive: Path) -> tuple[str, str]:
    """A run's name in two: the time that it begins with (with its dash, or empty), and what a user may change."""
    name = locations.run_name(archive)
    found = _TIME.match(name)
    at = found.end() if found else 0
    return name[:at], name[at:]


def rename(archive: Path, name: str) -> Path:
    """Give a run another name after its time; archive and journal stay in their folder. Gives the new path.

    The name is reduced to letters, digits, `.`, `_` and `-`, as the recorder does it. What the journal of an unfinished
    run has as its name stays as recorded.

    Raises:
        CannotChange: if the run is live or no longer exists, the name is empty once reduced, another run has it, or
            the disk refuses.
    """
    _check_there(archive)
    if not locations.reduced_name(name):
        raise CannotChange("a name needs a letter or a digit")
    ending = locations.PACKED_SUFFIX if locations.is_packed(archive) else locations.ARCHIVE_SUFFIX
    renamed = archive.with_name(f"{name_part(archive)[0]}{locations.safe_name(name)}{ending}")
    if renamed == archive:
        return archive
    with _changing(archive) as place:
        for taken in (locations.archive_of(renamed), locations.packed_of(renamed), locations.journal_of(renamed)):
            if taken.exists() or taken.is_symlink():
                raise CannotChange(f"there is a run named {locations.run_name(renamed)} already")
        tidy(archive, place)
        journal = locations.journal_of(archive)
        if journal.exists():
            move(journal.name, place, locations.journal_of(renamed).name, place)
        if exists(archive.name, place):
            move(archive.name, place, renamed.name, place)
            # An archive that has no readable attributes yet has nothing to be brought up to date; of one that is a
            # link only the link is renamed, and what is packed stays as it is.
            if not renamed.is_symlink() and not locations.is_packed(renamed):
                with contextlib.suppress(NotARun):
                    _set_attributes(renamed, {"run": renamed.stem, "archive": str(renamed.resolve())}, place)
        sync_folder(place)
    return renamed


def read_tags(text: str) -> tuple[str, ...]:
    """Tags as a user types them: separated by commas or spaces, with or without `#`; each once, in order.

    Raises:
        CannotChange: if there are too many, or one is too long.
    """
    tags = tuple(dict.fromkeys(t for t in (word.lstrip("#") for word in re.split(r"[\s,;]+", text)) if t))
    if any(len(tag) > TAG_CHARACTERS for tag in tags):
        raise CannotChange(f"a tag has at most {TAG_CHARACTERS} characters")
    if len(tags) > MAX_TAGS:
        raise CannotChange(f"a run has at most {MAX_TAGS} tags")
    return tags


def set_tags(archive: Path, tags: Iterable[str]) -> None:
    """Put tags in the place of a run's tags: a list in the root attributes of its archive, so they move with it.

    A packed archive is written again, which takes as long as packing it.

    Raises:
        CannotChange: if the run is live (its recorder would overwrite them), has no archive, is a link, is packed and
            damaged, or the disk refuses.
    """
    with _changing(archive) as place:
        if archive.is_symlink():
            raise CannotChange(f"{archive.stem} is a link; change the run that it leads to")
        if locations.is_packed(archive):
            change.set_attributes(archive, {TAGS_ATTRIBUTE: list(tags)})
        else:
            _set_attributes(archive, {TAGS_ATTRIBUTE: list(tags)}, place)


def delete(archive: Path) -> None:
    """Remove a run's archive and journal permanently. Of an archive that is a link, only the link.

    Raises:
        CannotChange: if the run is live, is not a run, or the disk refuses.
    """
    if archive.suffix != locations.ARCHIVE_SUFFIX and not locations.is_packed(archive):
        raise CannotChange(f"{archive} is not an archive of a run")
    with _changing(archive) as place:
        if not locations.journal_of(archive).is_file():
            root_attributes(archive)  # raises if this is some other folder
        remove_files(archive, place)


@contextlib.contextmanager
def _changing(archive: Path) -> Iterator[int]:
    """Gives a descriptor of the folder that the run is in, where no other process changes it meanwhile."""
    try:
        with changing(archive) as place:
            _check_there(archive)
            if is_being_written(locations.journal_of(archive)):
                raise CannotChange(f"{locations.run_name(archive)} is being recorded; wait for its end")
            yield place
    except OSError as error:
        raise CannotChange(f"{locations.run_name(archive)} cannot be changed: {error.strerror or error}") from error
    except NotARun as error:
        raise CannotChange(str(error)) from error


def _check_there(archive: Path) -> None:
    if not any(os.path.lexists(path) for path in (archive, locations.journal_of(archive))):
        raise CannotChange(f"{locations.run_name(archive)} no longer exists: it was deleted or renamed")


def _set_attributes(archive: Path, changes: dict[str, Any], place: int) -> None:
    """Raises NotARun if it is not an archive that can be read, also behind its attributes, and OSError."""
    root_attributes(archive)
    # From here on nothing is looked up by its path: an archive that replaces it meanwhile is not written to.
    folder = open_folder(archive.name, place)
    try:
        document = parse(read_file(paths.DOCUMENT, MAX_DOCUMENT_BYTES, folder))
        attributes = {**checked(document.get("attributes")), **changes}
        replace_file(paths.DOCUMENT, json.dumps({**document, "attributes": attributes}).encode(), folder, sync=True)
        sync_folder(folder)
    except Damaged as error:
        raise NotARun(f"{archive} has damaged metadata: {paths.DOCUMENT} {error}") from error
    finally:
        os.close(folder)
