"""Locks that say "a recorder is at work on this file", and that a user who may only read the file cannot hold.

Where the system has them, these are write locks of the open file description (`F_OFD_SETLK`): they need a descriptor
that is open for writing. A reader asks for a write lock in its way (`F_OFD_GETLK`); read locks are not counted, so that
a user who may read the file changes nothing by locking it. Elsewhere `flock` has to do, which any reader can hold.

Both kinds belong to the open file: a forked child shares the lock until it closes its descriptor, and the kernel
releases it however the process ends.
"""

from __future__ import annotations

import errno
import fcntl
import struct
import sys
import time
from typing import Final

TRIES: Final = 200
"""Times 5 ms that a `flock` is tried for: a reader that asks whether it is held holds it for a moment."""
_NO_LOCKS: Final = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_NO_SUCH_COMMAND: Final = _NO_LOCKS | {errno.EINVAL, errno.ENOTTY}
_LINUX: Final = struct.Struct("hhqqi0q")
"""`struct flock`: l_type, l_whence, l_start, l_len, l_pid."""
_DARWIN: Final = struct.Struct("qqihh")
"""The same on macOS: l_start, l_len, l_pid, l_type, l_whence."""


def acquire(fd: int) -> OSError | None:
    """Lock a file that is open for writing; returns the error of a file system that has no locks.

    Raises:
        BlockingIOError: if it stays locked by another process.
        OSError: if it cannot be locked for another reason.
    """
    try:
        if _write_locked(fd) is None:
            _flock(fd)
        else:
            _set(fd, fcntl.F_WRLCK)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return error
    return None


def release(fd: int) -> None:
    """Give up the lock of a file at once, also where a forked child has it open. Raises OSError."""
    if _write_locked(fd) is None:
        fcntl.flock(fd, fcntl.LOCK_UN)
    else:
        _set(fd, fcntl.F_UNLCK)


def is_locked(fd: int) -> bool:
    """True while another open file has this one's lock; False where its file system has no locks.

    The descriptor may be open for reading only.

    Raises:
        OSError: if that cannot be asked.
    """
    locked = _write_locked(fd)
    if locked is not None:
        return locked
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _write_locked(fd: int) -> bool | None:
    """Whether another open file has a write lock; None where there are no locks of open files.

    Recorder and reader decide by this same question which kind of lock is used on a file.
    """
    command = getattr(fcntl, "F_OFD_GETLK", None)
    if command is None:
        return None
    try:
        found = fcntl.fcntl(fd, command, _request(fcntl.F_RDLCK))
    except OSError as error:
        if error.errno not in _NO_SUCH_COMMAND:
            raise
        return None
    return _type(found) != fcntl.F_UNLCK


def _set(fd: int, kind: int) -> None:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _request(kind))


def _request(kind: int) -> bytes:
    """A `struct flock` for the whole file, however long it gets."""
    return _DARWIN.pack(0, 0, 0, kind, 0) if sys.platform == "darwin" else _LINUX.pack(kind, 0, 0, 0, 0)


def _type(found: bytes) -> int:
    return int(_DARWIN.unpack(found)[3] if sys.platform == "darwin" else _LINUX.unpack(found)[0])


def _flock(fd: int) -> None:
    for tries_left in range(TRIES, -1, -1):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not tries_left:
                raise
            time.sleep(0.005)
