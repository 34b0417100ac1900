"""A viewer whose connection breaks: it comes back by itself, sees everything once, and knows when it is over."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from recorder.format.framing import encode
from recorder.format.protocol import Message
from recorder.journal.journal import Journal
from recorder.journal.server import Server
from replay.model.run import Run
from replay.sources.open import Liveness, load
from replay.sources.reconnect import ReconnectingSource
from tests.ltxtui.fixture import fixture_messages
from tests.waiting import PATIENCE_SECONDS

QUICK = (0.0, 0.02)
ROOT = Path(__file__).parents[2]


class Wire:
    """A forwarded socket, as `ssh -L` makes it: it can be cut, and laid again."""

    def __init__(self, near: Path, far: Path) -> None:
        self.near, self.far = near, far
        self._open: list[socket.socket] = []
        self.lay()

    def lay(self) -> None:
        self.near.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.near))
        listener.listen()
        self._open = [listener]
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        for end in self._open:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the other side was faster
            finally:
                end.close()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                far.connect(str(self.far))
            except OSError:
                return
            self._open += [near, far]
            threading.Thread(target=self._pass_on, args=(far, near), daemon=True).start()

    @staticmethod
    def _pass_on(far: socket.socket, near: socket.socket) -> None:
        try:
            while data := far.recv(4096):
                near.sendall(data)
            near.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


class Recorder:
    """A journal and a server, fed with a recorded run's messages."""

    def __init__(self, folder: Path) -> None:
        self.left = fixture_messages()
        self.archive = folder / "run.zarr"
        self.left[0] = {**self.left[0], "archive": str(self.archive)}
        self.all = list(self.left)
        self.journal = Journal(folder / "run.journal")
        self.server = Server(self.journal, folder / "run.sock")

    def send(self, count: int) -> None:
        for message in self.left[:count]:
            self.journal.append(encode(message))
        del self.left[:count]
        self.server.notify()

    def close(self) -> None:
        self.journal.release(remove=False)
        self.server.close()
        self.server.join(PATIENCE_SECONDS)


@pytest.fixture
def recorder(runtime_dir: Path) -> Iterator[Recorder]:
    made = Recorder(runtime_dir)
    yield made
    made.close()


def gathered(source: ReconnectingSource, until: Callable[[list[Message]], bool], into: list[Message]) -> None:
    limit = time.monotonic() + PATIENCE_SECONDS
    while not until(into):
        assert time.monotonic() < limit, f"{len(into)} messages, {source.note!r}"
        into += source.poll()
        time.sleep(0.005)


def test_a_cut_connection_comes_back_and_loses_nothing(recorder: Recorder, runtime_dir: Path) -> None:
    wire = Wire(runtime_dir / "near.sock", recorder.server.path)
    recorder.send(20)
    # The run's files are not on this machine: only the wire leads to them.
    source = ReconnectingSource(wire.near, runtime_dir / "elsewhere.zarr", retry=QUICK)
    seen: list[Message] = []
    gathered(source, lambda m: len(m) == 20, seen)
    assert source.unread == 0 and source.note == ""
    for count in (15, 30):
        wire.cut()
        gathered(source, lambda m: source.reconnecting, seen)
        assert source.liveness is Liveness.LIVE and "connection lost" in source.note and source.fileno() is None
        recorder.send(count)
        source.poll()
        wire.lay()
        expected = len(seen) + count
        gathered(source, lambda m, n=expected: len(m) == n, seen)
        assert not source.reconnecting and source.note == ""
    recorder.send(len(recorder.left))
    gathered(source, lambda m: source.liveness is Liveness.FINISHED, seen)
    assert [m["t"] for m in seen] == [m["t"] for m in recorder.all]
    assert [m.get("time") for m in seen] == [m.get("time") for m in recorder.all]
    source.close()


def test_without_a_socket_the_locked_journal_is_tailed(recorder: Recorder) -> None:
    recorder.send(12)
    source = ReconnectingSource(recorder.server.path, retry=QUICK)
    seen: list[Message] = []
    gathered(source, lambda m: len(m) == 12, seen)
    recorder.server._remove_path()  # /tmp was cleaned
    wire_ends = [v.socket for v in recorder.server._viewers.values()]
    for end in wire_ends:
        end.shutdown(socket.SHUT_RDWR)
    gathered(source, lambda m: source.reconnecting, seen)
    recorder.send(9)
    gathered(source, lambda m: len(m) == 21, seen)
    assert source.liveness is Liveness.LIVE and not source.reconnecting
    recorder.send(len(recorder.left))
    gathered(source, lambda m: source.liveness is Liveness.FINISHED, seen)
    assert len(seen) == len(recorder.all)
    source.close()


def test_another_run_on_the_same_socket_is_not_mixed_in(recorder: Recorder, runtime_dir: Path) -> None:
    wire = Wire(runtime_dir / "near.sock", recorder.server.path)
    recorder.send(10)
    source = ReconnectingSource(wire.near, runtime_dir / "elsewhere.zarr", retry=QUICK)
    seen: list[Message] = []
    gathered(source, lambda m: len(m) == 10, seen)
    wire.cut()
    gathered(source, lambda m: source.reconnecting, seen)
    (other_folder := runtime_dir / "other").mkdir()
    other = Recorder(other_folder)
    other.left[0] = {**other.left[0], "run": "another"}
    other.send(30)
    wire.far = other.server.path
    wire.lay()
    gathered(source, lambda m: source.liveness is Liveness.UNFINISHED, seen)
    assert len(seen) == 10 and "another run" in source.note
    other.close()
    source.close()


def test_a_run_that_ended_meanwhile_is_read_from_its_archive(runtime_dir: Path, tmp_path: Path) -> None:
    import torch

    from recorder import record

    with record(runs_dir=tmp_path) as run:
        wire = Wire(runtime_dir / "near.sock", next(runtime_dir.glob("*.sock")))
        source = ReconnectingSource(wire.near, retry=QUICK)
        sample = torch.zeros(1, 4, 3, 4, 4)

        def step(n: int) -> None:
            run.step(sigma=1 - n / 10, sigma_next=0.9 - n / 10, sample=sample + n, velocity=sample + 1)

        for n in range(4):
            step(n)
        seen: list[Message] = []
        gathered(source, lambda m: sum(x["t"] == "step" for x in m) == 4, seen)
        wire.cut()
        gathered(source, lambda m: source.reconnecting, seen)
        for n in range(4, 8):
            step(n)
    gathered(source, lambda m: source.liveness is Liveness.FINISHED, seen)
    mine = Run()
    for message in seen:
        mine.feed(message)
    whole = load(run.path)
    assert mine.steps == whole.steps == 8 and mine.end is not None
    assert [e["kind"] for e in mine.events] == [e["kind"] for e in whole.events]
    stream = mine.stages[0].streams["video"]
    assert np.array_equal(stream.data, whole.stages[0].streams["video"].data, equal_nan=True)
    source.close()


SERVE = """
import sys, time
from pathlib import Path
from tests.replay.test_reconnect import Recorder
recorder = Recorder(Path(sys.argv[1]))
recorder.send(25)
print("ready", flush=True)
time.sleep(600)
"""


def test_a_killed_recorder_is_known_to_be_gone(runtime_dir: Path) -> None:
    (folder := runtime_dir / "killed").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ}
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        source = ReconnectingSource(folder / "run.sock", retry=QUICK)
        seen: list[Message] = []
        gathered(source, lambda m: len(m) == 25, seen)
        process.send_signal(signal.SIGKILL)
        process.wait()
        gathered(source, lambda m: source.liveness is Liveness.UNFINISHED, seen)
        assert len(seen) == 25 and not source.reconnecting
        source.close()
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)
