"""What the recorder says that it costs is what it held the sampling thread for."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from recorder.format import declarations
from recorder.metrics.latent_layout import LatentLayout
from recorder.sampling import measure_step
from recorder.sampling.sampler_step import SamplerStep
from recorder.sampling.stages import Stages
from recorder.writing.items import RowItem

PAUSE = 0.05


def test_recorder_seconds_is_the_time_that_measuring_held_the_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = measure_step.measured_row

    def slow(step: Any) -> torch.Tensor:
        time.sleep(PAUSE)
        return measured(step)

    monkeypatch.setattr(measure_step, "measured_row", slow)
    sent: list[Any] = []
    loop = Stages(sent.append)
    loop.begin(0, [1.0, 0.5], {})
    layout = LatentLayout("video", 1, (3, 4, 4))
    x = torch.randn(1, 48, 2, generator=torch.Generator().manual_seed(0))
    spent = []
    for sigma, after in ((1.0, 0.5), (0.5, 0.0)):
        began = time.perf_counter()
        loop.step(SamplerStep(layout, sigma, after, 1000 * sigma, x, x, x))
        spent.append(time.perf_counter() - began)
    names = [m.name for m in declarations.on_stream("video") if m.on_host]
    rows = [item for item in sent if isinstance(item, RowItem)]
    for row, whole in zip(rows, spent, strict=True):
        assert len(row.schedule) == len(names)
        recorded = row.schedule[names.index("recorder_seconds")]
        assert isinstance(recorded, float) and PAUSE <= recorded <= whole
