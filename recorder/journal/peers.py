"""Who is at the other end of a socket, how fast it may speak, and whether a socket is still the one that was made."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections import deque
from pathlib import Path
from typing import Final

from recorder.journal.journal import is_being_written

LOCK_SUFFIX: Final = ".lock"
_SOL_LOCAL: Final = 0
"""Level of a local socket's options on macOS and the BSDs; Python does not name it."""
_XUCRED: Final = struct.Struct("II")
"""How `struct xucred` begins: version and uid; 16 groups follow."""
_XUCRED_BYTES: Final = 128


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


def lock_of(path: Path) -> Path:
    """Beside a socket: a link to the journal that is served there, whose lock tells whether its recorder lives."""
    return path.with_name(f"{path.name}{LOCK_SUFFIX}")


def name_lock(path: Path, journal: Path) -> None:
    """Make that link, in the place of one that a killed recorder left. Raises OSError."""
    lock = lock_of(path)
    if lock.is_symlink():
        lock.unlink()
    lock.symlink_to(journal.absolute())


def is_served(path: Path) -> bool:
    """Whether the recorder that made a socket is alive, also while it is stopped; False if that is not known.

    A refused connection does not tell: on macOS and the BSDs a full queue refuses too.
    """
    try:
        return is_being_written(lock_of(path))
    except OSError:
        return True  # the journal is there and cannot be asked: the socket is left alone


def remove(path: Path) -> None:
    """Remove a socket and its link. Raises OSError if the socket cannot be removed."""
    with contextlib.suppress(OSError):
        if lock_of(path).is_symlink():
            lock_of(path).unlink()
    path.unlink(missing_ok=True)


def same_user(connection: socket.socket) -> bool:
    """True if the process at the other end runs as this user; through `ssh -L` that is sshd, as the user.

    Where the system cannot be asked, the modes of the socket and its directory are the guard.
    """
    try:
        uid = _peer(connection)
    except OSError:
        return False  # it has left already
    return uid is None or uid == os.getuid()


def _peer(connection: socket.socket) -> int | None:
    """The user id at the other end, None where the system does not tell. Raises OSError if the peer has gone."""
    if hasattr(socket, "SO_PEERCRED"):  # Linux
        told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", told)
        return int(uid)
    option = getattr(socket, "LOCAL_PEERCRED", None)  # macOS, FreeBSD
    if option is None:
        return None
    told = connection.getsockopt(_SOL_LOCAL, option, _XUCRED_BYTES)
    version, uid = _XUCRED.unpack_from(told)
    return int(uid) if version == 0 else None
