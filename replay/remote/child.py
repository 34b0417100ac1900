"""The child process whose pipe leads to a relay, and why it ended, in a line with the way out."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from replay.remote.address import RemoteHost
from replay.remote.hello import MARK, MAX_LINE_BYTES, MAX_NOISE_BYTES, NotALine, read_line

_PEEK_BYTES: Final = 64 << 10
_STDERR_BYTES: Final = 8 << 10
_END_SECONDS: Final = 0.5
_NO_PROGRAM: Final = re.compile(r"(not found|No such file)", re.IGNORECASE)
_SAID: Final = 160


class PipeEnded(Exception):
    """The pipe has ended."""


@dataclass(frozen=True)
class Failure:
    """Why there is no relay, in one line with the way out.

    Attributes:
        no_program: whether the host has no ltxtui, or one without relays.
        asks: whether a password or another answer is asked for.
    """

    text: str
    no_program: bool = False
    asks: bool = False


class RelayChild:
    """A child process with a socket as its standard input and output."""

    def __init__(self, host: RemoteHost, command: Sequence[str]) -> None:
        """Start it, and wait for nothing. Raises OSError if the program cannot be started."""
        self._host = host
        self._noise = b""
        self._partial = b""
        self._skipped = 0
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self.connection, theirs = socket.socketpair()
        try:
            with theirs:
                # A session of its own: neither Ctrl-C nor a question for a password reaches it from the terminal.
                self._process = subprocess.Popen(
                    command, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=self._stderr, start_new_session=True
                )
        except OSError:
            self.connection.close()
            self._stderr.close()
            raise
        self.connection.setblocking(False)

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def hello(self) -> bytes | None:
        """The hello, without what came before it; None while it has not come. Raises PipeEnded, NotALine."""
        while (line := self._line()) is not None:
            at = line.find(MARK)
            self._skipped += len(line) if at < 0 else at
            if self._skipped > MAX_NOISE_BYTES:
                break
            if at >= 0:
                return line[at:]
            self._noise = (self._noise + line)[-_SAID:]
        if self._skipped + len(self._partial) > MAX_NOISE_BYTES:
            raise NotALine("too much before the first line")
        return None

    def line(self) -> dict[str, Any] | None:
        """The next line; None while it has not come. Raises PipeEnded, NotALine."""
        found = self._line()
        return None if found is None else read_line(found)

    def _line(self) -> bytes | None:
        """The next line; None while its end has not come. Nothing of what follows it is taken."""
        while (seen := self._peek()) is not None:
            end = seen.find(b"\n")
            self._partial += self.connection.recv(end + 1 or len(seen))
            if len(self._partial) > MAX_LINE_BYTES:
                raise NotALine("a line without an end")
            if end >= 0:
                line, self._partial = self._partial, b""
                return line
        return None

    def _peek(self) -> bytes | None:
        """What has arrived, without taking it, so that nothing of what follows a line is taken with it."""
        try:
            seen = self.connection.recv(_PEEK_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except OSError:
            raise PipeEnded from None
        if not seen:
            raise PipeEnded
        return seen

    def failure(self) -> Failure:
        """Why the pipe has ended before a relay said hello."""
        try:
            status = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            status = None
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - _STDERR_BYTES))
        said = self._stderr.read().decode(errors="replace")
        return explain(self._host, status, said, (self._noise + self._partial).decode(errors="replace"))

    def close(self) -> None:
        """Close the pipe, which ends the relay, and end the child. May be called twice."""
        self.connection.close()
        self._stderr.close()
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                self._process.terminate()


def explain(host: RemoteHost, status: int | None, stderr: str, noise: str = "") -> Failure:
    """What the end of a child means.

    Args:
        host: where it led to.
        status: how it ended; None if it has not.
        stderr: what it said there.
        noise: what came instead of a relay's first line.
    """
    name, test = host.name, f"test it with: ssh {host.destination}" if host.by_ssh else "test the prefix in a shell"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = lines[-1][:_SAID] if lines else ""
    if "No such command 'relay'" in stderr:
        return Failure(f"the ltxtui of {name} is too old to be watched from here; upgrade it there", no_program=True)
    if status == 127 or (status and any(host.command[0] in line and _NO_PROGRAM.search(line) for line in lines)):
        way = "install it there, or name its path as command in [hosts] of the settings"
        return Failure(f"{name} has no {host.command[0]} on its PATH; {way}", no_program=True)
    if "Host key verification failed" in stderr:
        return Failure(f"the host key of {name} is not known, or has changed; {test}", asks=True)
    if "Permission denied" in stderr or "Too many authentication failures" in stderr:
        way = f"{test}; load a key with ssh-add, or open ltxtui ssh://{host.destination}, which asks for a password"
        return Failure(f"{name} refused the key, or asks for a password; {way}", asks=True)
    if status == 255 and host.by_ssh:
        why = last.removeprefix("ssh: ").rstrip(".") or "ssh ended"
        return Failure(f"{name} does not answer ({why}); {test}")
    if noise.strip() and not last:
        shown = noise.strip().splitlines()[-1][:_SAID]
        way = "keep its .bashrc silent where there is no terminal"
        return Failure(f"{name} sent {shown!r} and no relay; {way}")
    how = last or ("it did not end" if status is None else f"it ended with status {status}")
    return Failure(f"{name} sent no runs ({how}); {test}")
