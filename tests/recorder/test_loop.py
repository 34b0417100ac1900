"""`run.step`: rows from sampling loops that are not diffusers pipelines."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from recorder import record
from recorder.format import declarations
from recorder.metrics.measures import MEASURES
from replay.model.run import Run
from replay.sources.open import load
from tests.recorder.test_measures import make_step

SIGMAS = [1.0, 0.8, 0.5, 0.2, 0.0]


def latents(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run_loop(tmp_path: Path, **options: object) -> Run:
    """An exact rectified-flow path from noise to x0, recorded as its own loop."""
    x0, noise = latents(0, 2, 4, 3, 6, 8), latents(1, 2, 4, 3, 6, 8)
    with record(runs_dir=tmp_path, **options) as run:  # type: ignore[arg-type]
        run.stage(SIGMAS, prompt="mine")
        for a, b in itertools.pairwise(SIGMAS):
            sample = (1 - a) * x0 + a * noise
            run.step(sigma=a, sigma_next=b, sample=sample, velocity=noise - x0)
            run.step(sigma=a, sigma_next=b, sample=latents(2, 2, 9, 4), x0=latents(3, 2, 9, 4), stream="audio")
    return load(run.path)


def test_rows_of_an_own_loop_are_those_of_the_formulas(tmp_path: Path) -> None:
    stage = run_loop(tmp_path).stages[0]
    assert stage.metadata == {"prompt": "mine"} and stage.sigmas == (1.0, 0.8, 0.5, 0.2)
    video = stage.streams["video"]
    assert video.rows == 4 and stage.streams["audio"].rows == 4 and video.grid == (3, 6, 8)
    np.testing.assert_allclose(video.series("sigma"), SIGMAS[:-1], rtol=1e-6)
    np.testing.assert_allclose(video.series("sigma_next"), SIGMAS[1:], rtol=1e-6)
    np.testing.assert_allclose(video.values("velocity_cosine")[1:], 1, rtol=1e-5)
    np.testing.assert_allclose(video.values("x0_change_rms")[1:], 0, atol=1e-6)
    grid = lambda t: t.permute(0, 2, 3, 4, 1).contiguous()  # noqa: E731
    x0, noise = latents(0, 2, 4, 3, 6, 8), latents(1, 2, 4, 3, 6, 8)
    step = make_step(0.5, (3, 6, 8), x=grid((x0 + noise) / 2), velocity=grid(noise - x0))
    for metric in ("spectrum_x0", "energy_mid_noise", "frame_identity", "snr_measured_db"):
        expected = MEASURES[metric](step).numpy()
        np.testing.assert_allclose(video.values(metric)[2], expected, rtol=1e-4, atol=1e-5)


def test_tokens_with_a_grid_equal_five_dimensions(tmp_path: Path) -> None:
    sample, velocity = latents(0, 1, 4, 3, 6, 8), latents(1, 1, 4, 3, 6, 8)
    with record(runs_dir=tmp_path) as run:
        run.step(sigma=0.5, sigma_next=0.4, sample=sample, velocity=velocity)
        run.stage()
        packed = [t.flatten(2).transpose(1, 2) for t in (sample, velocity)]
        run.step(sigma=0.5, sigma_next=0.4, sample=packed[0], velocity=packed[1], grid=(3, 6, 8))
    one, other = (s.streams["video"] for s in load(run.path).stages)
    measured = sum(m.on_host for m in declarations.on_stream("video"))  # what the host knows has times in it
    np.testing.assert_allclose(one.data[:, measured:], other.data[:, measured:], rtol=1e-5, atol=1e-6)


def test_phases_are_events_of_their_own(tmp_path: Path) -> None:
    run = run_loop(tmp_path, data_eigenvalue=9.0)
    found = {e["payload"]["notion"]: e["step"] for e in run.events if e["kind"] == "critical"}
    assert found["zero_db"] == 2 and found["speciation"] == 2
    assert "x0_rate_peak" not in found  # x0 never changes on an exact path


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"velocity": None}, "either velocity or x0"),
        ({"x0": latents(0, 1, 4, 3, 6, 8)}, "either velocity or x0"),
        ({"sigma": -0.1}, "at least 0"),
        ({"sigma": 1.5}, "at most 1"),
        ({"sigma": float("nan")}, "at least 0"),
        ({"stream": "smell"}, "stream must be"),
        ({"velocity": latents(0, 1, 4)}, "has shape"),
        ({"sample": latents(0, 1, 9, 4), "velocity": latents(0, 1, 9, 4)}, "grid="),
        ({"sample": latents(0, 1, 9, 4), "velocity": latents(0, 1, 9, 4), "grid": (2, 2, 2)}, "do not fill"),
    ],
)
def test_mistakes_of_the_caller_are_said(wrong: dict, says: str, tmp_path: Path) -> None:
    right = {
        "sigma": 0.5,
        "sigma_next": 0.4,
        "sample": latents(0, 1, 4, 3, 6, 8),
        "velocity": latents(1, 1, 4, 3, 6, 8),
    }
    with record(runs_dir=tmp_path) as run, pytest.raises(ValueError, match=says):
        run.step(**{**right, **wrong})


def test_the_end_of_a_stage_says_what_its_rows_come_to(tmp_path: Path) -> None:
    run = run_loop(tmp_path)
    summary = run.stages[0].summary
    video = summary["video"]
    np.testing.assert_allclose(video["straightness"], 0, atol=1e-5)  # an exact path is straight
    displacement = run.stages[0].streams["video"].values("displacement_rms").sum(axis=0)
    np.testing.assert_allclose(video["path_length"], displacement, rtol=1e-5)
    assert video["steps_below_0db"] == [2.0, 2.0] and video["steps_above_0db"] == [2.0, 2.0]
    assert len(video["drift_index"]) == 2 and "drift_index" not in summary["audio"]
