"""Per-stage summaries against paths that are known exactly."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.format import declarations
from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.measures import MEASURES
from recorder.metrics.stage_summary import PathTracker, StageSummary, drift_index
from recorder.metrics.step import Step

GRID = (4, 5, 6)
SHAPE = (2, *GRID, 3)
LEVELS = (1.0, 0.9, 0.6, 0.5, 0.2, 0.0)


def gaussian(seed: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def walk(velocities: list[torch.Tensor], levels: tuple[float, ...] = LEVELS, forget: bool = True) -> PathTracker:
    """Follow velocities by Euler steps."""
    tracker, x, previous = PathTracker(), gaussian(0), None
    for sigma, after, velocity in zip(levels, levels[1:], velocities, strict=False):
        step = Step(LatentLayout("video", 2, GRID), sigma, x, velocity, x + (after - sigma) * velocity, previous)
        x = step.x_next
        tracker.add(step, after)
        if forget:
            step.forget()
        previous = step
    return tracker


def test_an_exact_rectified_flow_path_is_straight() -> None:
    found = walk([gaussian(1)] * 5).finish()
    assert torch.all(found["straightness"].abs() < 1e-5) and torch.all(found["straightness"] >= 0)


@pytest.mark.parametrize("forget", [True, False])
def test_straightness_agrees_with_its_formula(forget: bool) -> None:
    velocities = [gaussian(1) + 0.3 * gaussian(10 + i) for i in range(5)]
    sizes = np.abs(np.diff(LEVELS))
    mean = sum(v.double().numpy() * w for v, w in zip(velocities, sizes, strict=True)) / sizes.sum()
    expected = sum(
        ((mean - v.double().numpy()) ** 2).mean(axis=(1, 2, 3, 4)) * w for v, w in zip(velocities, sizes, strict=True)
    )
    found = walk(velocities, forget=forget).finish()["straightness"]
    np.testing.assert_allclose(found.numpy(), expected / sizes.sum(), rtol=1e-4)


def test_a_path_that_its_velocities_do_not_explain_is_not_straight() -> None:
    # Every step goes twice as far as its velocity says: d = 2v, so that mean((d − v)²) = mean(v²).
    tracker, x, velocity = PathTracker(), gaussian(0), gaussian(1)
    for sigma, after in pairwise(LEVELS):
        step = Step(LatentLayout("video", 2, GRID), sigma, x, velocity, x + 2 * (after - sigma) * velocity)
        x = step.x_next
        tracker.add(step, after)
    torch.testing.assert_close(tracker.finish()["straightness"], velocity.square().flatten(1).mean(1))


def test_across_a_shock_there_is_no_straightness_but_still_a_drift() -> None:
    tracker = walk([gaussian(1)] * 5)
    tracker.broken()
    held = sum(t.numel() for t in vars(tracker).values() if isinstance(t, torch.Tensor))
    assert held < math.prod(SHAPE)  # sums over whole latents are of no use any more
    tracker.add(Step(LatentLayout("video", 2, GRID), 0.2, gaussian(2), gaussian(3), gaussian(4)), 0.0)
    found = tracker.finish()
    assert found["straightness"].isnan().all() and found["drift_index"].isfinite().all()


@pytest.mark.parametrize("grid", [(4, 5, 6), (9,)])
def test_the_path_of_latents_of_lower_precision_is_summed_in_float32(grid: tuple[int, ...]) -> None:
    found = []
    for kept in (torch.bfloat16, torch.float32):
        tracker, layout = PathTracker(), LatentLayout("video" if len(grid) == 3 else "audio", 2, grid)
        for i, (sigma, after) in enumerate(pairwise(LEVELS)):
            x, velocity, result = (gaussian(3 * i + k, (2, *grid, 3)).bfloat16().to(kept) for k in range(3))
            tracker.add(Step(layout, sigma, x, velocity, result), after)
        found.append(tracker.finish())
    assert set(found[0]) == set(found[1])
    for name, values in found[0].items():
        torch.testing.assert_close(values, found[1][name], rtol=1e-6, atol=0, equal_nan=True)


def test_no_step_says_nothing_and_audio_has_no_drift() -> None:
    assert PathTracker().finish() == {}
    step = Step(LatentLayout("audio", 2, (7,)), 0.5, *(gaussian(i, (2, 7, 3)) for i in range(3)))
    tracker = PathTracker()
    tracker.add(step, 0.2)
    assert set(tracker.finish()) == {"straightness"}


def test_inference_mode_may_end_before_the_stage_does() -> None:
    with torch.inference_mode():
        tracker = walk([gaussian(1)] * 3)
    step = Step(LatentLayout("video", 2, GRID), 0.5, gaussian(3), gaussian(1), gaussian(4))
    with torch.no_grad():
        tracker.add(step, 0.2)
        assert tracker.finish()["straightness"].isfinite().all()


ROWS = st.lists(
    st.tuples(st.floats(0.01, 1.0), st.floats(0, 10), st.floats(0, 10)).map(
        lambda r: (-math.inf if r[0] == 1 else 20 * math.log10((1 - r[0]) / r[0]), r[1], r[2])
    ),
    max_size=20,
)


@settings(max_examples=50, deadline=None)
@given(ROWS)
def test_sums_over_rows(rows: list[tuple[float, float, float]]) -> None:
    summary = StageSummary(2)
    for i, (snr, moved, wander) in enumerate(rows):
        first = math.nan if i == 0 else 1.0
        row = {
            "snr_schedule_db": np.float32(snr),
            "displacement_rms": np.array([moved, 2 * moved]),
            "low_frequency_wander": first * np.array([wander, 3 * wander]),
        }
        assert set(row) == set(StageSummary.NEEDS)
        summary.add(row)
    found = summary.finish({})
    later = rows[1:]
    above = sum(w for snr, _, w in later if np.float32(snr) >= 0)
    below = sum(w for snr, _, w in later if np.float32(snr) < 0)
    np.testing.assert_allclose(found["path_length"], sum(m for _, m, _ in rows) * np.array([1, 2]), atol=1e-9)
    np.testing.assert_allclose(found["wander_above_0db"], above * np.array([1, 3]), atol=1e-9)
    np.testing.assert_allclose(found["wander_below_0db"], below * np.array([1, 3]), atol=1e-9)
    np.testing.assert_allclose(found["wander_total"], (above + below) * np.array([1, 3]), atol=1e-9)
    assert found["steps_above_0db"].tolist() == [sum(np.float32(snr) >= 0 for snr, _, _ in rows)] * 2
    assert (found["steps_above_0db"] + found["steps_below_0db"]).tolist() == [len(rows)] * 2


def test_every_declared_summary_is_computed_and_no_other() -> None:
    video, summary = walk([gaussian(1)] * 5), StageSummary(2)
    found = summary.finish({name: t.numpy() for name, t in video.finish().items()})
    assert set(found) == set(declarations.SUMMARIES)
    assert all(values.shape == (2,) for values in found.values())
    audio = {name for name, s in declarations.SUMMARIES.items() if "audio" in s.streams}
    assert set(summary.finish({"straightness": np.zeros(2)})) == audio


def test_a_broken_row_is_not_passed_over() -> None:
    summary = StageSummary(1)
    for moved in (1.0, math.nan, 1.0):
        summary.add({"snr_schedule_db": 0.0, "displacement_rms": [moved], "low_frequency_wander": [1.0]})
    assert math.isnan(summary.finish({})["path_length"][0])


def test_the_path_of_a_run_is_the_sum_of_its_displacements() -> None:
    velocity = gaussian(1)
    step = Step(LatentLayout("video", 2, GRID), 0.5, gaussian(0), velocity, gaussian(0) - 0.3 * velocity)
    moved = MEASURES["displacement_rms"](step)
    torch.testing.assert_close(moved, 0.3 * velocity.square().flatten(1).mean(1).sqrt())


def test_known_drift() -> None:
    # Frame 1 is all ones in two channels, of norm √2; frames 2 and 3 are off by 1 and 3 in one channel.
    x0 = torch.ones(1, 4, 3, 3, 2)
    x0[:, 2, ..., 0] += 1
    x0[:, 3, ..., 1] -= 3
    x0[:, 0] = 50  # latent frame 0 is one pixel frame and does not count
    torch.testing.assert_close(drift_index(x0, (0, 1, 2, 3)), torch.tensor([2 / 2**0.5]))
    torch.testing.assert_close(drift_index(x0[:, 1:], (1, 2, 3)), torch.tensor([2 / 2**0.5]))
    torch.testing.assert_close(drift_index(x0[:, 2:], (2, 3)), torch.tensor([(1 + 9) ** 0.5 / 5**0.5]))
    for places in ((0, 1), (0,), (3,)):
        assert drift_index(x0[:, : len(places)], places).isnan().all()


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 10), st.integers(0, 50))
def test_drift_does_not_depend_on_scale_or_on_where_things_stand(scale: float, seed: int) -> None:
    x0 = gaussian(seed, (2, 5, 4, 6, 3))
    expected = drift_index(x0, tuple(range(5)))
    torch.testing.assert_close(drift_index(scale * x0, tuple(range(5))), expected)
    torch.testing.assert_close(drift_index(x0.roll((1, 2), dims=(2, 3)).flip(0), tuple(range(5))), expected.flip(0))
