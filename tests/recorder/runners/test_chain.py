"""`run.evaluated`: rows from the evaluations of any sampler."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recorder import RunHandle, record
from recorder.runners import evaluation
from replay.sources.open import load
from tests.conftest import nano_call
from tests.pipelines import observe

LEVELS = [1.0, 0.8, 0.5, 0.2]
SHAPE = (1, 4, 3, 4, 6)
TIMED = {"step_seconds", "recorder_seconds", "gpu_ms", "vram_peak"}


def latents(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape or SHAPE, generator=torch.Generator().manual_seed(seed))


def model(sample: Tensor, sigma: float) -> Tensor:
    """A velocity that depends on its sample, so that rows of wrong samples differ."""
    return torch.tanh(sample * (1 + sigma)) + 0.1 * sigma


def same_rows(one: Any, two: Any, leave_out: set[str] | None = None, rtol: float = 0) -> None:
    left = TIMED | (leave_out or set())
    assert set(one.metrics) == set(two.metrics) and one.rows == two.rows
    for name in set(one.metrics) - left:
        np.testing.assert_allclose(one.values(name), two.values(name), rtol=rtol, atol=rtol, err_msg=name)


def test_an_euler_loop_through_evaluations_has_the_rows_of_the_pipeline(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same numbers give the same rows in every metric, guided video and audio, whether hooked or reported."""
    seen = observe(lambda: pipe, tmp_path / "hooked", monkeypatch, check_plain=False)
    (hooked,) = seen.stages
    scales = {name: hooked.streams[name].series("guidance_scale")[0] for name in seen.rows}
    levels = torch.tensor([*hooked.sigmas, 0.0])
    x = {name: rows[0].sample for name, rows in seen.rows.items()}
    with record(runs_dir=tmp_path / "own") as run:
        run.stage(levels.tolist())
        for step, (sigma, sigma_next) in enumerate(pairwise(levels)):
            for name, rows in seen.rows.items():
                velocity = rows[step].velocity  # the model's, which the sample must match
                assert torch.equal(x[name], rows[step].sample)
                run.evaluated(
                    sigma=float(sigma),
                    sample=x[name],
                    velocity=velocity,
                    passes=rows[step].passes,
                    stream=name,
                    grid=rows[step].layout.grid,
                    noiseless=True,
                    timestep=float(hooked.streams[name].series("timestep")[step]),
                    guidance_scale=float(scales[name]),
                )
                x[name] = x[name] + (sigma_next - sigma) * velocity
        for name in x:
            run.reached(sample=x[name], stream=name)
    (own,) = load(run.path).stages
    for name in x:
        assert own.streams[name].rows == len(hooked.sigmas)
        same_rows(hooked.streams[name], own.streams[name])


# -- samplers


def recorded(tmp_path: Path, levels: list[float] | None, take: Callable[[RunHandle], None]) -> Any:
    with record(runs_dir=tmp_path) as run:
        run.stage(levels)
        take(run)
    loaded = load(run.path)
    assert not [e for e in loaded.events if e["kind"] == "error"]
    (stage,) = loaded.stages
    return stage.streams["video"]


def euler(run: RunHandle, midpoint: bool | None = False) -> None:
    x = latents(0)
    for a, b in pairwise([*LEVELS, 0.0]):
        v = model(x, a)
        run.evaluated(sigma=a, sample=x, velocity=v, midpoint=midpoint)
        x = x + (b - a) * v
    run.reached(sample=x)


def heun(run: RunHandle, midpoints: tuple[bool | None, bool | None] = (False, True)) -> None:
    x = latents(0)
    for a, b in pairwise([*LEVELS, 0.0]):
        v = model(x, a)
        run.evaluated(sigma=a, sample=x, velocity=v, midpoint=midpoints[0])
        if b:
            tried = x + (b - a) * v
            second = model(tried, b)
            run.evaluated(sigma=b, sample=tried, velocity=second, midpoint=midpoints[1])
            v = (v + second) / 2
        x = x + (b - a) * v
    run.reached(sample=x)


def middle(run: RunHandle, midpoints: tuple[bool | None, bool | None] = (False, True)) -> None:
    """The midpoint method, whose second evaluation is at no level of the schedule."""
    x = latents(0)
    for a, b in pairwise([*LEVELS, 0.0]):
        v = model(x, a)
        run.evaluated(sigma=a, sample=x, velocity=v, midpoint=midpoints[0])
        between = (a + b) / 2
        half = x + (between - a) * v
        run.evaluated(sigma=between, sample=half, velocity=model(half, between), midpoint=midpoints[1])
        x = x + (b - a) * model(half, between)
    run.reached(sample=x)


def test_a_row_is_a_step_and_midpoints_are_counted(tmp_path: Path) -> None:
    plain = recorded(tmp_path / "a", LEVELS, euler)
    assert plain.series("evaluations").tolist() == [1, 1, 1, 1]
    for name, loop, counted in (("heun", heun, [2, 2, 2, 1]), ("middle", middle, [2, 2, 2, 2])):
        told = recorded(tmp_path / name, LEVELS, loop)
        assert told.series("evaluations").tolist() == counted and told.evaluations.tolist() == counted
        np.testing.assert_allclose(told.series("sigma"), LEVELS, rtol=1e-6)
        np.testing.assert_allclose(told.series("sigma_next"), [*LEVELS[1:], 0], rtol=1e-6)
        # The first evaluation is at the same sample as Euler's, and the row is its velocity, not the midpoint's.
        np.testing.assert_array_equal(told.values("velocity_rms")[0], plain.values("velocity_rms")[0])
        assert (told.values("displacement_rms")[0] != plain.values("displacement_rms")[0]).all()


@pytest.mark.parametrize(("loop", "levels"), [(euler, LEVELS), (heun, LEVELS), (middle, LEVELS), (euler, None)])
def test_the_schedule_decides_what_is_a_midpoint_if_the_sampler_does_not(
    loop: Any, levels: list[float] | None, tmp_path: Path
) -> None:
    told = recorded(tmp_path / "a", levels, loop)
    decided = recorded(tmp_path / "b", levels, lambda run: loop(run, None if loop is euler else (None, None)))
    same_rows(told, decided)


def test_a_result_is_the_sample_at_which_the_next_step_begins(tmp_path: Path) -> None:
    """An ancestral sampler adds noise of its own: where the step went is seen, and that it is noise is not known."""

    def ancestral(run: RunHandle) -> None:
        x = latents(0)
        for i, (a, b) in enumerate(pairwise([*LEVELS, 0.0])):
            v = model(x, a)
            run.evaluated(sigma=a, sample=x, velocity=v)
            x = x + (b - a) * v + (0.3 * latents(i + 1) if b else 0)
            moved.append(float((x - last[-1]).square().mean().sqrt()))
            last.append(x)
        run.reached(sample=x)

    moved, last = list[float](), [latents(0)]
    video = recorded(tmp_path, LEVELS, ancestral)
    np.testing.assert_allclose(video.values("displacement_rms")[:, 0], moved, rtol=1e-5)
    assert np.isnan(video.values("noise_injected")).all()


def test_steps_that_jump_go_to_the_level_of_the_next_one(tmp_path: Path) -> None:
    """Over a level, and back up to a higher one with fresh noise, as a restart does."""

    def jumps(run: RunHandle) -> None:
        noise = latents(9)
        for sigma in (1.0, 0.5):
            run.evaluated(sigma=sigma, sample=latents(int(sigma * 10)), velocity=latents(3), noiseless=True)
        run.evaluated(sigma=0.7, sample=latents(4), velocity=latents(5), injected=noise, sigma_down=0.2, noiseless=True)
        run.reached(sample=latents(6))

    video = recorded(tmp_path, [1.0, 0.8, 0.5, 0.7], jumps)
    np.testing.assert_allclose(video.series("sigma"), [1.0, 0.5, 0.7], rtol=1e-6)
    np.testing.assert_allclose(video.series("sigma_next"), [0.5, 0.7, 0], rtol=1e-6)
    np.testing.assert_allclose(video.series("sigma_down"), [0.5, 0.2, 0], rtol=1e-6)
    injected = video.values("noise_injected")[:, 0]
    np.testing.assert_allclose(injected, [0, float(latents(9).square().mean()), 0], rtol=1e-6)


def test_an_output_that_is_used_again_counts_no_evaluation(tmp_path: Path) -> None:
    def reuses(run: RunHandle) -> None:
        for i, sigma in enumerate(LEVELS):
            run.evaluated(sigma=sigma, sample=latents(i), x0=latents(8), reused=i % 2 == 1)
        run.reached(sample=latents(8))

    video = recorded(tmp_path, LEVELS, reuses)
    assert video.series("evaluations").tolist() == [1, 0, 1, 0] and video.evaluations.sum() == 2


def test_latents_may_be_changed_in_place_after_an_evaluation(tmp_path: Path) -> None:
    def in_place(run: RunHandle) -> None:
        x = latents(0)
        for a, b in pairwise([*LEVELS, 0.0]):
            v = model(x, a)
            run.evaluated(sigma=a, sample=x, velocity=v)
            x += (b - a) * v
            v.fill_(7)
        run.reached(sample=x)

    same_rows(recorded(tmp_path / "a", LEVELS, euler), recorded(tmp_path / "b", LEVELS, in_place))


# -- where the last step went


def test_without_a_result_the_last_step_is_eulers(tmp_path: Path) -> None:
    def no_end(run: RunHandle) -> None:
        x = latents(0)
        for a, b in pairwise([*LEVELS, 0.0]):
            run.evaluated(sigma=a, sample=x, velocity=model(x, a))
            x = x + (b - a) * model(x, a)

    told = recorded(tmp_path / "a", LEVELS, euler)
    same_rows(told, recorded(tmp_path / "b", LEVELS, no_end), {"noise_injected"})


def test_after_an_error_the_step_under_way_has_no_row(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="mine"), record(runs_dir=tmp_path) as run:
        run.stage(LEVELS)
        run.evaluated(sigma=1.0, sample=latents(0), velocity=latents(1))
        run.evaluated(sigma=0.8, sample=latents(2), velocity=latents(3))
        raise RuntimeError("mine")
    (stage,) = load(run.path).stages
    assert stage.streams["video"].rows == 1


def test_a_stage_that_begins_ends_the_chain_of_the_one_before(tmp_path: Path) -> None:
    with record(runs_dir=tmp_path) as run:
        for _ in range(2):
            run.stage([0.9, 0.4])
            run.evaluated(sigma=0.9, sample=latents(0), velocity=latents(1))
            run.evaluated(sigma=0.4, sample=latents(2), velocity=latents(3))
    assert [s.streams["video"].series("sigma_next").tolist() for s in load(run.path).stages] == [
        [np.float32(0.4), 0],
        [np.float32(0.4), 0],
    ]


# -- conditioning


def test_conditioned_frames_and_appended_tokens_are_left_out(tmp_path: Path) -> None:
    """As the mask of a sequence of tokens, and as a mask that is laid out like the latents."""
    x = latents(0, 1, 4, 3, 4, 6)
    tokens = x.flatten(2).transpose(1, 2)
    keyframe = latents(1, 1, 24, 4)
    free = torch.ones(1, 72 + 24)
    free[:, :24], free[:, 72:] = 0, 0

    def packed(run: RunHandle) -> None:
        sequence = torch.cat([tokens, keyframe], dim=1)
        run.evaluated(sigma=0.5, sample=sequence, velocity=sequence, free=free, grid=(3, 4, 6))
        run.reached(sample=sequence * 0.5)

    def laid(run: RunHandle) -> None:
        mask = torch.ones(1, 1, 3, 1, 1)
        mask[:, :, 0] = 0.2
        run.evaluated(sigma=0.5, sample=x, velocity=x, free=mask)
        run.reached(sample=x * 0.5)

    found = [recorded(tmp_path / n, [0.5], loop) for n, loop in (("a", packed), ("b", laid))]
    same_rows(*found, rtol=1e-6)  # the tokens lie in another order in memory
    assert np.isnan(found[0].values("frame_identity")[0, 0, 0]) and not np.isnan(found[0].values("motion")[0, 0, 2])
    assert found[0].values("velocity_rms")[0, 0] == pytest.approx(float(x[:, :, 1:].square().mean().sqrt()))


def test_audio_that_is_conditioned_in_part_is_measured_where_it_is_generated(tmp_path: Path) -> None:
    audio = latents(0, 1, 10, 8)
    free = torch.ones(1, 10, 1)
    free[:, :4] = 0
    with record(runs_dir=tmp_path, save_latents=True, previews=True) as run:
        run.stage([0.9, 0.5])
        for sigma in (0.9, 0.5):
            run.evaluated(sigma=sigma, sample=audio, velocity=audio, stream="audio", free=free)
        run.reached(sample=audio, stream="audio")
        run.stage([0.9])
        run.step(sigma=0.9, sigma_next=0, sample=audio, velocity=audio, stream="audio", frames=range(4, 10))
        run.stage([0.9])
        run.step(sigma=0.9, sigma_next=0, sample=audio[:, 4:], velocity=audio[:, 4:], stream="audio")
    masked, framed, cut = (s.streams["audio"] for s in load(run.path).stages)
    expected = float(audio[:, 4:].square().mean().sqrt())
    assert masked.values("velocity_rms")[0, 0] == pytest.approx(expected)
    assert (masked.grid, cut.grid) == ((10,), (6,))
    same_rows(framed, cut)
    for name in ("spectrum_x0", "noise_whiteness_low", "velocity_rms", "channel_std"):
        np.testing.assert_array_equal(masked.values(name)[0], cut.values(name)[0])


def test_a_stream_that_only_conditions_has_no_rows(tmp_path: Path) -> None:
    def loop(run: RunHandle) -> None:
        frozen = torch.zeros(1, 10)
        run.evaluated(sigma=0.5, sample=latents(0, 1, 10, 8), x0=latents(1, 1, 10, 8), stream="audio", free=frozen)
        run.evaluated(sigma=0.5, sample=latents(0), velocity=latents(1))
        run.reached(sample=latents(0, 1, 10, 8), stream="audio")
        run.reached(sample=latents(0))

    assert recorded(tmp_path, [0.5], loop).rows == 1
    assert set(load(next(tmp_path.glob("*.zarr"))).stages[0].streams) == {"video"}


# -- what run.step takes


def test_passes_of_a_step_give_the_gaps(tmp_path: Path) -> None:
    x, v, other = latents(0), latents(1), latents(2)
    with record(runs_dir=tmp_path) as run:
        for passes in ({"conditional": v, "cfg": other}, {"conditional": x - 0.5 * v, "cfg": x - 0.5 * other}):
            run.stage([0.5])
            kind = {"velocity": v} if passes["conditional"] is v else {"x0": x - 0.5 * v}
            run.step(sigma=0.5, sigma_next=0, sample=x, passes=passes, **kind)
    for stage in load(run.path).stages:
        video = stage.streams["video"]
        gap = float((v - other).square().mean().sqrt())
        assert video.values("guidance_gap_cfg")[0, 0] == pytest.approx(gap, rel=1e-5)
        assert video.values("velocity_conditional_rms")[0, 0] == pytest.approx(
            float(v.square().mean().sqrt()), rel=1e-5
        )
        assert np.isnan(video.values("guidance_gap_stg")).all()


def test_injected_noise_of_a_step_is_measured(tmp_path: Path) -> None:
    x, v, noise = latents(0), latents(1), latents(2)

    def loop(run: RunHandle) -> None:
        run.step(sigma=0.5, sigma_next=0.6, sample=x, velocity=v, result=x + noise, injected=noise, sigma_down=0.4)

    video = recorded(tmp_path, None, loop)
    assert video.values("noise_injected")[0, 0] == pytest.approx(float(noise.square().mean()), rel=1e-5)
    assert video.series("sigma_down")[0] == pytest.approx(0.4)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"velocity": latents(1), "x0": latents(1)}, "either velocity or x0"),
    ({"velocity": latents(1, 1, 4, 3, 4, 5)}, "velocity has shape"),
    ({"velocity": latents(1), "sigma": 1.5}, "at least 0 and at most 1"),
    ({"velocity": latents(1), "stream": "smell"}, "stream must be one of"),
    ({"velocity": latents(1), "passes": {"unconditional": latents(1)}}, "passes are named conditional"),
    ({"velocity": latents(1), "passes": {"cfg": latents(1)}}, "compared with the 'conditional'"),
    ({"velocity": latents(1), "passes": {"conditional": latents(1, 2, 2)}}, "conditional has shape"),
]


@pytest.mark.parametrize(("arguments", "expected"), WRONG)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with record(runs_dir=tmp_path) as run:
        given = {"sigma": 0.5, "sample": latents(0), **arguments}
        with pytest.raises(ValueError, match=expected):
            run.evaluated(**given)
        with pytest.raises(ValueError, match=expected):
            run.step(sigma_next=0, **given)


@pytest.mark.parametrize("frames", [[], [3], [-1]])
def test_frames_that_are_none_of_the_clip_are_refused(frames: list[int], tmp_path: Path) -> None:
    with record(runs_dir=tmp_path) as run, pytest.raises(ValueError, match="from 0 to 2, at least one"):
        run.step(sigma=0.5, sigma_next=0, sample=latents(0), velocity=latents(1), frames=frames)


@pytest.mark.parametrize(
    ("free", "expected"),
    [(torch.full((1, 1, 3, 1, 1), 0.5), "every frame of the clip is conditioned"), (torch.ones(2, 7), "does not fit")],
)
def test_a_mask_that_does_not_fit_is_refused(free: Tensor, expected: str, tmp_path: Path) -> None:
    with record(runs_dir=tmp_path) as run, pytest.raises(ValueError, match=expected):
        run.evaluated(sigma=0.5, sample=latents(0), velocity=latents(1), free=free)


def test_another_shape_in_a_stage_is_refused(tmp_path: Path) -> None:
    with record(runs_dir=tmp_path) as run:
        run.evaluated(sigma=0.5, sample=latents(0), velocity=latents(1))
        with pytest.raises(ValueError, match="begin another stage"):
            run.evaluated(sigma=0.4, sample=latents(0, 1, 4, 5, 4, 6), velocity=latents(1, 1, 4, 5, 4, 6))


def test_a_failure_of_the_recorder_costs_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(tensor: Tensor, layout: object) -> Tensor:
        raise RuntimeError("no such tensor")

    with record(runs_dir=tmp_path) as run:
        run.stage(LEVELS)
        run.evaluated(sigma=1.0, sample=latents(0), velocity=latents(1))
        run.evaluated(sigma=0.8, sample=latents(0), velocity=latents(1))
        with monkeypatch.context() as patch:
            patch.setattr(evaluation, "laid_sample", fails)
            run.evaluated(sigma=0.5, sample=latents(0), velocity=latents(1))
        run.evaluated(sigma=0.2, sample=latents(0), velocity=latents(1))
        run.reached(sample=latents(0))
    loaded = load(run.path)
    assert run.status == "complete" and [e for e in loaded.events if e["kind"] == "error"]
    video = loaded.stages[0].streams["video"]
    assert video.rows == 4
    np.testing.assert_array_equal(np.isnan(video.series("sigma")), [False, True, True, False])


# -- runs that are started and ended, and joined


def test_a_run_is_started_and_ended_without_a_block(tmp_path: Path) -> None:
    recording = record(runs_dir=tmp_path)
    run = recording.start()
    euler(run)
    recording.end()
    recording.end()
    assert run.status == "complete" and load(run.path).steps == 4
    for error, status in ((KeyboardInterrupt(), "interrupted"), (OSError("disk"), "failed")):
        recording = record(runs_dir=tmp_path)
        run = recording.start()
        euler(run)
        recording.end(error)
        assert run.status == status
    with pytest.raises(RuntimeError, match="entered once"):
        recording.start()


def test_a_pipeline_joins_a_run_that_has_begun(pipe: Any, tmp_path: Path) -> None:
    plain = type(pipe)
    with record(runs_dir=tmp_path) as run:
        euler(run)
        run.join(pipe)
        with pytest.raises(RuntimeError, match="recorded already"):
            run.join(pipe)
        with pytest.raises(ValueError, match="cannot be recorded"):
            run.join(object())
        pipe(**nano_call(steps=2))
    assert type(pipe) is plain
    with pytest.raises(RuntimeError, match="has ended"):
        run.join(pipe)
    stages = load(run.path).stages
    assert [s.streams["video"].rows for s in stages] == [4, 2]
