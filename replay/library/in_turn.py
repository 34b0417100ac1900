"""The runs of a folder one after the other, newest first, while they are read: a list needs no memory for all lines."""

from __future__ import annotations

import heapq
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from recorder.format import locations
from recorder.journal.journal import is_being_written
from replay.library.cache import ListingCache
from replay.library.describe import described, looked_again
from replay.library.folder_names import Stamp, names_in, stamp_in
from replay.library.journal_tail import JournalTail
from replay.library.run_info import RunInfo
from replay.library.unreadable import Unreadable, refuse
from replay.model.validation import NotARun

_AT_ONCE: Final = 250
"""Archives whose lines are asked from the cache together."""
_TIME: Final = re.compile(r"\d{8}-\d{6}(?=-)")
_LATE: Final = 1.0
"""A name has the second in which its run began."""


def each(runs_dir: Path, cache: ListingCache | None = None) -> Iterator[RunInfo | Unreadable]:
    """The runs of a folder, newest first, and in between what looks like one and cannot be read.

    A run is given once no other can be newer: when one began is known from the cache, its name or its archive's time
    of change, which are that or later. With a cache only those are read that have changed since; it is filled, and the
    caller saves it.

    Raises:
        OSError: if the folder cannot be read; one that does not exist has no runs.
    """
    try:
        names = names_in(runs_dir)
    except (FileNotFoundError, NotADirectoryError):
        return
    live = _live(runs_dir, names)
    order = _latest_starts(runs_dir, names, {} if cache is None else cache.starts())
    waiting: list[tuple[float, _Falling, RunInfo]] = []  # a heap, which gives the smallest first
    for first in range(0, len(order), _AT_ONCE):
        some = order[first : first + _AT_ONCE]
        known = _known(runs_dir, names, [name for _, name in some if name not in live], cache)
        for latest, name in some:
            while waiting and -waiting[0][0] > latest:
                yield heapq.heappop(waiting)[-1]
            line = live.get(name) or _read(runs_dir / name, *known[name], cache)
            if isinstance(line, RunInfo):
                heapq.heappush(waiting, (-line.started, _Falling(line.name), line))
            elif line is not None:
                yield line
    while waiting:
        yield heapq.heappop(waiting)[-1]


class _Falling(str):
    """A name that comes before those that it comes after."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)


def _live(runs_dir: Path, names: dict[str, bool]) -> dict[str, RunInfo]:
    """Lines of runs that are being recorded. They come first, since telling a stalled one takes a second look."""
    suspects: list[JournalTail] = []
    found: dict[str, RunInfo] = {}
    try:
        for name, has_journal in names.items():
            path = runs_dir / name if has_journal else Path()
            if has_journal and is_being_written(locations.journal_of(path)):
                try:
                    found[name] = described(path, suspects)
                except (NotARun, OSError):
                    continue  # it has just ended, or is told as one that cannot be read
        found.update((line.path.name, line) for line in looked_again(suspects))
        return found
    finally:
        for tail in suspects:
            tail.close()


def _latest_starts(runs_dir: Path, names: dict[str, bool], known: dict[str, float]) -> list[tuple[float, str]]:
    """For each name when its run began at the latest, the latest first."""
    found = []
    for name, has_journal in names.items():
        latest = known.get(name)
        if latest is None and (time_in_name := _TIME.match(name)):
            latest = _seconds(time_in_name[0])
        if latest is None:
            stamp = stamp_in(str(runs_dir), name, has_journal)
            latest = 0.0 if stamp is None else max(stamp[::2]) / 1e9
        found.append((latest, name))
    found.sort(reverse=True)
    return found


def _seconds(text: str) -> float | None:
    try:
        return time.mktime(time.strptime(text, "%Y%m%d-%H%M%S")) + _LATE
    except (ValueError, OverflowError):
        return None


def _known(
    runs_dir: Path, names: dict[str, bool], some: list[str], cache: ListingCache | None
) -> dict[str, tuple[Stamp | None, RunInfo | None]]:
    """The stamps of archives, and the lines that the cache has of them."""
    stamps = {name: stamp_in(str(runs_dir), name, names[name]) for name in some}
    there = {name: stamp for name, stamp in stamps.items() if stamp is not None}
    lines = {} if cache is None else cache.lines(runs_dir, there)
    return {name: (stamp, lines.get(name)) for name, stamp in stamps.items()}


def _read(
    archive: Path, stamp: Stamp | None, known: RunInfo | None, cache: ListingCache | None
) -> RunInfo | Unreadable | None:
    """The line of an archive: the one that is known, or else read."""
    if known is not None:
        return known
    suspects: list[JournalTail] = []
    try:
        line = described(archive, suspects)
    except (NotARun, OSError) as error:
        return refuse(archive, error)
    finally:
        for tail in suspects:
            tail.close()
    if cache is not None and stamp is not None and not line.live:
        cache.put(line, stamp)
    return line
