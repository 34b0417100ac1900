"""The runs of several hosts in one list. One that does not answer delays no other."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recorder.format.numerals import counted
from replay.library.run_info import RunInfo
from replay.library.unreadable import Unreadable
from replay.library.watcher import RunWatcher
from replay.remote import sessions
from replay.remote.address import RemoteHost
from replay.remote.host_runs import HostRuns

AT_ONCE: Final = 12
"""Hosts that are connected to at a time. One that has not answered within a second makes room for the next."""
AT_FIRST: Final = 4
"""The same until one has answered: many at once would keep each other from it on a machine with few cores."""


@dataclass(frozen=True)
class HostProblem(Unreadable):
    """A host whose runs are not shown, or not as they are now."""

    host: str = ""

    @property
    def name(self) -> str:
        return self.host


class FleetWatcher:
    """The runs of hosts, and those of a folder here; in place of a `RunWatcher`. Nothing here waits for a host.

    Call `update` in a thread, one call at a time.
    """

    def __init__(self, hosts: Sequence[RemoteHost], here: RunWatcher | None = None) -> None:
        self.hosts = [HostRuns(host) for host in hosts]
        self._here = here
        self.problem = ""

    @property
    def place(self) -> str:
        """Whose runs these are, for people."""
        if self._here is None and len(self.hosts) == 1:
            return self.hosts[0].host.address
        answering = sum(not each.problem and not each.connecting for each in self.hosts)
        here = "" if self._here is None else f"{self._here.runs_dir} and "
        return f"{here}{answering} of {counted(len(self.hosts), 'host')}"

    @property
    def words(self) -> list[str]:
        """The arguments of the command that shows them."""
        if self._here is None:
            return [self.hosts[0].host.address]
        names = (f"--hosts={','.join(each.host.name for each in self.hosts)}", f"--runs-dir={self._here.runs_dir}")
        return list(names)

    @property
    def runs(self) -> list[RunInfo]:
        """All runs that are known, in no order."""
        found = [run for host in self.hosts for run in host.runs.values()]
        return found if self._here is None else [*self._here.runs, *found]

    @property
    def unreadable(self) -> list[Unreadable]:
        """What cannot be read here, after the hosts whose runs are not shown."""
        found: list[Unreadable] = [
            HostProblem(Path(each.host.address), said, "", each.host.name)
            for each in self.hosts
            if (said := each.problem or each.skew)
        ]
        return found if self._here is None else [*found, *self._here.unreadable]

    @property
    def pending(self) -> int:
        """Hosts whose runs are not known yet, and runs here that have not been read."""
        waiting = sum(not host.settled for host in self.hosts)
        return waiting if self._here is None else waiting + self._here.pending

    def update(self, seconds: float = 0.2) -> None:
        """Connect to hosts that are due, and take in what has come; for `seconds` while one has not answered."""
        end = time.monotonic() + seconds
        if self._here is not None:
            self._here.update(seconds / 2)
        while True:
            self._connect()
            for host in self.hosts:
                host.read()
            left = end - time.monotonic()
            waiting = [host for host in self.hosts if not host.settled and host.fileno() >= 0]
            if left <= 0 or not waiting:
                return
            select.select(waiting, [], [], min(left, 0.1))

    def _connect(self) -> None:
        young = sum(host.young for host in self.hosts)
        most = AT_ONCE if any(host.ready for host in self.hosts) else AT_FIRST
        for host in self.hosts:
            if young >= most:
                return
            if host.due:
                sessions.share(host.host)
                host.connect()
                young += 1

    def look_for_sockets(self) -> None:
        """Find live runs of this machine; those of hosts are found there."""
        if self._here is not None:
            self._here.look_for_sockets()
            self.problem = self._here.problem

    def forget(self, path: Path) -> None:
        """A run here was changed or deleted: read it again, if it is still there."""
        if self._here is not None:
            self._here.forget(path)

    def close(self) -> None:
        """End all relays."""
        for host in self.hosts:
            host.close()
        if self._here is not None:
            self._here.close()


Shelf = RunWatcher | FleetWatcher
"""What gives a list its runs."""
