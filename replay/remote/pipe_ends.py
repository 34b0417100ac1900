"""The two ends of a relay's pipe, on the remote side: what it writes, and whether its viewer is still there."""

from __future__ import annotations

import os
import select
from typing import Any, Final

from replay.remote.hello import line_of

READ_BYTES: Final = 1 << 16


class ViewerLeft(Exception):
    """The other end of the pipe was closed."""


class PipeEnds:
    """Standard input and output of a relay, or another pair of descriptors."""

    def __init__(self, reading: int = 0, writing: int = 1) -> None:
        self.reading = reading
        self._writing = writing

    def write(self, data: bytes) -> None:
        """Write all of it. Raises ViewerLeft."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._writing, view) :]
        except OSError as error:
            raise ViewerLeft from error

    def say(self, **said: Any) -> None:
        """Write a line. Raises ViewerLeft."""
        self.write(line_of(said))

    def wait(self, seconds: float) -> None:
        """Wait, and leave at once with the viewer. What it sends meanwhile is discarded. Raises ViewerLeft."""
        if select.select([self.reading], [], [], seconds)[0]:
            self.heard()

    def heard(self) -> bytes:
        """What the viewer has sent. Raises ViewerLeft at its end."""
        try:
            data = os.read(self.reading, READ_BYTES)
        except OSError as error:
            raise ViewerLeft from error
        if not data:
            raise ViewerLeft
        return data
