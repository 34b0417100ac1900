"""Sockets of runs where systems differ: how long their names may be, who is at the other end, and when one is stale."""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from recorder.format import locations, protocol
from recorder.format.framing import encode
from recorder.journal import peers
from recorder.journal.journal import Journal
from recorder.journal.server import Server
from recorder.reserve import make_server
from replay.archive import safe_files
from replay.library import live_runs
from tests.waiting import PATIENCE_SECONDS

HEADER = {
    "t": protocol.HEADER,
    "format": protocol.FORMAT,
    "version": protocol.FORMAT_VERSION,
    "time": 1.0,
    "archive": "/runs/x.zarr",
    "metadata": {"host": "here", "process": 7},
}
OLD = 1e9


def served(folder: Path, name: str) -> tuple[Journal, Server]:
    journal = Journal(folder / f"{name[:40]}.journal")
    journal.append(encode({**HEADER, "run": name}))
    return journal, make_server(journal, name, lambda _: True, lambda _: None)


def ended(journal: Journal, server: Server) -> None:
    journal.release(remove=True)
    server.close()
    server.join(PATIENCE_SECONDS)


@pytest.fixture
def deep(runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime directory as long as a Mac's: /var/folders/…/T/ltxtui-501."""
    folder = runtime_dir / ("d" * (70 - len(os.fsencode(runtime_dir)) - 1))
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("LTXTUI_RUNTIME_DIR", str(folder))
    return folder


def test_long_names_have_sockets_and_are_found_by_their_own_names(tmp_path: Path, deep: Path) -> None:
    names = [f"20261122-143015-{'sweep-arm-of-a-study-' * 4}{end}" for end in ("a", "b", "ä")]
    runs = []
    for n, name in enumerate(names):
        (tmp_path / str(n)).mkdir()
        runs.append(served(tmp_path / str(n), name))
    paths = [server.path for _, server in runs]
    assert len(set(paths)) == 3 and all(p.parent == deep for p in paths)
    assert all(len(os.fsencode(p)) <= protocol.MAX_SOCKET_PATH and p.name.startswith("20261122") for p in paths)
    assert sorted(r.name for r in live_runs.live_runs()) == sorted(names)
    again = served(tmp_path, names[0])  # a second run of that name
    assert again[1].path not in paths and len(live_runs.live_runs()) == 4
    for run in (*runs, again):
        ended(*run)
    assert not list(deep.iterdir())


@pytest.mark.parametrize("length", [1, 28, 29, 30, 200])
def test_a_name_is_cut_only_where_it_must_be(length: int) -> None:
    folder, name = Path("/" + "d" * 68), "n" * length
    path = locations.socket_of(folder, name)
    assert len(os.fsencode(path)) <= protocol.MAX_SOCKET_PATH
    whole = f"{name}{locations.SOCKET_SUFFIX}"
    assert (path.name == whole) == (len(os.fsencode(folder / whole)) <= protocol.MAX_SOCKET_PATH)
    assert len(os.fsencode(path)) == min(len(os.fsencode(folder / whole)), protocol.MAX_SOCKET_PATH)


def test_a_directory_that_leaves_no_room_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = locations.socket_of(Path("/" + "d" * 100), "name")
    with pytest.raises(locations.UnsafeLocation, match="LTXTUI_RUNTIME_DIR"):
        locations.check_socket_path(path)


class Refuses:
    """A socket that refuses, as the BSDs do it while its queue is full."""

    def __init__(self, path: Path) -> None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


def test_a_socket_that_refuses_is_removed_only_if_its_recorder_is_gone(
    tmp_path: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, server = served(tmp_path, "run")
    os.utime(server.path, (OLD, OLD))
    monkeypatch.setattr(live_runs, "SocketSource", Refuses)
    assert live_runs.live_runs() == [] and server.path.exists(), "stopped, and too many are waiting"
    journal.release(remove=False)
    assert live_runs.live_runs() == [] and not list(runtime_dir.iterdir())
    server.close()
    server.join(PATIENCE_SECONDS)


@pytest.mark.parametrize("lock", ["missing", "dangling", "of a dead run", "a loop"])
def test_what_a_killed_recorder_left_is_removed(tmp_path: Path, runtime_dir: Path, lock: str) -> None:
    path = runtime_dir / "run.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    os.utime(path, (OLD, OLD))
    if lock == "dangling":
        peers.name_lock(path, tmp_path / "gone.journal")
    elif lock == "of a dead run":
        (tmp_path / "dead.journal").touch()
        peers.name_lock(path, tmp_path / "dead.journal")
    elif lock == "a loop":
        peers.name_lock(path, peers.lock_of(path))
    assert live_runs.live_runs() == []
    assert path.exists() == (lock == "a loop"), "what cannot be asked is left alone"


def test_a_lock_that_was_left_is_replaced_and_a_file_in_its_place_is_not(tmp_path: Path, runtime_dir: Path) -> None:
    peers.name_lock(runtime_dir / "run.sock", tmp_path / "gone.journal")
    journal, server = served(tmp_path, "run")
    assert peers.is_served(server.path) and peers.lock_of(server.path).readlink() == journal.path
    ended(journal, server)
    kept = runtime_dir / "run.sock.lock"
    kept.write_text("somebody's")
    journal, server = served(tmp_path, "run")
    assert [r.name for r in live_runs.live_runs()] == ["run"]
    ended(journal, server)
    assert kept.read_text() == "somebody's" and list(runtime_dir.iterdir()) == [kept]


# Who is at the other end


class Peer:
    """A connection as macOS has it."""

    def __init__(self, told: bytes | OSError) -> None:
        self.told = told

    def getsockopt(self, level: int, option: int, length: int) -> bytes:
        assert (level, option) == (0, 1) and length >= 76
        if isinstance(self.told, OSError):
            raise self.told
        return self.told


@pytest.mark.parametrize(
    ("told", "same"),
    [
        (struct.pack("IIh2x16I", 0, os.getuid(), 1, *[0] * 16), True),
        (struct.pack("IIh2x16I", 0, os.getuid() + 1, 1, *[0] * 16), False),
        (struct.pack("IIh2x16I", 9, os.getuid() + 1, 1, *[0] * 16), True),  # another structure: the modes are the guard
        (OSError(errno.ENOTCONN, "Socket is not connected"), False),
    ],
)
def test_the_other_end_is_asked_for_on_macos_too(
    monkeypatch: pytest.MonkeyPatch, told: bytes | OSError, same: bool
) -> None:
    monkeypatch.delattr(socket, "SO_PEERCRED", raising=False)
    monkeypatch.setattr(socket, "LOCAL_PEERCRED", 1, raising=False)
    peer: Any = Peer(told)
    assert peers.same_user(peer) is same


def test_a_system_that_tells_nothing_has_the_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_PEERCRED", raising=False)
    monkeypatch.delattr(socket, "LOCAL_PEERCRED", raising=False)
    one, other = socket.socketpair()
    with one, other:
        assert peers.same_user(one)


def test_the_other_end_is_known_here() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert peers.same_user(one)


def test_a_peer_that_has_left_does_not_stop_the_server(
    tmp_path: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking for it fails then, on macOS."""
    journal, server = served(tmp_path, "run")

    def gone(_: object) -> int:
        raise OSError(errno.ENOTCONN, "Socket is not connected")

    real = peers._peer
    monkeypatch.setattr(peers, "_peer", gone)
    with socket.socket(socket.AF_UNIX) as refused:
        refused.settimeout(PATIENCE_SECONDS)
        refused.connect(str(server.path))
        assert refused.recv(1) == b""
    monkeypatch.setattr(peers, "_peer", real)
    assert [r.name for r in live_runs.live_runs()] == ["run"]
    ended(journal, server)


# A forked child


def test_a_child_closes_what_is_its_own_although_its_selector_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kqueue is not inherited: closing it in the child fails."""
    journal, server = served(tmp_path, "run")
    reading, writing = os.pipe()
    numbers = [s.fileno() for s in (server._listener, server._wake_reader, server._wake_writer)]

    def fails() -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(server._selector, "close", fails)
    child = os.fork()
    if not child:
        closed = 0
        for number in numbers:
            try:
                os.fstat(number)
            except OSError:
                closed += 1
        os.write(writing, bytes([closed]))
        os._exit(0)
    assert os.read(reading, 1) == b"\x03"
    os.waitpid(child, 0)
    monkeypatch.undo()
    for fd in (reading, writing):
        os.close(fd)
    ended(journal, server)


# Holes of files


def test_without_a_way_to_find_holes_a_file_has_all_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "SEEK_DATA", raising=False)
    monkeypatch.delattr(os, "SEEK_HOLE", raising=False)
    file = tmp_path / "sparse"
    file.touch()
    os.truncate(file, 1 << 20)
    descriptor, size = safe_files.open_file(file)
    assert safe_files.bytes_on_disk(descriptor, size) == 1 << 20
    os.close(descriptor)
