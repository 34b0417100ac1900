"""The append-only log of a run's messages: written first, streamed to viewers, then archived.

A message is acknowledged once one `write` has handed it to the operating system; only then does it count into `size`,
and only bytes below `size` are ever shown to a viewer. The writer holds a lock (`locking`), which the kernel releases
however the process ends, so live, finished and crashed runs can be distinguished without guessing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from recorder.journal.backlog import Backlog
from recorder.journal.tail import READ_BYTES, NotAFile, is_deleted, open_journal
from recorder.journal.tail import JournalReader as JournalReader
from recorder.system import file_locks, fork_guard
from recorder.system.durability import sync_place
from recorder.system.fsync import to_disk
from recorder.system.open_folders import make_folders

RETRY_SECONDS = 1.0
LOOK_SECONDS = 1.0
LOOK_AT_MOST_SECONDS = 60.0
_MODE = 0o644
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC


class Journal:
    """A journal that is being written. One thread appends; any thread reads.

    When a write fails (disk full, quota), the file is cut back to its last whole message and further messages are
    kept in memory, within `backlog.MEMORY_BYTES`; they are still streamed, and every `RETRY_SECONDS` they are tried
    again. When the file is deleted, alone or with its folder, it is written again from what is still open.
    """

    def __init__(self, path: Path) -> None:
        """Create the file and lock it.

        Raises:
            FileExistsError: if there is one already.
            OSError: if it cannot be created.
        """
        self.path = path
        self.unlocked: OSError | None = None
        """Why the file could not be locked, where its file system has no locks; readers then take it for unfinished."""
        self.synced_only = False
        """Whether viewers are shown only what `sync` has forced onto the disk, as long as that works."""
        self._synced = 0
        self._place_synced = False
        self._fd = self._create()
        self._lock = threading.Lock()
        self._on_disk = 0
        self._memory = Backlog()
        self._retry_at = 0.0
        self._look_seconds = LOOK_SECONDS
        self._look_at = time.monotonic() + LOOK_SECONDS
        self._unwritten: OSError | None = None
        self._deleted: OSError | None = None
        self._forked = False
        self._ticket = fork_guard.watch(self._let_go)
        self.notes: list[str] = []
        """What has been mended, for the caller that reports it and clears the list."""

    def _create(self) -> int:
        fd = os.open(self.path, _NEW, _MODE)
        with _undone(fd, self.path):
            try:
                self.unlocked = file_locks.acquire(fd)
            except BlockingIOError:
                fd = self._closed_until_locked(fd)
        return fd

    def _closed_until_locked(self, open_to_all: int) -> int:
        """A file in the place of one that a reader opened and locked before its recorder could.

        No other user can open it before it is locked. Then it gets the mode of the first, which umask and folder chose.
        """
        mode = stat.S_IMODE(os.fstat(open_to_all).st_mode)
        self.path.unlink()
        fd = os.open(self.path, _NEW, 0o600)
        with _undone(fd, self.path):
            self.unlocked = file_locks.acquire(fd)
            os.fchmod(fd, mode)
        os.close(open_to_all)
        return fd

    def _let_go(self) -> None:
        """In a forked child: close the file without giving up the lock, which is the parent's."""
        self._forked = True
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def error(self) -> OSError | None:
        """The failure that keeps messages from the disk, or None while all is there."""
        return self._unwritten or self._deleted

    @property
    def dropped(self) -> int:
        """Messages given up because memory was full too."""
        return self._memory.dropped

    @property
    def size(self) -> int:
        """Bytes that viewers may be shown."""
        if self._memory:
            return self._memory.end
        return self._synced if self.synced_only and self.error is None else self._on_disk

    def append(self, data: bytes, vital: bool = False) -> None:
        """Add one whole framed message; never raises for a failing disk.

        `vital` are messages without which later ones cannot be read: they are given up last.
        """
        if self._forked:
            return
        with self._lock:
            if time.monotonic() >= self._look_at:
                self._look()
            if self._memory and time.monotonic() >= self._retry_at:
                self._flush_memory()
            if not self._memory and self._write(data):
                return
            if not self._memory:
                self._retry_at = time.monotonic() + RETRY_SECONDS
            self._memory.add(data, self._on_disk, vital)

    def flush(self) -> bool:
        """Try at once what would be tried again later; True if the file has everything then."""
        if self._forked:
            return False
        with self._lock:
            self._look()
            if self._memory:
                self._flush_memory()
            written = self.error is None and not self._memory.dropped
        if self.synced_only:
            try:
                self.sync()
            except OSError:
                self.synced_only = False
        return written

    def _write(self, data: bytes) -> bool:
        left = memoryview(data)
        try:
            while left:  # once, but for a disk that is full: it takes a part, and says why at the next
                left = left[os.write(self._fd, left) :]
        except OSError as error:
            self._unwritten = error
            self._cut_back()
            return False
        self._on_disk += len(data)
        self._unwritten = None
        return True

    def _cut_back(self) -> bool:
        try:
            os.ftruncate(self._fd, self._on_disk)
        except OSError as error:
            # A torn message stays at the end; readers stop before it, and the next success would follow it. So no
            # success may follow: stay in memory until the cut works.
            self._unwritten = error
            return False
        return True

    def _flush_memory(self) -> None:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        if not self._cut_back():
            return
        done = 0
        for message in self._memory.messages:
            if not self._write(message):
                break
            done += 1
        self._memory.taken(done)

    def _look(self) -> None:
        """Write the file again if it was deleted: what is open would be lost with the process."""
        self._look_at = time.monotonic() + self._look_seconds
        try:
            if not is_deleted(self._fd, self.path):
                return
            self._restore()
        except OSError as error:
            if self._deleted is not None:  # copying may be long: try less and less often
                self._look_seconds = min(2 * self._look_seconds, LOOK_AT_MOST_SECONDS)
            reason = f"its file was deleted, and cannot be written anew: {error.strerror or error}"
            self._deleted = OSError(error.errno, reason)
            return
        self._deleted, self._look_seconds = None, LOOK_SECONDS
        self.notes.append(f"the journal {self.path.name} had been deleted; it was written anew")

    def _restore(self) -> None:
        make_folders(self.path.parent)
        fd = self._create()
        try:
            at = 0
            while at < self._on_disk:
                data = os.pread(self._fd, min(READ_BYTES, self._on_disk - at), at)
                if not data or os.write(fd, data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                at += len(data)
        except BaseException:
            os.close(fd)
            self.path.unlink(missing_ok=True)
            raise
        old, self._fd = self._fd, fd
        os.close(old)
        self._place_synced = False

    def read(self, offset: int, count: int = READ_BYTES) -> bytes:
        """Bytes from `offset` on that viewers may be shown; empty at the end."""
        with self._lock:
            if offset < self._on_disk:
                count = min(count, self._on_disk - offset, self.size - offset)
                return os.pread(self._fd, count, offset) if count > 0 else b""
            return self._memory.read(offset, count) if self._memory else b""

    def sync(self) -> None:
        """Force what was written onto the disk, and the file's place: survives a power cut, costs milliseconds.

        Raises:
            OSError: when the disk does.
        """
        written = self._on_disk
        to_disk(self._fd)
        if not self._place_synced:
            sync_place(self.path.parent)
            self._place_synced = True
        self._synced = written

    def release(self, remove: bool) -> None:
        """Give up the lock, so that readers see the run as ended; the open file can still be read until `close`.

        With `remove` the file goes, if it is still this one. Raises OSError if it cannot be removed.
        """
        if self._forked:
            return
        try:
            if remove and self._is_in_place():
                self.path.unlink(missing_ok=True)
        finally:
            if self.unlocked is None:
                file_locks.release(self._fd)

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._fd))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def close(self) -> None:
        """Close the file; the lock goes with it. May be called twice."""
        fork_guard.unwatch(self._ticket)
        if self._forked:
            return
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


@contextlib.contextmanager
def _undone(fd: int, path: Path) -> Iterator[None]:
    """Close and remove a new file if the block fails; one of the same name that another process made stays."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            if os.path.samestat(path.stat(), os.fstat(fd)):
                path.unlink()
        os.close(fd)
        raise


def is_being_written(path: Path) -> bool:
    """True while some process holds the journal's lock; False if there is no such file or it cannot be locked."""
    try:
        fd = open_journal(path)
    except (FileNotFoundError, NotAFile):
        return False
    try:
        return file_locks.is_locked(fd)
    finally:
        os.close(fd)
