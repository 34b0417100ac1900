"""Verifies a recorded run: documents, row counts, chunks by size and checksum, and the journal against the archive."""

from __future__ import annotations

import shlex
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from recorder.format import locations, paths, protocol
from recorder.format.array_document import MAX_DOCUMENT_BYTES
from recorder.format.numerals import counted
from recorder.journal.journal import JournalReader, is_being_written
from replay.archive.array_metadata import MAX_CHUNK_BYTES
from replay.archive.reader import Archive
from replay.archive.safe_files import Damaged, Missing, checked, parse
from replay.archive.storage import Storage
from replay.archive.store import ArrayReader
from replay.model.run import Run
from replay.model.stream import StreamData
from replay.model.validation import NotARun

MAX_PROBLEMS: Final = 1000


@dataclass
class Report:
    """What a check found. `problems` is empty if everything that was acknowledged is present and intact."""

    path: Path
    status: str
    rows: dict[str, int] = field(default_factory=dict)
    """Readable rows by `stage_0/video`."""
    chunks: int = 0
    """Chunk files whose checksum was compared."""
    problems: list[str] = field(default_factory=list)
    omitted: int = 0
    """Problems beyond the first MAX_PROBLEMS."""
    notes: list[str] = field(default_factory=list)
    damaged: dict[str, set[str]] = field(default_factory=dict)
    """By array, keys of chunks that have changed since they were written."""

    @property
    def sound(self) -> bool:
        """Whether everything that was acknowledged is present and intact, even if that is nothing."""
        return not self.problems

    @property
    def empty(self) -> bool:
        """Whether a run that has ended holds no row: nothing was recorded, even if its files are intact."""
        return self.status != "live" and not any(self.rows.values())

    @property
    def word(self) -> str:
        """The result in a word or two."""
        if self.problems:
            return counted(min(len(self.problems), MAX_PROBLEMS) + self.omitted, "problem")
        return "nothing recorded" if self.empty else "sound"

    def problem(self, text: str) -> None:
        """Report a problem; beyond MAX_PROBLEMS only their number, in a last line."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(text)
        else:
            self.omitted += 1
            self.problems[MAX_PROBLEMS:] = [f"and {self.omitted} more"]

    def as_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "status": self.status,
            "sound": self.sound and not self.empty,
            "empty": self.empty,
            "rows": self.rows,
            "chunks": self.chunks,
            "problems": self.problems,
            "notes": self.notes,
        }


def check(path: Path) -> Report:
    """Verify the run at `path`, an archive or a journal; changes nothing.

    Raises:
        OSError: if it cannot be read at all.
    """
    path = locations.named_path(path)
    archive = locations.archive_of(path) if path.suffix == locations.JOURNAL_SUFFIX else path
    archive = locations.archive_in_place(archive)
    journal = locations.journal_of(archive)
    if journal.is_file() and is_being_written(journal):
        report = Report(archive, "live", notes=["it is being recorded; only its journal was checked"])
        _read_journal(journal, report)
        return report  # what is missing so far may be reported at its end
    report = Report(archive, "unfinished")
    beside = journal.is_file()
    followed = _read_journal(journal, report) if beside else None
    try:
        opened = Archive(archive, {})  # its chunks are all checked below
    except NotARun as error:
        # Before anything is archived, the journal is the complete run.
        (report.notes if followed and not archive.exists() else report.problems).append(str(error))
        if followed is not None:
            _report_missed(followed, report)
        return report
    report.status = str(opened.attributes.get("status")) if opened.ended else "unfinished"
    repair = f"ltxtui runs repair {shlex.quote(str(archive))}"
    if not opened.ended:
        left = "nothing of its journal can be read" if beside else "its journal is gone"
        gone = "" if followed else f", and {left}: what the archive does not hold is lost"
        report.problem(f"the run was not finalised{gone}; repair it with: {repair}")
    elif beside:
        text = f"a journal is left next to the finished archive: {journal.name}"
        if followed is None or followed.end is None:
            report.problem(text)
        else:  # the archive may not have been on the disk when its recorder ended
            report.notes.append(f"{text}; the next run in this folder removes it, or: {repair}")
    held = Run()
    for message in opened.messages():
        held.feed(message)
    for name, rows in rows_of(held).items():
        report.rows[name] = max(report.rows.get(name, 0), rows)
    _check_files(opened, report)
    _check_shapes(held, opened, report)
    if beside:
        _compare(held, followed or Run(), journal.name, report)
    _report_missed(held if followed is None else followed, report)
    for note in opened.notes:
        if note not in report.problems:
            report.problem(note)
    return report


def _report_missed(run: Run, report: Report) -> None:
    """Steps that were taken and have no row."""
    for name, count in run.missed.items():
        report.notes.append(f"{count} step{'s' * (count > 1)} of {name} could not be recorded")


def _read_journal(journal: Path, report: Report) -> Run | None:
    """The run that a journal holds, as far as it can be read; None if it holds none."""
    run, reader = Run(), JournalReader(journal)
    try:
        while messages := reader.poll():
            for message in messages:
                run.feed(message)
    except NotARun as error:
        report.problem(f"{journal.name}: {error}")
    finally:
        reader.close()
    if reader.note and report.status != "live":
        (report.problems if reader.broken else report.notes).append(f"{journal.name}: {reader.note}")
    report.rows.update(rows_of(run))
    return run if run.header else None


def _check_files(opened: Archive, report: Report) -> None:
    """Every file: what is not a file, documents, and chunks by size and checksum."""
    store = opened.store
    arrays: dict[str, ArrayReader] = {}
    documents: dict[str, Any] = {}
    chunks: list[str] = []
    for name, plain in store.storage.files():
        if not plain:
            report.problem(f"{name} is not a file or folder; no reader uses it")
        elif (node := paths.parse_document(name)) is not None:
            try:
                documents[node] = parse(store.storage.read(name, MAX_DOCUMENT_BYTES))
                if documents[node].get("node_type") != "group":
                    arrays[node] = ArrayReader(store, node, documents[node])
            except Damaged as error:
                report.problem(f"{name} is damaged: {error}")
        elif paths.parse_chunk(name) is not None:
            chunks.append(name)
    if not opened.ended:
        return
    _check_consolidated(documents, report)
    _check_chunks(store.storage, arrays, chunks, report)


def _check_consolidated(documents: dict[str, Any], report: Report) -> None:
    try:
        held = checked(checked(documents.get("", {}).get("consolidated_metadata")).get("metadata"))
    except Damaged:
        report.problem("the archive has no consolidated metadata")
        return
    for name in sorted(set(held) | set(documents) - {""}):
        found = held.get(name)
        ours = {k: v for k, v in found.items() if k != "consolidated_metadata"} if isinstance(found, dict) else None
        own = {k: v for k, v in documents.get(name, {}).items() if k != "consolidated_metadata"}
        if ours != own:
            report.problem(f"{paths.document(name)} differs from the consolidated metadata")


def _check_chunks(storage: Storage, arrays: dict[str, ArrayReader], there: list[str], report: Report) -> None:
    """Sizes and checksums of all chunk files."""
    expected = checksums(storage, report)
    if expected is None:
        return
    for name in sorted(expected.keys() - set(there)):
        report.problem(f"{name} is missing")
    for name in there:
        node, key = paths.parse_chunk(name) or (name, "")
        array, crc = arrays.get(node), expected.get(name)
        if array is None:
            report.problem(f"{name} does not belong to any array")
        elif crc is None:
            report.notes.append(f"{name} has no checksum: it was added later")
        else:
            try:
                data = storage.read(name, MAX_CHUNK_BYTES)
                if len(data) != array.chunk_bytes:
                    raise Damaged(f"has {len(data):,} bytes instead of {array.chunk_bytes:,}")
                if zlib.crc32(data) != crc:
                    raise Damaged("is damaged: its checksum differs")
            except Damaged as error:
                report.problem(f"{name} {error}")
                report.damaged.setdefault(node, set()).add(key)
            report.chunks += 1


def checksums(storage: Storage, report: Report) -> dict[str, int] | None:
    """Checksums of chunks by their paths; None, and the reason in the report, if there are none."""
    try:
        known = checked(parse(storage.read(paths.CHECKSUMS, MAX_DOCUMENT_BYTES)).get("crc32"))
    except Missing:
        report.notes.append("there are no checksums: the run was recorded by an older version")
        return None
    except Damaged as error:
        report.problem(f"{paths.CHECKSUMS} is damaged: it {error}")
        return None
    return {name: crc for name, crc in known.items() if type(crc) is int}


def _check_shapes(held: Run, opened: Archive, report: Report) -> None:
    """Finished arrays have exactly the rows that count, and chunks for all of them."""
    for name, count in opened.attributes["rows"].items():
        stream = _stream_of(held, name)
        if stream is None:
            report.problem(f"{name} cannot be read; it should have {count} rows")
            continue
        for metric in (paths.TIME, *stream.metrics):
            try:
                array = opened.store.array(f"{name}/{metric}")
                if opened.ended and array.rows != count:
                    raise Damaged(f"has shape {list(array.shape)}; it should have {count} rows")
                if array.covered() < count:
                    raise Damaged(f"has complete chunks for {array.covered()} of {count} rows")
            except Damaged as error:
                text = f"{name}/{metric} {error}"
                if text not in opened.notes and not any(p.startswith(f"{name}/{metric}/") for p in report.problems):
                    report.problem(text)


def _stream_of(run: Run, key: str) -> StreamData | None:
    node = paths.parse(key)
    if node is None or node.stream is None or node.array is not None or node.stage >= len(run.stages):
        return None
    return run.stages[node.stage].streams.get(node.stream)


def _compare(held: Run, followed: Run, journal: str, report: Report) -> None:
    """The archive is not ahead of its journal, and rows that are in both are the same."""
    there = rows_of(followed)
    for name, rows in rows_of(held).items():
        if rows > there.get(name, 0):
            report.problem(
                f"{journal} ends before the archive: it has {there.get(name, 0):,} of {rows:,} rows of {name}"
            )
    for one, other in zip(held.stages, followed.stages, strict=False):
        for name in one.streams.keys() & other.streams.keys():
            ours, theirs = one.streams[name], other.streams[name]
            count = min(ours.rows, theirs.rows)
            for metric in ours.metrics.keys() & theirs.metrics.keys() if count else ():
                a, b = ours.values(metric)[:count], theirs.values(metric)[:count]
                if a.shape != b.shape or not np.array_equal(a, b, equal_nan=True):
                    report.problem(f"{paths.stream(one.index, name)}/{metric} differs from the journal")


def rows_of(run: Run) -> dict[str, int]:
    """Rows by `stage_0/video`."""
    return {paths.stream(s.index, n): d.rows for s in run.stages for n, d in s.streams.items() if n in protocol.STREAMS}


def damaged_chunks(archive: Path) -> dict[str, frozenset[str]]:
    """By array, keys of chunks of a finished archive whose size or checksum has changed since they were written."""
    report = Report(archive, "")
    try:
        opened = Archive(archive)
    except (NotARun, OSError):
        return {}
    _check_files(opened, report)
    return {name: frozenset(keys) for name, keys in report.damaged.items()}
