"""Opens a run by its path: the source for its files, or the complete run in memory."""

from __future__ import annotations

import os
from pathlib import Path

from recorder.format import locations
from recorder.journal.journal import JournalReader, is_being_written
from replay.archive.reader import Archive
from replay.model.run import Run
from replay.model.validation import NotARun
from replay.remote.stores.address import is_store, parse_store
from replay.remote.stores.fetch import fetch
from replay.remote.stores.problems import StoreProblem
from replay.sources.archive_source import ArchiveSource as ArchiveSource
from replay.sources.interface import Liveness as Liveness
from replay.sources.interface import Source as Source
from replay.sources.interface import damage_of as damage_of
from replay.sources.journal_source import JournalSource as JournalSource
from replay.sources.pending import AwaitedSource as AwaitedSource
from replay.sources.socket_source import SocketSource as SocketSource


def open_path(path: Path) -> Source:
    """The source for an archive or a journal, finished or not.

    Raises:
        NotARun: if `path` is not a run, with the reason.
        OSError: if it cannot be read.
    """
    path = locations.named_path(path)
    if path.suffix == locations.JOURNAL_SUFFIX and path.is_file():
        return _checked_journal(path)
    journal = locations.journal_of(path)
    if journal.is_file():
        return _checked_journal(journal)
    return ArchiveSource(locations.archive_in_place(path))


def _checked_journal(path: Path) -> JournalSource:
    # The first bytes decide; a separate reader, so that the source still starts at the beginning.
    first = JournalReader(path)
    try:
        messages = first.poll(1)
    finally:
        first.close()
    if messages:
        Run().feed(messages[0])
    elif not is_being_written(path):
        try:
            Archive(locations.archive_in_place(locations.archive_of(path)))
        except (NotARun, OSError):
            raise NotARun(f"{path} has no readable message: {first.note or 'it is empty'}") from None
    return JournalSource(path)


def load(path: str | os.PathLike[str]) -> Run:
    """Read the complete run at `path`, as far as it is recorded now.

    The run is the one that the dashboard shows: stages, streams, metrics as float32 arrays [steps, …], events. Metrics
    of an archive are read from its files when they are asked for; values that are damaged are NaN, and `Run.damage`
    reports them.

    Args:
        path: an archive (`….zarr`, or packed `….zarr.zip`), finished or not, or a journal (`….journal`); or the address
            of an archive on a store, such as `s3://bucket/run.zarr.zip`, which is fetched into the user's cache.

    Raises:
        NotARun: if `path` is not a run, with the reason.
        OSError: if it cannot be read, also from a store.
        ImportError: if the package of a store is missing, with the extra that brings it.
    """
    source = open_path(_local(os.fspath(path)))
    run = Run()
    try:
        while messages := source.poll():
            for message in messages:
                run.feed(message)
        run.damage = damage_of(source)
    finally:
        source.close()
    return run


def _local(path: str) -> Path:
    """The path itself, or that of the archive that is fetched into the cache. Raises OSError, ImportError."""
    if not is_store(path) or Path(path).exists():
        return Path(path)
    try:
        return fetch(parse_store(path))
    except StoreProblem as problem:
        raise OSError(str(problem)) from problem
