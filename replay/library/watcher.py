"""The runs of a folder, kept up to date by passes that are cheap enough for every second and thousands of runs."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from recorder.format import locations
from replay.library.archive_line import is_archive
from replay.library.cache import ListingCache, Stamp, stamp_of
from replay.library.journal_tail import JournalTail
from replay.library.listing import archives_in, describe_run
from replay.library.live_runs import LiveRun, LiveSockets
from replay.library.run_info import RunInfo
from replay.library.unreadable import Unreadable, refuse
from replay.model.run import NotARun

LOOK_SECONDS = 10.0
"""How often every archive's time of change is looked at; new and finished runs change the folder's own."""
SAVE_RUNS = 500
"""Lines that are read before the cache is saved again."""


class RunWatcher:
    """What runs there are. `update` belongs into a thread, one call at a time; it never waits for a recorder.

    Archives are read at most once: their lines come from the cache while their stamp is the same. Live runs are
    followed by the tail of their journals.
    """

    def __init__(self, runs_dir: Path, cache: ListingCache | None = None) -> None:
        self.runs_dir = runs_dir
        self.problem = ""
        """Why live runs of other folders cannot be found; empty if they can."""
        self._cache = cache if cache is not None else ListingCache(runs_dir)
        self._sockets = LiveSockets()
        self._answering: dict[Path, LiveRun] = {}
        self._lines: dict[Path, RunInfo] = {}
        self._stamps: dict[Path, Stamp] = {}
        self._tails: dict[Path, JournalTail] = {}
        self._unreadable: dict[Path, Unreadable] = {}
        self._young: list[Path] = []
        """Runs whose journal is still empty."""
        self._pending: list[Path] = []
        self._folder = 0
        self._looked = -1e9
        self._unsaved = 0

    @property
    def runs(self) -> list[RunInfo]:
        """All runs that are known, in no order."""
        return [
            replace(line, socket=live.socket) if (live := self._answering.get(path)) and line.live else line
            for path, line in list(self._lines.items())
        ]

    @property
    def pending(self) -> int:
        """Runs that are there but have not been read yet."""
        return len(self._pending)

    @property
    def unreadable(self) -> list[Unreadable]:
        """Archives and journals that are no runs, damaged, or of a newer version; the newest first."""
        return sorted(self._unreadable.values(), key=lambda u: u.name, reverse=True)

    def update(self, seconds: float = 0.2) -> None:
        """Take in what has changed; reads one run at least, for about `seconds`, and the rest at the next call."""
        if self._folder_changed() or time.monotonic() - self._looked > LOOK_SECONDS:
            self._look()
        end = time.monotonic() + seconds
        self._follow(end)
        self._pending += self._young
        self._young = []
        while self._pending:
            self._read(self._pending.pop(), end)
            if time.monotonic() > end:
                break
        if self._unsaved and (not self._pending or self._unsaved >= SAVE_RUNS):
            self._unsaved = 0
            self._cache.save()

    def look_for_sockets(self) -> None:
        """Find live runs of this user, also those that record into other folders. May wait for a new recorder."""
        try:
            found = self._sockets.look()
            self.problem = ""
        except locations.UnsafeLocation as error:
            found, self.problem = [], str(error)
        self._answering = {self._known_as(live.archive): live for live in found}
        for path in self._answering.keys() - self._lines.keys() - set(self._pending):
            if path not in self._unreadable and locations.journal_of(path).is_file():
                self._pending.append(path)

    def forget(self, path: Path) -> None:
        """A run was changed or deleted: read it again, if it is still there."""
        self._stamps.pop(path, None)
        self._looked = -1e9

    def close(self) -> None:
        """Save the cache and close journals; not while an update runs."""
        self._cache.save()
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()

    # Inside

    def _known_as(self, archive: Path) -> Path:
        """The path under which this folder has an archive that a recorder tells with its absolute path."""
        inside = self.runs_dir / archive.name
        return inside if archive.parent == self.runs_dir.resolve() else archive

    def _folder_changed(self) -> bool:
        try:
            changed = self.runs_dir.stat().st_mtime_ns
        except OSError:
            changed = 0
        if changed == self._folder:
            return False
        self._folder = changed
        return True

    def _look(self) -> None:
        """Look at every archive's stamp; what is new or changed will be read, newest first."""
        self._looked = time.monotonic()
        here = archives_in(self.runs_dir)
        known = here.keys()
        elsewhere = {p for p in self._lines if p.parent != self.runs_dir and p.exists()}
        for path in (self._lines.keys() | self._unreadable.keys()) - known - elsewhere:
            self._drop(path)
        self._cache.keep_only({path.name for path in here})
        waiting = {p for p in self._pending if p in known or p.parent != self.runs_dir}
        for path, has_journal in here.items():
            stamp = stamp_of(path, has_journal)
            if stamp is None and path not in self._tails:
                self._refuse(path, FileNotFoundError())
            if stamp is None or self._stamps.get(path) == stamp or path in self._tails:
                continue
            self._stamps[path] = stamp
            line = self._cache.get(path, stamp)
            if line is None:
                waiting.add(path)
            else:
                self._lines[path] = line
                self._unreadable.pop(path, None)
        # The last one is read first: names begin with the time.
        self._pending = sorted(waiting, key=lambda p: p.name)

    def _read(self, path: Path, end: float) -> None:
        journal = locations.journal_of(path)
        try:
            if journal.is_file():
                if journal.stat().st_size or is_archive(path):
                    self._tails[path] = JournalTail(path)
                    self._advance(path, end)
                else:  # it is just being made: its recorder must not find its lock taken
                    self._young.append(path)
            elif (stamp := stamp_of(path)) is not None:
                self._stamps[path] = stamp
                self._keep(describe_run(path))
        except (NotARun, OSError) as error:
            self._refuse(path, error)

    def _follow(self, end: float) -> None:
        for path in list(self._tails):
            try:
                self._advance(path, end)
            except FileNotFoundError:  # the run has ended; its archive has everything
                self._close_tail(path)
                self._pending.append(path)
            except (NotARun, OSError) as error:
                self._refuse(path, error)

    def _advance(self, path: Path, end: float) -> None:
        """Read on in a journal. It stays open while its recorder runs, and until all of it is read."""
        stamp = stamp_of(path)
        while more := self._tails[path].read():
            if time.monotonic() > end:
                break
        line = self._tails[path].info()
        self._lines[path] = line
        if not more and not line.live:
            self._close_tail(path)
            self._stamps[path] = stamp or ()
            self._keep(line)

    def _keep(self, line: RunInfo) -> None:
        self._lines[line.path] = line
        self._unreadable.pop(line.path, None)
        # The stamp of before it was read is the honest one: what changed meanwhile will be read again.
        if line.path.parent == self.runs_dir and not line.live:
            self._cache.put(line, self._stamps[line.path])
            self._unsaved += 1

    def _refuse(self, path: Path, error: Exception) -> None:
        self._close_tail(path)
        self._lines.pop(path, None)
        self._unreadable.pop(path, None)
        if (refused := refuse(path, error)) is not None:
            self._unreadable[path] = refused

    def _drop(self, path: Path) -> None:
        self._close_tail(path)
        self._lines.pop(path, None)
        self._stamps.pop(path, None)
        self._unreadable.pop(path, None)

    def _close_tail(self, path: Path) -> None:
        if (tail := self._tails.pop(path, None)) is not None:
            tail.close()
