"""Archives of other machines that were fetched, packed, in the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recorder.format import locations
from recorder.system.open_folders import PRIVATE_MODE, make_folders
from replay.archive.disk_storage import DiskStorage
from replay.remote.hello import NotALine

FOLDER: Final = "remote"
MAX_KEPT_BYTES: Final = 4 << 30
"""Fetched archives that are kept beyond the one that is being fetched; those not used for longest go first."""
_PART: Final = ".part-"


@dataclass(frozen=True)
class Offered:
    """An archive that a relay is about to send."""

    name: str
    size: int
    key: str
    """Stands for the host, the path there, and the time of change: the same key, the same archive."""


def read_offer(said: Mapping[str, Any], address: str) -> Offered:
    """The archive that an answer announces. Raises NotALine."""
    name, size, path, stamp = said.get("run"), said.get("archive"), said.get("path"), said.get("stamp")
    if not isinstance(name, str) or type(size) is not int or size < 0 or not isinstance(path, str):
        raise NotALine("an archive without its name and size")
    known = repr((address, path, stamp, size)).encode(errors="replace")
    return Offered(locations.safe_name(name), size, hashlib.sha256(known).hexdigest()[:24])


def kept(offered: Offered) -> Path | None:
    """The archive, if it was fetched before."""
    folder = fetched_folder()
    path = None if folder is None else _place(folder, offered)
    if path is None or not path.is_file() or path.stat().st_size != offered.size:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # it was used now
    return path


def fetched_folder() -> Path | None:
    """Where fetched archives are kept; None without a cache."""
    cache = locations.cache_folder()
    return None if cache is None else cache / FOLDER


def _place(folder: Path, offered: Offered) -> Path:
    return folder / offered.key / f"{offered.name}{locations.PACKED_SUFFIX}"


class Fetching:
    """A file that an archive is received into. It gets its name once all of it has come."""

    def __init__(self, offered: Offered) -> None:
        """Raises OSError if there is no place for it."""
        self._offered = offered
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        folder = fetched_folder()
        if folder is None:  # no home: it goes with the program
            self._temporary = tempfile.TemporaryDirectory(prefix="ltxtui-remote-")
            folder = Path(self._temporary.name)
        self._place = _place(folder, offered)
        make_folders(self._place.parent, PRIVATE_MODE)
        make_room(folder, offered.key, offered.size)
        handle, name = tempfile.mkstemp(prefix=_PART, dir=self._place.parent)
        self._part: Path | None = Path(name)
        self._file = os.fdopen(handle, "wb")
        self.received = 0

    @property
    def left(self) -> int:
        """Bytes that have not come yet."""
        return self._offered.size - self.received

    @property
    def temporary(self) -> bool:
        """Whether the file goes with the program, which then calls `close`."""
        return self._temporary is not None

    def take(self, data: bytes) -> None:
        """Write what has come. Raises OSError."""
        self._file.write(data)
        self.received += len(data)

    def done(self) -> Path:
        """The path of the complete file. Raises OSError."""
        self._file.close()
        assert self._part is not None
        self._part.replace(self._place)
        self._part = None
        return self._place

    def close(self) -> None:
        """Remove what is not complete."""
        self._file.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._place.parent.rmdir()
        self._part = None
        if self._temporary is not None:
            self._temporary.cleanup()


def make_room(folder: Path, key: str, size: int) -> None:
    """Remove the archives that were not used for longest, if there are too many, and what was left unfinished.

    Args:
        folder: of all fetched archives.
        key: of the one that is being fetched, which stays.
        size: of that one in bytes.
    """
    found = []
    for path in folder.glob("*/*"):
        with contextlib.suppress(OSError):
            status = path.stat()
            held = DiskStorage(path).total_bytes() if path.is_dir() else status.st_size
            if path.name.endswith((locations.PACKED_SUFFIX, locations.ARCHIVE_SUFFIX)):
                found.append((status.st_mtime, held, path))
    total = size
    for _, held, path in sorted(found, reverse=True):
        total += held
        if total > MAX_KEPT_BYTES and path.parent.name != key:
            shutil.rmtree(path.parent, ignore_errors=True)
