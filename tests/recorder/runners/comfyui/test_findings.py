"""What is wrong with a run is named for ComfyUI as for the other runners."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from replay.findings import RunFindings
from replay.model.run import Run
from tests.recorder.runners.comfyui.conftest import Bench
from tests.recorder.runners.comfyui.fakes import NestedTensor, ToyModel, levels, noises


def named(run: Run) -> set[str]:
    return {finding.id for finding in RunFindings(run).update()}


def test_noise_that_is_left(bench: Bench) -> None:
    with bench.comfyui.prompt():
        bench.sample(bench.model(), sigmas=levels()[:4])
    assert "noise-left" in named(bench.run())


def test_not_a_number(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ToyModel.velocity

    def breaks(self: ToyModel, x: torch.Tensor, sigma: float, context: float) -> torch.Tensor:
        found = original(self, x, sigma, context)
        return found * float("nan") if self.calls > 4 else found

    monkeypatch.setattr(ToyModel, "velocity", breaks)
    with bench.comfyui.prompt():
        bench.sample(bench.model())
    assert "not-finite" in named(bench.run())


def test_dead_guidance(bench: Bench) -> None:
    with bench.comfyui.prompt():
        model = bench.model()
        guider = bench.guider(model)
        guider.original_conds["negative"] = [dict(each) for each in guider.original_conds["positive"]]
        noise, empty = noises()
        guider.sample(noise, empty, bench.sampler("euler"), levels(8), callback=lambda *_: None, seed=1)
    assert "pass-without-effect" in named(bench.run())


def test_a_start_that_is_not_noise(bench: Bench) -> None:
    _, empty = noises()
    smooth: list[Any] = [torch.full_like(t, 0.3) for t in empty.unbind()]
    with bench.comfyui.prompt():
        guider = bench.guider(bench.model())
        guider.sample(NestedTensor(smooth), empty, bench.sampler("euler"), levels(), callback=lambda *_: None, seed=1)
    assert {"start-noise-power", "noise-repeated"} <= named(bench.run())


def test_a_later_stage_that_gets_no_clip(bench: Bench) -> None:
    noise, empty = noises()
    for name, clip in (("a-empty", empty), ("b-handed", noise)):
        with bench.comfyui.prompt(name):
            guider = bench.guider(bench.model(name=name))
            guider.sample(noise, clip, bench.sampler("euler"), levels()[2:], callback=lambda *_: None, seed=1)
    assert ["given-latents-empty" in named(run) for run in bench.runs()] == [True, False]
