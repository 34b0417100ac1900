"""The spectra again from docs/metrics.md alone: its formulas in float64 NumPy, without any code of the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.measures import MEASURES
from recorder.metrics.step import Step

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
QUANTITIES = ("x", "x0", "noise", "velocity")
BANDS = {"low": (0.0, 0.25), "mid": (0.25, 0.5), "high": (0.5, np.inf)}


def radius(axes: tuple[int, ...]) -> np.ndarray:
    """ρ = √Σ(2·f)², f of an axis of n cells being k/n for k up to n/2, and (k − n)/n above."""
    total = np.zeros(axes)
    for place in np.ndindex(*axes):
        folded = [min(k, n - k) / n for k, n in zip(place, axes, strict=True)]
        total[place] = np.sqrt(sum((2 * f) ** 2 for f in folded))
    return total


def window(axes: tuple[int, ...]) -> np.ndarray:
    """Product over axes of ½ − ½·cos(2π·i/n), and of 1 over axes of fewer than 4 cells."""
    made = np.ones(axes)
    for place in np.ndindex(*axes):
        for i, n in zip(place, axes, strict=True):
            made[place] *= 1.0 if n < 4 else 0.5 - 0.5 * np.cos(2 * np.pi * i / n)
    return made


def power(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """|FFT|² with norm="ortho", mean over channels and frames; values [B, (F,) *axes, C] → [B, *axes]."""
    spatial = tuple(range(values.ndim - 1 - len(axes), values.ndim - 1))
    squares = np.abs(np.fft.fftn(values, axes=spatial, norm="ortho")) ** 2
    others = tuple(i for i in range(1, values.ndim) if i not in spatial)
    return squares.mean(axis=others)


def spectrum(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    spatial = tuple(range(values.ndim - 1 - len(axes), values.ndim - 1))
    shaped = (values - values.mean(axis=spatial, keepdims=True)) * window(axes)[..., None]
    found = power(shaped, axes) / np.mean(window(axes) ** 2)
    bins = max(1, min(axes) // 2)
    rho = radius(axes)
    rows = []
    for b in range(bins):
        inside = (rho >= b / bins - 1e-6) & ((rho < (b + 1) / bins - 1e-6) | (b == bins - 1))
        rows.append(found[:, inside].mean(axis=1))
    return np.stack(rows, axis=1)


def energy(values: np.ndarray, axes: tuple[int, ...], band: str) -> np.ndarray:
    low, high = BANDS[band]
    rho = radius(axes)
    inside = (rho >= low - 1e-6) & (rho < high - 1e-6)
    if not inside.any():
        return np.full(len(values), np.nan)
    return power(values, axes)[:, inside].sum(axis=1) / np.prod(axes)


def temporal(x0: np.ndarray, frames: list[int]) -> np.ndarray:
    """One-sided power over the generated frames after 0, each place's mean over time removed."""
    later = x0[:, [i for i, place in enumerate(frames) if place > 0]]
    count = later.shape[1]
    full = np.abs(np.fft.fft(later - later.mean(axis=1, keepdims=True), axis=1)) ** 2 / count**2
    mean = full.reshape(*full.shape[:2], -1).mean(axis=2)
    found = mean[:, : count // 2 + 1].copy()
    for k in range(1, count // 2 + 1):
        if 2 * k != count:
            found[:, k] += mean[:, count - k]
    return found


def step_of(grid: tuple[int, ...], frames: tuple[int, ...] | None = None, sigma: float = 0.6) -> Step:
    layout = LatentLayout("video" if len(grid) == 3 else "audio", 2, grid, frames)
    made = torch.Generator().manual_seed(sum(grid))
    fields = {n: torch.randn((2, *layout.shape, 4), generator=made) for n in ("x", "velocity", "x_next", "previous")}
    previous = Step(layout, 0.7, fields["previous"], fields["velocity"], fields["x_next"])
    return Step(layout, sigma, fields["x"], fields["velocity"], fields["x_next"], previous=previous)


GRIDS = [(5, 6, 8), (4, 16, 24), (3, 3, 10), (3, 2, 7), (2, 1, 5), (9, 8, 8), (4, 7, 9), (13,), (3,), (24,)]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_spectra_and_bands_follow_from_the_page(grid: tuple[int, ...]) -> None:
    step = step_of(grid)
    axes, sigma = grid[-2:], step.sigma
    x, v = step.x.double().numpy(), step.velocity.double().numpy()
    values = {"x": x, "x0": x - sigma * v, "noise": x + (1 - sigma) * v, "velocity": v}
    spectra = {name: spectrum(values[name], axes) for name in QUANTITIES}
    for name in QUANTITIES:
        np.testing.assert_allclose(MEASURES[f"spectrum_{name}"](step), spectra[name], rtol=2e-4, atol=1e-6)
    snr = 10 * np.log10(((1 - sigma) / sigma) ** 2 * spectra["x0"] / spectra["noise"])
    np.testing.assert_allclose(MEASURES["snr_spectrum_db"](step), snr, atol=2e-3)
    total = {name: power(values[name], axes).reshape(2, -1).sum(axis=1) / np.prod(axes) for name in QUANTITIES}
    for band, (low, high) in BANDS.items():
        for name in ("noise", "x0", "velocity"):
            np.testing.assert_allclose(
                MEASURES[f"energy_{band}_{name}"](step), energy(values[name], axes, band), rtol=2e-4, atol=1e-7
            )
        rho = radius(axes)
        share = np.mean((rho >= low - 1e-6) & (rho < high - 1e-6)) or np.nan
        wanted = energy(values["noise"], axes, band) / total["noise"] / share
        np.testing.assert_allclose(MEASURES[f"noise_whiteness_{band}"](step), wanted, rtol=3e-4)


@pytest.mark.parametrize("grid", [g for g in GRIDS if len(g) == 3], ids=str)
def test_wander_follows_from_the_page(grid: tuple[int, ...]) -> None:
    step = step_of(grid)
    assert step.previous is not None
    change = (step.x0 - step.previous.x0).double().numpy()
    low = energy(change, grid[-2:], "low")
    np.testing.assert_allclose(MEASURES["low_frequency_wander"](step), np.sqrt(low), rtol=2e-4)
    share = np.sqrt(low / np.mean(change**2, axis=tuple(range(1, change.ndim))))
    np.testing.assert_allclose(MEASURES["low_frequency_wander_share"](step), share, rtol=2e-4)


@pytest.mark.parametrize(
    ("grid", "frames"), [((5, 6, 8), None), ((8, 4, 4), None), ((6, 3, 4), (1, 2, 3, 4, 5)), ((7, 2, 2), (2, 3, 4, 5))]
)
def test_temporal_spectra_follow_from_the_page(grid: tuple[int, ...], frames: tuple[int, ...] | None) -> None:
    step = step_of(grid, frames)
    found = temporal(step.x0.double().numpy(), list(frames or range(grid[0])))
    np.testing.assert_allclose(MEASURES["temporal_spectrum_x0"](step), found, rtol=2e-4, atol=1e-7)


def test_frames_are_compared_with_the_first_generated_one_after_0() -> None:
    step = step_of((6, 4, 4), (2, 3, 5))
    pooled = step.x0.double().numpy().mean(axis=(2, 3))
    found = MEASURES["frame_identity"](step).numpy()
    for place, row in ((2, 0), (3, 1), (5, 2)):
        norms = np.linalg.norm(pooled[:, 0], axis=1) * np.linalg.norm(pooled[:, row], axis=1)
        np.testing.assert_allclose(found[:, place], (pooled[:, 0] * pooled[:, row]).sum(axis=1) / norms, rtol=1e-4)
    assert np.isnan(found[:, [0, 1, 4]]).all()


def test_the_share_of_coefficients_beyond_nyquist_is_as_the_page_says() -> None:
    rho = radius((16, 24))
    bins = 8
    last = (rho >= (bins - 1) / bins - 1e-6).mean()
    assert f"{100 * last:.0f} %" in PAGE.split("## Spectra")[1].split("<!-- begin")[0]


@pytest.mark.parametrize(
    "said",
    [
        "½ − ½·cos(2π·i/n)", "fewer than 4 cells", "mean(w²)", "max(1, min(H, W) // 2)", "(b + ½)/n", "√2",
        'norm="ortho"', "first generated latent frame after frame 0",
    ],
)  # fmt: skip
def test_the_page_says_every_detail(said: str) -> None:
    assert said in PAGE
