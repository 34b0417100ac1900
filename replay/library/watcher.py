"""The runs of a folder, kept up to date by passes that are cheap enough for every second and 50,000 runs."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from recorder.format import locations
from replay.library.archive_line import is_archive
from replay.library.cache import ListingCache
from replay.library.folder_names import Stamp, stamp_in, stamp_of
from replay.library.folder_watch import FolderWatch
from replay.library.journal_tail import JournalTail
from replay.library.listing import describe_run
from replay.library.live_runs import LiveRun, LiveSockets
from replay.library.run_info import RunInfo
from replay.library.unreadable import Unreadable, refuse
from replay.model.run import NotARun

AGAIN_SECONDS: Final = 0.02
"""How long each pass looks at archives that are known: all of 50,000 in ten seconds on a fast disk."""
_AT_ONCE: Final = 512
"""Archives whose lines are asked from the cache together."""
_LONG: Final = 5000
_LONGER: Final = 3
"""A long list takes a while to be put in order and drawn: with so many lines, passes are so many times as long."""
_SCREENFUL: Final = 100
"""Lines that are read before the other archives are looked at."""


class RunWatcher:
    """The runs of a folder. Call `update` in a thread, one call at a time; it never waits for a recorder.

    Archives are read at most once: their lines come from the cache while their stamp is the same. Live runs are
    followed by the tail of their journals. Inside, a run goes by its file name, or by its path if it is elsewhere.
    """

    def __init__(self, runs_dir: Path, cache: ListingCache | None = None) -> None:
        self.runs_dir = runs_dir
        self.problem = ""
        """Why live runs of other folders cannot be found; empty if they can."""
        self._cache = cache if cache is not None else ListingCache(runs_dir)
        self._folder = FolderWatch(runs_dir)
        self._sockets = LiveSockets()
        self._answering: dict[str, LiveRun] = {}
        self._lines: dict[str, RunInfo] = {}
        self._stamps: dict[str, Stamp] = {}
        self._tails: dict[str, JournalTail] = {}
        self._unreadable: dict[str, Unreadable] = {}
        self._young: list[str] = []
        """Runs whose journal is still empty."""
        self._pending: list[str] = []
        """Runs to be read, the newest last."""
        self._elsewhere: set[str] = set()
        """Those of other folders."""
        self._tidied = False
        self._runs: list[RunInfo] | None = None
        self._refused: list[Unreadable] | None = None

    @property
    def runs(self) -> list[RunInfo]:
        """All runs that are known, in no order; the same list while nothing has changed."""
        if self._runs is None:
            sockets = {
                key: replace(line, socket=live.socket)
                for key, live in self._answering.items()
                if (line := self._lines.get(key)) is not None and line.live
            }
            self._runs = [*{**self._lines, **sockets}.values()]
        return self._runs

    @property
    def pending(self) -> int:
        """Runs that exist but have not been read yet."""
        return len(self._pending) + len(self._folder.new)

    @property
    def unreadable(self) -> list[Unreadable]:
        """Archives and journals that are not runs, are damaged, or have a newer version; the newest first.

        A folder that cannot be read comes before them. The same list while nothing has changed.
        """
        if self._refused is None:
            found = sorted(self._unreadable.values(), key=lambda u: u.name, reverse=True)
            self._refused = [*([] if self._folder.problem is None else [self._folder.problem]), *found]
        return self._refused

    def update(self, seconds: float = 0.2) -> None:
        """Take in what has changed; reads one run at least, for about `seconds`, and the rest at the next call.

        The first call gives a screenful: what is listed next has to share the processor with drawing it.
        """
        screen_is_empty = not self._lines
        problem = self._folder.problem
        gone = self._folder.look()
        for key in gone:
            self._drop(key)
        if self._folder.listed:  # not while the folder itself is away
            self._cache.drop(gone)
        self._drop_elsewhere()
        end = time.monotonic() + seconds * (_LONGER if len(self._lines) > _LONG else 1)
        if self._folder.problem != problem:
            self._refused = None
        self._follow(end)
        self._pending += self._young
        self._young = []
        while True:
            if self._pending and (len(self._lines) < _SCREENFUL or not self._folder.new):
                self._read(self._pending.pop(), end)
            elif self._folder.new:
                self._look_at(self._folder.new, end)
            else:
                self._look_at(self._folder.again(), time.monotonic() + AGAIN_SECONDS)
                break
            if time.monotonic() > end or (screen_is_empty and len(self._lines) >= _SCREENFUL):
                break
        if not self.pending:
            self._tidy()

    def look_for_sockets(self) -> None:
        """Find live runs of this user, also those that record into other folders. May wait for a new recorder."""
        try:
            found = self._sockets.look()
            self.problem = ""
        except locations.UnsafeLocation as error:
            found, self.problem = [], str(error)
        answering = {self._known_as(live.archive): live for live in found}
        if answering != self._answering:
            self._answering, self._runs = answering, None
        for key in answering.keys() - self._lines.keys() - set(self._pending):
            if key not in self._unreadable and locations.journal_of(self.runs_dir / key).is_file():
                self._pending.append(key)
                if os.sep in key:
                    self._elsewhere.add(key)

    def forget(self, path: Path) -> None:
        """A run was changed or deleted: read it again, if it is still there."""
        key = path.name if path.parent == self.runs_dir else str(path)
        self._stamps.pop(key, None)
        self._folder.forget(key)

    def close(self) -> None:
        """Save the cache and close files; not while an update runs."""
        self._cache.close()
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()

    # Inside

    def _known_as(self, archive: Path) -> str:
        """What an archive goes by that a recorder reports by its absolute path."""
        return archive.name if archive.parent == self.runs_dir.resolve() else str(archive)

    def _drop_elsewhere(self) -> None:
        """Drop runs of other folders that are no longer there."""
        for key in self._elsewhere - self._tails.keys():
            if not os.path.lexists(key):
                self._elsewhere.discard(key)
                self._drop(key)

    def _look_at(self, names: list[str], end: float) -> None:
        """Take names from the end of a list and look at their stamps; what is new or has changed will be read."""
        folder, changed = str(self.runs_dir), {}
        for _ in range(min(len(names), _AT_ONCE if self._lines else _SCREENFUL)):
            key = names.pop()
            stamp = None if key in self._tails else stamp_in(folder, key, self._folder.has_journal(key))
            if stamp is None and key not in self._tails:
                self._refuse(key, FileNotFoundError())
            if stamp is not None and self._stamps.get(key) != stamp:
                changed[key] = self._stamps[key] = stamp
            if time.monotonic() > end:
                break
        if changed:
            lines = self._cache.lines(self.runs_dir, changed)
            for key, line in lines.items():
                self._set(key, line)
            if missing := changed.keys() - lines.keys():
                self._pending = sorted(missing.union(self._pending))  # names begin with the time

    def _tidy(self) -> None:
        """Once all is read: what is no longer in the folder leaves the cache."""
        if not self._tidied and self._folder.listed:
            self._tidied = True
            self._cache.keep_only(self._folder.names.keys())
        self._cache.save()

    def _read(self, key: str, end: float) -> None:
        path = self.runs_dir / key
        journal = locations.journal_of(path)
        try:
            if journal.is_file():
                if journal.stat().st_size or is_archive(path):
                    self._close_tail(key)
                    self._tails[key] = JournalTail(path)
                    self._advance(key, end)
                else:  # it is being created: its recorder must not find its lock held
                    self._young.append(key)
            elif (stamp := stamp_of(path)) is not None:
                self._stamps[key] = stamp
                self._keep(key, describe_run(path))
        except (NotARun, OSError) as error:
            self._refuse(key, error)

    def _follow(self, end: float) -> None:
        for key in list(self._tails):
            try:
                self._advance(key, end)
            except FileNotFoundError:  # the run has ended; its archive has everything
                self._close_tail(key)
                self._pending.append(key)
            except (NotARun, OSError) as error:
                self._refuse(key, error)

    def _advance(self, key: str, end: float) -> None:
        """Read on in a journal. It stays open while its recorder runs, and until all of it is read."""
        stamp = stamp_of(self.runs_dir / key)
        while more := self._tails[key].read():
            if time.monotonic() > end:
                break
        line = self._tails[key].info()
        self._set(key, line)
        if not more and not line.live:
            self._close_tail(key)
            self._stamps[key] = stamp or ()
            self._keep(key, line)

    def _keep(self, key: str, line: RunInfo) -> None:
        # The path that it was read by has grown with use; a list of 50,000 has a bare one.
        self._set(key, replace(self._cache.shared.line(line), path=self.runs_dir / key))
        # The stamp from before the read is the correct one: what changed meanwhile will be read again.
        if os.sep not in key and not line.live:
            self._cache.put(line, self._stamps[key])

    def _set(self, key: str, line: RunInfo) -> None:
        if self._lines.get(key) != line:
            self._lines[key] = line
            self._runs = None
        if self._unreadable.pop(key, None) is not None:
            self._refused = None

    def _refuse(self, key: str, error: Exception) -> None:
        self._close_tail(key)
        if self._lines.pop(key, None) is not None:
            self._runs = None
        refused = refuse(self.runs_dir / key, error)
        if refused != self._unreadable.pop(key, None):
            self._refused = None
        if refused is not None:
            self._unreadable[key] = refused

    def _drop(self, key: str) -> None:
        self._close_tail(key)
        self._stamps.pop(key, None)
        if self._lines.pop(key, None) is not None:
            self._runs = None
        if self._unreadable.pop(key, None) is not None:
            self._refused = None

    def _close_tail(self, key: str) -> None:
        if (tail := self._tails.pop(key, None)) is not None:
            tail.close()
