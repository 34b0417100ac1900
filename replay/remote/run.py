"""Opens a run of another machine: connected before the screen is taken, and connected again when that breaks."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from replay.remote.address import RemoteHost
from replay.remote.asked import Asked
from replay.remote.source import RelaySource
from replay.sources.reconnect import ReconnectingSource
from replay.sources.socket_source import StreamSource

COMMAND_SECONDS: Final = 30.0
"""How long the connection for a command may take."""
_LOOK_SECONDS: Final = 0.2


class NotReached(OSError):
    """Why there is no run, in one line with the way out."""


class SeveralRuns(NotReached):
    """Several runs match; `choices` describes them."""

    def __init__(self, host: RemoteHost, choices: list[dict[str, Any]]) -> None:
        super().__init__(f"{len(choices)} live runs on {host.name}; name one of them")
        self.choices = choices


@dataclass
class RemoteRun:
    """A run of another machine; after the first answer the same run is asked for again."""

    host: RemoteHost
    asked: Asked

    def connect(self) -> StreamSource:
        """A new connection, which is not waited for. Raises OSError if the program cannot be started."""
        return _Remembering(self)

    def command_socket(self) -> socket.socket:
        """A connection of its own for a command to the recorder. Waits for it.

        Raises:
            OSError: if there is none.
        """
        source = RelaySource(self.host, replace(self.asked, wait=False))
        wait_for(source, lambda: source.established, COMMAND_SECONDS)
        return source.detach()


class _Remembering(RelaySource):
    """A connection that tells the run it belongs to which one that is."""

    def __init__(self, run: RemoteRun) -> None:
        self._of = run
        super().__init__(run.host, run.asked)

    def _answer(self, said: dict[str, Any]) -> None:
        super()._answer(said)
        if self.run:
            # By its path, since the run may be in another folder than the relay's.
            self._of.asked = Asked(str(said.get("path", said.get("run", self.run))))


class RemoteSource(ReconnectingSource):
    """A run of another machine that is connected again when the connection breaks. Nothing is lost or seen twice."""

    def __init__(self, run: RemoteRun) -> None:
        """Start to connect. Raises OSError if the program cannot be started."""
        self.remote = run
        super().__init__(None, connect=run.connect)

    def command_socket(self) -> socket.socket:
        """See `RemoteRun.command_socket`."""
        return self.remote.command_socket()

    @property
    def connection(self) -> RelaySource | None:
        """The connection that is open now, or is being made."""
        return self._source if isinstance(self._source, RelaySource) else None


def open_remote(host: RemoteHost, asked: Asked) -> RemoteSource:
    """The source of a run of another machine. Waits until the host has answered.

    Raises:
        SeveralRuns: if several live runs match.
        NotReached: if there is no such run, or no relay.
    """
    try:
        source = RemoteSource(RemoteRun(host, asked))
    except OSError as error:
        raise NotReached(f"{error.filename or 'ssh'} cannot be started: {error.strerror or error}") from error
    try:
        first = source.connection
        assert first is not None
        wait_for(first, lambda: first.answered)
    except BaseException:
        source.close()
        raise
    return source


def fetch(host: RemoteHost, run: str) -> Path:
    """The packed archive of a run, in the cache; it is fetched unless it is there. Waits for it.

    Raises:
        NotReached: if it cannot be had.
    """
    with contextlib.closing(RelaySource(host, Asked(run, packed=True))) as source:
        wait_for(source, lambda: source.path is not None)
        assert source.path is not None
        return source.path


def wait_for(source: RelaySource, there: Callable[[], bool], seconds: float | None = None) -> None:
    """Wait for a connection.

    Raises:
        NotReached: if it fails, or takes longer than `seconds`.
    """
    limit = None if seconds is None else time.monotonic() + seconds
    while True:
        source.listen()
        if source.choices:
            raise SeveralRuns(source.host, source.choices)
        if source.failed is not None:
            raise NotReached(source.failed.text)
        if there():
            return
        if limit is not None and time.monotonic() > limit:
            raise NotReached(f"{source.host.name} did not answer in {seconds:.0f} s")
        if (descriptor := source.fileno()) is not None:
            select.select([descriptor], [], [], _LOOK_SECONDS)
