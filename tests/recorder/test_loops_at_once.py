"""`run.stage` and `run.step` in several threads and asyncio tasks: no row is lost, and loops are kept apart."""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recorder import record
from recorder.recording import RunHandle
from replay.model.run import StageData
from replay.sources.open import load
from tests.recorder.test_loop import latents
from tests.recorder.test_threads import at_once, rows

SIGMAS = [1.0, 0.9, 0.7, 0.5, 0.3, 0.1, 0.0]
PAUSES: Callable[[], None] = lambda: None  # noqa: E731


@pytest.fixture
def impatient() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def steps(run: RunHandle, seed: int, pause: Callable[[], Any] = PAUSES) -> None:
    """The steps of one loop, both streams."""
    for i, (a, b) in enumerate(itertools.pairwise(SIGMAS)):
        x, v = latents(100 * seed + i, 1, 4, 3, 6, 8), latents(100 * seed + 50 + i, 1, 4, 3, 6, 8)
        run.step(sigma=a, sigma_next=b, sample=x, velocity=v)
        pause()
        run.step(sigma=a, sigma_next=b, sample=x[0, :, 0][None], x0=v[0, :, 0][None], stream="audio")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], StageData]:
    """What a loop comes to when nothing else goes on."""

    @functools.cache
    def one(seed: int) -> StageData:
        with record(runs_dir=tmp_path_factory.mktemp("alone")) as run:
            run.stage(SIGMAS, seed=seed)
            steps(run, seed)
        return load(run.path).stages[0]

    return one


def assert_each_as_alone(path: Path, alone: Callable[[int], StageData], seeds: int) -> None:
    read = load(path)
    assert [e["text"] for e in read.events if e["kind"] in ("error", "warning")] == []
    assert sorted(s.metadata["seed"] for s in read.stages) == list(range(seeds))
    assert sorted(s.call for s in read.stages) == list(range(seeds))
    for stage in read.stages:
        expected = alone(stage.metadata["seed"])
        assert stage.ended and stage.summary == expected.summary
        for name, found in rows(stage).items():
            np.testing.assert_array_equal(found, rows(expected)[name])


def test_four_threads_that_step_one_stage_lose_no_row(tmp_path: Path, impatient: None) -> None:
    x, v = latents(0, 1, 4, 3, 6, 8), latents(1, 1, 4, 3, 6, 8)

    def fifty(thread: int) -> None:
        for i in range(50):
            run.step(sigma=(1 + i) / 64, sigma_next=0.01, sample=x, velocity=v, timestep=thread)

    with record(runs_dir=tmp_path) as run:
        at_once(*(lambda t=t: fifty(t) for t in range(4)))  # type: ignore[misc]
    (stage,) = load(run.path).stages
    video = stage.streams["video"]
    assert video.rows == 200 and not np.isnan(video.series("velocity_rms")).any()
    threads, levels = video.series("timestep"), video.series("sigma")
    for thread in range(4):
        assert levels[threads == thread].tolist() == [(1 + i) / 64 for i in range(50)], "in the order of its steps"


def test_loops_of_threads_that_begin_a_stage_each_are_kept_apart(alone: Any, tmp_path: Path, impatient: None) -> None:
    barrier = threading.Barrier(3)

    def loop(seed: int) -> None:
        run.stage(SIGMAS, seed=seed)
        steps(run, seed, lambda: barrier.wait(60))

    with record(runs_dir=tmp_path) as run:
        at_once(*(lambda s=s: loop(s) for s in range(3)))  # type: ignore[misc]
    assert_each_as_alone(run.path, alone, 3)


def test_loops_of_tasks_are_kept_apart(alone: Any, tmp_path: Path) -> None:
    async def loop(seed: int) -> None:
        run.stage(SIGMAS, seed=seed)
        for i, (a, b) in enumerate(itertools.pairwise(SIGMAS)):
            x, v = latents(100 * seed + i, 1, 4, 3, 6, 8), latents(100 * seed + 50 + i, 1, 4, 3, 6, 8)
            await asyncio.sleep(0)
            run.step(sigma=a, sigma_next=b, sample=x, velocity=v)
            # A thread that is given the task's context steps in its stage.
            await asyncio.to_thread(
                run.step, sigma=a, sigma_next=b, sample=x[0, :, 0][None], x0=v[0, :, 0][None], stream="audio"
            )

    async def all_of_them() -> None:
        await asyncio.gather(*(loop(seed) for seed in range(3)))

    with record(runs_dir=tmp_path) as run:
        asyncio.run(all_of_them())
    assert_each_as_alone(run.path, alone, 3)


def test_two_runs_in_one_thread_are_kept_apart(tmp_path: Path) -> None:
    x, v = latents(0, 1, 4, 3, 6, 8), latents(1, 1, 4, 3, 6, 8)
    with record(runs_dir=tmp_path, name="a") as one, record(runs_dir=tmp_path, name="b") as other:
        one.stage(mine=1)
        other.stage(mine=2)
        for i in range(3):
            one.step(sigma=0.5, sigma_next=0.4, sample=x, velocity=v)
            if i:
                other.step(sigma=0.3, sigma_next=0.2, sample=x, velocity=v)
    assert [(s.metadata["mine"], s.steps) for s in load(one.path).stages] == [(1, 3)]
    assert [(s.metadata["mine"], s.steps) for s in load(other.path).stages] == [(2, 2)]


def test_steps_of_threads_without_a_stage_go_to_the_one_begun_last(tmp_path: Path) -> None:
    x, v = latents(0, 1, 4, 3, 6, 8), latents(1, 1, 4, 3, 6, 8)
    with record(runs_dir=tmp_path) as run:
        run.stage([0.5, 0.4], mine=1)
        at_once(*(lambda: run.step(sigma=0.5, sigma_next=0.4, sample=x, velocity=v) for _ in range(4)))
    assert [(s.metadata["mine"], s.steps) for s in load(run.path).stages] == [(1, 4)]


def test_a_stage_whose_thread_has_ended_ends_with_the_next(alone: Any, tmp_path: Path) -> None:
    def loop(seed: int) -> None:
        run.stage(SIGMAS, seed=seed)
        steps(run, seed)

    with record(runs_dir=tmp_path) as run:
        for seed in range(3):
            thread = threading.Thread(target=loop, args=(seed,))
            thread.start()
            thread.join()
    assert_each_as_alone(run.path, alone, 3)
    order = [(e["stage"], e["kind"]) for e in load(run.path).events if e["kind"].startswith("stage")]
    assert order == [(s, kind) for s in range(3) for kind in ("stage_start", "stage_end")]


def test_a_stage_begun_where_its_context_is_lost_takes_the_steps_that_follow(alone: Any, tmp_path: Path) -> None:
    """`to_thread` runs in a copy of the context: what is begun there is not seen by the task."""

    async def loop() -> None:
        for seed in range(2):
            await asyncio.to_thread(run.stage, SIGMAS, seed=seed)
            steps(run, seed)

    with record(runs_dir=tmp_path) as run:
        asyncio.run(loop())
    assert_each_as_alone(run.path, alone, 2)


def test_a_run_is_not_kept_by_the_contexts_that_began_its_stages(tmp_path: Path) -> None:
    with record(runs_dir=tmp_path) as run:
        run.stage(SIGMAS)
        steps(run, 0)
    kept = weakref.ref(run)
    del run
    limit = time.monotonic() + 60
    while kept() is not None and time.monotonic() < limit:  # its threads are just ending
        gc.collect()
        time.sleep(0.01)
    assert kept() is None


def test_a_forked_child_does_not_wait_for_a_thread_that_it_does_not_have(tmp_path: Path) -> None:
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with run._loop._lock, run._loop._lines[0][1].lock, run.stages.book._lock, run.control._lock:
            held.set()
            let_go.wait(60)

    with record(runs_dir=tmp_path) as run, ThreadPoolExecutor(1) as pool:
        run.stage(SIGMAS)
        steps(run, 0)
        pool.submit(hold)
        assert held.wait(60)
        child = os.fork()
        if child == 0:
            try:
                run.stage(SIGMAS)
                steps(run, 1)
                os._exit(0)
            finally:
                os._exit(1)
        limit = time.monotonic() + 60
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < limit:
            time.sleep(0.01)
        if ended == (0, 0):
            os.kill(child, 9)
            os.waitpid(child, 0)
        let_go.set()
        assert ended == (child, 0)
    assert [s.steps for s in load(run.path).stages] == [len(SIGMAS) - 1]


def test_half_precision_is_completed_in_float32(tmp_path: Path) -> None:
    """x0 of a late step, in bfloat16, and no result: what the recorder computes itself has no error of bfloat16's."""
    sample, x0 = (latents(i, 1, 4, 3, 6, 8).bfloat16() for i in range(2))
    with record(runs_dir=tmp_path) as run:
        run.stage([0.05, 0.04])
        run.step(sigma=0.05, sigma_next=0.04, sample=sample, x0=x0)
        run.step(sigma=0.04, sigma_next=0.03, sample=sample, x0=x0 * 1.125)
    video = load(run.path).stages[0].streams["video"]
    x, first = sample.double(), x0.double()
    v = (x - first) / 0.05
    assert float(video.values("velocity_rms")[0, 0]) == pytest.approx(float(v.square().mean().sqrt()), rel=1e-6)
    assert float(video.values("displacement_rms")[0, 0]) == pytest.approx(
        float((0.01 * v).square().mean().sqrt()), rel=1e-5
    )
    moved = float(((x0 * 1.125).double() - first).square().mean().sqrt())
    assert float(video.values("x0_change_rms")[1, 0]) == pytest.approx(moved, rel=1e-5)


def test_nothing_is_kept_of_the_callers_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import recorder.sampling.manual_loop

    made: list[torch.Tensor] = []

    def completed(*args: Any) -> Any:
        found = original(*args)
        made.extend(found)
        return found

    original = recorder.sampling.manual_loop.completed
    monkeypatch.setattr(recorder.sampling.manual_loop, "completed", completed)
    sample = latents(0, 1, 4, 3, 6, 8).requires_grad_()
    with record(runs_dir=tmp_path) as run:
        run.step(sigma=0.5, sigma_next=0.4, sample=sample, x0=sample * 0.5)
    assert len(made) == 2 and not any(t.requires_grad for t in made)
    assert load(run.path).stages[0].steps == 1


def test_what_a_cuda_graph_captures_is_left_alone_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, v = latents(0, 1, 4, 3, 6, 8), latents(1, 1, 4, 3, 6, 8)
    with record(runs_dir=tmp_path) as run:
        run.step(sigma=0.5, sigma_next=0.4, sample=x, velocity=v)
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
            for _ in range(3):
                run.step(sigma=0.4, sigma_next=0.3, sample=x, velocity=v)
        run.step(sigma=0.3, sigma_next=0.2, sample=x, velocity=v)
    read = load(run.path)
    np.testing.assert_allclose(read.stages[0].streams["video"].series("sigma"), [0.5, np.nan, np.nan, np.nan, 0.3])
    assert np.isnan(read.stages[0].streams["video"].values("velocity_cosine")[4]), "there is no row before to compare"
    (told,) = [e["text"] for e in read.events if e["kind"] == "warning"]
    assert "a CUDA graph is being captured" in told and "run.step outside" in told
