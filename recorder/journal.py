"""The append-only log of a run's messages: written first, streamed from, folded into the archive.

A message is acknowledged once one `write` has handed it to the operating system; only then does it count into `size`,
and only bytes below `size` are ever shown to a viewer. The writer holds a `flock`, which the kernel releases however
the process ends, so live, finished and crashed runs are told apart without guessing.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

from recorder.messages import CorruptMessage, Decoder
from recorder.words import Message

READ_BYTES = 1 << 18
MEMORY_BYTES = 64 << 20
RETRY_SECONDS = 1.0


class Journal:
    """A journal that is being written. One thread appends; any thread reads.

    When a write fails (disk full, quota), the file is cut back to its last whole message and further messages are
    kept in memory, at most `MEMORY_BYTES`; they are still streamed, and every `RETRY_SECONDS` they are tried again.
    """

    def __init__(self, path: Path) -> None:
        """Create the file and lock it.

        Raises:
            FileExistsError: if there is one already.
            OSError: if it cannot be created.
        """
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._lock = threading.Lock()
        self._on_disk = 0
        self._memory: list[bytes] = []
        self._memory_bytes = 0
        self._memory_start = 0
        self._retry_at = 0.0
        self.error: OSError | None = None
        """The failure that keeps messages in memory, or None while all is on disk."""
        self.dropped = 0
        """Messages given up because memory was full too."""

    @property
    def size(self) -> int:
        """Bytes that viewers may be shown."""
        return self._memory_start + self._memory_bytes if self._memory else self._on_disk

    def append(self, data: bytes) -> None:
        """Add one whole framed message; never raises for a failing disk."""
        with self._lock:
            if self._memory:
                self._flush_memory()
            if not self._memory and self._write(data):
                return
            self._keep(data)

    def _write(self, data: bytes) -> bool:
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            self.error = error
            written = 0
        if written == len(data):
            self._on_disk += written
            self.error = None
            return True
        self.error = self.error or OSError(f"only {written} of {len(data)} bytes could be written")
        self._cut_back()
        return False

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._fd, self._on_disk)
        except OSError as error:
            # A torn message stays at the end; readers stop before it, and the next success would follow it. So no
            # success may follow: stay in memory until the cut works.
            self.error = error

    def _keep(self, data: bytes) -> None:
        if not self._memory:
            self._memory_start = self._on_disk
            self._retry_at = time.monotonic() + RETRY_SECONDS
        if self._memory_bytes + len(data) > MEMORY_BYTES:
            self.dropped += 1
            return
        self._memory.append(data)
        self._memory_bytes += len(data)

    def _flush_memory(self) -> None:
        if time.monotonic() < self._retry_at:
            return
        self._retry_at = time.monotonic() + RETRY_SECONDS
        self._cut_back()
        while self._memory and self._write(self._memory[0]):
            first = self._memory.pop(0)
            self._memory_bytes -= len(first)
            self._memory_start += len(first)

    def read(self, offset: int, count: int = READ_BYTES) -> bytes:
        """Acknowledged bytes from `offset` on; empty at the end."""
        with self._lock:
            if offset < self._on_disk:
                return os.pread(self._fd, min(count, self._on_disk - offset), offset)
            if not self._memory:
                return b""
            joined = b"".join(self._memory)
            return joined[offset - self._memory_start :][:count]

    def sync(self) -> None:
        """Force what was written onto the disk: survives a power cut, costs milliseconds."""
        os.fdatasync(self._fd)

    def release(self, remove: bool) -> None:
        """Give up the lock, so that readers see the run as ended; the open file can still be read until `close`."""
        if remove:
            self.path.unlink(missing_ok=True)
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; the lock goes with it."""
        os.close(self._fd)


def is_being_written(path: Path) -> bool:
    """True while some process holds the journal's lock; False if there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


class JournalReader:
    """Follows a journal file from its beginning; never changes it and never waits.

    After each `poll`, `note` says why the rest cannot be read, if that is so: a torn last message (normal after a
    crash) or a damaged one, where the readable part ends.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._decoder = Decoder()
        self._broken = ""

    @property
    def note(self) -> str:
        if self._broken:
            return self._broken
        if self._decoder.pending:
            return f"the last message is torn ({self._decoder.pending} bytes); everything before it is shown"
        return ""

    @property
    def broken(self) -> bool:
        """True once a damaged message has been met; nothing after it can be read."""
        return bool(self._broken)

    def poll(self, limit: int = 1 << 24) -> list[Message]:
        """Whole messages that were added since the last call, from about `limit` bytes at most."""
        found: list[Message] = []
        taken = 0
        while taken < limit and not self._broken and (data := self._file.read(READ_BYTES)):
            taken += len(data)
            self._decoder.feed(data)
            try:
                for message in self._decoder:
                    found.append(message)  # one by one: what precedes a damaged message is not lost with it
            except CorruptMessage as error:
                self._broken = f"damaged at byte {self._decoder.consumed:,}: {error}; everything before it is shown"
        return found

    def close(self) -> None:
        self._file.close()
