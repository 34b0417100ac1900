"""A command of ltxtui in a pseudo-terminal, to time what it shows."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Sequence
from typing import Final

SIZE: Final = (120, 40)
"""Columns and rows."""


class Terminal:
    """`ltxtui watch`, or another command, in a pseudo-terminal whose output is read as fast as it comes."""

    def __init__(self, arguments: Sequence[str] = ("watch",)) -> None:
        self.began = time.perf_counter()
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "COLORTERM": "truecolor"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its modules compiled
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ltxtui", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self._master = master
        self.seen = bytearray()
        self._reading = True
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while self._reading:
            ready, _, _ = select.select([self._master], [], [], 0.05)
            if ready:
                try:
                    self.seen += os.read(self._master, 1 << 16)
                except OSError:  # the other end is closed
                    return

    def wait_for(self, text: bytes, limit: float = 30.0) -> float:
        """Seconds from the start until a text is on the screen."""
        while text not in self.seen:
            if time.perf_counter() - self.began > limit or self.process.poll() is not None:
                raise RuntimeError(f"the dashboard never showed {text!r}")
            time.sleep(0.002)
        return time.perf_counter() - self.began

    def press(self, keys: bytes) -> None:
        """Send keys as the terminal does."""
        os.write(self._master, keys)

    def quit(self) -> None:
        self.press(b"q")
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            self._reading = False
            self._thread.join()
            os.close(self._master)
