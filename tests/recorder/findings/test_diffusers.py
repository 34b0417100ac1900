"""What is wrong with a run of a real diffusers pipeline is named. Tests of the other runners have the same faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from recorder import nano, record
from replay.findings import RunFindings
from replay.sources.open import load
from tests.conftest import nano_call

FAULTS: dict[str, set[str]] = {
    "not a number": {"not-finite"},
    "dead guidance": {"pass-without-effect"},
    "noise that is left": {"noise-left"},
    "a start that is not noise": {"start-noise-power", "noise-repeated"},
}
TOKENS, CHANNELS = 5 * 4 * 5, 8


def named(pipe: Any, runs: Path, **more: Any) -> dict[str, str]:
    """Severities by id of what is found in a recorded call."""
    call = {**nano_call(), **nano.UNGUIDED, "guidance_scale": 3.0, "audio_guidance_scale": 3.0, **more}
    with record(pipe, runs_dir=runs) as run:
        pipe(**call)
    return {finding.id: finding.severity for finding in RunFindings(load(run.path)).update()}


def broken(_: Any, given: Any, arguments: dict[str, Any]) -> Any:
    """Contexts of a text encoder that has overflowed."""
    names = ("encoder_hidden_states", "audio_encoder_hidden_states")
    return given, {**arguments, **{name: arguments[name] * float("nan") for name in names}}


def leaves(pipe: Any, step: int, _: Any, kept: dict[str, Any]) -> dict[str, Any]:
    """A callback that ends the loop early, as a program's own Cancel does."""
    pipe._interrupt = step == 1
    return kept


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_is_named(pipe: Any, tmp_path: Path, fault: str) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "dead guidance": {"negative_prompt": nano_call()["prompt"]},
        "noise that is left": {"callback_on_step_end": leaves},
        "a start that is not noise": {"latents": torch.full((1, TOKENS, CHANNELS), 0.3)},
    }
    hooks = [pipe.transformer.register_forward_pre_hook(broken, with_kwargs=True)] if fault == "not a number" else []
    try:
        found = named(pipe, tmp_path, **wrong.get(fault, {}))
    finally:
        for hook in hooks:
            hook.remove()
    assert FAULTS[fault] <= found.keys(), found


def test_a_healthy_run_has_none_of_them(pipe: Any, tmp_path: Path) -> None:
    assert not set().union(*FAULTS.values()) & named(pipe, tmp_path).keys()
