"""Spatial and temporal power spectra of latents: radial bins and bands, on the device that holds the latents.

Video is laid out [B, F, H, W, C] and transformed over H, W; audio [B, L, C] and transformed over L. FFTs are
orthonormal, so that mean power equals mean square (Parseval). Only half of the coefficients of a real signal is
computed; the other half is its mirror image and enters through the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recorder.declarations import BANDS


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

    `band_sum` [K, 3] sums power over a band and divides by the number of points; `bin_mean` [K, bins] averages power
    over a radial bin; `white_share` [3] is the share of each band in white noise. Empty bands and bins are NaN.
    """

    axes: tuple[int, ...]
    band_sum: Tensor
    bin_mean: Tensor
    white_share: Tensor
    window: Tensor
    window_power: float

    @property
    def dims(self) -> tuple[int, ...]:
        """The transformed dimensions of [B, F, H, W, C] or [B, L, C]."""
        return (2, 3) if len(self.axes) == 2 else (1,)

    def power(self, latents: Tensor) -> Tensor:
        """abs(FFT)², averaged over channels and frames: [B, K]."""
        spectrum = torch.fft.rfftn(latents, dim=self.dims, norm="ortho")
        power = spectrum.real.square() + spectrum.imag.square()
        if len(self.axes) == 2:
            return power.mean(dim=(1, 4)).flatten(1)
        return power.mean(dim=2)

    def windowed_power(self, latents: Tensor) -> Tensor:
        """Like `power`, with the mean of each frame and channel removed and a Hann window, divided by mean(w²)."""
        centred = latents - latents.mean(dim=self.dims, keepdim=True)
        return self.power(centred * self.window) / self.window_power

    def bands(self, power: Tensor) -> Tensor:
        """Band energies [B, 3]: they sum to the mean square."""
        return power @ self.band_sum

    def radial(self, power: Tensor) -> Tensor:
        """Mean power per coefficient in each radial bin [B, bins]."""
        return power @ self.bin_mean


def _hann(length: int) -> np.ndarray:
    """Periodic Hann window; an axis shorter than 4 stays unwindowed, since almost nothing would be left of it."""
    if length < 4:
        return np.ones(length)
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def _nan_columns(matrix: np.ndarray, empty: Any) -> np.ndarray:
    matrix[:, empty] = np.nan
    return matrix


@lru_cache(maxsize=32)
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
    band_sum = _nan_columns(weighted / points, ~bands.any(axis=0))

    bins = radial_bins(axes)
    index = np.minimum((radius * bins + hair).astype(int), bins - 1)
    member = (index[:, None] == np.arange(bins)) * weight[:, None]
    count = member.sum(axis=0)
    bin_mean = _nan_columns(member / np.maximum(count, 1), count == 0)

    window = np.ones(())
    for n in axes:
        window = window[..., None] * _hann(n)
    shape = (1, 1, *axes, 1) if len(axes) == 2 else (1, *axes, 1)

    def put(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device=device, dtype=torch.float32)

    share = np.where(bands.any(axis=0), weighted.sum(axis=0) / points, np.nan)
    return Grid(axes, put(band_sum), put(bin_mean), put(share), put(window.reshape(shape)), float(np.mean(window**2)))
