"""How each metric is computed: one function per name in `recorder/declarations.py`.

Flow matching (Lipman et al., 2210.02747; Liu et al., 2209.03003): x = (1−σ)·x0 + σ·ε and v = ε − x0, so that
x̂0 = x − σ·v and ε̂ = x + (1−σ)·v. Everything stays on the device that holds the latents, in float32 and per batch
item; nothing here waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from recorder import declarations
from recorder.spectra import Grid, bin_centres, grid_for


@dataclass(frozen=True)
class Layout:
    """Where a stream's latents lie on their grid: (F, H, W) for video, (L,) for audio."""

    stream: str
    batch: int
    grid: tuple[int, ...]

    @property
    def axes(self) -> tuple[int, ...]:
        """The side lengths that spectra are taken over."""
        return self.grid[1:] if self.stream == "video" else self.grid

    def on_grid(self, tokens: Tensor) -> Tensor:
        """Packed tokens [B, F·H·W, C] as [B, F, H, W, C]; audio tokens [B, L, C] stay as they are."""
        return tokens.float().reshape(self.batch, *self.grid, tokens.shape[-1])

    def lengths(self) -> dict[str, int]:
        """Length of every dimension that a metric may have."""
        frequency = len(bin_centres(self.axes))
        found = {"batch": self.batch, "spatial_frequency": frequency, "temporal_frequency": frequency}
        if self.stream == "video":
            found["frame"] = self.grid[0]
        return found

    def row_shape(self, metric: declarations.Metric) -> tuple[int, ...]:
        """Shape of one row of a metric on this stream."""
        lengths = self.lengths()
        return tuple(lengths[d] for d in metric.dims_on(self.stream) if d != "step")


@dataclass
class Step:
    """One scheduler step of one stream: what went in, what came out, and the step before.

    `x`, `velocity` and `x_next` lie on the grid ([B, F, H, W, C] or [B, L, C]); `sigma` is a host number.
    """

    layout: Layout
    sigma: float
    x: Tensor
    velocity: Tensor
    x_next: Tensor
    previous: Step | None = None

    @cached_property
    def x0(self) -> Tensor:
        return self.x - self.sigma * self.velocity

    @cached_property
    def noise(self) -> Tensor:
        return self.x + (1 - self.sigma) * self.velocity

    @cached_property
    def grid(self) -> Grid:
        return grid_for(self.layout.axes, self.x.device)

    @cached_property
    def bands_x0(self) -> Tensor:
        return self.grid.bands(self.grid.power(self.x0))

    @cached_property
    def bands_noise(self) -> Tensor:
        return self.grid.bands(self.grid.power(self.noise))

    @cached_property
    def bands_velocity(self) -> Tensor:
        return self.grid.bands(self.grid.power(self.velocity))

    @cached_property
    def whiteness(self) -> Tensor:
        bands = self.bands_noise
        return bands / bands.nansum(dim=1, keepdim=True) / self.grid.white_share

    @cached_property
    def pooled_x0(self) -> Tensor:
        """Channel means over space of every frame: [B, F, C]."""
        return self.x0.mean(dim=(2, 3))

    def unknown(self) -> Tensor:
        """NaN per batch item: what a comparison with the step before is in a stage's first row."""
        return torch.full((self.layout.batch,), math.nan, device=self.x.device)

    def forget(self) -> None:
        """Drop everything but what the next step compares with, so that one step back is all that stays alive."""
        self.previous = None
        for name in ("noise", "pooled_x0", "bands_x0", "bands_noise", "bands_velocity", "whiteness"):
            self.__dict__.pop(name, None)


Measure = Callable[[Step], Tensor]
MEASURES: dict[str, Measure] = {}
"""Every metric's function by its declared name; each returns a float tensor of the metric's row shape."""


def measure(name: str) -> Callable[[Measure], Measure]:
    """Register a function as the one that computes a declared metric."""

    def register(function: Measure) -> Measure:
        MEASURES[name] = function
        return function

    return register


def mean_square(values: Tensor) -> Tensor:
    """Mean of squares per batch item: [B, …] → [B]."""
    return values.square().flatten(1).mean(dim=1)


def cosine(a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
    """Cosine along one dimension; NaN where one side is zero."""
    return (a * b).sum(dim) / (a.square().sum(dim) * b.square().sum(dim)).sqrt()


@measure("snr_measured_db")
def snr_measured_db(step: Step) -> Tensor:
    if step.sigma >= 1:
        return torch.full((step.layout.batch,), -math.inf, device=step.x.device)
    schedule = 20 * math.log10((1 - step.sigma) / step.sigma)
    return schedule + 10 * torch.log10(mean_square(step.x0) / mean_square(step.noise))


@measure("velocity_rms")
def velocity_rms(step: Step) -> Tensor:
    return mean_square(step.velocity).sqrt()


@measure("velocity_cosine")
def velocity_cosine(step: Step) -> Tensor:
    if step.previous is None:
        return step.unknown()
    return cosine(step.velocity.flatten(1), step.previous.velocity.flatten(1))


@measure("displacement_rms")
def displacement_rms(step: Step) -> Tensor:
    return mean_square(step.x_next - step.x).sqrt()


@measure("x0_change_rms")
def x0_change_rms(step: Step) -> Tensor:
    if step.previous is None:
        return step.unknown()
    return mean_square(step.x0 - step.previous.x0).sqrt()


@measure("spectrum_x0")
def spectrum_x0(step: Step) -> Tensor:
    return step.grid.radial(step.grid.windowed_power(step.x0))


@measure("spectrum_noise")
def spectrum_noise(step: Step) -> Tensor:
    return step.grid.radial(step.grid.windowed_power(step.noise))


def _register_bands() -> None:
    # One closure per band: the three quantities differ only in which cached energies they read.
    for index, band in enumerate(declarations.BANDS):
        measure(f"energy_{band}_noise")(lambda step, i=index: step.bands_noise[:, i])  # type: ignore[misc]
        measure(f"energy_{band}_x0")(lambda step, i=index: step.bands_x0[:, i])  # type: ignore[misc]
        measure(f"energy_{band}_velocity")(lambda step, i=index: step.bands_velocity[:, i])  # type: ignore[misc]
        measure(f"noise_whiteness_{band}")(lambda step, i=index: step.whiteness[:, i])  # type: ignore[misc]


_register_bands()


@measure("frame_identity")
def frame_identity(step: Step) -> Tensor:
    pooled = step.pooled_x0
    if pooled.shape[1] < 2:
        return torch.full(pooled.shape[:2], math.nan, device=pooled.device)
    return cosine(pooled, pooled[:, 1:2])


@measure("mean")
def mean(step: Step) -> Tensor:
    return step.x_next.flatten(1).mean(dim=1)


@measure("std")
def std(step: Step) -> Tensor:
    return step.x_next.flatten(1).std(dim=1, correction=0)


@measure("max_abs")
def max_abs(step: Step) -> Tensor:
    return step.x_next.flatten(1).abs().amax(dim=1)


@measure("nan_count")
def nan_count(step: Step) -> Tensor:
    return step.x_next.isnan().flatten(1).sum(dim=1)


@measure("inf_count")
def inf_count(step: Step) -> Tensor:
    return step.x_next.isinf().flatten(1).sum(dim=1)


def measured_row(step: Step) -> Tensor:
    """All measured metrics of one step as one float32 vector, in declared order, on the latents' device."""
    names = [m.name for m in declarations.on_stream(step.layout.stream) if not m.on_host]
    return torch.cat([MEASURES[name](step).float().reshape(-1) for name in names])
