"""Lists the runs of a folder: archives and journals, without opening archives. Needs neither zarr nor torch."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from recorder.format import locations
from replay.library.archive_line import from_archive
from replay.library.cache import ListingCache, stamp_of
from replay.library.journal_tail import JournalTail
from replay.library.live_runs import LiveRun as LiveRun
from replay.library.live_runs import live_runs as live_runs
from replay.library.run_info import RunInfo as RunInfo
from replay.library.unreadable import Unreadable, refuse
from replay.model import pulse
from replay.model.validation import NotARun

Judge = Callable[[Iterable[RunInfo], ListingCache], Iterable[RunInfo]]


def list_runs(runs_dir: Path, cache: ListingCache | None = None) -> list[RunInfo]:
    """All runs in a folder, newest first; what is not a run is passed over.

    With a cache only those are read that have changed since; it is filled, and the caller saves it.
    """
    return look(runs_dir, cache).runs


def look(runs_dir: Path, cache: ListingCache | None = None) -> Listing:
    """All runs in a folder, newest first, and what looks like one and cannot be read; with a cache as `list_runs`."""
    found: list[RunInfo] = []
    unreadable: list[Unreadable] = []
    suspects: list[JournalTail] = []
    try:
        for archive, has_journal in archives_in(runs_dir).items():
            stamp = stamp_of(archive, has_journal)
            info = cache.get(archive, stamp) if cache is not None and stamp is not None else None
            if info is None:
                try:
                    info = _described(archive, suspects)
                except (NotARun, OSError) as error:
                    if (refused := refuse(archive, error)) is not None:
                        unreadable.append(refused)
                    continue
                if cache is not None and stamp is not None and not info.live:
                    cache.put(info, stamp)
            found.append(info)
        again = {line.path: line for line in _looked_again(suspects)}
    finally:
        for tail in suspects:
            tail.close()
    found = [again.get(line.path, line) for line in found]
    found.sort(key=lambda r: (r.started, r.name), reverse=True)
    return Listing(found, sorted(unreadable, key=lambda u: u.name, reverse=True))


@dataclass(frozen=True)
class Listing:
    """What a folder has: runs, and what looks like one and cannot be read."""

    runs: list[RunInfo]
    unreadable: list[Unreadable]


def _looked_again(tails: list[JournalTail]) -> list[RunInfo]:
    """Lines of runs that may be stalled, after a second look that decides."""
    if tails:
        time.sleep(pulse.CONFIRM_SECONDS)
    found = []
    for tail in tails:
        with contextlib.suppress(NotARun, OSError):  # it has just ended; the first result is kept
            while tail.read():
                pass
            found.append(tail.info())
    return found


def cached_look(runs_dir: Path, judge: Judge | None = None) -> Listing:
    """The same as `look`, with the folder's cache: thousands of runs are listed at once.

    `judge` gives verdicts to runs whose archives keep none, as `verdicts.with_verdicts` does.
    """
    cache = ListingCache(runs_dir)
    found = look(runs_dir, cache)
    if judge is not None:
        found = replace(found, runs=list(judge(found.runs, cache)))
    cache.save()
    return found


def cached_runs(runs_dir: Path) -> list[RunInfo]:
    """The runs of `cached_look`."""
    return cached_look(runs_dir).runs


def archives_in(runs_dir: Path) -> dict[Path, bool]:
    """The archives that a folder has or, by their journals, will have, and whether there is a journal.

    Nothing but the folder is read. Of a run that is there as a folder and packed, the folder is listed.
    """
    found: dict[str, bool] = {}
    packed: set[str] = set()
    try:
        with os.scandir(runs_dir) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if name.endswith(locations.ARCHIVE_SUFFIX):
                    found.setdefault(name.removesuffix(locations.ARCHIVE_SUFFIX), False)
                elif name.endswith(locations.JOURNAL_SUFFIX):
                    found[name.removesuffix(locations.JOURNAL_SUFFIX)] = True
                elif name.endswith(locations.PACKED_SUFFIX):
                    packed.add(name.removesuffix(locations.PACKED_SUFFIX))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    folders = {runs_dir / f"{stem}{locations.ARCHIVE_SUFFIX}": journal for stem, journal in found.items()}
    return folders | {runs_dir / f"{stem}{locations.PACKED_SUFFIX}": False for stem in packed - found.keys()}


def describe_run(archive: Path) -> RunInfo:
    """One run's line. Raises NotARun or OSError if it cannot be read."""
    suspects: list[JournalTail] = []
    try:
        line = _described(archive, suspects)
        return next(iter(_looked_again(suspects)), line)
    finally:
        for tail in suspects:
            tail.close()


def _described(archive: Path, suspects: list[JournalTail]) -> RunInfo:
    """One run's line; the tail of one that may be stalled is left open among the suspects, to be closed there."""
    if not locations.journal_of(archive).is_file():
        return from_archive(archive)
    tail = JournalTail(archive)
    try:
        while tail.read():
            pass
        line = tail.info()
        if tail.suspect and line.live:
            suspects.append(tail)
        return line
    finally:
        if tail not in suspects:
            tail.close()
