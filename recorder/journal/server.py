"""Serves a run's journal to viewers over a Unix socket: a viewer is a byte offset, so nothing is queued per viewer."""

from __future__ import annotations

import atexit
import contextlib
import errno
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from recorder.format import locations, protocol
from recorder.format.events import reason_of
from recorder.format.framing import Decoder
from recorder.format.protocol import Message
from recorder.journal import peers
from recorder.journal.journal import Journal
from recorder.journal.peers import Pace, identity, same_user
from recorder.system import fork_guard

logger = logging.getLogger(__name__)

CLOSING_SECONDS = 2.0
MAX_VIEWERS = 256
MAX_READ_PIECES = 16
"""Pieces of the journal that are kept while they are sent to several viewers."""
SEND_BYTES = 1 << 18
ACCEPT_PAUSE_SECONDS = 0.1
IDLE_SECONDS = 0.05
"""How often a server without viewers is woken at most."""
HEAR_BYTES = 4096
MAX_COMMANDS = 20
"""Commands that one viewer may send in a second; all of them together may send five times as many."""
MAX_REFUSED = 20
"""Commands of one viewer that may be refused before it is dropped."""

Command = Callable[[Message], bool]
"""Takes a viewer's message; False if it was refused. In the server's thread; raises ValueError for an invalid one."""

_serving: set[Server] = set()
"""Servers whose thread runs: the end of the process waits for the last viewers of all of them together."""


@dataclass
class _Viewer:
    socket: socket.socket
    offset: int = 0
    wanted: int = selectors.EVENT_READ
    blocked: bool = False
    """Whether the kernel currently accepts nothing more for it."""
    heard: Decoder = field(default_factory=lambda: Decoder(protocol.MAX_VIEWER_MESSAGE))
    pace: Pace = field(default_factory=lambda: Pace(MAX_COMMANDS))
    refused: int = 0


class Server:
    """One thread that accepts viewers and sends each of them the journal from its beginning.

    A viewer that stops reading stays where it is and costs nothing; one that comes late starts at the first message.
    What viewers send goes to `command`; one that sends garbage, too much, or what is refused again and again is
    dropped. Of what a viewer sends, no more than one message is ever held.
    """

    def __init__(
        self,
        journal: Journal,
        path: Path,
        command: Command | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        """Bind the socket, mode 0600, and start serving.

        Args:
            journal: what is served; closed once the last viewer has it.
            path: of the socket.
            command: takes what viewers send; it is ignored if not given.
            report: called with what went wrong, in the server's thread.

        Raises:
            locations.UnsafeLocation: if the path cannot be a socket.
            OSError: if it cannot be bound; EADDRINUSE if the path exists.
        """
        locations.check_socket_path(path)
        self.path = path
        self._journal = journal
        self._command = command
        self._report = report
        self._pace = Pace(5 * MAX_COMMANDS)
        self._awake = threading.Event()
        self._next_look = 0.0
        self._closing_at: float | None = None
        self._viewers: dict[int, _Viewer] = {}
        self._refusing = False
        self._forked = False
        with contextlib.ExitStack() as undo:
            self._listener = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            self._listener.setblocking(False)
            self._listener.bind(os.fspath(path))
            undo.callback(peers.remove, path)
            # The directory is closed to others, so no one can connect before this; a umask would touch every thread.
            path.chmod(0o600)
            self._identity = identity(path)
            with contextlib.suppress(OSError):  # without it a refused connection is mistaken for a dead recorder's
                peers.name_lock(path, journal.path)
            self._listener.listen(64)
            self._wake_reader, self._wake_writer = (undo.enter_context(s) for s in socket.socketpair())
            self._wake_reader.setblocking(False)
            self._wake_writer.setblocking(False)
            self._selector = undo.enter_context(selectors.DefaultSelector())
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._selector.register(self._wake_reader, selectors.EVENT_READ)
            self._ticket = fork_guard.watch(self._let_go)
            undo.callback(fork_guard.unwatch, self._ticket)
            self._thread = threading.Thread(target=self._serve, name="ltxtui-server", daemon=True)
            _serving.add(self)
            undo.callback(_serving.discard, self)
            self._thread.start()
            undo.pop_all()

    def _let_go(self) -> None:
        """In a forked child: close the descriptors, and nothing else: the selector is the parent's too.

        The selector comes last: a kqueue is not inherited, and closing a missing one fails.
        """
        self._forked = True
        _serving.discard(self)
        viewers = [viewer.socket for viewer in list(self._viewers.values())]
        for own in (self._listener, self._wake_reader, self._wake_writer, *viewers):
            with contextlib.suppress(OSError):
                own.close()
        with contextlib.suppress(OSError):
            self._selector.close()

    def notify(self) -> None:
        """Notify the server that the journal grew; cheap, and repeated calls are merged.

        Without viewers there is nothing to send, and it is woken now and then only: a thread that cannot go on is found
        out so. A viewer that comes meanwhile is sent what is in the journal then.
        """
        if self._awake.is_set() or self._forked:
            return
        now = time.monotonic()
        if self._viewers or self.closing or now >= self._next_look:
            self._next_look = now + IDLE_SECONDS
            self._awake.set()
            with contextlib.suppress(BlockingIOError, OSError):  # a full pipe wakes it just as well
                self._wake_writer.send(b"\0")

    def close(self) -> None:
        """Stop accepting, and serve connected viewers until they have everything or two seconds have passed.

        The socket's path is removed at once, so that nothing is left if the process ends now. Returns without
        waiting; the thread ends without being joined and closes the journal.
        """
        if self._forked:
            return
        self._remove_path()
        self._closing_at = time.monotonic() + CLOSING_SECONDS
        self._awake.clear()
        self.notify()
        if not self._thread.is_alive():
            self._journal.close()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the serving thread to end."""
        self._thread.join(timeout)

    @property
    def closing(self) -> bool:
        """Whether `close` was called."""
        return self._closing_at is not None

    def _serve(self) -> None:
        try:
            while not self._finished():
                self._round()
        except Exception as error:  # the run must continue whatever happens to its viewers
            text = f"the socket server stopped ({reason_of(error)}); the run can be followed in its journal"
            logger.debug("%s", text, exc_info=error)
            if self._report is not None:
                self._report(text)
            else:
                logger.error("%s", text)
        finally:
            self._shut()

    def _finished(self) -> bool:
        if self._closing_at is None:
            return False
        served = all(v.offset >= self._journal.size for v in self._viewers.values())
        return served or time.monotonic() > self._closing_at

    def _round(self) -> None:
        timeout = None if self._closing_at is None else max(0.0, self._closing_at - time.monotonic())
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._wake_reader:
                with contextlib.suppress(BlockingIOError):
                    while self._wake_reader.recv(4096):
                        continue
                # Only now, and before the journal's size is read: cleared first, a byte that comes in between would be
                # drained with the flag still set, and the thread would never be woken again.
                self._awake.clear()
            else:
                self._hear(key.fd, events)
        size = self._journal.size
        # Viewers that keep up are all at the same place, so what one of them needs was often just read for another.
        read: dict[int, bytes] = {}
        for fd, viewer in list(self._viewers.items()):
            if viewer.offset < size and not viewer.blocked:
                self._send(fd, viewer, read)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # such as no file descriptor left: the viewer waits in the queue until there is one
            if not self._refusing:
                self._refusing = True
                logger.warning("viewers cannot be let in: %s", error)
            time.sleep(ACCEPT_PAUSE_SECONDS)
            return
        if self._closing_at is not None or len(self._viewers) >= MAX_VIEWERS or not same_user(connection):
            connection.close()
            return
        self._refusing = False
        connection.setblocking(False)
        self._viewers[connection.fileno()] = _Viewer(connection)
        self._selector.register(connection, selectors.EVENT_READ)

    def _hear(self, fd: int, events: int) -> None:
        viewer = self._viewers.get(fd)
        if viewer is None:
            return
        if events & selectors.EVENT_WRITE:
            viewer.blocked = False  # what waits for it is sent in this round
        if not events & selectors.EVENT_READ:
            return
        try:
            heard = viewer.socket.recv(HEAR_BYTES)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        if not heard:  # its goodbye
            self._drop(fd)
        elif self._command is not None:
            self._obey(fd, viewer, heard, self._command)

    def _obey(self, fd: int, viewer: _Viewer, heard: bytes, command: Command) -> None:
        """Handle the complete messages received; drop a viewer that exceeds its limits."""
        try:
            viewer.heard.feed(heard)
            for message in viewer.heard:
                if viewer.pace.too_fast() or self._pace.too_fast():
                    raise ValueError(f"more than {MAX_COMMANDS} commands in a second")
                if not command(message):
                    viewer.refused += 1
                    if viewer.refused > MAX_REFUSED:
                        raise ValueError(f"more than {MAX_REFUSED} commands were refused")
        except ValueError as error:
            logger.info("a viewer was dropped: %s", error)
            self._drop(fd)
        except Exception:
            logger.exception("a viewer's command failed; the viewer was dropped")
            self._drop(fd)

    def _send(self, fd: int, viewer: _Viewer, read: dict[int, bytes]) -> None:
        try:
            # Several pieces a round for a viewer that reads fast; each at most what the kernel takes at once.
            while data := read.get(viewer.offset) or self._journal.read(viewer.offset, SEND_BYTES):
                if len(read) < MAX_READ_PIECES:
                    read[viewer.offset] = data
                sent = viewer.socket.send(data)
                viewer.offset += sent
                if sent < len(data):
                    viewer.blocked = True
                    break
        except BlockingIOError:
            viewer.blocked = True
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                logger.warning("a viewer was dropped: %s", error)
            self._drop(fd)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if viewer.blocked else 0)
        if wanted != viewer.wanted:
            viewer.wanted = wanted
            self._selector.modify(viewer.socket, wanted)

    def _drop(self, fd: int) -> None:
        viewer = self._viewers.pop(fd, None)
        if viewer is not None:
            self._selector.unregister(viewer.socket)
            viewer.socket.close()

    def _shut(self) -> None:
        for fd in list(self._viewers):
            self._drop(fd)
        self._selector.close()
        self._listener.close()
        self._wake_reader.close()
        self._wake_writer.close()
        self._remove_path()
        fork_guard.unwatch(self._ticket)
        _serving.discard(self)
        if self.closing:  # else the run still writes to it
            self._journal.close()

    def _remove_path(self) -> None:
        with contextlib.suppress(OSError):
            # Only our own socket: another process may have put another one in its place meanwhile.
            if identity(self.path) == self._identity:
                peers.remove(self.path)


def _serve_the_last() -> None:
    """At the end of the process: viewers that are still being served get the rest, for up to two seconds."""
    for server in list(_serving):
        if server.closing:
            server.join(CLOSING_SECONDS + 1)


atexit.register(_serve_the_last)
