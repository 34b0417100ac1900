"""`record` as a decorator of functions of any kind: the run is open for as long as the function's body runs."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from recorder import RunHandle, record, recording
from replay.sources.open import load


def step(sigma: float) -> RunHandle:
    """Take one step in the only open run."""
    (run,) = recording._open_runs
    x = torch.randn(1, 4, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    run.step(sigma=sigma, sigma_next=sigma - 0.1, sample=x, velocity=x)
    return run


@pytest.fixture
def recorded(tmp_path: Path) -> Any:
    return record(runs_dir=tmp_path / "runs", previews=False)


def steps_of(run: RunHandle) -> tuple[str, int]:
    assert not recording._open_runs
    return run.status, load(run.path).steps


async def test_a_coroutine_function_is_recorded_until_it_has_been_awaited(recorded: Any) -> None:
    @recorded
    async def call(first: float, *, again: float) -> RunHandle:
        step(first)
        await asyncio.sleep(0)
        return step(again)

    made = call(0.5, again=0.4)
    assert not recording._open_runs, "nothing has run yet"
    runs = [await made, await call(0.9, again=0.8)]
    assert [steps_of(run) for run in runs] == [("complete", 2), ("complete", 2)] and runs[0].path != runs[1].path
    assert call.__name__ == "call" and asyncio.iscoroutinefunction(call)


async def test_a_coroutine_that_fails_or_is_cancelled_ends_its_run(recorded: Any) -> None:
    runs: list[RunHandle] = []

    @recorded
    async def call(fails: bool) -> None:
        runs.append(step(0.5))
        if fails:
            raise ValueError("too hot")
        await asyncio.sleep(3600)

    with pytest.raises(ValueError, match="too hot"):
        await call(True)
    task = asyncio.create_task(call(False))
    while len(runs) < 2:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [steps_of(run) for run in runs] == [("failed", 1), ("interrupted", 1)]


def test_a_generator_is_recorded_until_it_is_exhausted(recorded: Any) -> None:
    @recorded
    def call(count: int) -> Iterator[Any]:
        got = None
        for number in range(count):
            got = yield step(0.9 - number / 10), got
        return "done"

    generator = call(2)
    assert not recording._open_runs
    (run, got) = next(generator)
    assert got is None and generator.send("a word") == (run, "a word") and recording._open_runs == {run}
    with pytest.raises(StopIteration, match="done"):
        next(generator)
    assert steps_of(run) == ("complete", 2)


def test_a_generator_that_is_closed_ends_its_run(recorded: Any) -> None:
    @recorded
    def call() -> Iterator[RunHandle]:
        while True:
            yield step(0.5)

    generator = call()
    run = next(generator)
    generator.close()
    assert steps_of(run) == ("interrupted", 1)


async def test_an_asynchronous_generator_is_recorded_to_its_end(recorded: Any) -> None:
    @recorded
    async def call(count: int) -> AsyncIterator[Any]:
        got: Any = None
        for number in range(count):
            try:
                got = yield step(0.9 - number / 10), got
            except ValueError as error:
                got = str(error)

    seen = [pair async for pair in call(3)]
    assert steps_of(seen[0][0]) == ("complete", 3) and len({run for run, _ in seen}) == 1
    generator = call(3)
    run, _ = await anext(generator)
    assert (await generator.asend("a word"))[1] == "a word"
    assert (await generator.athrow(ValueError("no")))[1] == "no"
    await generator.aclose()
    assert steps_of(run) == ("interrupted", 3)


def test_callable_objects_and_partial_functions(recorded: Any) -> None:
    class Sampler:
        async def __call__(self, sigma: float) -> RunHandle:
            return step(sigma)

    async def call(sigma: float) -> RunHandle:
        return step(sigma)

    for function in (Sampler(), functools.partial(call)):
        assert steps_of(asyncio.run(recorded(function)(0.5))) == ("complete", 1)


def test_without_parentheses_it_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"call is not a pipeline; as a decorator write @record\(\)"):

        @record
        def call() -> None: ...
