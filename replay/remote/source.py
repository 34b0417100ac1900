"""A run of another machine, over the pipe to a relay: its messages, or its packed archive once it has ended."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, Final

from recorder.format.protocol import Message
from replay.model.validation import NotARun
from replay.remote.address import RemoteHost
from replay.remote.asked import Asked
from replay.remote.child import Failure, PipeEnded, RelayChild
from replay.remote.fetched import Fetching, kept, read_offer
from replay.remote.hello import Hello, NotALine, OtherVersion, read_hello
from replay.remote.reach import commands
from replay.sources.archive_source import ArchiveSource
from replay.sources.interface import MAX_POLL_BYTES, Liveness
from replay.sources.socket_source import RECEIVE_BYTES, StreamSource

MOST_CHOICES: Final = 50


class RelaySource(StreamSource):
    """One connection to a relay. `poll` never waits, also while the connection is being made.

    Attributes:
        run: the name of the run, once it is known.
        choices: the live runs to choose from, if several match.
        waiting: whether the relay waits for a run to begin.
        failed: why there is no relay; None while there may be one.
    """

    def __init__(self, host: RemoteHost, asked: Asked) -> None:
        """Start the child process, and wait for nothing. Raises OSError if it cannot be started."""
        self.host = host
        self._asked = asked
        self._ways = commands(host, asked)
        self._child = RelayChild(host, next(self._ways))
        super().__init__(self._child.connection)
        self.run = ""
        self.choices: list[dict[str, Any]] = []
        self.waiting = False
        self.failed: Failure | None = None
        self.established = False
        self.final = False
        self.fatal = ""
        self.missing = False
        """Whether the host answered that it has no such run."""
        self._hello: Hello | None = None
        self._fetching: Fetching | None = None
        self._archive: ArchiveSource | None = None
        self.path: Path | None = None
        """The packed archive in the cache, once it was fetched."""

    @property
    def pid(self) -> int:
        """Of the child process."""
        return self._child.pid

    @property
    def note(self) -> str:
        if self.failed is not None:
            return self.failed.text
        if self._fetching is not None:
            done, size = self._fetching.received, self._fetching.received + self._fetching.left
            return f"fetching the archive from {self.host.name}: {done / 1e6:.1f} of {size / 1e6:.1f} MB"
        if self._open and not self.established and not self.waiting:
            return f"connecting to {self.host.name}"
        if self.waiting and not self.run:
            return f"waiting for the next run to begin on {self.host.name}"
        said = self._archive.note if self._archive is not None else self._trouble
        skew = self._hello.skew(self.host.name) if self._hello is not None else ""
        return "; ".join(part for part in (said, skew) if part)

    @property
    def damage(self) -> str:
        return self._archive.damage if self._archive is not None else ""

    @property
    def liveness(self) -> Liveness:
        return self._archive.liveness if self._archive is not None else super().liveness

    @property
    def answered(self) -> bool:
        """Whether the relay has said all that comes before a run, or there is none."""
        return self.established or self.waiting or bool(self.choices) or self.failed is not None or self.missing

    def poll(self) -> list[Message]:
        if self._archive is None:
            self.listen()
        if self._archive is not None:
            return self._archive.poll()
        return super().poll() if self.established and self._fetching is None else []

    def listen(self) -> None:
        """Take what comes before messages: lines, and an archive. Never waits."""
        if self._open and not self.established:
            self._lines()
        if self._fetching is not None:
            self._receive()

    def detach(self) -> socket.socket:
        """The connection, which is no longer this source's; the relay ends when it is closed."""
        self._open = False
        return self._socket

    def _lines(self) -> None:
        """Read the lines that come before a run."""
        try:
            while self._open and not self.established and self._step():
                continue
        except PipeEnded:
            failure = self._child.failure()
            if self._hello is None and failure.no_program and self._next_way(failure):
                return
            self._fail(failure if self._hello is None else Failure(f"the connection to {self.host.name} broke"))
        except OtherVersion as error:
            self.fatal = str(error)
            self._fail(Failure(str(error)))
        except NotALine as error:
            self._fail(Failure(f"{self.host.name} sent {error}; keep its .bashrc silent where there is no terminal"))

    def _step(self) -> bool:
        """Take one line; False if none has come. Raises PipeEnded, NotALine, OtherVersion."""
        if self._hello is None:
            hello = self._child.hello()
            self._hello = None if hello is None else read_hello(hello, self.host.name)
            return hello is not None
        said = self._child.line()
        if said is None:
            return False
        self._answer(said)
        return True

    def _answer(self, said: dict[str, Any]) -> None:
        if said.get("waiting") is True:
            self.waiting = True
        elif isinstance(said.get("choose"), list):
            self.choices = [one for one in said["choose"][:MOST_CHOICES] if isinstance(one, dict)]
            self._open = False
        elif "error" in said:
            self.missing = True
            self._fail(Failure(f"{self.host.name}: {said['error']}"[:400]))
            self.fatal = self.note if self._asked.run else ""
        elif said.get("stream") is True and isinstance(said.get("run"), str):
            self.run, self.final = said["run"][:256], said.get("live") is False
            self.established = True
        elif "archive" in said:
            self._offered(said)
        else:
            raise NotALine("an answer that this program does not know")

    def _offered(self, said: dict[str, Any]) -> None:
        offered = read_offer(said, self.host.address)
        self.run, self.final, self.established = offered.name, True, True
        try:
            if (known := kept(offered)) is not None:
                self._opened(known)
            else:
                self._fetching = Fetching(offered)
        except OSError as error:
            self._fail(Failure(f"the archive cannot be kept here: {error.strerror or error}"))

    def _receive(self) -> None:
        """Take what has come of an archive; it is opened once all of it is there."""
        fetching, taken = self._fetching, 0
        assert fetching is not None
        try:
            while fetching.left and taken < MAX_POLL_BYTES:
                data = self._socket.recv(min(RECEIVE_BYTES, fetching.left))
                if not data:
                    raise ConnectionResetError
                fetching.take(data)
                taken += len(data)
            if not fetching.left:
                self._opened(fetching.done())
        except BlockingIOError:
            return
        except ConnectionError:
            self._drop_part()
            self.established = self.final = False  # another connection fetches it again
            self._fail(Failure(f"the connection to {self.host.name} broke while the archive was fetched"))
        except OSError as error:
            self.fatal = f"the archive cannot be kept here: {error.strerror or error}"
            self._drop_part()
            self._fail(Failure(self.fatal))

    def _opened(self, packed: Path) -> None:
        self._fetching, self.path = None, packed
        self._open = False
        self._child.close()
        if not self._asked.packed:
            try:
                self._archive = ArchiveSource(packed)
            except NotARun as error:
                self.fatal = f"{self.run} of {self.host.name} cannot be read: {error}"
                self._fail(Failure(self.fatal))

    def _drop_part(self) -> None:
        if self._fetching is not None:
            self._fetching.close()
        self._fetching = None

    def _next_way(self, failure: Failure) -> bool:
        """Try to reach the run without ltxtui there; False if there is no such way."""
        self._child.close()
        for command in self._ways:
            try:
                self._child = RelayChild(self.host, command)
            except OSError:
                return False
            self._socket = self._child.connection
            return True
        self.fatal = failure.text
        return False

    def _fail(self, failure: Failure) -> None:
        self.failed = failure
        self._open = False

    def fileno(self) -> int | None:
        return None if self._archive is not None else super().fileno()

    def close(self) -> None:
        self._drop_part()
        if self._archive is not None:
            self._archive.close()
        super().close()
        self._child.close()
