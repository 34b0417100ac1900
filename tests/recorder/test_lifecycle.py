"""How recordings begin and end: interrupted at every line, refused, rejected, nested, cancelled, never left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import types
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from recorder import record, recording, session
from recorder.format import locations
from recorder.journal.journal import is_being_written
from recorder.recording import RunHandle
from recorder.runners import own_loop
from recorder.sampling import hooks, observer, stages
from recorder.system import interrupts as shielded_
from recorder.system.interrupts import shielded
from recorder.writing import run_messages
from recorder.writing.items import RowItem
from recorder.writing.journal_thread import Pump
from replay.library import listing
from replay.sources.open import load
from tests.conftest import UNGUIDED, nano_call, spare_the_collector
from tests.faults.conftest import until
from tests.faults.scenarios import SIGMAS, steps

FILES = tuple(m.__file__ for m in (session, shielded_, recording, observer, stages))
"""Whose lines a Ctrl-C is tried at: all that open and close a recording."""


def ours() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("ltxtui")]


def nothing_is_left(folder: Path, runtime: Path, pipe: Any = None) -> None:
    until(lambda: not ours())
    gc.collect()
    until(lambda: not ours())
    assert list(folder.iterdir()) == [] and list(runtime.iterdir()) == []
    assert not recording._open_runs
    if pipe is not None:
        is_itself(pipe)


def is_itself(pipe: Any) -> None:
    assert not hooks.is_hooked(pipe) and hooks.OBSERVER not in pipe.__dict__
    assert not isinstance(pipe.scheduler, hooks._HookedScheduler) and hooks.OBSERVER not in pipe.scheduler.__dict__
    assert not pipe.transformer._forward_pre_hooks and not pipe.transformer._forward_hooks


class At:
    """Raises KeyboardInterrupt in this thread at the n-th line, or function's beginning, of our own code."""

    def __init__(self, number: int, files: Collection[str] = FILES) -> None:
        self.number = number
        self.files = files
        self.seen = 0
        self.where = ""

    def __call__(self, frame: types.FrameType, what: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in self.files:
            return None
        if what not in ("call", "line"):
            return self
        self.seen += 1
        if self.seen == self.number and not self.where:
            self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"
            raise KeyboardInterrupt
        return self


@contextlib.contextmanager
def traced(at: At) -> Iterator[None]:
    """Coverage tools and debuggers get their own back."""
    before = sys.gettrace()
    sys.settrace(at)
    try:
        yield
    finally:
        sys.settrace(before)


def each_line(attempt: Callable[[At], None], check: Callable[[], None]) -> int:
    """Try with a Ctrl-C at every line, one after the other, until there are no more; returns how many there were."""
    spare_the_collector()  # a collection after every try looks at what is new
    number = 0
    while True:
        number += 1
        at = At(number)
        with contextlib.suppress(KeyboardInterrupt):
            attempt(at)
        try:
            check()
        except BaseException as error:
            error.add_note(f"after a Ctrl-C at {at.where}")
            raise
        if not at.where:
            return number - 1


def test_ctrl_c_at_any_line_of_the_beginning_leaves_nothing(pipe: Any, tmp_path: Path, runtime_dir: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()

    def attempt(at: At) -> None:
        with traced(at):
            opened = record(pipe, runs_dir=folder, allow_control=True)
            opened.__enter__()
        opened.__exit__(None, None, None)  # it has been opened, with every line tried

    assert each_line(attempt, lambda: nothing_is_left(folder, runtime_dir, pipe)) > 20


def test_ctrl_c_at_any_line_of_the_end_leaves_a_complete_archive(tmp_path: Path, runtime_dir: Path) -> None:
    ended: list[Path] = []

    def attempt(at: At) -> None:
        at.files = FILES[:3]  # the summary of a stage has many lines, and nothing to give back
        opened = record(runs_dir=tmp_path, name="r", previews=False)
        run = opened.__enter__()
        ended.append(run.path)
        run.stage(SIGMAS)
        steps(run, 2)
        del run
        with traced(at):
            opened.__exit__(None, None, None)

    def check() -> None:
        until(lambda: not ours())
        gc.collect()
        until(lambda: not ours())
        path = ended.pop()
        assert not locations.journal_of(path).exists() and list(runtime_dir.iterdir()) == []
        found = load(path)
        assert found.end is not None and found.end["status"] in ("complete", "interrupted") and found.steps == 2

    assert each_line(attempt, check) > 20


def test_a_pipeline_is_given_back_whatever_line_of_the_end_is_interrupted(pipe: Any, tmp_path: Path) -> None:
    def attempt(at: At) -> None:
        opened = record(pipe, runs_dir=tmp_path)
        opened.__enter__()
        with traced(at):
            opened.__exit__(None, None, None)

    def check() -> None:
        until(lambda: not ours())
        gc.collect()
        is_itself(pipe)

    assert each_line(attempt, check) > 20


def test_what_is_shielded_is_done_whole_or_not_at_all() -> None:
    done: list[int] = []

    def work() -> None:
        done.extend([1, 2])

    def attempt(at: At) -> None:
        done.clear()
        with traced(at):
            shielded(work, "ltxtui-test")

    def check() -> None:
        until(lambda: not ours())
        assert done in ([], [1, 2])

    assert each_line(attempt, check) > 5
    with pytest.raises(ZeroDivisionError):
        shielded(lambda: 1 // 0, "ltxtui-test")  # type: ignore[arg-type]


def test_without_threads_it_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    done: list[int] = []
    monkeypatch.setattr(threading.Thread, "start", no_more)
    shielded(lambda: done.append(1), "ltxtui-test")
    assert done == [1]


@pytest.mark.parametrize("which", ["Pump", "Completion", "SystemLane", "Control", "Loop", "Stages", "header"])
def test_whatever_fails_in_the_beginning_leaves_nothing(
    tmp_path: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    def fails(*arguments: Any, **more: Any) -> Any:
        raise MemoryError

    module = {"header": run_messages, "Loop": own_loop}.get(which, recording)
    monkeypatch.setattr(module, which, fails)
    with pytest.raises(MemoryError), record(runs_dir=tmp_path / "runs"):
        raise AssertionError("the block must not run")
    monkeypatch.undo()
    nothing_is_left(tmp_path / "runs", runtime_dir)


def test_a_recorded_pipeline_is_refused_before_anything_is_made(pipe: Any, tmp_path: Path, runtime_dir: Path) -> None:
    with record(pipe, runs_dir=tmp_path) as run:
        with pytest.raises(RuntimeError, match="already"), record(pipe, runs_dir=tmp_path / "other"):
            raise AssertionError("recorded twice")
        assert not (tmp_path / "other").exists()
        pipe(**nano_call(steps=2, **UNGUIDED))
    with pytest.raises(RuntimeError, match="listed more than once"), record([pipe, pipe], runs_dir=tmp_path / "other"):
        raise AssertionError("recorded twice")
    assert not (tmp_path / "other").exists()
    assert [r.path for r in listing.list_runs(tmp_path)] == [run.path]


def test_of_two_recordings_that_begin_at_once_one_is_refused_and_leaves_nothing(pipe: Any, tmp_path: Path) -> None:
    gate, refused, opened = threading.Barrier(4), [], []

    def begin() -> None:
        recorded = record(pipe, runs_dir=tmp_path)
        gate.wait()
        try:
            recorded.__enter__()
        except RuntimeError as error:
            refused.append(str(error))
        else:
            opened.append(recorded)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1 and len(refused) == 3
    pipe(**nano_call(steps=2, **UNGUIDED))
    opened[0].__exit__(None, None, None)
    is_itself(pipe)
    assert [r.steps for r in listing.list_runs(tmp_path)] == [2]


def test_a_pipeline_that_cannot_be_hooked_is_as_it_was(
    pipe: Any, tmp_path: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hooks.hook_schedulers

    def fails(*arguments: Any) -> None:
        real(*arguments)
        raise TypeError("object layout differs")

    monkeypatch.setattr(hooks, "hook_schedulers", fails)
    with (
        pytest.raises(TypeError, match="layout"),
        record(pipe, runs_dir=tmp_path / "runs", shocks=[{"kind": "restart", "at": 0.9, "strength_db": 3}]),
    ):
        raise AssertionError("the block must not run")
    monkeypatch.undo()
    nothing_is_left(tmp_path / "runs", runtime_dir, pipe)
    with record(pipe, runs_dir=tmp_path / "runs"):
        pipe(**nano_call(steps=2, **UNGUIDED))


@pytest.mark.parametrize(
    ("wrong", "error"), [({"height": 97}, ValueError), ({"bogus": 1}, TypeError)], ids=["height", "argument"]
)
def test_a_call_that_the_pipeline_rejects_leaves_no_run(
    pipe: Any, tmp_path: Path, runtime_dir: Path, wrong: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error), record(pipe, runs_dir=tmp_path) as run:
        pipe(**{**nano_call(**UNGUIDED), **wrong})
    assert run.status == "failed" and not run.kept and run.rows == 0
    nothing_is_left(tmp_path, runtime_dir, pipe)


def test_a_rejected_call_beside_a_good_one_costs_nothing(pipe: Any, tmp_path: Path) -> None:
    with record(pipe, runs_dir=tmp_path) as run:
        with contextlib.suppress(ValueError):
            pipe(**{**nano_call(**UNGUIDED), "height": 97})
        pipe(**nano_call(steps=2, **UNGUIDED))
    assert run.kept and [s.steps for s in load(run.path).stages] == [2]


def test_a_block_without_a_step_leaves_nothing_and_says_so(
    tmp_path: Path, runtime_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with record(runs_dir=tmp_path) as run:
        run.stage(SIGMAS)
    assert run.status == "complete" and run.standing == "complete, nothing recorded" and not run.kept
    nothing_is_left(tmp_path, runtime_dir)
    assert [r.getMessage() for r in caplog.records] == [
        f"nothing was recorded, since no step was taken; {run.path.name} is not kept"
    ]


def test_an_exception_before_the_first_step_is_not_hidden_by_another(tmp_path: Path, runtime_dir: Path) -> None:
    with pytest.raises(ZeroDivisionError), record(runs_dir=tmp_path) as run:
        raise ZeroDivisionError
    assert run.status == "failed" and not run.kept
    nothing_is_left(tmp_path, runtime_dir)


def test_a_cancelled_task_is_interrupted(tmp_path: Path) -> None:
    runs: list[RunHandle] = []

    async def sampling(name: str) -> None:
        with record(runs_dir=tmp_path, name=name, previews=False) as run:
            runs.append(run)
            steps(run, 2, seed=len(name))
            await asyncio.sleep(0)
            steps(run, 1, first=2)
            await asyncio.sleep(0 if name == "short" else 3600)

    async def both() -> None:
        short, long = asyncio.create_task(sampling("short")), asyncio.create_task(sampling("longer"))
        await short
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long

    asyncio.run(both())
    assert [(load(r.path).end or {})["status"] for r in runs] == ["complete", "interrupted"]
    assert [load(r.path).steps for r in runs] == [3, 3]


def test_a_generator_that_is_dropped_ends_its_run(tmp_path: Path) -> None:
    paths: list[Path] = []

    def sampling() -> Iterator[int]:
        with record(runs_dir=tmp_path, previews=False) as run:
            paths.append(run.path)
            for i in range(4):
                steps(run, 1, first=i)
                yield i

    loop = sampling()
    next(loop)
    assert is_being_written(locations.journal_of(paths[0]))
    del loop
    gc.collect()
    found = load(paths[0])
    assert found.end is not None and (found.end["status"], found.steps) == ("interrupted", 1)


def test_nested_recordings_of_two_pipelines_that_share_a_scheduler(pipe: Any, tmp_path: Path) -> None:
    import copy

    other = copy.copy(pipe)
    with record(pipe, runs_dir=tmp_path, name="outer") as outer:
        pipe(**nano_call(steps=2, **UNGUIDED))
        with pytest.raises(RuntimeError, match="its own scheduler"), record(other, runs_dir=tmp_path):
            pass
        pipe(**nano_call(steps=3, **UNGUIDED))
    assert [s.steps for s in load(outer.path).stages] == [2, 3]
    assert list(tmp_path.iterdir()) == [outer.path]
    is_itself(pipe)
    is_itself(other)


def test_as_a_decorator_it_records_every_call_apart_and_a_block_is_entered_once(tmp_path: Path) -> None:
    opened = record(runs_dir=tmp_path, previews=False)
    runs: list[RunHandle] = []
    with opened as run:
        steps(run, 1)
        with pytest.raises(RuntimeError, match="call record\\(\\) again"):
            opened.__enter__()
        steps(run, 1, first=1)
    assert load(run.path).steps == 2

    @record(runs_dir=tmp_path / "calls", previews=False)
    def call(count: int) -> None:
        (here,) = recording._open_runs
        runs.append(here)
        steps(here, count)

    call(1)
    call(2)
    assert [load(r.path).steps for r in runs] == [1, 2]


def test_a_first_step_that_is_cut_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put = Pump.put

    def interrupted(self: Pump, item: Any) -> None:
        if isinstance(item, RowItem):
            raise KeyboardInterrupt
        put(self, item)

    monkeypatch.setattr(Pump, "put", interrupted)
    with pytest.raises(KeyboardInterrupt), record(runs_dir=tmp_path) as run:
        run.stage(SIGMAS)
        steps(run, 1)
    assert not run.kept and run.status == "interrupted"
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_kept_of_what_comes_after_the_end(tmp_path: Path) -> None:
    with record(runs_dir=tmp_path, previews=False) as run:
        steps(run, 1)
    x = torch.randn(1, 4, 3, 4, 6)
    for _ in range(20):
        run.step(sigma=0.5, sigma_next=0.4, sample=x, velocity=x)
    assert run._pump._queue.qsize() == 0 and load(run.path).steps == 1


def test_a_child_that_was_forked_in_the_block_may_leave_it(tmp_path: Path) -> None:
    with record(runs_dir=tmp_path, previews=False) as run:
        steps(run, 1)
        pid = os.fork()
        if pid == 0:
            run.finish("failed", "in the child")
            os._exit(0 if run.status == "recording" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        steps(run, 1, first=1)
    assert load(run.path).steps == 2
