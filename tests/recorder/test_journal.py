"""The journal and its server: what is acknowledged is readable, whatever the disk does."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from recorder.format import locations
from recorder.format.framing import Decoder, encode
from recorder.journal import backlog
from recorder.journal import journal as journal_module
from recorder.journal.journal import Journal, JournalReader, is_being_written
from recorder.journal.server import Server
from recorder.journal.tail import NotAFile
from recorder.reserve import run_name
from replay.sources.journal_lock import JournalLock
from tests.waiting import PATIENCE_SECONDS


def message(n: int) -> dict[str, Any]:
    return {"t": "event", "n": n}


def test_lock_tells_live_from_dead(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    assert not is_being_written(path)
    journal = Journal(path)
    journal.append(encode(message(1)))
    assert is_being_written(path)
    with pytest.raises(FileExistsError):
        Journal(path)
    journal.release(remove=False)
    assert not is_being_written(path)
    journal.close()


def test_reader_follows_and_says_why_it_stops(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    journal = Journal(path)
    reader = JournalReader(path)
    assert reader.poll() == []
    journal.append(encode(message(1)))
    assert reader.poll() == [message(1)]
    os.write(journal._fd, encode(message(2))[:-3])
    assert reader.poll() == [] and "torn" in reader.note
    os.write(journal._fd, encode(message(2))[-3:])
    assert reader.poll() == [message(2)] and reader.note == ""
    damaged = bytearray(encode(message(3)))
    damaged[-1] ^= 1
    os.write(journal._fd, encode(message(7)) + damaged + encode(message(4)))
    assert reader.poll() == [message(7)] and "damaged at byte" in reader.note and reader.broken
    assert reader.poll() == []
    reader.close()
    journal.close()


def test_a_full_disk_keeps_messages_in_memory_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.journal"
    journal = Journal(path)
    journal.append(encode(message(0)))
    real_write = os.write
    budget = [5]  # the disk takes five more bytes of a message, then nothing

    def full(fd: int, data: bytes) -> int:
        if budget[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = real_write(fd, data[: budget[0]])
        budget[0] -= taken
        return taken

    monkeypatch.setattr(journal_module.os, "write", full)
    monkeypatch.setattr(journal_module, "RETRY_SECONDS", 0.0)
    for n in (1, 2, 3):
        journal.append(encode(message(n)))
    assert isinstance(journal.error, OSError)
    assert path.read_bytes() == encode(message(0)), "the torn part was cut off again"
    everything = b"".join(encode(message(n)) for n in range(4))
    assert journal.size == len(everything)
    assert journal.read(0) + journal.read(len(encode(message(0)))) == everything
    monkeypatch.setattr(journal_module.os, "write", real_write)
    journal.append(encode(message(4)))
    assert journal.error is None and journal.dropped == 0
    assert path.read_bytes() == everything + encode(message(4))
    journal.close()


def test_memory_is_bounded_while_the_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal_module.os, "write", full)
    monkeypatch.setattr(backlog, "MEMORY_BYTES", 100)
    journal = Journal(tmp_path / "a.journal")
    for n in range(50):
        journal.append(encode(message(n)))
    assert journal.size <= 100 and journal.dropped > 0
    journal.close()


def test_viewers_are_served_to_the_end_after_close(tmp_path: Path, runtime_dir: Path) -> None:
    journal = Journal(tmp_path / "a.journal")
    server = Server(journal, runtime_dir / "a.sock")
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(server.path))
    sent = [{"t": "event", "n": n, "filling": "x" * 1000} for n in range(3000)]
    for m in sent:
        journal.append(encode(m))
    server.notify()
    time.sleep(0.1)
    journal.release(remove=True)
    server.close()
    decoder = Decoder()
    while data := connection.recv(1 << 20):
        decoder.feed(data)
    assert list(decoder) == sent
    server.join(PATIENCE_SECONDS)
    assert not server.path.exists() and not journal.path.exists()
    connection.close()


def test_a_taken_or_too_long_socket_path_is_refused(tmp_path: Path, runtime_dir: Path) -> None:
    journal = Journal(tmp_path / "a.journal")
    with pytest.raises(locations.UnsafeLocation, match="LTXTUI_RUNTIME_DIR"):
        Server(journal, runtime_dir / ("x" * 120))
    journal.close()


def test_runtime_directory_must_be_ours_and_closed(runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locations.make_runtime_directory() == runtime_dir
    runtime_dir.chmod(0o755)
    with pytest.raises(locations.UnsafeLocation, match="chmod 700"):
        locations.make_runtime_directory()
    runtime_dir.chmod(0o700)
    link = runtime_dir / "link"
    link.symlink_to(runtime_dir)
    monkeypatch.setenv("LTXTUI_RUNTIME_DIR", str(link))
    with pytest.raises(locations.UnsafeLocation, match="not a directory"):
        locations.make_runtime_directory()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("red disc", "red-disc"),
        ("../../etc/passwd", "etc-passwd"),
        ("", "run"),
        ("ünï\x1b[31m", "ünï-31m"),
        ("u\u0308ber", "über"),
        ("赤い円盤 2", "赤い円盤-2"),
        ("हिन्दी", "हिन्दी"),
        ("…/🎉 party 🎉", "party"),
        ("🎉🎉", "run"),
        ("\u202egnp.exe\u200b", "gnp.exe"),
        ("\ud800x", "x"),
        ("._-", "run"),
        ("a" * 200, "a" * 80),
        ("円" * 200, "円" * 40),
    ],
)
def test_names_cannot_leave_their_directory(given: str, kept: str) -> None:
    assert locations.safe_name(given) == kept


def test_a_file_system_without_unicode_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    def ascii_only(name: str) -> bytes:
        return name.encode("ascii")

    monkeypatch.setattr(locations.os, "fsencode", ascii_only)
    assert locations.safe_name("ünï x\u0301 red") == "n-x-red" and locations.safe_name("円") == "run"


def test_a_name_of_which_nothing_is_left_gives_way_to_two_words(caplog: pytest.LogCaptureFixture) -> None:
    assert run_name("赤い 円盤", 0.0).endswith("-赤い-円盤") and not caplog.records
    assert re.fullmatch(r"\d{8}-\d{6}-[a-z]+-[a-z]+", run_name("🎉", 0.0))
    assert "'🎉' has no letter or digit" in caplog.text


def test_the_server_is_woken_by_every_notice(tmp_path: Path, runtime_dir: Path) -> None:
    """A notice that comes while the last one is being taken in must not be the last that is ever heard."""
    journal = Journal(tmp_path / "a.journal")
    server = Server(journal, runtime_dir / "a.sock")
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(server.path))
    connection.settimeout(PATIENCE_SECONDS)
    decoder, received = Decoder(), 0
    for n in range(3000):
        journal.append(encode(message(n)))
        server.notify()
        if n % 10 == 9:
            while received <= n:
                decoder.feed(connection.recv(1 << 16))
                received += len(list(decoder))
    connection.close()
    server.close()
    server.join(PATIENCE_SECONDS)


def test_a_tail_goes_on_in_a_journal_that_was_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.journal"
    path.parent.mkdir()
    journal = Journal(path)
    journal.append(encode(message(1)))
    reader = JournalReader(path)
    assert reader.poll() == [message(1)]
    path.unlink()
    path.parent.rmdir()
    journal.append(encode(message(2)))  # into the file that has no name any more
    assert reader.poll() == [message(2)]
    assert journal.flush() and journal.notes and is_being_written(path)
    journal.append(encode(message(3)))
    assert reader.poll() == [message(3)]
    assert path.read_bytes() == b"".join(encode(message(n)) for n in (1, 2, 3))
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("in the way")
    assert not journal.flush() and "cannot be written again" in str(journal.error)
    assert journal.read(0) == b"".join(encode(message(n)) for n in (1, 2, 3)), "the stream continues"
    reader.close()
    journal.release(remove=True)
    journal.close()
    assert path.parent.is_file()


def test_a_backlog_is_read_from_any_offset() -> None:
    waiting = backlog.Backlog()
    for n in range(20):
        waiting.add(bytes([n]) * (n + 1), 1000, vital=False)
    whole = b"".join(bytes([n]) * (n + 1) for n in range(20))
    assert (waiting.start, waiting.end) == (1000, 1000 + len(whole))
    for offset in range(len(whole) + 1):
        for count in (1, 7, 1000):
            assert waiting.read(1000 + offset, count) == whole[offset : offset + count]
    waiting.taken(5)
    assert waiting.start == 1015 and waiting.read(1015, 1000) == whole[15:]
    waiting.taken(15)
    assert not waiting and waiting.start == waiting.end


def test_without_locks_a_journal_is_readable_and_taken_for_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "fcntl", no_locks)
    monkeypatch.setattr(fcntl, "flock", no_locks)
    journal = Journal(tmp_path / "run.journal")
    assert journal.unlocked is not None
    journal.append(encode(message(1)))
    assert not is_being_written(journal.path)
    assert JournalReader(journal.path).poll() == [message(1)]
    journal.release(remove=True)
    assert not journal.path.exists()
    journal.close()


def test_what_was_written_is_forced_onto_the_disk_where_there_is_no_fdatasync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[int] = []
    monkeypatch.delattr(os, "fdatasync", raising=False)
    monkeypatch.setattr(os, "fsync", forced.append)
    journal = Journal(tmp_path / "run.journal")
    journal.sync()
    assert forced[0] == journal._fd
    journal.close()


@pytest.mark.parametrize("opens", [JournalReader, JournalLock])
def test_a_pipe_in_place_of_a_journal_is_refused_and_never_waited_for(tmp_path: Path, opens: Any) -> None:
    os.mkfifo(tmp_path / "x.journal")
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    with pytest.raises(NotAFile, match="is not a file"):
        opens(tmp_path / "x.journal")
    assert not is_being_written(tmp_path / "x.journal")
    assert not before or len(list(Path("/proc/self/fd").iterdir())) == before, "nothing stays open"
