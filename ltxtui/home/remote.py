"""Runs of other machines in the list of runs: their paths, what may be done with them, and how they are opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from replay.library.run_info import RunInfo
from replay.library.watcher import RunWatcher
from replay.remote.address import RemoteHost
from replay.remote.asked import Asked
from replay.remote.fleet import FleetWatcher
from replay.remote.run import RemoteRun, RemoteSource, fetch
from replay.remote.run_lines import path_there
from replay.sources.open import Source


def elsewhere(runs: Sequence[RunInfo]) -> str:
    """Why runs cannot be changed here: some are of other machines; empty if none is."""
    hosts = sorted({run.host for run in runs if run.host})
    return f"runs of {', '.join(hosts)} are changed there: ssh to it and use ltxtui" if hosts else ""


def shelf_of(hosts: Sequence[RemoteHost], runs_dir: Path | None) -> FleetWatcher:
    """The runs of hosts, and those of a folder here unless that is None."""
    return FleetWatcher(hosts, None if runs_dir is None else RunWatcher(runs_dir))


class RemoteRuns:
    """Opens and fetches runs of hosts, by their lines in the list."""

    def __init__(self, hosts: Sequence[RemoteHost]) -> None:
        self._hosts = {host.name: host for host in hosts}

    def open(self, run: RunInfo) -> Source:
        """The source of a run: its messages if it is live, else its archive, fetched. Does not wait for the host.

        Raises:
            OSError: if the program that reaches the host cannot be started.
        """
        host = self._hosts[run.host]
        return RemoteSource(RemoteRun(host, Asked(path_there(host.address, run.path))))

    def fetched(self, path: Path) -> Path:
        """The path itself, or that of the fetched archive where it is a path of a host. Waits for the host.

        Raises:
            NotReached: if it cannot be fetched.
        """
        for host in self._hosts.values():
            if path.is_relative_to(Path(host.address)):
                return fetch(host, path_there(host.address, path))
        return path

    def words(self, run: RunInfo) -> tuple[str, str]:
        """The command that shows a run again."""
        return ("watch", f"{self._hosts[run.host].address}/{run.name}")
