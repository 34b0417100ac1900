"""Metrics of latents whose values are known from pencil and paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from recorder.format import declarations
from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.measures import MEASURES, measured_row
from recorder.metrics.step import Step
from tests.recorder.test_measures import make_step

GRID = (8, 12, 16)
SHAPE = (2, *GRID, 4)


def step_of(x0: Tensor, noise: Tensor, sigma: float, previous: Step | None = None, **more: object) -> Step:
    """A step whose model knows x0 and noise exactly."""
    x = (1 - sigma) * x0 + sigma * noise
    grid = tuple(x0.shape[1:-1])
    frames = more.pop("frames", None)
    layout = LatentLayout("video" if len(grid) == 3 else "audio", x0.shape[0], grid)
    if frames is not None:
        layout = LatentLayout("video", x0.shape[0], (more.pop("of"), *grid[1:]), frames)  # type: ignore[arg-type]
    return Step(layout, sigma, x, noise - x0, x, previous, **more)  # type: ignore[arg-type]


def gaussian(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plane_wave(ky: int, kx: int, grid: tuple[int, int] = GRID[1:]) -> Tensor:
    """cos over space, [1, 1, H, W, 1], of mean square ½."""
    y, x = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return torch.cos(2 * math.pi * (ky * y / grid[0] + kx * x / grid[1]))[None, None, :, :, None]


def value(name: str, step: Step) -> Tensor:
    return MEASURES[name](step)


def assert_is(found: Tensor, expected: object, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=1e-4, atol=atol)  # type: ignore[arg-type]


def test_the_four_spectra_of_white_data_and_noise() -> None:
    # Per bin: x has (1−σ)²·a² + σ²·b², the velocity a² + b², for white data of RMS a and noise of RMS b. The lowest
    # bin lacks what goes with the frame mean.
    sigma, a, b = 0.4, 2.0, 0.5
    shape = (1, 40, 24, 32, 16)
    step = step_of(a * gaussian(1, shape), b * gaussian(2, shape), sigma)
    for name, power in (
        ("spectrum_x", (1 - sigma) ** 2 * a**2 + sigma**2 * b**2),
        ("spectrum_x0", a**2),
        ("spectrum_noise", b**2),
        ("spectrum_velocity", a**2 + b**2),
    ):
        assert torch.all((value(name, step)[:, 1:] / power - 1).abs() < 0.1), name
    expected = 20 * math.log10((1 - sigma) / sigma) + 20 * math.log10(a / b)
    assert torch.all((value("snr_spectrum_db", step) - expected).abs() < 0.5)


@pytest.mark.parametrize("sigma", [0.9, 0.5, 0.1])
def test_snr_spectrum_of_data_that_is_c_times_the_noise_is_the_schedules_plus_c(sigma: float) -> None:
    noise = gaussian(3)
    expected = 20 * math.log10((1 - sigma) / sigma) + 20 * math.log10(3)
    assert_is(value("snr_spectrum_db", step_of(3 * noise, noise, sigma)), np.full((2, 6), expected), atol=2e-3)


def test_snr_spectrum_is_minus_infinity_at_pure_noise() -> None:
    assert torch.all(value("snr_spectrum_db", step_of(gaussian(1), gaussian(2), 1.0)) == -math.inf)


@pytest.mark.parametrize(("length", "cycles"), [(8, 1), (8, 3), (7, 2), (8, 4)])
def test_a_wave_over_time_has_all_its_power_at_its_frequency(length: int, cycles: int) -> None:
    frames = torch.arange(length)
    wave = 3 * torch.cos(2 * math.pi * cycles * frames / length)
    first = torch.tensor([100.0])  # latent frame 0 must not count
    x0 = (5 + torch.cat([first, wave]))[None, :, None, None, None].expand(2, length + 1, 4, 6, 3)
    step = step_of(x0, torch.zeros_like(x0), 0.5)
    expected = np.zeros((2, length // 2 + 1))
    expected[:, cycles] = 9.0 if 2 * cycles == length else 4.5
    assert_is(value("temporal_spectrum_x0", step), expected)
    found = step.layout.coordinates()["frame_frequency"]
    assert found["values"][cycles] == cycles / length and found["attributes"] == {"units": "cycles/latent frame"}


def test_the_temporal_spectrum_sums_to_the_mean_square_of_what_changes() -> None:
    for length in (2, 3, 8, 9):
        x0 = gaussian(4, (2, length + 1, 5, 4, 3)) + 2
        rest = x0[:, 1:] - x0[:, 1:].mean(dim=1, keepdim=True)
        found = value("temporal_spectrum_x0", step_of(x0, torch.zeros_like(x0), 0.5)).sum(dim=1)
        assert_is(found, rest.square().flatten(1).mean(dim=1).numpy())


@pytest.mark.parametrize(
    ("frames", "length"),
    [((1, 2, 3, 4), 4), ((0, 1, 2), 2), ((2, 3), 2), ((1, 3), None), ((0, 1), None), ((0,), None), ((7,), None)],
)
def test_a_temporal_spectrum_needs_generated_frames_without_a_gap(frames: tuple[int, ...], length: int | None) -> None:
    x0 = gaussian(5, (2, len(frames), 4, 4, 3))
    step = step_of(x0, torch.zeros_like(x0), 0.5, frames=frames, of=8)
    found = value("temporal_spectrum_x0", step)
    assert found.shape == (2, 1 if length is None else length // 2 + 1)
    assert step.layout.row_shape(declarations.METRICS["temporal_spectrum_x0"]) == tuple(found.shape)
    assert bool(found.isnan().all()) == (length is None)


def test_wander_is_the_coarse_part_of_what_changed() -> None:
    base, noise = gaussian(6), gaussian(7)
    coarse, fine = plane_wave(1, 0), plane_wave(4, 6)
    before = step_of(base, noise, 0.6)
    after = step_of(base + 3 * coarse + 4 * fine, noise, 0.5, before)
    assert_is(value("low_frequency_wander", after), [3 / 2**0.5] * 2)
    assert_is(value("x0_change_rms", after), [5 / 2**0.5] * 2)
    assert_is(value("low_frequency_wander_share", after), [0.6] * 2)


def test_the_change_rate_is_per_unit_of_log_snr() -> None:
    base, noise = gaussian(8), gaussian(9)
    before = step_of(base, noise, 0.8)
    after = step_of(base + 0.5, noise, 0.5, before)
    assert_is(value("x0_change_rate", after), [0.5 / (2 * math.log(4))] * 2)
    from_noise = step_of(base + 0.5, noise, 0.8, step_of(base, noise, 1.0))
    assert_is(value("x0_change_rate", from_noise), [0.0] * 2)
    assert value("x0_change_rate", step_of(base, noise, 0.8, before)).isnan().all()  # at one level there is no rate
    assert value("x0_change_rate", before).isnan().all()


def test_a_ramp_moves_by_its_slope_and_has_no_jerk() -> None:
    slope = torch.tensor([0.5, -2.0])[:, None, None, None, None]
    x0 = gaussian(10, (2, 1, 4, 5, 3)) + slope * torch.arange(6)[None, :, None, None, None]
    step = step_of(x0, torch.zeros_like(x0), 0.3)
    motion, jerk = value("motion", step), value("jerk", step)
    assert motion[:, 0].isnan().all() and jerk[:, :2].isnan().all()
    assert_is(motion[:, 1:], np.array([[0.5] * 5, [2.0] * 5]))
    assert_is(jerk[:, 2:], np.zeros((2, 4)))


def test_a_parabola_has_constant_jerk_and_a_jump_has_it_at_its_two_frames() -> None:
    frames = torch.arange(6.0)
    parabola = frames.square()[None, :, None, None, None].expand(1, 6, 4, 4, 2)
    assert_is(value("jerk", step_of(parabola, parabola * 0, 0.5))[:, 2:], [[2.0] * 4], atol=1e-4)
    jump = (frames >= 3).float()[None, :, None, None, None].expand(1, 6, 4, 4, 2)
    assert_is(value("jerk", step_of(jump, jump * 0, 0.5))[:, 2:], [[0, 1, 1, 0]])
    assert_is(value("motion", step_of(jump, jump * 0, 0.5))[:, 1:], [[0, 0, 1, 0, 0]])


def test_known_angles_between_frames() -> None:
    # Frame f's channel means point at f·20°; textures of mean 0 do not count.
    angles = torch.arange(6) * math.pi / 9
    means = torch.stack([angles.cos(), angles.sin()], dim=-1)[None, :, None, None, :]
    x0 = means + 10 * plane_wave(2, 3)
    step = step_of(x0, torch.zeros_like(x0), 0.2)
    assert_is(value("frame_identity", step), [[math.cos(math.radians(20 * abs(f - 1))) for f in range(6)]])
    coherence = value("frame_coherence", step)
    assert coherence[0, 0].isnan()
    assert_is(coherence[:, 1:], [[math.cos(math.radians(20))] * 5])


def test_frames_that_are_not_generated_are_nan_and_break_what_needs_them() -> None:
    x0 = gaussian(11, (1, 5, 4, 4, 3))
    step = step_of(x0, torch.zeros_like(x0), 0.5, frames=(1, 2, 3, 6, 7), of=8)
    defined = {name: (~value(name, step).isnan())[0].nonzero().flatten().tolist() for name in declarations.METRICS
               if name in ("frame_identity", "frame_coherence", "motion", "jerk")}  # fmt: skip
    assert defined == {
        "frame_identity": [1, 2, 3, 6, 7],
        "frame_coherence": [2, 3, 7],
        "motion": [2, 3, 7],
        "jerk": [3],
    }
    assert_is(value("motion", step)[0, 7], (x0[0, 4] - x0[0, 3]).square().mean().sqrt())


def test_one_frame_has_no_frame_metrics() -> None:
    step = make_step(grid=(1, 4, 4))
    for name in ("frame_identity", "frame_coherence", "motion", "jerk", "temporal_spectrum_x0"):
        assert value(name, step).isnan().all(), name


def test_known_guidance_gaps() -> None:
    conditional = gaussian(12)
    passes = {"conditional": conditional, "cfg": conditional - 0.25, "modality": conditional + 2 * plane_wave(1, 1)}
    step = make_step(grid=GRID, passes=passes)
    assert_is(value("velocity_conditional_rms", step), conditional.square().flatten(1).mean(1).sqrt())
    assert_is(value("guidance_gap_cfg", step), [0.25] * 2)
    assert_is(value("guidance_gap_modality", step), [2**0.5] * 2)
    assert value("guidance_gap_stg", step).isnan().all()
    unobserved = make_step(grid=GRID, passes={"cfg": conditional})
    for name in ("velocity_conditional_rms", "guidance_gap_cfg"):
        assert value(name, unobserved).isnan().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("grid", [(16, 16, 24), (9, 10, 12), (3, 5, 7), (126,), (68,)])
def test_the_gpu_agrees_with_the_cpu_and_never_waits(grid: tuple[int, ...]) -> None:
    rows = {}
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # TF32 is a common setting and must not cost digits
    try:
        for device in ("cpu", "cuda"):
            steps: list[Step] = []
            for sigma in (0.8, 0.7):
                made = make_step(sigma, grid, seed=len(steps))
                passes = {"conditional": made.velocity, "cfg": made.x}
                fields = {n: getattr(made, n).to(device) for n in ("x", "velocity", "x_next")}
                passes = {n: t.to(device) for n, t in passes.items()}
                previous = steps[-1] if steps else None
                steps.append(Step(made.layout, sigma, **fields, previous=previous, passes=passes))
            measured_row(steps[1])  # the first of a layout puts its constants on the device
            again = [Step(s.layout, s.sigma, s.x, s.velocity, s.x_next, passes=s.passes) for s in steps]
            again[1].previous = again[0]
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("error")
            row = measured_row(again[1])
            torch.cuda.set_sync_debug_mode("default")
            rows[device] = row.cpu()
    finally:
        torch.cuda.set_sync_debug_mode("default")
        torch.set_float32_matmul_precision(precision)
    torch.testing.assert_close(rows["cuda"], rows["cpu"], rtol=1e-4, atol=2e-6, equal_nan=True)


def test_nothing_is_read_back_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> object:
        raise AssertionError("a metric waits for the device")

    first = make_step(0.8, passes={"conditional": gaussian(1, (2, 5, 6, 8, 4))})
    step = make_step(0.7, previous=first)
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__"):
        monkeypatch.setattr(Tensor, name, refuse)
    for each in (first, step):
        for metric in declarations.on_stream("video"):
            if not metric.on_host:
                MEASURES[metric.name](each)
        each.forget()
