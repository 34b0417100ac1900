"""Viewers' commands where several pipeline calls are under way at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recorder import record
from recorder.format import paths, protocol
from recorder.recording import RunHandle
from recorder.sampling import commands
from recorder.sampling.commands import Control
from replay.model.run import Run as Read
from replay.sources.open import load
from tests.conftest import UNGUIDED
from tests.pipelines import build, generate
from tests.recorder.test_threads import PATIENCE, PROMPTS, at_once

STEPS = 5


def ask(of: Control, command: str, identity: str = "a", **more: Any) -> bool:
    return of.take({"t": protocol.CONTROL, "id": identity, "command": command, **more})


def commanded(
    nano_pipe: Any, runs: Path, calls: int, ask_for: Callable[[RunHandle], None]
) -> tuple[RunHandle, list[Any]]:
    """So many calls at once, all behind their second step when `ask_for` is called; what they made."""
    pipes = [build(nano_pipe, "LTX2Pipeline") for _ in range(calls)]
    barrier = threading.Barrier(calls, lambda: ask_for(run))

    def after(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        if step == 1:
            barrier.wait(PATIENCE)
        return kwargs

    def call(i: int) -> Any:
        more = {"num_inference_steps": STEPS, "callback_on_step_end": after, "prompt": PROMPTS[i], **UNGUIDED}
        return generate(pipes[i], i, **more)

    with record(pipes, runs_dir=runs, allow_control=True) as run:
        latents = at_once(*(lambda i=i: call(i) for i in range(calls)))  # type: ignore[misc]
    return run, latents


def answers(read: Read) -> list[dict[str, Any]]:
    return [e for e in read.events if e["kind"] == "control"]


def test_a_stop_ends_all_calls(nano_pipe: Any, tmp_path: Path) -> None:
    run, _ = commanded(nano_pipe, tmp_path, 2, lambda run: ask(run.control, "stop"))
    read = load(run.path)
    # Whoever takes its third step first carries it out; the other one is in its third step then, or about to begin it.
    assert sorted(s.steps for s in read.stages) in ([2, 3], [3, 3])
    (answer,) = answers(read)
    stage = answer["stage"]
    assert answer["text"] == (
        f"control: stop after step 2 of stage {stage}; 1 other call ends after the step that is under way"
    )
    assert answer["step"] == 2 and read.stages[stage].steps == 3
    assert run.status == "interrupted"


def test_a_live_shock_acts_in_every_call_as_it_does_alone(nano_pipe: Any, tmp_path: Path) -> None:
    def shock(run: RunHandle) -> None:
        ask(run.control, "shock", shock={"kind": "renoise", "strength_db": 3.0, "seed": 4})

    alone_run, (alone,) = commanded(nano_pipe, tmp_path / "alone", 1, shock)
    run, latents = commanded(nano_pipe, tmp_path, 2, shock)
    read = load(run.path)
    assert torch.equal(latents[0][0], alone[0])
    assert not torch.equal(latents[0][0], latents[1][0])
    shocks = [(e["stage"], e["step"]) for e in read.events if e["kind"] == "shock"]
    assert sorted(shocks) == [(0, 2), (1, 2)]
    assert [e["step"] for e in load(alone_run.path).events if e["kind"] == "shock"] == [2]
    (answer,) = answers(read)
    assert answer["payload"]["accepted"] and answer["stage"] in (0, 1) and answer["step"] == 2
    assert all(s.steps == STEPS for s in read.stages)


def test_a_shock_that_no_call_can_take_is_refused_once(nano_pipe: Any, tmp_path: Path) -> None:
    def shock(run: RunHandle) -> None:
        ask(run.control, "shock", shock={"kind": "sigma_bump"})

    run, _ = commanded(nano_pipe, tmp_path, 2, shock)
    (answer,) = answers(load(run.path))
    assert not answer["payload"]["accepted"] and "the loop's length is fixed" in answer["payload"]["reason"]


def test_a_snapshot_is_kept_of_one_call_and_says_of_which(nano_pipe: Any, tmp_path: Path) -> None:
    run, _ = commanded(nano_pipe, tmp_path, 2, lambda run: ask(run.control, "snapshot"))
    (answer,) = answers(load(run.path))
    stage = answer["stage"]
    assert answer["payload"]["group"] == paths.snapshot(stage, 2)
    kept = sorted(p.relative_to(run.path).as_posix() for p in (run.path / "snapshots").glob("*/*/zarr.json"))
    assert kept and all(p.startswith(answer["payload"]["group"]) for p in kept)


def test_both_calls_go_on_after_a_snapshot(nano_pipe: Any, tmp_path: Path) -> None:
    run, latents = commanded(nano_pipe, tmp_path, 2, lambda run: ask(run.control, "snapshot"))
    for seed, found in enumerate(latents):
        plain = generate(
            build(nano_pipe, "LTX2Pipeline"), seed, num_inference_steps=STEPS, prompt=PROMPTS[seed], **UNGUIDED
        )
        assert torch.equal(plain[0], found[0])
    assert all(
        np.isfinite(s.streams["video"].series("velocity_rms")).all() and s.steps == STEPS for s in load(run.path).stages
    )


# -- without a model


@pytest.fixture
def idle() -> tuple[Control, list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    made = Control(told.append, allowed=True)
    made.loops = SimpleNamespace(current=None, position=lambda: (0, 7))
    return made, told


def test_calls_end_in_any_order(idle: Any) -> None:
    found, told = idle
    one, other = SimpleNamespace(_interrupt=False), SimpleNamespace(_interrupt=False)
    found.call_begins(one)
    found.call_begins(other)
    assert ask(found, "stop")
    found.call_ends(one)
    assert told == [], "the other call may still take a step"
    found.stepped(other, (1, 4))
    assert other._interrupt and not one._interrupt
    assert [(e["stage"], e["step"], e["payload"]["accepted"]) for e in told] == [(1, 4, True)]
    found.call_ends(other)
    assert not ask(found, "stop") and told[-1]["payload"]["reason"] == commands.IDLE


def test_what_cannot_be_stopped_is_named(idle: Any) -> None:
    found, told = idle
    obeys, stubborn = SimpleNamespace(_interrupt=False), object()
    found.call_begins(obeys)
    found.call_begins(stubborn)
    assert ask(found, "stop")
    found.stepped(stubborn, (1, 4))
    assert obeys._interrupt and found.stopping
    assert told[0]["text"] == (
        "control: stop after step 4 of stage 1; 1 other call ends after the step that is under way; "
        "object cannot be stopped between its steps"
    )


def test_later_loops_of_a_stopped_run_are_left_without_a_step(idle: Any) -> None:
    found, told = idle
    one, other = SimpleNamespace(_interrupt=False), SimpleNamespace(_interrupt=False)
    found.call_begins(one)
    ask(found, "stop")
    found.stepped(one, (0, 1))
    found.call_begins(other)
    found.loop_begins((other,))
    assert other._interrupt and told[-1]["kind"] == "warning"


def test_one_thread_at_a_time_keeps_a_step(idle: Any) -> None:
    found, told = idle
    found.call_begins(object())
    assert ask(found, "snapshot")
    elsewhere = lambda: at_once(lambda: (found.wants_snapshot(), found.snapshot_failed()))[0][0]  # noqa: E731
    assert found.wants_snapshot() and not elsewhere() and found.wants_snapshot()
    found.snapshot_failed()
    assert elsewhere() and found.wants_snapshot()
    found.snapshot_begins(1, 3)
    assert told[-1]["payload"]["group"] == paths.snapshot(1, 3) and not found.wants_snapshot()
