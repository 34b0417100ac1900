"""Lists the runs of a folder: archives and journals, without opening archives. Needs neither zarr nor torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from replay.library.cache import ListingCache
from replay.library.describe import describe_run as describe_run
from replay.library.folder_names import names_in
from replay.library.in_turn import each
from replay.library.live_runs import LiveRun as LiveRun
from replay.library.live_runs import live_runs as live_runs
from replay.library.run_info import RunInfo as RunInfo
from replay.library.unreadable import Unreadable

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
    for one in each(runs_dir, cache):
        if isinstance(one, RunInfo):
            found.append(one)
        else:
            unreadable.append(one)
    found.sort(key=lambda r: (r.started, r.name), reverse=True)
    return Listing(found, sorted(unreadable, key=lambda u: u.name, reverse=True))


@dataclass(frozen=True)
class Listing:
    """What a folder has: runs, and what looks like one and cannot be read."""

    runs: list[RunInfo]
    unreadable: list[Unreadable]


def cached_look(runs_dir: Path, judge: Judge | None = None) -> Listing:
    """The same as `look`, with the folder's cache: thousands of runs are listed at once.

    `judge` gives verdicts to runs whose archives keep none, as `verdicts.with_verdicts` does.
    """
    cache = ListingCache(runs_dir)
    try:
        found = look(runs_dir, cache)
        return found if judge is None else replace(found, runs=list(judge(found.runs, cache)))
    finally:
        cache.close()


def cached_runs(runs_dir: Path) -> list[RunInfo]:
    """The runs of `cached_look`."""
    return cached_look(runs_dir).runs


def newest(runs_dir: Path) -> RunInfo | None:
    """The first run of `cached_look`; only few others are read."""
    cache = ListingCache(runs_dir)
    try:
        return next((one for one in each(runs_dir, cache) if isinstance(one, RunInfo)), None)
    finally:
        cache.close()


def archives_in(runs_dir: Path) -> dict[Path, bool]:
    """The archives that a folder has or, by their journals, will have, and whether there is a journal.

    Nothing but the folder is read. Of a run that is there as a folder and packed, the folder is listed.
    """
    try:
        return {runs_dir / name: journal for name, journal in names_in(runs_dir).items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
