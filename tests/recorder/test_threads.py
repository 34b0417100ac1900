"""Several pipeline calls at once: in threads, in tasks, in each other. The rows of each are those it has alone."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2Pipeline

from recorder import Shock, record
from recorder.format import declarations
from recorder.nano import components
from recorder.recording import RunHandle
from replay.model.run import Run as Read
from replay.model.run import StageData
from replay.sources.open import load
from tests.conftest import UNGUIDED
from tests.pipelines import GUIDED, build, generate

PATIENCE = 120.0
STEPS = {"num_inference_steps": 3}


def at_once(*jobs: Callable[[], Any]) -> list[Any]:
    """Run every job in a thread of its own; what each returned. Raises the first error."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        return [f.result(PATIENCE) for f in [pool.submit(job) for job in jobs]]


@contextlib.contextmanager
def in_step(model: Any, calls: int) -> Iterator[None]:
    """Every call of a model waits until as many threads call it: their passes come by turns."""
    barrier = threading.Barrier(calls)
    hook = model.register_forward_pre_hook(lambda module, args: (barrier.wait(PATIENCE), None)[1])
    try:
        yield
    finally:
        hook.remove()


def rows(stage: StageData) -> dict[str, Any]:
    """All that is measured in a stage, by stream, without what depends on the clock."""
    found = {}
    for name, stream in stage.streams.items():
        host = sum(m.on_host for m in declarations.on_stream(name))  # type: ignore[arg-type]
        schedule = [stream.series(m) for m in ("sigma", "sigma_next", "sigma_down", "timestep")]
        found[name] = np.column_stack([*schedule, stream.data[:, host:]])
    return found


def assert_same(stage: StageData, alone: StageData) -> None:
    ours, theirs = rows(stage), rows(alone)
    assert ours.keys() == theirs.keys() == {"video", "audio"}
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert stage.sigmas == alone.sigmas and stage.summary == alone.summary


def errors(run: Read) -> list[str]:
    return [e["text"] for e in run.events if e["kind"] in ("error", "warning")]


class Alone:
    """What calls give and record when nothing else goes on; each is made once."""

    def __init__(self, nano_pipe: Any, runs: Path) -> None:
        self._pipe, self._runs = nano_pipe, runs
        self._known: dict[str, tuple[Any, StageData]] = {}

    def __call__(self, seed: int, shocks: Sequence[Shock] = (), **call: Any) -> tuple[Any, StageData]:
        """Latents, which are those without the recorder unless there are shocks, and the stage."""
        key = repr((seed, shocks, call))
        if key not in self._known:
            pipe = build(self._pipe, "LTX2Pipeline")
            with record(pipe, runs_dir=self._runs, shocks=shocks) as run:
                latents = generate(pipe, seed, **call)
            if not shocks:
                assert torch.equal(generate(build(self._pipe, "LTX2Pipeline"), seed, **call)[0], latents[0])
            self._known[key] = latents, load(run.path).stages[0]
        return self._known[key]


@pytest.fixture(scope="module")
def alone(nano_pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    return Alone(nano_pipe, tmp_path_factory.mktemp("alone"))


def check(read: Read, latents: list[Any], expected: list[Any]) -> None:
    """Every expected call is there once, whatever the order in which they began."""
    assert errors(read) == []
    assert [s.index for s in read.stages] == list(range(len(expected)))
    assert sorted(s.call for s in read.stages) == list(range(len(expected)))
    assert all(s.ended for s in read.stages)
    for got, (wanted, _) in zip(latents, expected, strict=True):
        assert torch.equal(got[0], wanted[0]) and torch.equal(got[1], wanted[1])
    by_call = {s.metadata["prompt"]: s for s in read.stages}
    for _, stage in expected:
        assert_same(by_call[stage.metadata["prompt"]], stage)


PROMPTS = ["a red ball moving left", "a blue box moving right"]


def calls(guidance: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**STEPS, **guidance, "prompt": prompt} for prompt in PROMPTS]


@pytest.mark.parametrize("guidance", [UNGUIDED, GUIDED], ids=["unguided", "guided"])
def test_two_pipelines_of_one_recording(alone: Alone, nano_pipe: Any, tmp_path: Path, guidance: dict) -> None:
    expected = [alone(seed, **call) for seed, call in enumerate(calls(guidance))]
    pipes = [build(nano_pipe, "LTX2Pipeline"), build(nano_pipe, "LTX2Pipeline")]
    with record(pipes, runs_dir=tmp_path) as run, in_step(nano_pipe.transformer, 2):
        latents = at_once(*(lambda p=p, s=s: generate(p, s, **calls(guidance)[s]) for s, p in enumerate(pipes)))
    check(load(run.path), latents, expected)
    assert not nano_pipe.transformer._forward_hooks and not nano_pipe.transformer._forward_pre_hooks


@pytest.mark.parametrize("guidance", [UNGUIDED, GUIDED], ids=["unguided", "guided"])
def test_two_recordings_that_share_the_models(alone: Alone, nano_pipe: Any, tmp_path: Path, guidance: dict) -> None:
    expected = [alone(seed, **call) for seed, call in enumerate(calls(guidance))]

    def recorded(seed: int, call: dict[str, Any]) -> tuple[RunHandle, Any]:
        pipe = build(nano_pipe, "LTX2Pipeline")
        with record(pipe, runs_dir=tmp_path, name=f"n{seed}") as run:
            return run, generate(pipe, seed, **call)

    with in_step(nano_pipe.transformer, 2):
        found = at_once(*(lambda s=s, c=c: recorded(s, c) for s, c in enumerate(calls(guidance))))
    for (run, latents), one in zip(found, expected, strict=True):
        check(load(run.path), [latents], [one])
    assert not nano_pipe.transformer._forward_hooks and not nano_pipe.transformer._forward_pre_hooks


def test_others_that_use_the_model_meanwhile_are_not_recorded(alone: Alone, nano_pipe: Any, tmp_path: Path) -> None:
    call = {**STEPS, **GUIDED, "prompt": PROMPTS[0]}
    expected = alone(0, **call)
    pipe, other = build(nano_pipe, "LTX2Pipeline"), build(nano_pipe, "LTX2Pipeline")
    begun = threading.Event()

    def stranger() -> Any:
        """Its first model call comes before any of the recorded call's."""
        hook = nano_pipe.transformer.register_forward_hook(lambda module, args, out: begun.set())
        latents = generate(other, 1, **{**call, "prompt": PROMPTS[1]})
        hook.remove()
        return latents

    class Late(LTX2Pipeline):  # type: ignore[misc]
        def encode_prompt(self, *args: Any, **kwargs: Any) -> Any:
            assert begun.wait(PATIENCE)
            return super().encode_prompt(*args, **kwargs)

    parts = {k: v for k, v in pipe.components.items()}
    late = Late(**parts)
    late.set_progress_bar_config(disable=True)
    with record(late, runs_dir=tmp_path) as run:
        latents, _ = at_once(lambda: generate(late, 0, **call), stranger)
    read = load(run.path)
    assert errors(read) == [] and len(read.stages) == 1
    assert torch.equal(latents[0], expected[0][0])
    assert_same(read.stages[0], expected[1])


@pytest.mark.parametrize("way", ["to_thread", "run_in_executor"])
def test_tasks_of_an_event_loop(alone: Alone, nano_pipe: Any, tmp_path: Path, way: str) -> None:
    expected = [alone(seed, **call) for seed, call in enumerate(calls(UNGUIDED))]
    pipes = [build(nano_pipe, "LTX2Pipeline"), build(nano_pipe, "LTX2Pipeline")]

    async def one(seed: int) -> Any:
        job = lambda: generate(pipes[seed], seed, **calls(UNGUIDED)[seed])  # noqa: E731
        if way == "to_thread":
            return await asyncio.to_thread(job)
        return await asyncio.get_running_loop().run_in_executor(None, job)

    async def both() -> list[Any]:
        return list(await asyncio.gather(one(0), one(1)))

    with record(pipes, runs_dir=tmp_path) as run, in_step(nano_pipe.transformer, 2):
        latents = asyncio.run(both())
    check(load(run.path), latents, expected)


def one_within_another(pipe: Any, other: Any, thread: bool) -> tuple[Any, Any]:
    """A call that starts another in its first step, in its own thread or in one with a copy of its context."""
    inner: list[Any] = []

    def inside(p: Any, step: int, timestep: Any, kwargs: dict) -> dict:
        if step == 0:
            job = lambda: generate(other, 1, **calls(UNGUIDED)[1])  # noqa: E731
            inner.append(asyncio.run(asyncio.to_thread(job)) if thread else job())
        return kwargs

    return generate(pipe, 0, callback_on_step_end=inside, **calls(UNGUIDED)[0]), inner[0]


@pytest.mark.parametrize("thread", [False, True], ids=["same thread", "thread with its context"])
def test_a_call_within_a_call(alone: Alone, nano_pipe: Any, tmp_path: Path, thread: bool) -> None:
    expected = [alone(seed, **call) for seed, call in enumerate(calls(UNGUIDED))]
    pipes = [build(nano_pipe, "LTX2Pipeline"), build(nano_pipe, "LTX2Pipeline")]
    with record(pipes, runs_dir=tmp_path) as run:
        latents = one_within_another(*pipes, thread)
    check(load(run.path), list(latents), expected)


def test_a_call_of_another_recording_within_a_call(alone: Alone, nano_pipe: Any, tmp_path: Path) -> None:
    expected = [alone(seed, **call) for seed, call in enumerate(calls(UNGUIDED))]
    pipe, other = build(nano_pipe, "LTX2Pipeline"), build(nano_pipe, "LTX2Pipeline")
    with record(pipe, runs_dir=tmp_path, name="outer") as run, record(other, runs_dir=tmp_path, name="inner") as second:
        latents = one_within_another(pipe, other, thread=False)
    check(load(run.path), [latents[0]], [expected[0]])
    check(load(second.path), [latents[1]], [expected[1]])


class Elsewhere(LTX2Pipeline):  # type: ignore[misc]
    """Denoises in a thread of its own, which knows nothing of the one that called it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return at_once(lambda: LTX2Pipeline.__call__(self, *args, **kwargs))[0]


def elsewhere(nano_pipe: Any) -> Any:
    pipe = Elsewhere(**{**nano_pipe.components, "scheduler": components.scheduler()})
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("shocks", [(), (Shock("renoise", at=0.9, seed=3),)], ids=["plain", "shocked"])
def test_a_pipeline_with_threads_of_its_own(alone: Alone, nano_pipe: Any, tmp_path: Path, shocks: tuple) -> None:
    expected = alone(0, shocks=shocks, **calls(GUIDED)[0])
    pipe = elsewhere(nano_pipe)
    with record(pipe, runs_dir=tmp_path, shocks=shocks) as run:
        latents = generate(pipe, 0, **calls(GUIDED)[0])
    check(load(run.path), [latents], [expected])


def test_threads_that_cannot_be_told_apart_are_refused_and_not_guessed(nano_pipe: Any, tmp_path: Path) -> None:
    pipes = [elsewhere(nano_pipe), elsewhere(nano_pipe)]
    plain = [generate(p, s, **c) for s, (p, c) in enumerate(zip(pipes, calls(UNGUIDED), strict=True))]
    with record(pipes, runs_dir=tmp_path) as run, in_step(nano_pipe.transformer, 2):
        latents = at_once(*(lambda p=p, s=s: generate(p, s, **calls(UNGUIDED)[s]) for s, p in enumerate(pipes)))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(latents, plain, strict=True))
    read = load(run.path)
    assert sum(s.steps for s in read.stages) == 0
    assert any("no model call was seen before the step" in text for text in errors(read))


def two_calls_of_one_pipeline(pipe: Any) -> list[Any]:
    """One call waits after its first step until another of the same pipeline is through; what each came to."""
    waits, through = threading.Event(), threading.Event()

    def inside(p: Any, step: int, timestep: Any, kwargs: dict) -> dict:
        if step == 0:
            waits.set()
            assert through.wait(PATIENCE)
        return kwargs

    def first() -> Any:
        try:
            return generate(pipe, 0, callback_on_step_end=inside, num_inference_steps=4, **UNGUIDED)
        except IndexError as error:  # diffusers meets the scheduler at the end of its list
            return str(error)

    def second() -> Any:
        assert waits.wait(PATIENCE)
        try:
            return generate(pipe, 1, num_inference_steps=2, **UNGUIDED)
        finally:
            through.set()

    return at_once(first, second)


def test_two_calls_of_one_pipeline_at_once_are_refused(nano_pipe: Any, tmp_path: Path) -> None:
    plain = two_calls_of_one_pipeline(build(nano_pipe, "LTX2Pipeline"))
    pipe = build(nano_pipe, "LTX2Pipeline")
    with record(pipe, runs_dir=tmp_path) as run:
        found = two_calls_of_one_pipeline(pipe)
        again = generate(pipe, 1, num_inference_steps=2, **UNGUIDED)
    assert found[0] == plain[0] and isinstance(plain[0], str)
    assert torch.equal(found[1][0], plain[1][0]) and torch.equal(again[0], plain[1][0])
    read = load(run.path)
    # The row that was taken before is right; the call after both is recorded again.
    assert [(s.call, s.steps) for s in read.stages] == [(0, 1), (2, 2)]
    assert len(errors(read)) == 2
    for text in errors(read):
        assert "in one thread while another thread's call" in text and "give every thread a pipeline" in text


def test_two_pipelines_with_one_scheduler_at_once_are_refused(nano_pipe: Any, tmp_path: Path) -> None:
    shared = components.scheduler()
    pipe, other = (build(nano_pipe, "LTX2Pipeline", scheduler=shared) for _ in range(2))
    waits, through = threading.Event(), threading.Event()

    def inside(p: Any, step: int, timestep: Any, kwargs: dict) -> dict:
        if step == 0:
            waits.set()
            assert through.wait(PATIENCE)
        return kwargs

    def first() -> None:
        with contextlib.suppress(IndexError):
            generate(pipe, 0, callback_on_step_end=inside, num_inference_steps=4, **UNGUIDED)

    def second() -> None:
        assert waits.wait(PATIENCE)
        generate(other, 1, num_inference_steps=2, **UNGUIDED)
        through.set()

    with record([pipe, other], runs_dir=tmp_path) as run:
        at_once(first, second)
    read = load(run.path)
    assert [s.steps for s in read.stages] == [1]
    assert ["its scheduler was given another schedule" in text for text in errors(read)] == [True, True]


def test_one_scheduler_cannot_be_in_two_recordings(nano_pipe: Any, tmp_path: Path) -> None:
    shared = components.scheduler()
    pipe, other = (build(nano_pipe, "LTX2Pipeline", scheduler=shared) for _ in range(2))
    with record(pipe, runs_dir=tmp_path) as run:
        refused = pytest.raises(RuntimeError, match="the scheduler of this LTX2Pipeline is being recorded already")
        with refused, record(other, runs_dir=tmp_path):
            pass
        assert type(other) is LTX2Pipeline
        generate(pipe, **STEPS, **UNGUIDED)
    read = load(run.path)
    assert errors(read) == [] and [s.steps for s in read.stages] == [3]


SHOCKS = [Shock("restart", at=0.93, strength_db=6.0, seed=5), Shock("renoise", at=0.7, seed=6)]


def test_shocks_in_calls_at_once_are_those_of_each_alone(alone: Alone, nano_pipe: Any, tmp_path: Path) -> None:
    more = {**UNGUIDED, "num_inference_steps": 6}
    expected = [alone(s, shocks=SHOCKS, prompt=p, **more) for s, p in enumerate(PROMPTS)]
    pipes = [build(nano_pipe, "LTX2Pipeline"), build(nano_pipe, "LTX2Pipeline")]
    with record(pipes, runs_dir=tmp_path, shocks=SHOCKS) as run, in_step(nano_pipe.transformer, 2):
        latents = at_once(*(lambda p=p, s=s: generate(p, s, prompt=PROMPTS[s], **more) for s, p in enumerate(pipes)))
    read = load(run.path)
    check(read, latents, expected)
    for stage in (0, 1):
        told = [e["text"] for e in read.events if e["kind"] == "shock" and e["stage"] == stage]
        assert [text.split()[0].rstrip(":") for text in told] == ["restart", "renoise"]


def test_a_copied_scheduler_is_shocked_as_the_video_of_another_pipeline(
    alone: Alone, nano_pipe: Any, tmp_path: Path
) -> None:
    more = {**UNGUIDED, "num_inference_steps": 4}
    expected = alone(1, shocks=SHOCKS[:1], **more)
    pipe, other = build(nano_pipe, "LTX2Pipeline"), build(nano_pipe, "LTX2Pipeline")
    with record([pipe, other], runs_dir=tmp_path, shocks=SHOCKS[:1]) as run:
        other.scheduler = copy.deepcopy(pipe.scheduler)
        latents = generate(other, 1, **more)
    assert torch.equal(latents[0], expected[0][0])
    assert_same(load(run.path).stages[0], expected[1])


@pytest.mark.parametrize("shocks", [(), SHOCKS[1:]], ids=["plain", "shocked"])
def test_a_recording_that_ends_while_a_call_goes_on_in_another_thread(
    nano_pipe: Any, tmp_path: Path, shocks: list[Shock]
) -> None:
    more = {**UNGUIDED, "num_inference_steps": 4}
    plain = generate(build(nano_pipe, "LTX2Pipeline"), **more)
    pipe = build(nano_pipe, "LTX2Pipeline")
    waits, ended = threading.Event(), threading.Event()

    def inside(p: Any, step: int, timestep: Any, kwargs: dict) -> dict:
        if step == 0:
            waits.set()
            assert ended.wait(PATIENCE)
        return kwargs

    with ThreadPoolExecutor(1) as pool:
        with record(pipe, runs_dir=tmp_path, shocks=shocks) as run:
            call = pool.submit(generate, pipe, callback_on_step_end=inside, **more)
            assert waits.wait(PATIENCE)
        ended.set()
        latents = call.result(PATIENCE)
    assert shocks or torch.equal(plain[0], latents[0])
    assert bool(torch.isfinite(latents[0]).all())
    read = load(run.path)
    assert [s.steps for s in read.stages] == [1] and read.stages[0].ended
    (text,) = errors(read)
    assert "the recording ends while a call in another thread is under way" in text
    assert not any(k.startswith("_ltxtui") for thing in (pipe, pipe.scheduler) for k in vars(thing))
    assert not nano_pipe.transformer._forward_hooks


def test_a_recording_that_ends_in_the_middle_of_a_step(nano_pipe: Any, tmp_path: Path) -> None:
    """The hooked methods are on their way while the hooks go."""
    waits, ended = threading.Event(), threading.Event()

    class Slow(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
        def step(self, *args: Any, **kwargs: Any) -> Any:
            waits.set()
            assert ended.wait(PATIENCE)
            return super().step(*args, **kwargs)

    plain = generate(build(nano_pipe, "LTX2Pipeline"), **STEPS, **UNGUIDED)
    pipe = build(nano_pipe, "LTX2Pipeline", scheduler=Slow.from_config(components.scheduler().config))
    with ThreadPoolExecutor(1) as pool:
        with record(pipe, runs_dir=tmp_path):
            call = pool.submit(generate, pipe, **STEPS, **UNGUIDED)
            assert waits.wait(PATIENCE)
        ended.set()
        assert torch.equal(call.result(PATIENCE)[0], plain[0])
    assert type(pipe.scheduler) is Slow
