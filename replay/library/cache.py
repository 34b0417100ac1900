"""What was read of runs, kept in a file, so that thousands of them are listed at once the next time."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import struct
import time
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recorder.format import locations
from recorder.system.open_folders import PRIVATE_MODE, make_folders
from replay.library.cache_lines import SharedValues, decode, encode, packed
from replay.library.folder_names import Stamp
from replay.library.run_info import RunInfo

if TYPE_CHECKING:
    import sqlite3

VERSION: Final = 7
MAX_LINE_BYTES: Final = 1 << 16
BUSY_SECONDS: float = 1.0
"""How long another process that writes is waited for; then the cache is done without."""
REST_SECONDS: float = 5.0
"""How long a file is done without once that has failed."""
MAX_UNSAVED: Final = 5000
"""Lines that wait for such a file at most."""
SAVE_RUNS: Final = 500
"""Lines that are put before they are written."""
_AT_ONCE: Final = 250
"""Names in one query: some SQLite libraries take 999 parameters at most."""
_TABLES: Final = (
    "CREATE TABLE folder (path BLOB)",
    "CREATE TABLE lines (file BLOB PRIMARY KEY, stamp BLOB, started REAL, line BLOB)",
)

logger = logging.getLogger(__name__)


class _Unusable(Exception):
    """A file that is no cache of this version and this folder."""


def cache_file(runs_dir: Path) -> Path | None:
    """Where a folder's lines are kept: one file per folder, under the user's cache directory or in `LTXTUI_CACHE`.

    None without such a directory: then nothing is kept.
    """
    directory = locations.cache_folder()
    if directory is None:
        return None
    known = hashlib.sha256(os.fsencode(runs_dir.absolute())).hexdigest()[:24]
    return directory / f"runs-{known}.sqlite"


class ListingCache:
    """Lines of the list of one folder, by the archive's file name and stamp, in an SQLite file.

    A file that is damaged or of another version is dropped and made again: everything in it can be read from the runs.
    A file that cannot be written is only read. Without one, nothing is kept; no method raises because of the file.
    Several processes may use one file. One thread at a time may use an object.
    """

    def __init__(self, runs_dir: Path, file: Path | None = None) -> None:
        """Opens nothing: that is done when a line is first asked for or saved."""
        self.shared = SharedValues()
        self._runs_dir = runs_dir
        self._file = file or cache_file(runs_dir)
        self._opened: sqlite3.Connection | None = None
        self._closed = self._file is None
        self._writable = True
        self._rests_until = 0.0
        self._unsaved: dict[str, tuple[bytes, bytes, RunInfo]] = {}

    def __len__(self) -> int:
        known = {bytes(file) for (file,) in self._query("SELECT file FROM lines")}
        return len(known | {os.fsencode(name) for name in self._unsaved})

    def get(self, archive: Path, stamp: Stamp) -> RunInfo | None:
        """The line that was read when the archive had this stamp; None if there is none."""
        return self.lines(archive.parent, {archive.name: stamp}).get(archive.name)

    def lines(self, folder: Path, stamps: Mapping[str, Stamp]) -> dict[str, RunInfo]:
        """The lines that are known of archives with these stamps, both by file name."""
        found: dict[str, RunInfo] = {}
        names = list(stamps)
        for first in range(0, len(names), _AT_ONCE):
            some = names[first : first + _AT_ONCE]
            marks = ",".join("?" * len(some))
            rows = self._query(
                f"SELECT file, stamp, line FROM lines WHERE file IN ({marks})", [os.fsencode(name) for name in some]
            )
            known = {os.fsdecode(file): (stamp, line) for file, stamp, line in rows if isinstance(file, bytes)}
            for name in some:
                stamp, line = packed(stamps[name]), known.get(name)
                if name in self._unsaved:
                    if self._unsaved[name][0] == stamp:
                        found[name] = self._unsaved[name][2]
                elif line is not None and line[0] == stamp and isinstance(line[1], bytes):
                    with contextlib.suppress(ValueError):  # damaged, though the rest of the file is not
                        found[name] = decode(folder / name, line[1], self.shared)
        return found

    def starts(self) -> dict[str, float]:
        """When the runs of all lines began, by file name; stamps are not looked at."""
        rows = self._query("SELECT file, started FROM lines")
        return {os.fsdecode(f): s for f, s in rows if isinstance(f, bytes) and isinstance(s, float)}

    def put(self, info: RunInfo, stamp: Stamp) -> None:
        """Keep a line of a run that has ended, unless it has values that the file cannot hold."""
        self._database()
        if self._closed or not self._writable:
            return
        name = info.path.name
        try:
            line = (packed(stamp), encode(info), info)
        except (OverflowError, TypeError, ValueError, struct.error):
            self.drop([name])
            return
        if len(line[1]) <= MAX_LINE_BYTES:
            self._unsaved[name] = line
        if len(self._unsaved) >= SAVE_RUNS:
            self.save()

    def keep_only(self, names: Set[str]) -> None:
        """Forget what is no longer in the folder; `names` are of archives."""
        known = {os.fsdecode(file) for (file,) in self._query("SELECT file FROM lines") if isinstance(file, bytes)}
        self.drop([*(known | self._unsaved.keys()) - names])

    def drop(self, names: Iterable[str]) -> None:
        """Forget archives by their file names."""
        files = []
        for name in names:
            self._unsaved.pop(name, None)
            files.append((os.fsencode(name),))
        if files:
            self._change("DELETE FROM lines WHERE file = ?", files)

    def save(self) -> None:
        """Write what was put, completely or not at all; failing to write it is not an error."""
        if not self._unsaved:
            return
        lines = [(os.fsencode(name), stamp, run.started, line) for name, (stamp, line, run) in self._unsaved.items()]
        written = self._change("INSERT OR REPLACE INTO lines VALUES (?, ?, ?, ?)", lines)
        if written or len(self._unsaved) > MAX_UNSAVED:
            self._unsaved.clear()

    def close(self) -> None:
        """Save, and close the file."""
        self.save()
        self._closed = True
        self._release()

    # Inside

    def _query(self, text: str, parameters: list[bytes] | None = None) -> list[tuple[Any, ...]]:
        database = self._database()
        if database is None:
            return []
        import sqlite3

        try:
            return database.execute(text, parameters or []).fetchall()
        except sqlite3.Error as error:
            self._failed(error)
            return []

    def _change(self, text: str, rows: list[Any]) -> bool:
        """Returns whether it was done; nothing of it was if not."""
        database = self._database()
        if database is None or not self._writable:
            return False
        import sqlite3

        try:
            with database:
                database.executemany(text, rows)
            return True
        except sqlite3.Error as error:
            self._failed(error)
            return False

    def _database(self) -> sqlite3.Connection | None:
        """The opened file; None without one, or if it cannot be opened now."""
        if self._opened is None and not self._closed and time.monotonic() >= self._rests_until:
            try:
                self._open()
            except _Unusable as error:
                self._make_again(str(error))
        return self._opened

    def _open(self) -> None:
        """Raises _Unusable."""
        assert self._file is not None
        try:
            import sqlite3
        except ImportError:  # a Python that was built without it
            self._closed = True
            return
        try:
            self._opened = self._connect(self._file)
            self._check(self._opened)
        except sqlite3.Error as error:
            if _is_damage(error):
                raise _Unusable(f"{error}") from error
            self._rest(error)
        except OSError as error:
            logger.info("no list of runs is kept in %s: %s", self._file, error.strerror or error)
            self._closed = True

    def _connect(self, file: Path) -> sqlite3.Connection:
        """Raises OSError and sqlite3.Error."""
        import sqlite3

        self._writable = True
        try:
            make_folders(file.parent, PRIVATE_MODE)
            # SQLite would let others read it, and prompts are the user's.
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError:
            if not os.access(file, os.R_OK):
                raise
            self._writable = False
        address = f"{file.absolute().as_uri()}?mode={'rw' if self._writable else 'ro'}"
        return sqlite3.connect(address, timeout=BUSY_SECONDS, uri=True, check_same_thread=False)

    def _check(self, database: sqlite3.Connection) -> None:
        """Raises _Unusable, sqlite3.Error."""
        folder = os.fsencode(self._runs_dir.absolute())
        # What a power cut may damage is made again; to wait for the disk is not worth it.
        database.execute("PRAGMA synchronous = OFF")
        if self._writable and _is_empty(database):
            with database:
                database.execute("BEGIN IMMEDIATE")
                if _is_empty(database):  # no other process was faster
                    for table in _TABLES:
                        database.execute(table)
                    database.execute("INSERT INTO folder VALUES (?)", [folder])
                    database.execute(f"PRAGMA user_version = {VERSION}")
        version = _value(database, "PRAGMA user_version")
        if version != VERSION:
            raise _Unusable(f"its version is {version}, not {VERSION}")
        if database.execute("SELECT path FROM folder").fetchall() != [(folder,)]:
            raise _Unusable("it is of another folder")

    def _failed(self, error: sqlite3.Error) -> None:
        if _is_damage(error):
            self._make_again(f"{error}")
        else:
            self._rest(error)

    def _rest(self, error: sqlite3.Error) -> None:
        """Do without the file for a while: it is locked, or the disk is full."""
        logger.info("the list of runs in %s is not used for now: %s", self._file, error)
        self._release()
        self._rests_until = time.monotonic() + REST_SECONDS

    def _make_again(self, why: str) -> None:
        """Remove a file that cannot be used, and begin another one; without either if that is not possible."""
        assert self._file is not None
        logger.info("the list of runs in %s is made again: %s", self._file, why)
        self._release()
        try:
            for file in (self._file.with_name(f"{self._file.name}-journal"), self._file):
                file.unlink(missing_ok=True)
            self._open()
        except (OSError, _Unusable):
            self._release()
            self._closed = True

    def _release(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


def _value(database: sqlite3.Connection, query: str) -> Any:
    return database.execute(query).fetchone()[0]


def _is_empty(database: sqlite3.Connection) -> bool:
    """Whether a file has just been made."""
    return not _value(database, "PRAGMA user_version") and not _value(database, "SELECT count(*) FROM sqlite_master")


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether a file is to be made again; not if it is only locked, or the disk is full."""
    import sqlite3

    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH)
