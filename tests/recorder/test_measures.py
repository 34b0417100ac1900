"""Every metric against truths in closed form and against an independent float64 computation in NumPy."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.format import declarations
from recorder.format.sigma_math import log_snr
from recorder.metrics.constants import fixed_places
from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.measures import MEASURES, measured_row
from recorder.metrics.spectra import bin_centres, grid_for, radial_bins
from recorder.metrics.step import UNKNOWN, Drift, Step

CPU = torch.device("cpu")
VIDEO_METRICS = [m for m in declarations.on_stream("video") if not m.on_host]


def make_step(
    sigma: float = 0.6,
    grid: tuple[int, ...] = (5, 6, 8),
    batch: int = 2,
    seed: int = 0,
    frames: tuple[int, ...] | None = None,
    **more: Any,
) -> Step:
    """A step of random latents on a grid, or on some of its frames; `more` replaces single fields."""
    stream = "video" if len(grid) == 3 else "audio"
    layout = LatentLayout(stream, batch, grid, frames)
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, *layout.shape, 4)
    fields = {name: torch.randn(shape, generator=generator) for name in ("x", "velocity", "x_next")}
    return Step(layout, sigma, **{**fields, **more})


# -- an independent reference: plain float64 NumPy, loops over coefficients, nothing shared with the code under test


def ref_radius(axes: tuple[int, ...]) -> np.ndarray:
    total = np.zeros(axes)
    for axis, n in enumerate(axes):
        shape = [1] * len(axes)
        shape[axis] = n
        total = total + (np.fft.fftfreq(n).reshape(shape) / 0.5) ** 2
    return np.sqrt(total)


def ref_power(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """[B, …grid, C] → mean |FFT|²/N over channels (and frames): [B, *axes]."""
    dims = (2, 3) if len(axes) == 2 else (1,)
    power = np.abs(np.fft.fftn(a, axes=dims)) ** 2 / math.prod(axes)
    return power.mean(axis=(1, 4)) if len(axes) == 2 else power.mean(axis=2)


def ref_bands(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    power, rho = ref_power(a, axes), ref_radius(axes)
    out = []
    for lo, hi in ((0, 0.25), (0.25, 0.5), (0.5, 2.0)):
        inside = (rho >= lo - 1e-12) & (rho < hi - 1e-12)
        out.append(power[:, inside].sum(axis=1) / math.prod(axes) if inside.any() else np.full(len(a), np.nan))
    return np.stack(out, axis=1)


def ref_spectrum(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    dims = (2, 3) if len(axes) == 2 else (1,)
    window = np.ones(())
    for n in axes:
        w = np.ones(n) if n < 4 else np.array([0.5 - 0.5 * math.cos(2 * math.pi * i / n) for i in range(n)])
        window = np.multiply.outer(window, w)
    a = a - a.mean(axis=dims, keepdims=True)
    power = ref_power(a * (window[None, None, ..., None] if len(axes) == 2 else window[None, :, None]), axes)
    power = power / (window**2).mean()
    bins = max(1, min(axes) // 2)
    which = np.minimum(np.floor(ref_radius(axes) * bins + 1e-9), bins - 1)
    columns = [
        power[:, which == b].mean(axis=1) if (which == b).any() else np.full(len(a), np.nan) for b in range(bins)
    ]
    return np.stack(columns, axis=1)


def reference(step: Step) -> dict[str, np.ndarray]:
    x, v, nxt = (t.double().numpy() for t in (step.x, step.velocity, step.x_next))
    s, axes = step.sigma, step.layout.axes
    x0, eps = x - s * v, x + (1 - s) * v
    flat = lambda a: a.reshape(len(a), -1)  # noqa: E731
    ms = lambda a: (flat(a) ** 2).mean(axis=1)  # noqa: E731
    grid_dims = tuple(range(1, x0.ndim - 1))
    found = {
        "noise_injected": np.zeros(len(x)),
        "x0_mean": flat(x0).mean(axis=1),
        "channel_mean": x0.mean(axis=grid_dims),
        "channel_std": x0.std(axis=grid_dims),
        "snr_measured_db": 10 * np.log10((1 - s) ** 2 * ms(x0) / (s**2 * ms(eps))),
        "velocity_rms": np.sqrt(ms(v)),
        "displacement_rms": np.sqrt(ms(nxt - x)),
        "spectrum_x": ref_spectrum(x, axes),
        "spectrum_x0": ref_spectrum(x0, axes),
        "spectrum_noise": ref_spectrum(eps, axes),
        "spectrum_velocity": ref_spectrum(v, axes),
        "mean": flat(nxt).mean(axis=1),
        "std": flat(nxt).std(axis=1),
        "max_abs": np.abs(flat(nxt)).max(axis=1),
        "nan_count": np.zeros(len(x)),
        "inf_count": np.zeros(len(x)),
    }
    share = ref_bands(np.ones_like(x), axes) * 0
    rho = ref_radius(axes)
    for i, (lo, hi) in enumerate(((0, 0.25), (0.25, 0.5), (0.5, 2.0))):
        share[:, i] = ((rho >= lo - 1e-12) & (rho < hi - 1e-12)).mean()
    bands = {"noise": ref_bands(eps, axes), "x0": ref_bands(x0, axes), "velocity": ref_bands(v, axes)}
    for i, band in enumerate(declarations.BANDS):
        for quantity, energies in bands.items():
            found[f"energy_{band}_{quantity}"] = energies[:, i]
        total = np.nansum(bands["noise"], axis=1)
        found[f"noise_whiteness_{band}"] = bands["noise"][:, i] / total / share[:, i]
    if step.previous is not None:
        pv, ps = step.previous.velocity.double().numpy(), step.previous.sigma
        px0 = step.previous.x.double().numpy() - ps * pv
        dot = (flat(v) * flat(pv)).sum(axis=1)
        found["velocity_cosine"] = dot / np.linalg.norm(flat(v), axis=1) / np.linalg.norm(flat(pv), axis=1)
        found["x0_change_rms"] = np.sqrt(ms(x0 - px0))
        places = fixed_places(1, x[0].size, torch.device("cpu"))[0].numpy()
        left, now = (flat(a)[:, places] for a in (step.previous.x_next.double().numpy(), x))
        found["sample_change"] = np.sqrt(ms(now - left))
        change = abs(2 * math.log((1 - s) / s) - 2 * math.log((1 - ps) / ps)) if ps < 1 else math.inf
        found["x0_change_rate"] = found["x0_change_rms"] / change
        low = ref_bands(x0 - px0, axes)[:, 0]
        found["low_frequency_wander"] = np.sqrt(low)
        found["low_frequency_wander_share"] = np.sqrt(low / ms(x0 - px0))
    else:
        found |= ref_starts(x, step.layout.stream)
    with np.errstate(divide="ignore", invalid="ignore"):
        found["snr_spectrum_db"] = 10 * np.log10((1 - s) ** 2 * found["spectrum_x0"] / (s**2 * found["spectrum_noise"]))
    if "conditional" in step.passes:
        raw = {name: t.double().numpy() for name, t in step.passes.items()}
        found["velocity_conditional_rms"] = np.sqrt(ms(raw["conditional"]))
        for name in set(raw) - {"conditional"}:
            found[f"guidance_gap_{name}"] = np.sqrt(ms(raw["conditional"] - raw[name]))
    if step.layout.stream == "video":
        found |= ref_frames(x0, step.layout.generated_frames, step.layout.grid[0])
    return found


def ref_starts(x: np.ndarray, stream: str) -> dict[str, np.ndarray]:
    """The cosines of the first sample's frames and clips, one pair at a time."""
    cosine = lambda a, b: (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)  # noqa: E731
    found = {"sample_clip_cosine": np.full(len(x), np.nan)}
    for i in range(len(x) if len(x) > 1 else 0):
        found["sample_clip_cosine"][i] = max(cosine(x[i], x[j]) for j in range(len(x)) if j != i)
    if stream == "video" and x.shape[1] > 1:
        pairs = [[cosine(c[f], c[f + 1]) for f in range(len(c) - 1)] for c in x]
        found["sample_frame_cosine"] = np.mean(pairs, axis=1)
    return found


def ref_frames(x0: np.ndarray, places: tuple[int, ...], frames: int) -> dict[str, np.ndarray]:
    """The metrics of frames, one frame at a time."""
    at = {place: x0[:, i] for i, place in enumerate(places)}
    pooled = {place: frame.mean(axis=(1, 2)) for place, frame in at.items()}
    names = ("frame_identity", "frame_contrast", "frame_coherence", "motion", "jerk")
    found = {name: np.full((len(x0), frames), np.nan) for name in names}
    cosine = lambda a, b: (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)  # noqa: E731
    rms = lambda a: np.sqrt((a**2).mean(axis=(1, 2, 3)))  # noqa: E731
    later = [place for place in places if place > 0]
    for f in places:
        found["frame_contrast"][:, f] = np.sqrt(at[f].var(axis=(1, 2)).mean(axis=1))
        if later:
            found["frame_identity"][:, f] = cosine(pooled[f], pooled[later[0]])
        if f - 1 in at:
            found["frame_coherence"][:, f] = cosine(pooled[f], pooled[f - 1])
            found["motion"][:, f] = rms(at[f] - at[f - 1])
        if f - 1 in at and f - 2 in at:
            found["jerk"][:, f] = rms(at[f] - 2 * at[f - 1] + at[f - 2])
    if len(later) < 2 or later[-1] - later[0] != len(later) - 1:
        found["temporal_spectrum_x0"] = np.full((len(x0), 1), np.nan)
        return found
    series = np.stack([at[f] for f in later], axis=1)
    power = np.abs(np.fft.fft(series - series.mean(axis=1, keepdims=True), axis=1)) ** 2 / len(later) ** 2
    power = power.mean(axis=(2, 3, 4))
    half = len(later) // 2
    one_sided = power[:, : half + 1].copy()
    for k in range(1, half + 1):
        if len(later) - k != k:
            one_sided[:, k] += power[:, len(later) - k]
    found["temporal_spectrum_x0"] = one_sided
    return found


def assert_agrees(step: Step) -> None:
    expected = reference(step)
    for metric in declarations.on_stream(step.layout.stream):
        if metric.on_host or (step.previous is None and not metric.first_step):
            continue
        got = MEASURES[metric.name](step).double().numpy()
        assert got.shape == step.layout.row_shape(metric, step.x.shape[-1]), metric.name
        known = expected.get(metric.name, np.nan)  # what the reference does not have was not to be had
        np.testing.assert_allclose(got, known, rtol=1e-4, atol=2e-6, err_msg=metric.name, equal_nan=True)


def test_every_declared_metric_has_its_function_and_no_other() -> None:
    assert set(MEASURES) == {m.name for m in declarations.METRICS.values() if not m.on_host}


GRIDS: list[tuple[int, ...]] = [
    (2, 4, 4), (3, 5, 7), (9, 10, 12), (4, 1, 6), (2, 3, 3), (1, 4, 5), (8, 16, 9), (17,), (34,), (68,), (5,), (1,)
]  # fmt: skip


def measured(step: Step) -> list[str]:
    """Names of the metrics that are computed from a step."""
    return [m.name for m in declarations.on_stream(step.layout.stream) if not m.on_host]


def some_passes(grid: tuple[int, ...], batch: int, seed: int) -> dict[str, torch.Tensor]:
    """Random velocities of all four passes."""
    generator = torch.Generator().manual_seed(seed + 5000)
    names = ("conditional", "cfg", "stg", "modality")
    return {name: torch.randn((batch, *grid, 4), generator=generator) for name in names}


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(GRIDS),
    st.floats(0.02, 0.99),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_agrees_with_the_float64_reference(grid: tuple[int, ...], sigma: float, batch: int, seed: int) -> None:
    first = make_step(min(0.995, sigma + 0.005), grid, batch, seed)
    assert_agrees(first)
    passes = some_passes(grid, batch, seed)
    assert_agrees(make_step(sigma, grid, batch, seed + 1000, previous=first, passes=passes))


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 7), min_size=1), st.integers(0, 99))
def test_agrees_with_the_float64_reference_where_some_frames_are_given(places: set[int], seed: int) -> None:
    frames = tuple(sorted(places))
    first = make_step(0.7, (8, 4, 6), 2, seed, frames)
    assert_agrees(first)
    assert_agrees(make_step(0.6, (8, 4, 6), 2, seed + 1, frames, previous=first))


def test_agrees_with_the_float64_reference_on_natural_spectra_of_very_different_powers() -> None:
    # 1/f² data under noise: in the high band x0 has a ten-thousandth of the noise's power, and differences cancel.
    radius = torch.from_numpy(ref_radius((16, 24))).float()[:, :13].clamp(min=0.05)
    generator = torch.Generator().manual_seed(2)

    def draw() -> torch.Tensor:
        white = torch.randn((2, 7, 4, 16, 24), generator=generator)
        return torch.fft.irfft2(torch.fft.rfft2(white) / radius**2 / 100, s=(16, 24)).movedim(2, -1) + 0.5

    data, noise = draw(), torch.randn((2, 7, 16, 24, 4), generator=generator)
    previous = None
    for sigma in (0.95, 0.9, 0.5, 0.1, 0.02):
        estimate = data + 0.01 * draw()
        x = (1 - sigma) * data + sigma * noise
        previous = make_step(sigma, (7, 16, 24), x=x, velocity=(x - estimate) / sigma, x_next=x, previous=previous)
        assert_agrees(previous)


def test_only_what_the_next_step_needs_is_remembered() -> None:
    first, second = make_step(0.8), make_step(0.7, seed=1)
    second.previous = first
    expected = measured_row(second)
    first.forget()
    again = make_step(0.7, x=second.x, velocity=second.velocity, x_next=second.x_next, previous=first)
    torch.testing.assert_close(measured_row(again), expected, equal_nan=True, rtol=0, atol=0)
    kept = sum(t.numel() for t in vars(second).values() if isinstance(t, torch.Tensor))
    second.forget()
    left = sum(t.numel() for n, t in vars(second).items() if isinstance(t, torch.Tensor) and n != "left")
    assert second.left.numel() == min(again.x.numel(), 4096 * len(again.x)) and left < 3 * again.x.numel() < kept
    with pytest.raises(RuntimeError, match="compared with it already"):
        _ = make_step(0.6, previous=first).bands


@pytest.mark.parametrize("grid", [(5, 6, 8), (17,)])
def test_latents_of_lower_precision_are_measured_as_the_float32_values_that_they_are(grid: tuple[int, ...]) -> None:
    rows = []
    for kept in (torch.bfloat16, torch.float32):
        previous = None
        for seed, sigma in ((0, 0.8), (1, 0.7)):
            drawn = make_step(sigma, grid, seed=seed, passes=some_passes(grid, 2, seed))
            latents = {name: getattr(drawn, name).bfloat16().to(kept) for name in ("x", "velocity", "x_next")}
            passes = {name: velocity.bfloat16().to(kept) for name, velocity in drawn.passes.items()}
            step = make_step(sigma, grid, previous=previous, passes=passes, **latents)
            rows.append(measured_row(step))
            previous = step
    torch.testing.assert_close(torch.stack(rows[:2]), torch.stack(rows[2:]), equal_nan=True, rtol=1e-6, atol=1e-7)


def test_the_passes_are_let_go_of_once_they_are_measured() -> None:
    step = make_step(passes=some_passes((5, 6, 8), 2, 0))
    gap = MEASURES["guidance_gap_stg"](step).clone()
    measured_row(step)
    assert not step.passes and torch.equal(MEASURES["guidance_gap_stg"](step), gap)


def test_parseval_bands_sum_to_the_mean_square() -> None:
    for grid in ((3, 8, 8), (2, 10, 12), (4, 7, 9), (50,), (33,)):
        step = make_step(grid=grid)
        for name, values in (("x0", step.x0), ("noise", step.noise), ("velocity", step.velocity), ("x", step.x)):
            mean_square = values.square().flatten(1).mean(dim=1)
            torch.testing.assert_close(step.bands[name].nansum(dim=1), mean_square, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(step.mean_square[name], mean_square, rtol=1e-5, atol=1e-6)


def test_white_noise_has_whiteness_one_within_its_sampling_error() -> None:
    grid, samples = (9, 16, 24), 40
    generator = torch.Generator().manual_seed(3)
    found = []
    for _ in range(samples):
        noise = torch.randn((1, *grid, 8), generator=generator)
        # x = noise and v = 0 at any σ make ε̂ the noise itself.
        found.append(make_step(0.5, grid, 1, x=noise, velocity=torch.zeros_like(noise)).whiteness)
    whiteness = torch.cat(found)
    error = whiteness.std(dim=0) / samples**0.5
    assert torch.all((whiteness.mean(dim=0) - 1).abs() < 4 * error)
    assert torch.all(error < 0.01)


def test_white_shares_of_the_documented_grid() -> None:
    share = grid_for((16, 24), CPU).white_share
    np.testing.assert_allclose(share.numpy(), [0.039, 0.141, 0.82], atol=5e-3)


def test_a_plane_wave_lies_in_its_band_and_bin() -> None:
    height, width = 16, 16
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for ky, kx, band in ((1, 0, 0), (0, 3, 1), (5, 5, 2), (8, 8, 2)):
        wave = torch.cos(2 * math.pi * (ky * y / height + kx * x / width))[None, None, :, :, None]
        grid = grid_for((height, width), CPU)
        spectrum, energy, mean_square = (found[0] for found in grid.bin(grid.summed(grid.transform(wave).square())))
        assert energy.argmax() == band
        torch.testing.assert_close(energy[0, band], wave.square().mean(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(mean_square[0], wave.square().mean(), rtol=1e-5, atol=1e-6)
        rho = math.hypot(ky / 8, kx / 8)
        assert spectrum.argmax() == min(7, int(rho * 8 + 1e-9))


def test_an_exact_rectified_flow_path_gives_back_x0_and_noise() -> None:
    generator = torch.Generator().manual_seed(1)
    x0, noise = (torch.randn((2, 3, 4, 5, 6), generator=generator) for _ in range(2))
    for sigma in (0.95, 0.5, 0.05):
        step = make_step(sigma, (3, 4, 5), x=(1 - sigma) * x0 + sigma * noise, velocity=noise - x0)
        torch.testing.assert_close(step.x0, x0, rtol=0, atol=1e-5)
        torch.testing.assert_close(step.noise, noise, rtol=0, atol=1e-5)
        # On unit-power data the measured signal to noise is the schedule's, plus the samples' own powers.
        powers = 10 * torch.log10(x0.square().flatten(1).mean(1) / noise.square().flatten(1).mean(1))
        expected = 20 * math.log10((1 - sigma) / sigma) + powers
        torch.testing.assert_close(MEASURES["snr_measured_db"](step), expected, rtol=1e-4, atol=1e-3)


def test_constant_velocity_has_cosine_one_and_its_opposite_minus_one() -> None:
    first = make_step(0.8)
    same = make_step(0.7, velocity=first.velocity * 3, previous=first)
    opposite = make_step(0.7, velocity=-first.velocity, previous=first)
    torch.testing.assert_close(MEASURES["velocity_cosine"](same), torch.ones(2))
    torch.testing.assert_close(MEASURES["velocity_cosine"](opposite), -torch.ones(2))


def test_first_row_and_pure_noise_are_what_the_conventions_say() -> None:
    step = make_step(1.0)
    assert torch.all(MEASURES["snr_measured_db"](step) == -math.inf)
    for metric in VIDEO_METRICS:
        if not metric.first_step:
            assert torch.all(MEASURES[metric.name](step).isnan()), metric.name


def test_one_frame_has_no_identity() -> None:
    assert torch.all(MEASURES["frame_identity"](make_step(grid=(1, 4, 4))).isnan())


def test_broken_values_are_counted_per_batch_item() -> None:
    after = torch.zeros(2, 5, 6, 8, 4)
    after[0, 0, 0, 0, 0], after[1, 0, 0, 0, 1], after[1, 0, 0, 0, 2] = math.nan, math.inf, -math.inf
    step = make_step(x_next=after)
    assert MEASURES["nan_count"](step).tolist() == [1, 0]
    assert MEASURES["inf_count"](step).tolist() == [0, 2]


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 8), st.integers(0, 50))
def test_scaling_latents_scales_powers_and_leaves_ratios(scale: float, seed: int) -> None:
    step = make_step(0.4, seed=seed)
    scaled = make_step(0.4, x=step.x * scale, velocity=step.velocity * scale, x_next=step.x_next * scale)
    for name in ("snr_measured_db", "noise_whiteness_low", "noise_whiteness_high", "frame_identity"):
        torch.testing.assert_close(MEASURES[name](scaled), MEASURES[name](step), rtol=1e-3, atol=1e-4)
    for name in ("energy_low_x0", "energy_high_noise", "spectrum_x0"):
        torch.testing.assert_close(MEASURES[name](scaled), MEASURES[name](step) * scale**2, rtol=1e-3, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(GRIDS), st.permutations(range(3)), st.integers(0, 50))
def test_batch_items_do_not_see_each_other(grid: tuple[int, ...], order: list[int], seed: int) -> None:
    def permuted(step: Step, previous: Step | None) -> Step:
        fields = {name: getattr(step, name)[order] for name in ("x", "velocity", "x_next")}
        passes = {name: values[order] for name, values in step.passes.items()}
        return make_step(step.sigma, grid, 3, previous=previous, passes=passes, **fields)

    first = make_step(0.8, grid, 3, seed)
    step = make_step(0.7, grid, 3, seed + 1, previous=first, passes=some_passes(grid, 3, seed))
    swapped = permuted(step, permuted(first, None))
    for metric in measured(step):
        expected = MEASURES[metric](step)[order]
        torch.testing.assert_close(MEASURES[metric](swapped), expected, equal_nan=True, rtol=1e-5, atol=1e-6)


def test_a_broken_item_leaves_the_others_whole() -> None:
    first, step = make_step(0.8), make_step(0.7, seed=1)
    step.previous = first
    expected = {name: MEASURES[name](step)[0] for name in measured(step)}
    x = step.x.clone()
    x[1, 0, 0, 0, 0] = math.nan
    broken = make_step(0.7, x=x, velocity=step.velocity, x_next=step.x_next, previous=first)
    for name, value in expected.items():
        torch.testing.assert_close(MEASURES[name](broken)[0], value, equal_nan=True, rtol=1e-5, atol=1e-6)
    assert MEASURES["snr_measured_db"](broken)[1].isnan()


def test_a_row_has_the_declared_width_and_order() -> None:
    step = make_step()
    row = measured_row(step)
    at = 0
    for metric in VIDEO_METRICS:
        size = math.prod(step.layout.row_shape(metric, step.x.shape[-1]))
        torch.testing.assert_close(
            row[at : at + size], MEASURES[metric.name](step).float().flatten(), rtol=0, atol=0, equal_nan=True
        )
        at += size
    assert at == len(row)


@pytest.mark.parametrize(("axes", "bins"), [((16, 24), 8), ((10, 12), 5), ((1, 9), 1), ((68,), 34), ((1,), 1)])
def test_radial_bins(axes: tuple[int, ...], bins: int) -> None:
    assert radial_bins(axes) == bins == len(bin_centres(axes))


def test_noise_injected_is_the_mean_square_of_what_was_added() -> None:
    step = make_step(grid=(3, 4, 6))
    fresh = torch.randn(step.x.shape, generator=torch.Generator().manual_seed(5))
    assert not MEASURES["noise_injected"](step).any()
    shocked = dataclasses.replace(step, fresh=fresh)
    expected = fresh.double().square().flatten(1).mean(dim=1)
    torch.testing.assert_close(MEASURES["noise_injected"](shocked).double(), expected, rtol=1e-5, atol=0)


def test_noise_injected_is_what_the_sampler_added_to_its_own_step() -> None:
    step = make_step(0.7, (3, 4, 6))
    fresh = torch.randn(step.x.shape, generator=torch.Generator().manual_seed(6))
    drift = Drift(0.4, -0.3)
    after = (0.4 * step.x.double() - 0.3 * step.velocity.double() + 0.2 * fresh.double()).float()
    taken = dataclasses.replace(step, x_next=after, drift=drift)
    expected = (0.2 * fresh.double()).square().flatten(1).mean(dim=1)
    torch.testing.assert_close(MEASURES["noise_injected"](taken).double(), expected, rtol=1e-5, atol=0)
    assert MEASURES["noise_injected"](dataclasses.replace(step, drift=UNKNOWN)).isnan().all()


def test_at_sigma_0_the_sample_is_x0_and_what_is_divided_by_sigma_is_not_known() -> None:
    before = make_step(0.4, (5, 4, 6), seed=3)
    x, after = make_step(seed=4, grid=(5, 4, 6)).x, make_step(seed=5, grid=(5, 4, 6)).x
    broken = make_step(0.0, (5, 4, 6), x=x, x_next=after, velocity=torch.full_like(x, math.nan), previous=before)
    whole = make_step(1e-9, (5, 4, 6), x=x, x_next=after, velocity=torch.zeros_like(x), previous=before)
    of_velocity = {m for m in measured(broken) if re.search("velocity|noise_|_noise|guidance|snr", m)}
    unknown = (of_velocity | {"x0_change_rate"}) - {"noise_injected"}
    for name in measured(broken):
        found = MEASURES[name](broken)
        if name in unknown:
            assert found.isnan().all(), name
        else:
            torch.testing.assert_close(found, MEASURES[name](whole), rtol=1e-5, atol=1e-6, equal_nan=True, msg=name)
    known = dataclasses.replace(broken, velocity=torch.ones_like(x), previous=None)
    assert (MEASURES["snr_measured_db"](known) == math.inf).all()


@pytest.mark.parametrize("level", [math.nan, -0.5, 1.2, 1000.0])
def test_levels_that_make_no_sense_break_no_row(level: float) -> None:
    step = make_step(level, previous=make_step(0.9))
    row = measured_row(step)
    assert row.isfinite().any() and math.isnan(log_snr(level)) is not (level >= 0)
    assert not MEASURES["nan_count"](step).any() and MEASURES["std"](step).isfinite().all()
