"""A live run that is found again: when its connection breaks, its socket, its journal and its archive are asked."""

from __future__ import annotations

import contextlib
import fcntl
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from recorder.format import locations, protocol
from recorder.format.protocol import Message
from recorder.journal.journal import is_being_written
from replay.model.validation import NotARun
from replay.sources.archive_source import ArchiveSource
from replay.sources.interface import Liveness, Source
from replay.sources.journal_source import JournalSource
from replay.sources.read_so_far import AnotherRun, ReadSoFar, Rereading
from replay.sources.socket_source import SocketSource, StreamSource

RETRY_SECONDS: Final = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Waits before each try to connect; the last one for all that follow."""


class ReconnectingSource:
    """A live run over its socket that is connected again when the connection breaks. Nothing is lost or seen twice.

    A recorder sends its journal from the first byte to every viewer, so what was received before is recognised and
    left out (`ReadSoFar`). Where no socket answers and the run's files are on this machine, the journal is tailed, or
    the archive read if the run has ended meanwhile. Without files, as behind `ssh -L`, it tries to connect until the
    source is closed.
    """

    def __init__(
        self,
        socket: Path | None,
        archive: Path | None = None,
        *,
        connect: Callable[[], StreamSource] | None = None,
        retry: tuple[float, ...] = RETRY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect for the first time.

        Args:
            socket: where the run's recorder serves, or a forwarded socket.
            archive: the run's archive, if it may be on this machine; by default the one that the run's header names.
            connect: makes a connection without waiting for it, for a run of another machine; there is no socket then.
            retry: seconds before each try.

        Raises:
            OSError: if no recorder answers there.
        """
        self._path = socket
        self._archive = archive
        self._retry = retry
        self._clock = clock
        self._connect = connect
        self._source: Source | None = self._new_connection()
        self._read = ReadSoFar()
        """What was returned, of all connections."""
        self._again: Rereading | None = self._read.again()
        """The reading of the source that is open now; None if the source itself skips what was read."""
        self._ended = False
        self._over = ""
        self._lost: float | None = None
        self._why = ""
        """Why the last try to connect failed."""
        self._tries = 0
        self._closed = False

    @property
    def socket_path(self) -> Path | None:
        """Where commands to the recorder go; None for a run of another machine."""
        return self._path

    @property
    def reconnecting(self) -> bool:
        """Whether the connection is broken and is being made again."""
        return self._lost is not None and not self.connected and not self._over and not self._ended

    @property
    def connected(self) -> bool:
        """Whether messages can come now."""
        source = self._source
        return source is not None and (not isinstance(source, StreamSource) or source.established)

    @property
    def disconnected_seconds(self) -> float | None:
        """Seconds since the connection broke, while it is being made again; None otherwise."""
        return self._clock() - self._lost if self.reconnecting and self._lost is not None else None

    @property
    def note(self) -> str:
        if self._over:
            return self._over
        if self.reconnecting and self._lost is not None:
            seconds = self._clock() - self._lost
            why = f" ({self._why})" if self._why else ""
            return f"connection lost {seconds:.0f} s ago, reconnecting{why}; everything received so far is kept"
        return self._source.note if self._source is not None else ""

    @property
    def liveness(self) -> Liveness:
        if self._ended:
            return Liveness.FINISHED
        if self._over:
            return Liveness.UNFINISHED
        if self._source is None or (isinstance(self._source, StreamSource) and not self._source.final):
            return Liveness.LIVE
        return self._source.liveness

    @property
    def unread(self) -> int | None:
        """Bytes that have arrived at the socket and are not read yet; None without a connection."""
        descriptor = self.fileno()
        if descriptor is None:
            return None
        try:
            (waiting,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, struct.pack("i", 0)))
        except OSError:
            return None
        return int(waiting)

    def poll(self) -> list[Message]:
        if self._source is None and not self._over and not self._ended and not self._closed:
            self._try_again()
        source = self._source
        if source is None:
            return []
        try:
            found = self._new(source)
        except AnotherRun as error:
            self._give_up(f"{error} answers there now; this one ended or was killed")
            return []
        self._ended = self._ended or any(m["t"] == protocol.END for m in found)
        if isinstance(source, StreamSource) and not source.final and source.liveness is Liveness.UNFINISHED:
            self._lose(source)
        return found

    def _lose(self, source: StreamSource) -> None:
        """The connection is broken, or was not made."""
        source.close()
        self._source = None
        self._why = "" if source.established else source.note
        if source.fatal:
            self._over = source.fatal
        if source.established or self._lost is None:  # a try that failed is followed by a longer wait
            self._lost, self._tries = self._clock(), 0

    def fileno(self) -> int | None:
        return self._source.fileno() if self._source is not None else None

    def close(self) -> None:
        self._closed = True
        if self._source is not None:
            self._source.close()

    # Inside

    def _new(self, source: Source) -> list[Message]:
        """What has not been returned yet. Raises AnotherRun if it is another run's."""
        while messages := source.poll():
            if self._archive is None and messages[0]["t"] == protocol.HEADER:
                self._archive = locations.told_archive(messages[0].get("archive"))
            if self._again is None:
                return messages
            rest = (self._again.rest(message) for message in messages)
            found = [message for message in rest if message is not None]
            if found or isinstance(source, StreamSource):  # a socket delivers more later, a file has it now
                return found
        return []

    def _try_again(self) -> None:
        assert self._lost is not None
        due = self._lost + sum(self._wait(n) for n in range(self._tries + 1))
        if self._clock() < due:
            return
        self._tries += 1
        for attempt in (self._socket, self._files):
            with contextlib.suppress(OSError, NotARun):
                self._source = attempt()
            if self._source is not None:
                return

    def _wait(self, n: int) -> float:
        return self._retry[min(n, len(self._retry) - 1)]

    def _socket(self) -> Source | None:
        found = self._new_connection()
        self._again = self._read.again()
        return found

    def _new_connection(self) -> StreamSource:
        if self._connect is not None:
            return self._connect()
        assert self._path is not None
        return SocketSource(self._path)

    def _files(self) -> Source | None:
        """The run's own files, if they are on this machine."""
        if self._archive is None or self._connect is not None:
            return None
        journal = locations.journal_of(self._archive)
        if journal.is_file():
            found = JournalSource(journal, self._read)
            if not is_being_written(journal) and self._tries < len(self._retry) // 2:
                found.close()  # it may be ending: its archive is then complete in a moment
                return None
            self._again = None
            return found
        archive = locations.archive_in_place(self._archive)  # it may have been packed at its end
        if not archive.exists():
            return None
        source = ArchiveSource(archive)
        self._again = self._read.again()
        return source

    def _give_up(self, why: str) -> None:
        self._over = why
        if self._source is not None:
            self._source.close()
            self._source = None


def open_live(socket: Path, archive: Path | None = None) -> Source:
    """The source of a live run by its socket, connected again when that breaks.

    Raises:
        OSError: if no recorder answers there.
    """
    return ReconnectingSource(socket, archive)
