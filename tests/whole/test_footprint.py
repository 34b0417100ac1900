"""What a step costs in memory and operations stays within what docs/benchmarks.md promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.footprint import MOST_LATENTS, MOST_OPERATIONS, PRECISIONS, Ledger, measure
from recorder.sampling import measure_step

# As many frames as in a clip of 257, since operations depend on them, and 128 channels, since the ratio does.
GRID, CHANNELS = (33, 6, 10), 128


def between_steps(grid: tuple[int, ...]) -> float:
    """Latents that stay: two sums of the path, two spectra, of one half and a column more on their last axis, a clip.

    The clip stays after the last step only, for the drift at the stage's end.
    """
    return 3 + 2 * 2 * (grid[-1] // 2 + 1) / grid[-1]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("stream", "grid"), [("video", GRID), ("audio", (257,))])
def test_memory_and_operations_of_a_step(stream: str, grid: tuple[int, ...], precision: str) -> None:
    found = measure(stream, grid, CHANNELS, *PRECISIONS[precision])
    assert found.peak <= MOST_LATENTS
    assert found.operations.total() <= MOST_OPERATIONS
    assert found.held <= between_steps(grid) + 0.1


@pytest.mark.parametrize("keep", [lambda step: step.x, lambda step: step.x.clone(), lambda step: None])
def test_what_a_metric_keeps_is_seen(monkeypatch: pytest.MonkeyPatch, keep: Callable[[Any], Any]) -> None:
    kept: list[Any] = []
    original = measure_step.measured_row

    def keeping(step: Any) -> torch.Tensor:
        kept.append(keep(step))
        return original(step)

    monkeypatch.setattr(measure_step, "measured_row", keeping)
    grid = (3, 6, 10)
    held = measure("video", grid, CHANNELS, torch.float32, torch.float32).held
    # Four steps, a latent each, whether it is a copy or the sampler's own that is not needed any more.
    assert held - between_steps(grid) == pytest.approx(0 if kept[0] is None else 4, abs=0.3)


def test_the_ledger_counts_what_lives_once() -> None:
    ledger, given = Ledger(), torch.zeros(10)
    with ledger:
        view = given[2:]  # the memory of something else
        made = given + 1
        half = made[:5]
        given.mul_(2)
        made.square().sqrt_()  # alive for a moment
    assert ledger.live == 40 and ledger.peak == 80
    assert ledger.operations["aten.slice.Tensor"] == ledger.views == 2
    assert ledger.operations.total() == 6
    del made
    assert ledger.live == 40  # its first half still needs it
    del half
    assert ledger.live == 0
    ledger.lend(given)
    ledger.settle()
    assert ledger.live == 40
    del given, view
    assert ledger.live == 0
