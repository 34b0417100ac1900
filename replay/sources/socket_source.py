"""A live run over its socket."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from recorder.format import protocol
from recorder.format.framing import CorruptMessage, Decoder
from recorder.format.protocol import Message
from replay.model.checked import checked
from replay.sources.interface import MAX_POLL_BYTES, Liveness

RECEIVE_BYTES: Final = 1 << 18


class StreamSource:
    """A live run over a connected socket."""

    fatal = ""
    """Why another connection is of no use; empty if it may be."""
    established = True
    """Whether the connection is made, so that messages can come."""
    final = False
    """Whether its end is the end of all that there is: no recorder writes more."""

    def __init__(self, connection: socket.socket) -> None:
        """Take over a connection, which is closed with the source."""
        self._socket = connection
        self._socket.setblocking(False)
        self._decoder = Decoder()
        self._open = True
        self._ended = False
        self._trouble = ""

    @property
    def note(self) -> str:
        return self._trouble

    @property
    def liveness(self) -> Liveness:
        if self._ended:
            return Liveness.FINISHED
        return Liveness.LIVE if self._open else Liveness.UNFINISHED

    def poll(self) -> list[Message]:
        found: list[Message] = []
        taken = 0
        while self._open and taken < MAX_POLL_BYTES:
            try:
                data = self._socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                data = b""
                self._trouble = f"the connection broke: {error}"
            if not data:
                self._open = False
                break
            taken += len(data)
            self._decoder.feed(data)
            try:
                for message in self._decoder:
                    found.append(message)
            except CorruptMessage as error:
                self._trouble = f"the stream is damaged: {error}"
                self._open = False
        self._ended = self._ended or any(m["t"] == protocol.END for m in found)
        return checked(found)

    def fileno(self) -> int | None:
        return self._socket.fileno() if self._open else None

    def close(self) -> None:
        self._open = False
        self._socket.close()


class SocketSource(StreamSource):
    """A live run over its socket, local or forwarded by `ssh -L`."""

    def __init__(self, path: Path) -> None:
        """Connect.

        Raises:
            OSError: if no recorder answers there.
        """
        self.socket_path = path
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(5)
            connection.connect(str(path))
        except OSError:
            connection.close()
            raise
        super().__init__(connection)
