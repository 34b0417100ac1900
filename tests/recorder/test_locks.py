"""A journal's lock can be held by its recorder, but not by users who may only read the file."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recorder.format import locations
from recorder.format.framing import encode
from recorder.journal import journal as journal_module
from recorder.journal.journal import Journal, JournalReader, is_being_written
from recorder.sweep import spec
from recorder.system import file_locks, fsync
from replay.library import edit
from replay.sources import journal_lock as lock_module
from replay.sources.journal_lock import JournalLock
from tests.waiting import PATIENCE_SECONDS

MESSAGE = {"t": "event", "n": 1}


def read_lock(fd: int) -> None:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, file_locks._request(fcntl.F_RDLCK))


def flock_shared(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)


def flock_exclusive(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def process_lock(fd: int) -> None:
    fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)


Lock = Callable[[int], None]
READERS: list[Lock] = [read_lock, flock_shared, flock_exclusive, process_lock]
"""Every lock that a descriptor for reading can take."""


@pytest.fixture(params=["of open files", "flock"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both kinds of locks: the second as on a system, or a file system, that has no other."""
    if request.param == "flock":
        without_open_file_locks(monkeypatch)
    return str(request.param)


def without_open_file_locks(monkeypatch: pytest.MonkeyPatch, code: int = errno.EINVAL) -> None:
    real = fcntl.fcntl

    def refuse(fd: int, command: int, *more: Any) -> Any:
        if command in (fcntl.F_OFD_GETLK, fcntl.F_OFD_SETLK):
            raise OSError(code, os.strerror(code))
        return real(fd, command, *more)

    monkeypatch.setattr(file_locks.fcntl, "fcntl", refuse)


@pytest.mark.usefixtures("kind")
def test_the_lock_is_seen_through_a_descriptor_for_reading(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.journal")
    journal.path.chmod(0o444)
    fd = os.open(journal.path, os.O_RDONLY)
    assert journal.unlocked is None and file_locks.is_locked(fd) and is_being_written(journal.path)
    journal.release(remove=False)
    assert not file_locks.is_locked(fd) and not is_being_written(journal.path)
    os.close(fd)
    journal.close()


@pytest.mark.usefixtures("kind")
def test_the_lock_ends_with_the_file_and_not_with_another_descriptor_of_the_process(tmp_path: Path) -> None:
    """Unlike classic locks of a process, which end when any descriptor of the file is closed."""
    journal = Journal(tmp_path / "a.journal")
    os.close(os.open(journal.path, os.O_RDONLY))
    assert is_being_written(journal.path)
    journal.close()
    assert not is_being_written(journal.path)


@pytest.mark.parametrize("take", READERS)
def test_a_reader_cannot_keep_a_dead_run_live(tmp_path: Path, take: Lock) -> None:
    journal = Journal(tmp_path / "a.journal")
    fd = os.open(journal.path, os.O_RDONLY)
    journal.close()
    take(fd)
    assert not is_being_written(journal.path)
    held = JournalLock(journal.path)
    assert not held.held()
    held.close()
    edit.rename(locations.archive_of(journal.path), "other")
    edit.delete(tmp_path / "other.zarr")
    assert not list(tmp_path.iterdir())
    os.close(fd)


@pytest.mark.parametrize("take", READERS)
def test_a_reader_cannot_hide_a_live_run(tmp_path: Path, take: Lock) -> None:
    journal = Journal(tmp_path / "a.journal")
    fd = os.open(journal.path, os.O_RDONLY)
    with pytest.raises(OSError) if take in (read_lock, process_lock) else memoryview(b""):
        take(fd)
    assert is_being_written(journal.path)
    os.close(fd)
    journal.close()


def grabbed(monkeypatch: pytest.MonkeyPatch, take: Lock) -> list[int]:
    """Have a reader open and lock every journal in the moment in which it appears, if its mode lets others do so."""
    held: list[int] = []
    real = os.open

    def open_and_grab(path: Any, flags: int, *mode: int, **more: Any) -> int:
        fd = real(path, flags, *mode, **more)
        if flags & os.O_EXCL and os.fstat(fd).st_mode & stat.S_IROTH:
            held.append(real(path, os.O_RDONLY))
            take(held[-1])
        return fd

    monkeypatch.setattr(journal_module.os, "open", open_and_grab)
    return held


@pytest.mark.parametrize("take", READERS)
def test_a_reader_that_is_faster_than_the_recorder_does_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: Lock
) -> None:
    held = grabbed(monkeypatch, take)
    journal = Journal(tmp_path / "a.journal")
    assert len(held) == 1 and journal.unlocked is None and is_being_written(journal.path)
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o644
    journal.append(encode(MESSAGE))
    assert JournalReader(journal.path).poll() == [MESSAGE]
    journal.path.unlink()
    assert journal.flush() and journal.notes and is_being_written(journal.path)
    journal.close()
    assert not is_being_written(journal.path)
    for fd in held:
        os.close(fd)


def test_nor_where_there_is_only_flock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_open_file_locks(monkeypatch)
    monkeypatch.setattr(file_locks, "TRIES", 3)
    held = grabbed(monkeypatch, flock_shared)
    journal = Journal(tmp_path / "a.journal")
    assert len(held) == 1 and is_being_written(journal.path)
    with pytest.raises(BlockingIOError):
        flock_shared(os.open(journal.path, os.O_RDONLY))
    journal.close()


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_the_mode_is_what_the_umask_leaves_however_the_file_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    real, tries = file_locks.acquire, iter([True, False])

    def acquire(fd: int) -> OSError | None:
        if next(tries):
            raise BlockingIOError(errno.EAGAIN, "somebody was faster")
        assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o600
        return real(fd)

    monkeypatch.setattr(file_locks, "acquire", acquire)
    before = os.umask(umask)
    try:
        journal = Journal(tmp_path / "a.journal")
    finally:
        os.umask(before)
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o644 & ~umask and is_being_written(journal.path)
    journal.close()


def test_a_journal_of_another_recorder_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a file that a reader had locked is replaced, another process may take its name."""
    path = tmp_path / "a.journal"
    real = os.open

    def acquire(fd: int) -> OSError | None:
        raise BlockingIOError(errno.EAGAIN, "somebody was faster")

    def taken(given: Any, flags: int, *mode: int, **more: Any) -> int:
        if mode == (0o600,):
            path.write_bytes(b"theirs")
        return real(given, flags, *mode, **more)

    monkeypatch.setattr(file_locks, "acquire", acquire)
    monkeypatch.setattr(journal_module.os, "open", taken)
    with pytest.raises(FileExistsError):
        Journal(path)
    assert path.read_bytes() == b"theirs"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_who_may_read(tmp_path: Path) -> None:
    """The same with a real second user, in a folder that all may read."""
    for folder in (tmp_path, *tmp_path.parents):
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o005 != 0o005:  # of pytest's own; /dev/shm and /tmp stay writable for all
            folder.chmod(mode | 0o055)
    journal = Journal(tmp_path / "a.journal")
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.setuid(65534)
        fd = os.open(journal.path, os.O_RDONLY)
        seen = file_locks.is_locked(fd)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(ready[1], b"y" if seen else b"n")
        os.close(done[1])
        os.read(done[0], 1)
        os._exit(0)
    os.close(done[0])
    try:
        assert os.read(ready[0], 1) == b"y"
        journal.close()
        assert not is_being_written(journal.path)
    finally:
        os.close(done[1])
        os.waitpid(child, 0)


def test_without_any_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_open_file_locks(monkeypatch, errno.ENOLCK)

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    journal = Journal(tmp_path / "a.journal")
    assert journal.unlocked is not None and journal.unlocked.errno == errno.ENOLCK
    assert not is_being_written(journal.path)
    journal.release(remove=True)
    journal.close()


def test_a_disk_that_fails_is_no_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_open_file_locks(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        Journal(tmp_path / "a.journal")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_requests_are_laid_out_as_the_system_has_them(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    """`struct flock` of Linux with offsets of 64 bits, and of macOS."""
    monkeypatch.setattr(sys, "platform", platform)
    request = file_locks._request(fcntl.F_WRLCK)
    at = {"linux": 0, "darwin": 20}[platform]
    assert len(request) == {"linux": 32, "darwin": 24}[platform]
    assert int.from_bytes(request[at : at + 2], sys.byteorder) == fcntl.F_WRLCK == file_locks._type(request)
    assert not any(request[:at] + request[at + 2 :])  # from beginning to end, pid 0, as the kernel requires


def test_a_sweep_s_locks_can_be_opened_by_their_owner_only(tmp_path: Path) -> None:
    (tmp_path / spec._OWNER_LOCK).touch(0o644)  # of an older version
    with spec.ownership(tmp_path), pytest.raises(spec.SweepBusy), spec.ownership(tmp_path):
        pass
    fd = spec.worker_lock(tmp_path)
    assert spec.working(tmp_path)
    os.close(fd)
    assert not spec.working(tmp_path)
    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o600}


# Files that are there although the file system counts no links


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        found = list(real(fd))
        found[3] = 0
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", fstat)


@pytest.mark.usefixtures("no_links")
def test_a_file_system_without_link_counts_deletes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "a.journal")
    journal.append(encode(MESSAGE))
    assert journal.flush() and journal.notes == [] and journal.error is None
    reader, held = JournalReader(journal.path), JournalLock(journal.path)
    opened = reader._file
    assert reader.poll() == [MESSAGE] and reader.poll() == [] and reader._file is opened
    assert held.held()
    journal.release(remove=False)
    monkeypatch.setattr(lock_module, "GRACE_SECONDS", 1e9)
    assert not held.held(), "a file that is there is not waited for"
    journal.close()
    reader.close()
    held.close()


@pytest.mark.usefixtures("no_links")
def test_and_what_is_deleted_there_is_written_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.journal")
    journal.append(encode(MESSAGE))
    reader, held = JournalReader(journal.path), JournalLock(journal.path)
    assert reader.poll() == [MESSAGE]
    journal.path.unlink()
    assert journal.flush() and len(journal.notes) == 1
    journal.append(encode({**MESSAGE, "n": 2}))
    assert reader.poll() == [{**MESSAGE, "n": 2}] and held.held()
    journal.close()
    reader.close()
    held.close()


# Onto the disk


@pytest.mark.parametrize("code", [None, errno.ENOTSUP, errno.EINVAL, errno.EIO])
def test_where_a_drive_has_a_cache_of_its_own_that_is_emptied_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    """As on macOS; a file system that cannot do it gets an `fsync`, and a failure is reported."""
    asked: list[tuple[int, int]] = []
    plain: list[int] = []
    journal = Journal(tmp_path / "a.journal")
    journal._place_synced = True  # its folder is another matter

    def control(fd: int, command: int) -> int:
        asked.append((fd, command))
        if code is not None:
            raise OSError(code, os.strerror(code))
        return 0

    monkeypatch.setattr(fsync.fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fsync.fcntl, "fcntl", control)
    monkeypatch.delattr(os, "fdatasync", raising=False)
    monkeypatch.setattr(os, "fsync", plain.append)
    if code == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            journal.sync()
    else:
        journal.sync()
    assert asked == [(journal._fd, 51)] and plain == ([] if code in (None, errno.EIO) else [journal._fd])
    monkeypatch.undo()
    journal.close()


def test_readers_ask_all_the_time_and_the_recorder_never_waits(tmp_path: Path) -> None:
    """A list of runs that is drawn repeatedly checks every lock, without taking any."""
    over, asked = threading.Event(), threading.Event()

    def ask() -> None:
        while not over.is_set():
            for path in tmp_path.glob("*.journal"):
                is_being_written(path)
                asked.set()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for n in range(200):
            journal = Journal(tmp_path / f"{n}.journal")
            assert journal.unlocked is None
            journal.release(remove=True)
            journal.close()
            if n == 0:
                Journal(tmp_path / "waited.journal").release(remove=False)
                assert asked.wait(PATIENCE_SECONDS)
    finally:
        over.set()
        thread.join()
