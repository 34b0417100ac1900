"""The line of an archive in a list of runs, from its documents only: no array is read."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from typing import Any, Final

from recorder.findings.rules import VERSION
from recorder.format import locations, paths
from replay.archive.disk_storage import DiskStorage
from replay.archive.open_storage import attributes_of as node_attributes
from replay.archive.reader import open_storage
from replay.archive.safe_files import Damaged, Missing
from replay.archive.storage import Storage
from replay.library.run_info import Gathered, RunInfo, known_tags
from replay.model import validation
from replay.model.stored_findings import stored_verdict
from replay.model.validation import NotARun, check_header

_MISFITS: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""What attributes raise that are not what they should be, NotARun among them."""


def from_archive(archive: Path) -> RunInfo:
    """The line of a run from what its archive keeps at the root, of stages and of events.

    Raises:
        NotARun: if that cannot be read.
        OSError: if a document is missing or cannot be read.
    """
    return from_storage(open_storage(archive) if archive.is_file() else DiskStorage(archive))


def from_storage(storage: Storage) -> RunInfo:
    """The same, of an archive whose files are read elsewhere. Raises as `from_archive`."""
    archive, root = storage.path, attributes_of(storage)
    try:
        check_header(root)
        started = validation.read_time(root["time"], "the run's time")
        known = Gathered(started=started, model=str(root["metadata"].get("model") or ""))
        for key, count in root["rows"].items():
            stage = _stage_of(key)
            rows = validation.read_int(count, "its number of rows")
            known.steps[stage] = max(known.steps.get(stage, 0), rows)
        for key, count in root.get("missed", {}).items():
            known.missed[str(key)] = validation.read_int(count, "its number of missed steps")
        _details(known, storage, root)
        ended = root.get("ended")
        return known.info(
            archive,
            status=str(root["status"]) if ended is not None else "unfinished",
            seconds=None if ended is None else validation.read_time(ended, "its end") - started,
            bytes=storage.total_bytes(),
            tags=known_tags(root),
            verdict=None if ended is None else stored_verdict(root, VERSION),
        )
    except NotARun as error:
        raise NotARun(f"{archive}: {error}") from error
    except _MISFITS as error:
        raise NotARun(f"{archive} has damaged metadata: {error!r}") from error


def _details(known: Gathered, storage: Storage, root: dict[str, Any]) -> None:
    """Take in stages, summaries and events; what is damaged or gone is left out, as when the archive is opened.

    After a power cut any document may be empty. Raises OSError if one is there and cannot be read.
    """
    for index in sorted(known.steps):
        done = known.steps[index]
        with _left_out():
            known.feed({"t": "stage", **attributes_of(storage, paths.stage(index))})
        known.steps[index] = done
    with _left_out():
        for name, summary in root.get("summary", {}).items():
            known.summary(_stage_of(name), summary)
    events: list[Any] = []
    with _left_out():
        events = list(attributes_of(storage, paths.EVENTS)["messages"])
    for event in events:
        with _left_out():
            known.event(event)


def _left_out() -> contextlib.suppress:
    return contextlib.suppress(FileNotFoundError, *_MISFITS)


def _stage_of(key: str) -> int:
    """The stage that a count or summary in the root attributes belongs to. Raises NotARun."""
    node = paths.parse(key)
    if node is None:
        raise NotARun(f"{key[:40]!r} is not a stage or stream of an archive")
    return node.stage


def is_archive(path: Path) -> bool:
    """Whether the path may be an archive."""
    path = locations.archive_in_place(path)
    return (path / paths.DOCUMENT).is_file() or (locations.is_packed(path) and path.is_file())


def attributes_of(storage: Storage, node: str = "") -> dict[str, Any]:
    """The attributes of a node, without taking apart the metadata of all its arrays where that can be saved.

    Raises:
        NotARun: if it has none that can be read.
        OSError: if it cannot be read.
    """
    file = storage.path / paths.document(node)
    try:
        return node_attributes(storage, node)
    except Missing:
        raise FileNotFoundError(errno.ENOENT, "there is no such file", str(file)) from None
    except Damaged as error:
        raise NotARun(f"{file} is damaged: it {error}") from error


def tags_of(archive: Path) -> tuple[str, ...]:
    """Tags of a run that still has a journal; its archive may not exist yet."""
    try:
        return known_tags(attributes_of(DiskStorage(archive)))
    except (NotARun, OSError):
        return ()


def tree_size(path: Path) -> int:
    """Bytes of all files below a folder; links are not followed."""
    return DiskStorage(path).total_bytes()
