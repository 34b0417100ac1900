"""ComfyUI under `ltxtui run`: recorded from its first sampling on, without a file in its folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from recorder.runners.launched import comfyui, wrapping
from replay.library.listing import archives_in
from replay.sources.open import load
from tests.recorder.runners.comfyui.fakes import (
    KSAMPLER,
    ComfyUI,
    Flux,
    ModelPatcher,
    levels,
    noises,
    sample_euler,
)
from tests.recorder.runners.launched.test_calls import Launched
from tests.waiting import until


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ComfyUI:
    made = ComfyUI(tmp_path / "output")
    made.install(monkeypatch)
    monkeypatch.setattr(comfyui, "_recorded", set())
    return made


def sampled(started: ComfyUI, prompt: str, model: Any = None) -> torch.Tensor:
    noise, empty = noises()
    with started.prompt(prompt):
        guider = sys.modules["comfy.samplers"].CFGGuider(ModelPatcher(model))
        found = guider.sample(noise, empty, KSAMPLER(sample_euler), levels(), callback=lambda *_: None, seed=1)
    return found if isinstance(found, torch.Tensor) else torch.cat([part.flatten() for part in found.unbind()])


def test_every_prompt_is_a_run_and_gives_the_same(
    started: ComfyUI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = sampled(started, "plain")
    launched = Launched(tmp_path, monkeypatch)
    launched.starts(keep=2)
    owner = sys.modules["comfy.samplers"].CFGGuider
    wrapping.wrap(owner, "sample", "comfyui", launched.hook.note, launched.hook.recorder_on)
    assert sampled(started, "other", Flux()) is not None and not launched.runs_dir.exists()
    for number in range(3):
        assert torch.equal(sampled(started, f"p-{number}"), plain)
    launched.end()
    found = until(lambda: (paths := archives_in(launched.runs_dir)) and len(paths) == 2 and paths)
    runs = until(lambda: (read := [load(path) for path in found]) and all(run.end for run in read) and read)
    assert {tuple(sorted(run.stages[0].streams)) for run in runs} == {("audio", "video")}
    assert all(run.end and run.end["status"] == "complete" and run.steps == len(levels()) - 1 for run in runs)
    assert "called" in launched.noted
