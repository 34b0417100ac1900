"""Spatial and temporal power spectra of latents: radial bins and bands, on the device that holds the latents.

Video is laid out [B, F, H, W, C] and transformed over H, W; audio [B, L, C] and transformed over L. Powers are those
of orthonormal transforms, so that mean power equals mean square (Parseval). Only half of the coefficients of a real
signal are computed; the other half mirrors them and enters through the weights.

Everything that a step needs of x and v comes from two transforms of the pair, with a window and without: x0 and ε are
linear in them, so their spectra are sums of spectra. One matrix product then bins all powers at once.

Spectra are as large as latents, and device memory is what a model has least of: the two transforms follow one another,
sums are formed in place, and tensors that are no longer needed are overwritten.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recorder.format.declarations import BANDS


def radial_bins(axes: tuple[int, ...]) -> int:
    """Number of radial bins of a grid with these side lengths: half the shorter side, at least one."""
    return max(1, min(axes) // 2)


def bin_centres(axes: tuple[int, ...]) -> list[float]:
    """Middle of each radial bin in parts of the Nyquist frequency; the last bin reaches on to the grid's corner."""
    bins = radial_bins(axes)
    return [(b + 0.5) / bins for b in range(bins)]


@dataclass(frozen=True)
class Grid:
    """What a transform over given side lengths needs, ready on one device; K half-spectrum coefficients.

    `binning` [2K, bins + 3 + 1] takes mean powers of real and imaginary parts to radial bins (mean power per
    coefficient, undoing the window's loss), to bands, and to the mean square that the bands sum to. `white_share` [3]
    is the share of each band in white noise. Empty bands and bins are NaN.
    """

    axes: tuple[int, ...]
    binning: Tensor
    white_share: Tensor
    window: Tensor

    @property
    def bins(self) -> int:
        return radial_bins(self.axes)

    def transform(self, *latents: Tensor, windowed: bool = False) -> Tensor:
        """Spectra [n, B, C, …, 2] of n latents [B, …, C], the last axis halved; in memory that is not shared.

        Real and imaginary parts lie side by side. Windowed ones have the mean of each frame and channel removed.
        """
        moved = [values.movedim(-1, 1) for values in latents]
        dims = tuple(range(-len(self.axes), 0))
        stacked = torch.empty((len(moved), *moved[0].shape), dtype=torch.float32, device=moved[0].device)
        for place, values in zip(stacked.unbind(), moved, strict=True):
            if windowed:
                torch.sub(values, values.mean(dim=dims, keepdim=True, dtype=torch.float32), out=place)
            else:
                place.copy_(values)
        if windowed:
            stacked.mul_(self.window)
        return torch.view_as_real(torch.fft.rfftn(stacked, dim=dims))

    def summed(self, squares: Tensor) -> Tensor:
        """Squares of spectra [n, B, C, …, 2] summed over channels and frames: [n, B, *axes, 2]."""
        return squares.sum(dim=tuple(range(2, squares.ndim - len(self.axes) - 1)))

    def bin(self, powers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Radial means [n, B, bins], band energies [n, B, 3] and mean squares [n, B] of mean powers.

        Args:
            powers: [n, B, *axes, 2], the last axis halved.
        """
        # In float64 where the device has it: a float32 product may be done in TF32, good for three digits only.
        binned = (powers.flatten(2).to(self.binning.dtype) @ self.binning).float()
        radial, bands, squares = binned.split((self.bins, len(BANDS), 1), dim=-1)
        return radial, bands, squares.squeeze(-1)


def mean_square(values: Tensor) -> Tensor:
    """Mean of squares per batch item, [B, …] → [B], in float32."""
    return values.float().square().mean(dim=tuple(range(1, values.ndim)))


def mean_square_(values: Tensor) -> Tensor:
    """The same of values that are needed no more: they are overwritten, since squares take as much memory."""
    return values.square_().mean(dim=tuple(range(1, values.ndim)))


def exact_dtype(device: torch.device) -> torch.dtype:
    """The widest float that a device has."""
    return torch.float32 if device.type == "mps" else torch.float64


def _hann(length: int) -> np.ndarray:
    """Periodic Hann window; an axis shorter than 4 stays unwindowed, since almost nothing would be left of it."""
    if length < 4:
        return np.ones(length)
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def _nan_columns(matrix: np.ndarray, empty: Any) -> np.ndarray:
    matrix[:, empty] = np.nan
    return matrix


@lru_cache(maxsize=64)
def grid_for(axes: tuple[int, ...], device: torch.device) -> Grid:
    """The grid for latents with these transformed side lengths: (H, W) for video, (L,) for audio."""
    frequencies = [np.fft.fftfreq(n) for n in axes[:-1]] + [np.abs(np.fft.rfftfreq(axes[-1]))]
    radius = np.sqrt(sum(np.square(f) for f in np.meshgrid(*frequencies, indexing="ij"))).ravel() / 0.5
    # Every coefficient of the last axis stands for itself and its mirror image, but for 0 and an even axis' Nyquist.
    twice = np.full(axes[-1] // 2 + 1, 2.0)
    twice[0] = 1.0
    if axes[-1] % 2 == 0:
        twice[-1] = 1.0
    weight = np.broadcast_to(twice, (*axes[:-1], twice.size)).ravel()
    points = math.prod(axes)

    # A radius that is on an edge but for rounding belongs above it, so edges are compared a hair lower.
    hair = 1e-6
    bands = np.stack([(radius >= lo - hair) & ((radius < hi - hair) | (hi > 1.4)) for lo, hi in BANDS.values()], axis=1)
    weighted = bands * weight[:, None]
    # Both matrices act on |X|² of a plain transform, whose orthonormal power is |X|² divided by the number of points.
    band_sum = _nan_columns(weighted / points**2, ~bands.any(axis=0))

    window = np.ones(())
    for n in axes:
        window = window[..., None] * _hann(n)
    bins = radial_bins(axes)
    index = np.minimum((radius * bins + hair).astype(int), bins - 1)
    member = (index[:, None] == np.arange(bins)) * weight[:, None]
    count = member.sum(axis=0)
    bin_mean = _nan_columns(member / np.maximum(count, 1) / points / np.mean(window**2), count == 0)

    # Real and imaginary parts lie side by side, so each coefficient's row is repeated.
    total = weight[:, None] / points**2
    binning = np.repeat(np.concatenate([bin_mean, band_sum, total], axis=1), 2, axis=0)
    share = np.where(bands.any(axis=0), weighted.sum(axis=0) / points, np.nan)

    def put(array: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device=device, dtype=dtype)

    return Grid(axes, put(binning, exact_dtype(device)), put(share), put(window))
