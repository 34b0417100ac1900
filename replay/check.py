"""Verifies a recorded run: documents, row counts, chunks by size and checksum, and the journal against the archive."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recorder import locations, words
from recorder.journal import JournalReader, is_being_written
from recorder.zarr3 import CHECKSUMS
from replay.archive import root_attributes
from replay.run import NotARun, Run

ITEM_BYTES = {"float16": 2, "float32": 4, "float64": 8, "int64": 8, "uint8": 1}
MAX_CHUNK_BYTES = 1 << 30


@dataclass
class Report:
    """What a check found. `problems` is empty where everything that was acknowledged is there and whole."""

    path: Path
    status: str
    rows: dict[str, int] = field(default_factory=dict)
    """Readable rows by `stage_0/video`."""
    chunks: int = 0
    """Chunk files whose checksum was compared."""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "status": self.status,
            "sound": self.sound,
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
    archive = locations.archive_of(path) if path.suffix == locations.JOURNAL_SUFFIX else path
    journal = locations.journal_of(archive)
    if journal.is_file() and is_being_written(journal):
        report = Report(archive, "live", notes=["it is being recorded; only its journal was checked"])
        _read_journal(journal, report)
        return report
    report = Report(archive, "unfinished")
    followed = _read_journal(journal, report) if journal.is_file() else None
    try:
        attributes = root_attributes(archive)
    except NotARun as error:
        # Before anything is folded the journal is the whole run.
        (report.notes if followed and not archive.exists() else report.problems).append(str(error))
        return report
    finished = "ended" in attributes
    report.status = str(attributes.get("status")) if finished else "unfinished"
    if not finished:
        gone = "" if followed else ", and its journal is gone: what was not folded into it is lost"
        report.problems.append(f"the run was never ended{gone}; mend it with: ltxtui runs repair {archive}")
    elif followed is not None:
        report.problems.append(f"a journal stands beside the finished archive: {journal.name}")
    try:
        _check_archive(archive, attributes, finished, report)
        if followed is not None:
            _compare(archive, attributes, followed, report)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
        report.problems.append(f"the metadata are damaged: {error!r}")
    return report


def _read_journal(journal: Path, report: Report) -> Run | None:
    """The run that a journal holds, as far as it can be read; None if it holds none."""
    run, reader = Run(), JournalReader(journal)
    try:
        while messages := reader.poll():
            for message in messages:
                run.feed(message)
    except NotARun as error:
        report.problems.append(f"{journal.name}: {error}")
    finally:
        reader.close()
    if reader.note and report.status != "live":
        (report.problems if reader.broken else report.notes).append(f"{journal.name}: {reader.note}")
    for stage in run.stages:
        for stream in stage.streams.values():
            report.rows[f"stage_{stage.index}/{stream.name}"] = stream.rows
    return run if run.header else None


def _check_archive(archive: Path, attributes: dict[str, Any], finished: bool, report: Report) -> None:
    nodes: dict[str, dict[str, Any]] = {}
    for name in sorted({f.parent.relative_to(archive).as_posix() for f in archive.rglob("zarr.json")} - {"."}):
        try:
            nodes[name] = json.loads((archive / name / "zarr.json").read_bytes())
        except (ValueError, RecursionError) as error:
            report.problems.append(f"{name}/zarr.json is damaged: {error}")
    rows = {str(k): int(v) for k, v in attributes["rows"].items()}
    for stream, count in rows.items():
        report.rows[stream] = max(report.rows.get(stream, 0), count)
        if stream not in nodes:
            report.problems.append(f"{stream} is missing, and should have {count} rows")
            continue
        declared = {m["name"]: tuple(m["shape"]) for m in nodes[stream]["attributes"]["metrics"]}
        for metric, shape in (*declared.items(), ("time", ())):
            _check_array(f"{stream}/{metric}", nodes, count, shape, finished, report)
    if finished:
        _check_consolidated(archive, nodes, report)
        _check_chunks(archive, nodes, report)


def _check_array(
    name: str, nodes: dict[str, dict[str, Any]], rows: int, shape: tuple[int, ...], finished: bool, report: Report
) -> None:
    document = nodes.get(name)
    if document is None:
        report.problems.append(f"{name} is missing, and should have {rows} rows")
        return
    found = tuple(document["shape"])
    right = found[0] == rows if finished else found[0] >= rows
    if not right or found[1:] != shape:
        report.problems.append(f"{name} has shape {list(found)}, and should have {[rows, *shape]}")


def _check_consolidated(archive: Path, nodes: dict[str, dict[str, Any]], report: Report) -> None:
    root = json.loads((archive / "zarr.json").read_bytes())
    held = (root.get("consolidated_metadata") or {}).get("metadata")
    if held is None:
        report.problems.append("the archive has no consolidated metadata")
        return
    for name in sorted(set(held) | set(nodes)):
        ours = {k: v for k, v in held.get(name, {}).items() if k != "consolidated_metadata"}
        own = {k: v for k, v in nodes.get(name, {}).items() if k != "consolidated_metadata"}
        if ours != own:
            report.problems.append(f"{name}/zarr.json is not what the consolidated metadata say")


def _check_chunks(archive: Path, nodes: dict[str, dict[str, Any]], report: Report) -> None:
    """Sizes and checksums of all chunk files."""
    file = archive / CHECKSUMS
    if not file.is_file():
        report.notes.append("no checksums were kept: it was recorded by an older version")
        return
    try:
        expected = {str(k): int(v) for k, v in json.loads(file.read_bytes())["crc32"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        report.problems.append(f"{CHECKSUMS} is damaged: {error!r}")
        return
    there = {f.relative_to(archive).as_posix() for f in archive.rglob("*") if "/c/" in f.as_posix() and f.is_file()}
    for name in sorted(expected.keys() - there):
        report.problems.append(f"{name} is missing")
    for name in sorted(there - expected.keys()):
        report.notes.append(f"{name} has no checksum: it was added later")
    for name in sorted(there & expected.keys()):
        node = nodes.get(name.rsplit("/c/", 1)[0])
        if node is None:
            report.problems.append(f"{name} belongs to no array")
            continue
        size = math.prod(node["chunk_grid"]["configuration"]["chunk_shape"]) * ITEM_BYTES[node["data_type"]]
        actual = (archive / name).stat().st_size
        if actual != size or size > MAX_CHUNK_BYTES:
            report.problems.append(f"{name} has {actual:,} bytes, and should have {size:,}")
        elif zlib.crc32((archive / name).read_bytes()) != expected[name]:
            report.problems.append(f"{name} is damaged: its checksum is another")
        report.chunks += 1


def _compare(archive: Path, attributes: dict[str, Any], followed: Run, report: Report) -> None:
    """Rows that are in both the journal and the archive are the same."""
    import zarr

    root = zarr.open_group(str(archive), mode="r", use_consolidated=False)
    for stage in followed.stages:
        for stream in stage.streams.values():
            name = f"stage_{stage.index}/{stream.name}"
            count = min(stream.rows, int(attributes["rows"].get(name, 0)))
            for metric in stream.metrics.values() if count else ():
                try:
                    held: Any = root[f"{name}/{metric.name}"]
                    ours = np.asarray(held[:count], "<f4")
                except (KeyError, OSError, ValueError, IndexError) as error:
                    report.problems.append(f"{name}/{metric.name} cannot be read: {error!r}")
                    continue
                theirs = stream.values(metric.name)[:count]
                if ours.shape != theirs.shape or not np.array_equal(ours, theirs, equal_nan=True):
                    report.problems.append(f"{name}/{metric.name} is not what the journal says")


def rows_of(run: Run) -> dict[str, int]:
    """Rows by `stage_0/video`."""
    return {f"stage_{s.index}/{n}": d.rows for s in run.stages for n, d in s.streams.items() if n in words.STREAMS}
