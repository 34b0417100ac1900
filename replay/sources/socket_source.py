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


class SocketSource:
    """A live run over its socket, local or forwarded by `ssh -L`."""

    def __init__(self, path: Path) -> None:
        """Connect.

        Raises:
            OSError: if no recorder answers there.
        """
        self.socket_path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(5)
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        self._decoder = Decoder()
        self._open = True
        self._ended = False
        self.note = ""

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
                self.note = f"the connection broke: {error}"
            if not data:
                self._open = False
                break
            taken += len(data)
            self._decoder.feed(data)
            try:
                for message in self._decoder:
                    found.append(message)
            except CorruptMessage as error:
                self.note = f"the stream is damaged: {error}"
                self._open = False
        self._ended = self._ended or any(m["t"] == protocol.END for m in found)
        return checked(found)

    def fileno(self) -> int | None:
        return self._socket.fileno() if self._open else None

    def close(self) -> None:
        self._open = False
        self._socket.close()
