"""Announces a program that loads a model and will record, so that viewers which start meanwhile wait for its run.

The announcement is a locked file next to the sockets: it ends with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from recorder.format import locations
from recorder.system import file_locks

SUFFIX: Final = ".loading"
_OPENED: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class Loading:
    """A context in which this process is announced, until `over`. Never raises: nothing depends on it."""

    def __init__(self) -> None:
        self._fd = -1
        self._path: Path | None = None

    def __enter__(self) -> Loading:
        with contextlib.suppress(OSError, locations.UnsafeLocation):
            self._path = locations.make_runtime_directory() / f"{os.getpid()}{SUFFIX}"
            self._fd = os.open(self._path, _OPENED | os.O_CREAT, 0o600)
            file_locks.acquire(self._fd)
        return self

    def over(self) -> None:
        """The run has begun, or never will."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(fd)

    def __exit__(self, *_: object) -> None:
        self.over()


def is_loading() -> bool:
    """Whether a program of this user loads a model and will record; removes what killed ones left."""
    directory = locations.runtime_path()
    try:
        locations.check_runtime_directory(directory)
    except (OSError, locations.UnsafeLocation):
        return False
    return any([_held(path) for path in directory.glob(f"*{SUFFIX}")])


def _held(path: Path) -> bool:
    try:
        fd = os.open(path, _OPENED)
    except OSError:
        return False
    try:
        if file_locks.is_locked(fd):
            return True
        path.unlink(missing_ok=True)
        return False
    except OSError:
        return False
    finally:
        os.close(fd)
