"""Real recorders and viewers as real processes: killed, late, stopped, several at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.single_rows import single_rows
from recorder.format import locations
from recorder.journal.journal import is_being_written
from replay.library import listing
from replay.sources.open import Liveness, SocketSource, load, open_path
from tests.nursery import Nursery, Program
from tests.waiting import PATIENCE_SECONDS, until


@contextlib.contextmanager
def process(processes: Nursery, *arguments: str) -> Iterator[Program]:
    running = processes.run(*arguments)
    try:
        yield running
    finally:
        running.end()


def start(running: Program) -> tuple[Path, Path]:
    said = json.loads(running.stdout.readline())
    return Path(said["socket"]), Path(said["path"])


def rows_in(file: Path) -> list[dict]:
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [m for line in lines if line.endswith("\n") and (m := json.loads(line))["t"] == "step"]


def steps_received(source: SocketSource) -> list[tuple[str, int]]:
    return [(m["stream"], m["step"]) for m in single_rows(source.poll()) if m["t"] == "step"]


def test_sigkill_loses_no_step_that_any_viewer_received(processes: Nursery, tmp_path: Path, runtime_dir: Path) -> None:
    runs, seen = tmp_path / "runs", tmp_path / "seen"
    # Long enough not to end by itself, however slowly the viewer comes up; it is killed anyway.
    with process(processes, "recorder", str(runs), "400", "0.02") as recording:
        socket, path = start(recording)
        assert (socket.stat().st_mode & 0o777, socket.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        with process(processes, "viewer", str(socket), str(seen)) as watching:
            until(lambda: len(rows_in(seen)) >= 12)
            assert [r.status for r in listing.list_runs(runs)] == ["live"]
            recording.signal(signal.SIGKILL)
            recording.wait()
            watching.wait()
    received = rows_in(seen)
    assert len(received) >= 12
    assert not is_being_written(locations.journal_of(path))
    run = load(path)
    for row in received:
        stream = run.stages[row["stage"]].streams[row["stream"]]
        assert stream.data[row["step"]].tobytes().hex() == row["data"]
    source = open_path(path)
    source.poll()
    assert source.liveness is Liveness.UNFINISHED and run.end is None
    found = listing.list_runs(runs)
    assert [(r.status, r.steps) for r in found] == [("unfinished", run.steps)]
    # The dead socket is removed by a search for live runs; a young one may just not listen yet.
    assert socket.exists() and listing.live_runs() == [] and socket.exists()
    os.utime(socket, (0, 0))
    assert listing.live_runs() == [] and not socket.exists()


def test_late_and_several_viewers_get_everything_and_a_stopped_one_stops_nobody(
    processes: Nursery, tmp_path: Path
) -> None:
    runs, seen = tmp_path / "runs", tmp_path / "seen"
    with process(processes, "recorder", str(runs), "30", "0.1") as recording:
        socket, path = start(recording)
        with process(processes, "viewer", str(socket), str(seen)) as stopped:
            until(lambda: len(rows_in(seen)) >= 2)
            stopped.signal(signal.SIGSTOP)
            first = SocketSource(socket)
            early: list[tuple[str, int]] = []
            while early.count(("video", 14)) == 0:
                early += steps_received(first)
                time.sleep(0.01)
            late = SocketSource(socket)
            received: list[tuple[str, int]] = []
            until(lambda: bool(received.extend(steps_received(late)) or received))
            until(lambda: received.extend(steps_received(late)) or ("video", 14) in received)
            assert received[0] == ("video", 0)

            def ended() -> bool:
                """Both read on meanwhile: who does not read for two seconds at the end is let go."""
                early.extend(steps_received(first))
                received.extend(steps_received(late))
                return recording.status() is not None

            until(ended)
            assert recording.wait() == 0
            for source, into in ((first, early), (late, received)):
                until(lambda s=source, i=into: i.extend(steps_received(s)) or s.liveness is not Liveness.LIVE)  # type: ignore[misc]
                assert into == [(s, i) for i in range(30) for s in ("video", "audio")]
                assert source.liveness is Liveness.FINISHED
                source.close()
            assert load(path).steps == 30


def test_a_stopped_viewer_does_not_slow_the_run(processes: Nursery, tmp_path: Path) -> None:
    """The steps of one run with a stopped viewer, after it has stopped, are no slower than before it came."""
    runs, seen = tmp_path / "runs", tmp_path / "seen"
    with process(processes, "recorder", str(runs), "120", "0") as recording:
        socket, path = start(recording)
        watcher = SocketSource(socket)
        with contextlib.closing(watcher), process(processes, "viewer", str(socket), str(seen)) as stopped:
            until(lambda: len(rows_in(seen)) >= 50)
            stopped.signal(signal.SIGSTOP)
            assert recording.wait() == 0
    times = load(path).stages[0].streams["video"].values("step_seconds")
    before, after = sorted(times[5:30]), sorted(times[-50:])
    # Medians of one run: a viewer that were waited for would cost seconds per step, not a part of one.
    assert after[len(after) // 2] < 5 * before[len(before) // 2]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can try as another user")
def test_another_user_cannot_connect(tmp_path: Path, runtime_dir: Path) -> None:
    runtime_dir.chmod(0o755)  # even where the directory's own guard is gone
    from recorder.journal.journal import Journal
    from recorder.journal.server import Server

    journal = Journal(tmp_path / "x.journal")
    server = Server(journal, runtime_dir / "x.sock")
    (runtime_dir / "x.sock").chmod(0o666)
    code = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX)\n"
        f"s.settimeout(60); s.connect({str(runtime_dir / 'x.sock')!r}); sys.exit(0 if s.recv(1) == b'' else 1)"
    )
    journal.append(b"secret")
    server.notify()
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    server.close()
    server.join(PATIENCE_SECONDS)
