"""Faults inside the process: no memory for the metrics, errors at the end, a dying server, leaks of a server's runs."""

from __future__ import annotations

import atexit
import gc
import logging
import socket
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from recorder import record, recording
from recorder.format import locations
from recorder.journal import server
from recorder.journal.journal import Journal
from recorder.metrics.measures import MEASURES
from recorder.sampling.guidance_passes import Passes
from replay.sources.open import SocketSource, load
from tests.conftest import UNGUIDED, nano_call
from tests.faults.conftest import until
from tests.faults.scenarios import SIGMAS, steps
from tests.faults.viewing import rows, texts, whole
from tests.waiting import PATIENCE_SECONDS


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING and r.name.startswith("recorder")]


def test_no_memory_for_the_metrics_of_a_pipeline(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = pipe(**nano_call(6, **UNGUIDED))
    real, calls = MEASURES["mean"], [0]

    def short_of_memory(step: Any) -> torch.Tensor:
        calls[0] += 1
        if step.layout.stream == "video" and calls[0] == 3:  # the second step
            raise torch.OutOfMemoryError("out of memory")
        return real(step)

    monkeypatch.setitem(MEASURES, "mean", short_of_memory)
    add, kept = Passes.add, []

    def watched(passes: Passes, arguments: Any, result: Any, layouts: Any) -> None:
        kept.append(set(layouts))
        add(passes, arguments, result, layouts)

    monkeypatch.setattr(Passes, "add", watched)
    with caplog.at_level(logging.WARNING), record(pipe, runs_dir=tmp_path) as run:
        recorded = pipe(**nano_call(6, **UNGUIDED))
    assert torch.equal(plain.frames, recorded.frames) and torch.equal(plain.audio, recorded.audio)
    found = whole(run.path)
    assert rows(found) == [0, 4, 5], "two steps are left out to let memory recover; the rows keep their places"
    assert rows(found, 0, "audio") == [0, 1, 2, 3, 4, 5]
    both = {"video", "audio"}
    assert kept == [both, both, {"audio"}, {"audio"}, both, both], "meanwhile no pass of the model is copied"
    assert texts(found, "error") == ["a step of video could not be recorded: out of memory"]
    assert len(lines(caplog)) == 1
    cosine = found.stages[0].streams["video"].values("velocity_cosine")
    assert (cosine[4] != cosine[4]).all() and (cosine[5] == cosine[5]).all(), "nothing is compared across the gap"
    assert "3 of them not recorded" in next(e["text"] for e in found.events if e["kind"] == "stage_end")


def test_no_memory_in_a_loop_of_ones_own_and_in_its_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from recorder.metrics.stage_summary import PathTracker

    def short_of_memory(*arguments: Any) -> Any:
        raise MemoryError

    with record(runs_dir=tmp_path) as run:
        run.stage(SIGMAS)
        steps(run, 3, both=True)
        monkeypatch.setattr(PathTracker, "finish", short_of_memory)
        run.stage(SIGMAS)
        monkeypatch.setitem(MEASURES, "mean", short_of_memory)
        steps(run, 3, both=True)
        with pytest.raises(ValueError, match="either velocity or x0"):  # mistakes of the caller are still reported
            run.step(sigma=1.0, sigma_next=0.5, sample=torch.zeros(1, 4, 3, 6, 8))
        monkeypatch.undo()
        steps(run, 2, first=3, both=True)
        with pytest.raises(ValueError, match="begin another stage"):
            run.step(sigma=0.5, sigma_next=0.4, sample=torch.zeros(1, 4, 5, 6, 8), x0=torch.zeros(1, 4, 5, 6, 8))
    found = whole(run.path)
    assert rows(found) == [0, 1, 2] and rows(found, 1) == [3, 4] and rows(found, 1, "audio") == [3, 4]
    assert sorted(texts(found, "error")) == [
        "a step of audio could not be recorded: MemoryError",
        "a step of video could not be recorded: MemoryError",
        "the summary of audio could not be recorded: MemoryError",
        "the summary of video could not be recorded: MemoryError",
    ]
    assert len(lines(caplog)) == 4


def test_an_exception_in_the_block_goes_through_and_the_archive_is_complete(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="the loop broke"), record(runs_dir=tmp_path) as run:
        run.stage(SIGMAS)
        steps(run, 3)
        raise ZeroDivisionError("the loop broke")
    found = whole(run.path)
    assert found.end is not None and found.end["status"] == "failed" and rows(found) == [0, 1, 2]
    assert found.end["error"] == "ZeroDivisionError: the loop broke"


@pytest.mark.parametrize("what", ["unlink", "archive"])
def test_errors_at_the_end_do_not_reach_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    def fails(*arguments: Any, **more: Any) -> Any:
        raise OSError(5, "Input/output error")

    from recorder.archive import writer

    with record(runs_dir=tmp_path) as run:
        run.stage(SIGMAS)
        steps(run, 4)
        if what == "unlink":
            monkeypatch.setattr(Path, "unlink", fails)
        else:
            monkeypatch.setattr(writer.ArchiveWriter, "finish", fails)
    monkeypatch.undo()
    assert run.status == "complete" and lines(caplog)
    assert rows(load(run.path)) == [0, 1, 2, 3]
    journal = locations.journal_of(run.path)
    assert journal.exists()
    until(lambda: not [t for t in threading.enumerate() if t.name == "ltxtui-server"])


def test_a_server_that_dies_takes_nothing_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(self: Any) -> None:
        raise RuntimeError("a bug")

    with record(runs_dir=tmp_path) as run:
        run.stage(SIGMAS)
        steps(run, 2)
        monkeypatch.setattr(server.Server, "_round", breaks)
        time.sleep(server.IDLE_SECONDS)  # without a viewer it is not woken more often
        run._notify()
        assert run._server is not None
        run._server.join(PATIENCE_SECONDS)
        steps(run, 2, first=2)
        assert run.socket_path is not None and not run.socket_path.exists()
    found = whole(run.path)
    assert rows(found) == [0, 1, 2, 3] and run._journal._fd == -1
    expected = "the socket server stopped (a bug); the run can be followed in its journal"
    assert texts(found, "warning") == [expected] and lines(caplog) == [expected]


def test_a_taken_socket_path_is_left_alone(tmp_path: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "run_name", lambda name, now: "same")
    stale, alive = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    stale.bind(str(runtime_dir / "same.sock"))
    stale.close()
    (runtime_dir / "same-2.sock").write_text("a file of somebody's")
    (runtime_dir / "same-3.sock").mkdir()
    alive.bind(str(runtime_dir / "same-4.sock"))
    alive.listen()
    with record(runs_dir=tmp_path) as run:
        assert run.socket_path == runtime_dir / "same-5.sock"
        source = SocketSource(run.socket_path)
        until(source.poll)
        source.close()
    assert sorted(p.name for p in runtime_dir.iterdir()) == [f"same{n}.sock" for n in ("-2", "-3", "-4", "")]
    alive.close()
    assert (runtime_dir / "same-2.sock").read_text() == "a file of somebody's"


def test_an_unsafe_runtime_directory_costs_the_socket_and_no_more(
    tmp_path: Path, runtime_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime_dir.chmod(0o755)
    with record(runs_dir=tmp_path) as run:
        assert run.socket_path is None
        steps(run, 3)
    found = whole(run.path)
    assert len(texts(found, "warning")) == 1 and "chmod 700" in texts(found, "warning")[0]
    assert len(lines(caplog)) == 1


def test_many_runs_of_one_process_leave_nothing(tmp_path: Path, runtime_dir: Path) -> None:
    def one(number: int) -> weakref.ref[Any]:
        with record(runs_dir=tmp_path, name=str(number), previews=False) as run:
            for _ in range(8 if number == 0 else 1):
                run.stage(SIGMAS[:2])
                steps(run, 2)
        return weakref.ref(run)

    def ours() -> list[str]:
        return [t.name for t in threading.enumerate() if t.name.startswith("ltxtui")]

    one(0)
    until(lambda: not ours())
    gc.collect()
    before = (atexit._ncallbacks(), descriptors())
    left = [one(number) for number in range(1, 9)]
    until(lambda: not ours())
    gc.collect()
    assert (atexit._ncallbacks(), descriptors()) == before
    assert not any(ref() for ref in left) and list(runtime_dir.iterdir()) == []
    assert not recording._open_runs and not server._serving
    assert len(list(tmp_path.iterdir())) == 9


def test_a_thousand_viewers_that_vanish(tmp_path: Path, runtime_dir: Path) -> None:
    journal = Journal(tmp_path / "a.journal")
    serving = server.Server(journal, runtime_dir / "a.sock", lambda message: False)
    from recorder.format.framing import encode

    journal.append(encode({"t": "header", "n": "x" * 5000}))
    gc.collect()
    before = descriptors()
    garbage = (b"\xff" * 9000, b"", encode({"t": "nothing"}) * 30, b"GET / HTTP/1.0\r\n\r\n")
    for number in range(1000):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(serving.path))
            if number % 2:
                try:
                    peer.sendall(garbage[number // 2 % 4])
                except OSError:
                    continue  # dropped already
            if number % 5 == 0:
                serving.notify()
    until(lambda: not serving._viewers)
    until(lambda: descriptors() == before)
    last = SocketSource(serving.path)
    found: list[Any] = []
    until(lambda: found.extend(last.poll()) or found)
    assert found[0]["t"] == "header"
    last.close()
    serving.close()
    serving.join(PATIENCE_SECONDS)
    assert not serving.path.exists()
