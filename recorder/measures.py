"""How each metric is computed: one function per name in `recorder/declarations.py`.

Flow matching (Lipman et al., 2210.02747; Liu et al., 2209.03003): x = (1−σ)·x0 + σ·ε and v = ε − x0, so that
x̂0 = x − σ·v and ε̂ = x + (1−σ)·v. Everything stays on the device that holds the latents, in float32 and per batch
item; nothing here waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from recorder import declarations
from recorder.step import Step

Measure = Callable[[Step], Tensor]
MEASURES: dict[str, Measure] = {}
"""Every metric's function by its declared name; each returns a float tensor of the metric's row shape."""


def measure(name: str) -> Callable[[Measure], Measure]:
    """Register a function as the one that computes a declared metric."""

    def register(function: Measure) -> Measure:
        MEASURES[name] = function
        return function

    return register


def unknown(step: Step) -> Tensor:
    """NaN per batch item: what a comparison with the step before is in a stage's first row."""
    return torch.full((step.layout.batch,), math.nan, device=step.x.device)


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
        return unknown(step)
    return cosine(step.velocity.flatten(1), step.previous.velocity.flatten(1))


@measure("displacement_rms")
def displacement_rms(step: Step) -> Tensor:
    return mean_square(step.x_next - step.x).sqrt()


@measure("x0_change_rms")
def x0_change_rms(step: Step) -> Tensor:
    if step.previous is None:
        return unknown(step)
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


def by_frame(step: Step, values: Tensor, places: tuple[int, ...]) -> Tensor:
    """Values of some latent frames [B, n] at their places among all of them: [B, F], NaN elsewhere."""
    whole = torch.full((step.layout.batch, step.layout.grid[0]), math.nan, device=values.device)
    whole[:, list(places)] = values.float()
    return whole


@measure("frame_identity")
def frame_identity(step: Step) -> Tensor:
    places = step.layout.places
    # Frame 0 stands for one pixel frame and the others for eight, so the reference is the first one after it.
    reference = next((i for i, place in enumerate(places) if place > 0), None)
    if reference is None:
        return by_frame(step, step.x0.new_empty(step.layout.batch, 0), ())
    pooled = step.pooled_x0
    return by_frame(step, cosine(pooled, pooled[:, reference : reference + 1]), places)


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
