"""Rules that stop a run: hooked pipelines end after the step, custom loops see it, and the archive says why."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recorder import record
from recorder.findings.examine import Finding
from recorder.findings.finding import Severity
from recorder.findings.named import read_rules
from recorder.findings.rules import BY_ID, RULES
from recorder.format.protocol import Message
from recorder.sampling.commands import Control
from recorder.writing import stop_rules
from recorder.writing.stop_rules import StopRules, reason_to_stop, stops
from replay.sources.open import load
from tests.conftest import UNGUIDED, nano_call
from tests.ltxtui import fake
from tests.waiting import until

STEPS = 40


def breaking(run: list[Any], at: int = 3, factor: float = float("nan")) -> dict[str, Any]:
    """Arguments of a call whose callback breaks the latents after a step; afterwards it waits for the rules."""

    def change(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if step == at:
            return {"latents": tensors["latents"] * factor}
        if step == at + 1:
            until(lambda: run[0].rule_met)
        return tensors

    return {"callback_on_step_end": change, "callback_on_step_end_tensor_inputs": ["latents"]}


def test_a_hooked_pipeline_ends_after_the_step(pipe: Any, tmp_path: Path) -> None:
    runs: list[Any] = []
    with record(pipe, runs_dir=tmp_path, stop_if=("not-finite", "noise-left")) as run:
        runs.append(run)
        pipe(**nano_call(STEPS, **breaking(runs), **UNGUIDED))
    assert run.status == "interrupted" and run.stopping
    assert run.rule_met is not None and (run.rule_met.id, run.rule_met.step) == ("not-finite", 4)
    kept = load(run.path)
    # The rule is evaluated while the next step is taken, at the latest; the callback above waits for it.
    assert 5 <= kept.steps <= 7
    assert kept.end is not None and kept.end["status"] == "interrupted"
    assert kept.end["error"] == "stopped by rule not-finite from step 4 of stage 0: NaN since step 4"
    said = [e for e in kept.events if e["payload"].get("stop_if") == "not-finite"]
    assert [(e["kind"], e["stage"], e["step"], e["text"]) for e in said] == [("warning", 0, 4, kept.end["error"])]


def test_later_calls_of_a_stopped_run_take_no_step(pipe: Any, tmp_path: Path) -> None:
    runs: list[Any] = []
    with record(pipe, runs_dir=tmp_path, stop_if="not-finite") as run:
        runs.append(run)
        pipe(**nano_call(10, **breaking(runs), **UNGUIDED))
        pipe(**nano_call(10, **UNGUIDED))
    kept = load(run.path)
    assert len(kept.stages) == 1
    assert any("was stopped by rule not-finite" in e["text"] for e in kept.events)


def test_a_rule_that_finds_nothing_changes_nothing(pipe: Any, tmp_path: Path) -> None:
    plain = pipe(**nano_call(4, **UNGUIDED)).frames
    with record(pipe, runs_dir=tmp_path, stop_if=[rule.id for rule in RULES]) as run:
        watched = pipe(**nano_call(4, **UNGUIDED)).frames
    assert torch.equal(plain, watched)
    assert run.status == "complete" and run.rule_met is None
    assert "ltxtui-rules" not in {thread.name for thread in threading.enumerate()}


def test_a_rule_that_is_met_by_the_last_step_leaves_the_run_complete(pipe: Any, tmp_path: Path) -> None:
    def change(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return {"latents": tensors["latents"] * (float("nan") if step == 2 else 1)}

    more = {"callback_on_step_end": change, "callback_on_step_end_tensor_inputs": ["latents"]}
    with record(pipe, runs_dir=tmp_path, stop_if=["not-finite"]) as run:
        pipe(**nano_call(4, **more, **UNGUIDED))
    # All four steps were taken, whether or not the rule came before the last one was over.
    assert run.rule_met is not None and run.rule_met.step == 3
    assert load(run.path).steps == 4


def own_loop(run: Any, steps: int, obeys: bool) -> int:
    sigmas = torch.linspace(1, 0, steps + 1).tolist()
    x = torch.randn(1, 8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    run.stage(sigmas)
    for number, (sigma, after) in enumerate(pairwise(sigmas)):
        if obeys and run.stopping:
            return number
        if number == 4:
            x = x * float("nan")
        run.step(sigma=sigma, sigma_next=after, sample=x, velocity=-x)
        if number == 5:
            until(lambda: run.rule_met)
    return steps


@pytest.mark.parametrize("obeys", [True, False])
def test_a_custom_loop_checks_whether_it_is_stopped(obeys: bool, tmp_path: Path) -> None:
    with record(runs_dir=tmp_path, stop_if=("not-finite",)) as run:
        taken = own_loop(run, 12, obeys)
        until(lambda: run.stopping)
    assert taken in ((5, 6) if obeys else (12,))
    end = load(run.path).end
    assert end is not None and end["status"] == "interrupted" and "rule not-finite from step 4" in end["error"]


@pytest.mark.parametrize("names", ["bogus", ("not-finite", "bogus"), ("",)])
def test_an_unknown_rule_gets_the_list_and_leaves_nothing(names: Any, tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"is not a rule; rules are .*not-finite"),
        record(runs_dir=tmp_path / "runs", stop_if=names),
    ):
        pass
    assert not (tmp_path / "runs").exists()


def test_names_are_a_list_or_one_text() -> None:
    assert [r.id for r in read_rules("not-finite, noise-left,not-finite")] == ["not-finite", "noise-left"]
    assert read_rules(()) == ()


@pytest.mark.parametrize(("severity", "stopped"), [("note", False), ("warning", True), ("error", True)])
def test_a_note_of_a_rule_that_warns_does_not_stop(severity: Severity, stopped: bool) -> None:
    assert stops(Finding("not-finite", severity, "")) is stopped
    notes = [rule.id for rule in BY_ID.values() if rule.severity == "note"]
    assert all(stops(Finding(name, "note", "")) for name in notes)


def test_the_reason_names_what_is_known() -> None:
    assert reason_to_stop(Finding("a", "error", "b")) == "stopped by rule a: b"
    assert reason_to_stop(Finding("a", "error", "b", stage=1, short="c")) == "stopped by rule a in stage 1: c"


def test_a_pipeline_that_cannot_be_stopped_is_not() -> None:
    said: list[Message] = []
    control = Control(said.append)
    control.call_begins(SimpleNamespace())
    control.stop_by_rule("stopped by rule a")
    control.stepped()
    assert not control.stopping
    assert [e["text"] for e in said] == [
        "not stopped by rule a: SimpleNamespace cannot be stopped between its steps; end its process with Ctrl-C"
    ]


def test_a_rule_that_fails_costs_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(stop_rules.Follower, "findings", broken)
    rules = StopRules(read_rules("not-finite"), lambda finding: None)
    for message in fake.messages(3):
        rules.put(message)
    rules.close()
    assert rules.finding is None and "no rule stops this run: no such thing" in caplog.text
