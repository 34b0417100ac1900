"""Mends a run whose recorder never ended it: folds what can still be read into a whole archive, and keeps the old."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from recorder import locations, words
from recorder.archive import ArchiveWriter
from recorder.journal import is_being_written
from recorder.words import Message
from replay.archive import root_attributes
from replay.check import rows_of
from replay.run import NotARun, Run
from replay.source import ArchiveSource, JournalSource


class CannotRepair(ValueError):
    """Why a run is left as it is."""


@dataclass(frozen=True)
class Repaired:
    """What was made, where the old files are now, and what the new archive holds."""

    archive: Path
    kept: Path
    rows: dict[str, int]
    note: str = ""


def repair(path: Path) -> Repaired:
    """Fold journal and archive at `path` into one whole archive, `interrupted` unless its journal says how it ended.

    What was there is moved, never removed: to a folder `<name>.before-repair` beside it. Latents that were kept
    per step are carried over as they are.

    Raises:
        CannotRepair: if the run is being recorded, is whole already, or holds nothing that can be read.
        OSError: if files cannot be read or written; what was there is then still there.
    """
    archive = locations.archive_of(path) if path.suffix == locations.JOURNAL_SUFFIX else path
    journal = locations.journal_of(archive)
    if journal.is_file() and is_being_written(journal):
        raise CannotRepair(f"{archive.name} is being recorded; stop its recorder first")
    if not journal.is_file() and not archive.exists():
        raise CannotRepair(f"{archive} does not exist")
    messages, note = _readable(archive, journal)
    if not messages:
        raise CannotRepair(f"nothing of {archive.name} can be read: {note}")
    run = Run()
    for message in messages:
        run.feed(message)
    kept = _free(archive.with_suffix(".before-repair"))
    made = archive.with_name(f".{archive.stem}.repairing{locations.ARCHIVE_SUFFIX}")
    shutil.rmtree(made, ignore_errors=True)
    writer = ArchiveWriter(made)
    ends = [m for m in messages if m["t"] == words.END]
    for message in messages:
        if message["t"] != words.END and (whole := _with_pixels(message)) is not None:
            writer.feed(whole)
    writer.carry(archive)
    if not ends:
        last = max((float(s.times[-1]) for g in run.stages for s in g.streams.values() if s.rows), default=time.time())
        error = "its recorder never ended it; repaired"
        ends = [{"t": words.END, "time": last, "status": "interrupted", "error": error}]
    writer.feed(ends[0])
    kept.mkdir()
    for old in (archive, journal):
        if old.exists():
            old.rename(kept / old.name)
    made.rename(archive)
    return Repaired(archive, kept, rows_of(run), note)


def _readable(archive: Path, journal: Path) -> tuple[list[Message], str]:
    """All messages that can be read, from the journal or else the archive; and what is to be said of the rest."""
    if not journal.is_file() and _ended(archive):
        raise CannotRepair(f"{archive.name} was ended by its recorder; there is nothing to fold")
    found: list[Message] = []
    note = ""
    for place in (p for p in (journal, archive) if p.exists()):
        try:
            # A journal beside the archive would be opened in the archive's place.
            source = JournalSource(place) if place == journal else ArchiveSource(place)
        except NotARun as error:
            note = str(error)
            continue
        try:
            while messages := source.poll():
                found += messages
            note = source.note
        except NotARun as error:
            note = str(error)
        finally:
            source.close()
        if found:
            break
    return found, note


def _with_pixels(message: Message) -> Message | None:
    """An archive's previews are read when they are asked for; None if this one is damaged."""
    if not callable(message.get("data")):
        return message
    try:
        return {**message, "data": message["data"]()}
    except NotARun:
        return None


def _ended(archive: Path) -> bool:
    try:
        return "ended" in root_attributes(archive)
    except NotARun:
        return False


def _free(path: Path) -> Path:
    for attempt in range(1, 1000):
        candidate = path if attempt == 1 else path.with_name(f"{path.name}-{attempt}")
        if not candidate.exists():
            return candidate
    raise FileExistsError(f"{path} has a thousand predecessors")
