"""Repairs a run that was not finalised or is damaged: archives what can be read, and keeps the old files."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path

from recorder.archive.journal_removal import settle
from recorder.archive.leftovers import repaired, repairing, tidy
from recorder.archive.writer import ArchiveWriter
from recorder.format import locations, protocol
from recorder.format.events import event
from recorder.format.paths import DOCUMENT
from recorder.format.protocol import Message
from recorder.journal.journal import JournalReader, is_being_written
from recorder.system.durability import sync_place
from recorder.system.fsync import sync_folder
from recorder.system.move_remove import Busy, changing, exists, move, remove, short_stem
from recorder.system.open_folders import FOLDER_MODE, open_folder
from replay.archive.lazy_rows import as_recorded
from replay.archive.reader import Archive
from replay.integrity.carry_over import Skip, carry_over
from replay.integrity.check import check, damaged_chunks, rows_of
from replay.library.run_info import TAGS_ATTRIBUTE, known_tags
from replay.model.checked import checked
from replay.model.run import Run
from replay.model.validation import NotARun
from replay.sources.archive_remainder import beyond
from replay.sources.read_so_far import ReadSoFar


class CannotRepair(ValueError):
    """Why a run is not changed."""


@dataclass(frozen=True)
class Repaired:
    """What was made, where the old files are now, what the new archive holds, and what could not be recovered."""

    archive: Path
    kept: Path | None
    """None where nothing had to be replaced."""
    rows: dict[str, int]
    """By `stage_0/video`, as read from it."""
    note: str = ""
    lost: list[str] = field(default_factory=list)


def repair(path: Path) -> Repaired:
    """Make one complete archive of journal and archive at `path`, `interrupted` unless they hold the run's end.

    The old files are moved, never removed: to a folder `<name>.before-repair` next to it, once the new archive is on
    the disk. Chunks whose checksum has changed since they were written become NaN, since it cannot be known which of
    their values are wrong. An event of the new archive also lists what was lost. Of a complete archive with a journal
    next to it only the journal is removed, once the archive is on the disk.

    Raises:
        CannotRepair: if the run is being recorded or changed by another process, is complete, is a link, or holds
            nothing that can be read.
        OSError: if files cannot be read or written; the old files are then unchanged, and there are no new ones.
    """
    path = locations.named_path(path)
    archive = locations.archive_of(path) if path.suffix == locations.JOURNAL_SUFFIX else path
    journal = locations.journal_of(archive)
    if not journal.is_file() and path.is_dir() and not (path / DOCUMENT).is_file():
        # Before the lock: whether the folder around it may be written has nothing to do with the reason.
        raise CannotRepair(f"{path} is not a recorded run (it has no {DOCUMENT})")
    if locations.is_packed(archive := locations.archive_in_place(archive)) and not journal.is_file():
        raise CannotRepair(f"{archive.name} is packed; repair it with: ltxtui runs repair {shlex.quote(str(archive))}")
    archive = locations.archive_of(journal)
    if not archive.parent.is_dir():
        raise CannotRepair(f"{archive} does not exist")
    if (settled := _settled(archive)) is not None:
        return settled
    try:
        with changing(archive) as place:
            finished = tidy(archive, place)
            if archive.is_symlink():
                raise CannotRepair(f"{archive.name} is a link; repair its target")
            if journal.is_file() and is_being_written(journal):
                raise CannotRepair(f"{archive.name} is being recorded; stop its recorder first")
            if not journal.is_file() and not archive.exists():
                raise CannotRepair(f"{archive} does not exist")
            if not journal.is_file() and check(archive).sound:
                if finished:
                    return Repaired(archive, None, _rows(archive), "a repair that had been interrupted was completed")
                complete = f"{archive.name} was finalised by its recorder and is complete"
                raise CannotRepair(f"{complete}; there is nothing to repair")
            return _repaired(archive, journal, place)
    except Busy as error:
        raise CannotRepair(f"{archive.name} is being changed by another process; wait until it ends") from error


def _settled(archive: Path) -> Repaired | None:
    """The result for a complete archive whose journal only had to be removed."""
    try:
        if not settle(archive):
            return None
    except (OSError, ValueError):  # there is more to repair
        return None
    archive = locations.archive_in_place(archive)
    return Repaired(archive, None, _rows(archive), "it was complete and is on the disk; its journal was removed")


def _repaired(archive: Path, journal: Path, place: int) -> Repaired:
    skip = damaged_chunks(archive)
    messages, lost, note = _readable(archive, journal, skip)
    if not messages:
        raise CannotRepair(f"nothing of {archive.name} can be read: {note}")
    made = archive.with_name(repairing(archive))
    try:
        try:
            rows = _written(made, _write(made, messages, _old(archive, messages), skip, lost))
        except CannotRepair:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError) as error:
            raise CannotRepair(f"{archive.name} cannot be stored in an archive: {error!r}"[:300]) from error
        os.rename(made.name, repaired(archive), src_dir_fd=place, dst_dir_fd=place)
        kept = _replace(archive, journal, place)
    except BaseException:
        for name in (made.name, repaired(archive)):
            with contextlib.suppress(OSError):
                remove(name, place)
        raise
    return Repaired(archive, archive.with_name(kept), rows, note, list(dict.fromkeys(lost)))


def _replace(archive: Path, journal: Path, place: int) -> str:
    """Move the old files to a new folder, whose name is returned, and the new archive to their place."""
    kept = _made_free(f"{short_stem(archive.stem)}.before-repair", place)
    into = open_folder(kept, place)
    old = (archive.name if exists(archive.name, place) else locations.packed_of(archive).name, journal.name)
    try:
        for name in old:
            if exists(name, place):
                move(name, place, name, into)
        sync_folder(into)
        os.rename(repaired(archive), archive.name, src_dir_fd=place, dst_dir_fd=place)
    except BaseException:
        # A Ctrl-C may come between any two of these: the existing files show how far it got.
        with contextlib.suppress(OSError):
            if exists(repaired(archive), place):
                for name in old:
                    if exists(name, into):
                        move(name, into, name, place)
                os.rmdir(kept, dir_fd=place)
        raise
    finally:
        os.close(into)
    sync_place(archive.parent)
    return kept


def _made_free(name: str, place: int) -> str:
    """Make a folder with an unused name."""
    for attempt in range(1, 1000):
        candidate = name if attempt == 1 else f"{name}-{attempt}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(candidate, FOLDER_MODE, dir_fd=place)
            return candidate
    raise FileExistsError(errno.EEXIST, "1000 earlier copies exist; remove some", name)


def _old(archive: Path, messages: list[Message]) -> Archive | None:
    try:
        old = Archive(archive)
        _same_run(old, messages)
    except (NotARun, OSError):
        return None
    return old


def _same_run(archive: Archive, messages: list[Message]) -> None:
    """Raises NotARun if an archive belongs to another run than these messages."""
    if messages and messages[0].get("time") != archive.attributes.get("time"):
        raise NotARun("the archive next to the journal is another run's")


def _readable(archive: Path, journal: Path, skip: Skip) -> tuple[list[Message], list[str], str]:
    """All messages that can be read, from the journal and then the archive; what is lost; and a note on the rest."""
    run, read = Run(), ReadSoFar()
    found: list[Message] = []
    lost: list[str] = []
    notes: list[str] = []
    if journal.exists():
        reader = JournalReader(journal)
        try:
            while messages := reader.poll():
                for message in checked(messages):
                    run.feed(message)
                    read.add(message)
                    found.append(message)
        except NotARun as error:
            notes.append(str(error))
            lost += [f"{journal.name} after its message {len(found):,}: {error}"] if found else []
        finally:
            reader.close()
        notes += [reader.note] if reader.note else []
    if archive.exists() and not read.ended:
        count = len(found)
        try:
            opened = Archive(archive, skip)
            _same_run(opened, found)
            for message in beyond(read, opened):
                run.feed(message)
                # Rows are read now, so that what is damaged among them is known.
                found += as_recorded(message)
        except NotARun as error:
            notes.append(str(error))
            lost += [f"{archive.name} after that: {error}"] if len(found) > count else []
        if len(found) > count:
            lost += opened.lost
    return found, lost, "; ".join(notes)


def _write(made: Path, messages: list[Message], old: Archive | None, skip: Skip, lost: list[str]) -> Run:
    """The new archive; gives the run that it holds."""
    run, writer = Run(), ArchiveWriter(made, empty=True)
    try:
        _fill(writer, run, messages, old, skip, lost)
        writer.sync()
    finally:
        writer.close()
    return run


def _fill(
    writer: ArchiveWriter, run: Run, messages: list[Message], old: Archive | None, skip: Skip, lost: list[str]
) -> None:
    ends = [m for m in messages if m["t"] == protocol.END]
    if old is not None and (tags := known_tags(old.attributes)):
        messages = [{**messages[0], TAGS_ATTRIBUTE: list(tags)}, *messages[1:]]
    for message in messages:
        skipped = run.skipped
        run.feed(message)
        if run.skipped > skipped:
            lost.append(f"a message of kind {message['t']} that violates the format")
        elif message["t"] != protocol.END and _known(message):
            writer.feed(message)
    if old is not None:
        carry_over(writer, run, old.store, skip, lost)
        lost += [n for n in old.lost if n not in lost]
    begun = [float(m["time"]) for m in messages if isinstance(m.get("time"), float)]
    stepped = [float(s.times[-1]) for g in run.stages for s in g.streams.values() if s.rows]
    last = max(stepped or begun, default=time.time())
    if not ends:
        error = "not finalised by its recorder; repaired"
        ends = [{"t": protocol.END, "time": last, "status": "interrupted", "error": error}]
    if lost:
        report = event("warning", f"repaired; lost: {'; '.join(lost[:20])}"[:2000], payload={"lost": lost[:1000]})
        writer.feed({**report, "time": float(ends[0]["time"])})
    writer.feed(ends[0])


def _written(made: Path, run: Run) -> dict[str, int]:
    """Rows of the new archive, read from it. Raises CannotRepair if it has fewer than there were to be written."""
    rows = _rows(made)
    for name, count in rows_of(run).items():
        if rows.get(name, 0) < count:
            raise CannotRepair(f"only {rows.get(name, 0):,} of {count:,} rows of {name} could be written")
    return rows


def _rows(archive: Path) -> dict[str, int]:
    held = Run()
    for message in Archive(archive).messages():
        held.feed(message)
    return rows_of(held)


def _known(message: Message) -> bool:
    """Whether an archive has a place for a message: streams of other names are a newer version's."""
    of_streams = (protocol.STREAM, protocol.STEP, protocol.PREVIEW, protocol.DECODED, protocol.PALETTE)
    return message["t"] not in of_streams or message["stream"] in protocol.STREAMS
