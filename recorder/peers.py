"""Who is at the other end of a socket, how fast it may speak, and whether a socket is still the one that was made."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections import deque
from pathlib import Path


class Pace:
    """Counts what comes within a second; memory for at most `most` moments."""

    def __init__(self, most: int) -> None:
        self._moments: deque[float] = deque(maxlen=most)

    def too_fast(self) -> bool:
        """Note one more; True if there were more than allowed within the last second."""
        now, moments = time.monotonic(), self._moments
        full = len(moments) == moments.maxlen and now - moments[0] < 1.0
        moments.append(now)
        return full


def identity(path: Path) -> tuple[int, int, int]:
    """What tells a socket from one that was put in its place: numbers of files are used again, times are not."""
    found = path.lstat()
    return found.st_dev, found.st_ino, found.st_ctime_ns


def same_user(connection: socket.socket) -> bool:
    """True if the process at the other end runs as this user; through `ssh -L` that is sshd, as the user."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the directory's and the socket's modes are the guard there
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return bool(uid == os.getuid())
