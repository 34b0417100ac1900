"""The list of runs of one host, kept up to date by the lines of its relay."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from replay.library.run_info import RunInfo
from replay.remote.address import RemoteHost
from replay.remote.child import Failure, PipeEnded, RelayChild
from replay.remote.hello import MAX_LINE_BYTES, NotALine, OtherVersion, read_hello, read_line
from replay.remote.reach import list_command
from replay.remote.run_lines import read_run, remote_path

RETRY_SECONDS: Final = (2.0, 5.0, 10.0, 30.0)
"""Waits before a host is tried again; the last one for all that follow."""
SILENT_SECONDS: Final = 45.0
"""A relay says something every 15 s; one that is silent for so long is not there any more."""
SLOW_SECONDS: Final = 3.0
"""After this time a host that has not answered is reported."""
MOST_RUNS: Final = 100_000
_READ_BYTES: Final = 1 << 18
_UNREACHED: Final = "unreached"


class HostRuns:
    """One host of a fleet. Nothing here waits; `read` takes what has come."""

    def __init__(self, host: RemoteHost, clock: Callable[[], float] = time.monotonic) -> None:
        self.host = host
        self.runs: dict[str, RunInfo] = {}
        """By the path there."""
        self.ready = False
        """Whether all its runs are known."""
        self.skew = ""
        self._clock = clock
        self._child: RelayChild | None = None
        self._greeted = False
        self._buffer = b""
        self._problem = ""
        self._said = ""
        """What the host itself reports."""
        self._tries = 0
        self._begun = self._heard = -1e9
        self._due = -1e9

    @property
    def connecting(self) -> bool:
        """Whether it is being connected to, for the first time or again."""
        return self._child is not None and not self._greeted

    @property
    def young(self) -> bool:
        """Whether it has just been connected to and has not answered."""
        return self.connecting and self._clock() - self._begun < 1.0

    @property
    def due(self) -> bool:
        """Whether it is to be connected to now."""
        return self._child is None and self._clock() >= self._due

    @property
    def settled(self) -> bool:
        """Whether its runs are known, or it is known not to answer."""
        return self.ready or bool(self._problem) or (self.connecting and self._clock() - self._begun > SLOW_SECONDS)

    @property
    def problem(self) -> str:
        """Why its runs are not shown, or not as they are now; empty if they are."""
        if self._greeted:
            return self._said
        if self._problem:
            return self._problem
        waited = self._clock() - self._begun
        return f"no answer for {waited:.0f} s" if self.connecting and waited > SLOW_SECONDS else ""

    def fileno(self) -> int:
        """What to wait on; -1 without a connection."""
        return -1 if self._child is None else self._child.connection.fileno()

    def connect(self) -> None:
        """Start its relay, and wait for nothing."""
        self._begun = self._heard = self._clock()
        self._greeted, self._buffer, self._said = False, b"", ""
        try:
            self._child = RelayChild(self.host, list_command(self.host))
        except OSError as error:
            self._lose(f"{error.filename or 'ssh'} cannot be started: {error.strerror or error}")

    def read(self) -> bool:
        """Take what has come; returns whether anything differs."""
        child = self._child
        if child is None:
            return False
        try:
            changed = self._greet(child) or self._lines(child)
        except PipeEnded:
            failure = Failure("the connection broke") if self._greeted else child.failure()
            self._lose(failure.text)
            return True
        except (NotALine, OtherVersion) as error:
            said = str(error) if isinstance(error, OtherVersion) else f"{self.host.name} sent {error}"
            self._lose(said)
            return True
        if self._clock() - self._heard > SILENT_SECONDS:
            self._lose("the connection is dead")
            return True
        return changed

    def _greet(self, child: RelayChild) -> bool:
        """Take the hello, if it has not come yet; whether it came now. Raises PipeEnded, NotALine, OtherVersion."""
        if self._greeted:
            return False
        hello = child.hello()
        if hello is None:
            return False
        self.skew = read_hello(hello, self.host.name).skew(self.host.name)
        self._greeted, self._problem, self._tries = True, "", 0
        self._heard = self._clock()
        self.runs, self.ready = {}, False
        self._lines(child)
        return True

    def _lines(self, child: RelayChild) -> bool:
        """Take complete lines; returns whether a run differs. Raises PipeEnded, NotALine."""
        changed = False
        while self._greeted:
            try:
                data = child.connection.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                raise PipeEnded from None
            if not data:
                raise PipeEnded
            self._heard = self._clock()
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            if len(self._buffer) > MAX_LINE_BYTES:
                raise NotALine("a line without an end")
            for line in lines:
                changed = self._take(read_line(line)) or changed
        return changed

    def _take(self, said: dict[str, Any]) -> bool:
        """Take one line; returns whether anything differs. Raises NotALine."""
        run, gone = said.get("run"), said.get("gone")
        if isinstance(run, dict):
            found = read_run(run, self.host.name, self.host.address)
            if len(self.runs) < MOST_RUNS:
                self.runs[str(found.path)] = found
            return True
        if isinstance(gone, str):
            return self.runs.pop(str(remote_path(self.host.address, gone)), None) is not None
        if "problem" in said:
            self._said = str(said["problem"])[:200]
            return True
        self.ready = self.ready or "ready" in said
        return "ready" in said

    def _lose(self, why: str) -> None:
        """The connection is broken, or was not made: try again later. What was live is not known to be any more."""
        if self._child is not None:
            self._child.close()
        self._child, self._greeted, self._problem = None, False, why
        self._due = self._clock() + RETRY_SECONDS[min(self._tries, len(RETRY_SECONDS) - 1)]
        self._tries += 1
        for path, run in self.runs.items():
            if run.live:
                self.runs[path] = replace(run, status=_UNREACHED, stalled_seconds=None)

    def close(self) -> None:
        """End its relay. May be called twice."""
        if self._child is not None:
            self._child.close()
        self._child = None
        self._due = float("inf")
