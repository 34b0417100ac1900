"""How each metric is computed: one function per name in `recorder/declarations.py`.

Flow matching (Lipman et al., 2210.02747; Liu et al., 2209.03003): x = (1−σ)·x0 + σ·ε and v = ε − x0, so that
x̂0 = x − σ·v and ε̂ = x + (1−σ)·v. Everything stays on the device that holds the latents, in float32 and per batch
item; nothing here waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from recorder import declarations
from recorder.step import Step, frame_index, nans, nothing

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
    """NaN per batch item: what a comparison is that has nothing to compare with."""
    return nans((step.layout.batch,), step.device)


def mean_square(values: Tensor) -> Tensor:
    """Mean of squares per batch item: [B, …] → [B]."""
    return values.square().flatten(1).mean(dim=1)


def log_snr(sigma: float) -> float:
    """λ = ln((1−σ)²/σ²): log of the signal to noise ratio in power, of latents of unit power."""
    return -math.inf if sigma >= 1 else 2 * math.log((1 - sigma) / sigma)


def decibels(step: Step, signal: Tensor, noise: Tensor) -> Tensor:
    """(1−σ)²·signal / (σ²·noise) in dB; −inf at σ = 1, where x holds no signal."""
    if step.sigma >= 1:
        return torch.full_like(signal, -math.inf)
    return torch.log10(signal / noise).mul_(10).add_(log_snr(step.sigma) * 10 / math.log(10))


@measure("snr_measured_db")
def snr_measured_db(step: Step) -> Tensor:
    return decibels(step, step.mean_square["x0"], step.mean_square["noise"])


@measure("velocity_rms")
def velocity_rms(step: Step) -> Tensor:
    return step.mean_square["velocity"].sqrt()


@measure("velocity_cosine")
def velocity_cosine(step: Step) -> Tensor:
    if step.previous is None:
        return unknown(step)
    squares = step.mean_square["velocity"] * step.previous.mean_square["velocity"]
    return step.mean_square["velocity_product"] / squares.sqrt()


@measure("velocity_conditional_rms")
def velocity_conditional_rms(step: Step) -> Tensor:
    conditional = step.passes.get("conditional")
    return unknown(step) if conditional is None else mean_square(conditional).sqrt()


def guidance_gap(step: Step, name: str) -> Tensor:
    """RMS difference of the conditional velocity and that of another pass."""
    conditional, other = step.passes.get("conditional"), step.passes.get(name)
    if conditional is None or other is None:
        return unknown(step)
    return mean_square(conditional - other).sqrt()


@measure("guidance_gap_cfg")
def guidance_gap_cfg(step: Step) -> Tensor:
    return guidance_gap(step, "cfg")


@measure("guidance_gap_stg")
def guidance_gap_stg(step: Step) -> Tensor:
    return guidance_gap(step, "stg")


@measure("guidance_gap_modality")
def guidance_gap_modality(step: Step) -> Tensor:
    return guidance_gap(step, "modality")


@measure("displacement_rms")
def displacement_rms(step: Step) -> Tensor:
    return mean_square(step.displacement).sqrt()


@measure("noise_injected")
def noise_injected(step: Step) -> Tensor:
    return nothing((step.layout.batch,), step.device) if step.fresh is None else mean_square(step.fresh)


@measure("x0_change_rms")
def x0_change_rms(step: Step) -> Tensor:
    return unknown(step) if step.previous is None else step.mean_square["x0_change"].sqrt()


@measure("x0_change_rate")
def x0_change_rate(step: Step) -> Tensor:
    if step.previous is None or step.sigma == step.previous.sigma:
        return unknown(step)
    # From σ = 1, where λ is infinite, any change is slow.
    return x0_change_rms(step) / abs(log_snr(step.sigma) - log_snr(step.previous.sigma))


@measure("low_frequency_wander")
def low_frequency_wander(step: Step) -> Tensor:
    return unknown(step) if step.previous is None else step.bands["x0_change"][:, 0].sqrt()


@measure("low_frequency_wander_share")
def low_frequency_wander_share(step: Step) -> Tensor:
    if step.previous is None:
        return unknown(step)
    return (step.bands["x0_change"][:, 0] / step.mean_square["x0_change"]).sqrt()


@measure("spectrum_x")
def spectrum_x(step: Step) -> Tensor:
    return step.radial["x"]


@measure("spectrum_x0")
def spectrum_x0(step: Step) -> Tensor:
    return step.radial["x0"]


@measure("spectrum_noise")
def spectrum_noise(step: Step) -> Tensor:
    return step.radial["noise"]


@measure("spectrum_velocity")
def spectrum_velocity(step: Step) -> Tensor:
    return step.radial["velocity"]


@measure("snr_spectrum_db")
def snr_spectrum_db(step: Step) -> Tensor:
    return decibels(step, step.radial["x0"], step.radial["noise"])


def _register_bands() -> None:
    # One closure per band: the three quantities differ only in which cached energies they read.
    for index, band in enumerate(declarations.BANDS):
        for quantity in ("noise", "x0", "velocity"):
            measure(f"energy_{band}_{quantity}")(lambda step, i=index, q=quantity: step.bands[q][:, i])  # type: ignore[misc]
        measure(f"noise_whiteness_{band}")(lambda step, i=index: step.whiteness[:, i])  # type: ignore[misc]


_register_bands()


@measure("temporal_spectrum_x0")
def temporal_spectrum_x0(step: Step) -> Tensor:
    span = step.layout.timeline
    if span is None:
        return nans((step.layout.batch, 1), step.device)
    frames = step.x0[:, span]
    length = frames.shape[1]
    spectrum = torch.view_as_real(torch.fft.rfft(frames - frames.mean(dim=1, keepdim=True), dim=1))
    power = spectrum.square().flatten(2).mean(dim=2).mul_(4 / length**2)  # both parts' mean is half their sum, mirrored
    if length % 2 == 0:
        power[:, -1].mul_(0.5)  # the Nyquist frequency is its own mirror image
    return power


def by_frame(step: Step, values: Tensor, reach: int = 0) -> Tensor:
    """Values [B, n] of every run of `reach` + 1 generated frames at the place of its last: [B, F], NaN elsewhere."""
    layout = step.layout
    index = frame_index(layout.grid[0], layout.places, reach, step.device)
    return torch.cat([values, nans((layout.batch, 1), step.device)], dim=1).index_select(1, index)


@measure("frame_identity")
def frame_identity(step: Step) -> Tensor:
    # Frame 0 stands for one pixel frame and the others for eight, so the reference is the first one after it.
    reference = next((i for i, place in enumerate(step.layout.places) if place > 0), None)
    if reference is None:
        return nans((step.layout.batch, step.layout.grid[0]), step.device)
    pooled, squares = step.pooled_x0, step.pooled_squares
    product = (pooled * pooled[:, reference : reference + 1]).sum(dim=2)
    return by_frame(step, product / (squares * squares[:, reference : reference + 1]).sqrt())


@measure("frame_coherence")
def frame_coherence(step: Step) -> Tensor:
    pooled, squares = step.pooled_x0, step.pooled_squares
    product = (pooled[:, 1:] * pooled[:, :-1]).sum(dim=2)
    return by_frame(step, product / (squares[:, 1:] * squares[:, :-1]).sqrt(), reach=1)


@measure("motion")
def motion(step: Step) -> Tensor:
    return by_frame(step, step.x0_differences.square().flatten(2).mean(dim=2).sqrt(), reach=1)


@measure("jerk")
def jerk(step: Step) -> Tensor:
    differences = step.x0_differences
    second = differences[:, 1:] - differences[:, :-1]
    return by_frame(step, second.square().flatten(2).mean(dim=2).sqrt(), reach=2)


@measure("mean")
def mean(step: Step) -> Tensor:
    return step.moments[1]


@measure("std")
def std(step: Step) -> Tensor:
    return step.moments[0]


@measure("max_abs")
def max_abs(step: Step) -> Tensor:
    largest: Tensor = torch.linalg.vector_norm(step.x_next.flatten(1), ord=math.inf, dim=1)
    return largest


@measure("nan_count")
def nan_count(step: Step) -> Tensor:
    return step.x_next.isnan().flatten(1).sum(dim=1)


@measure("inf_count")
def inf_count(step: Step) -> Tensor:
    return step.x_next.isinf().flatten(1).sum(dim=1)


@lru_cache
def measured_names(stream: str) -> tuple[str, ...]:
    """Names of the metrics that are computed from a stream's latents, in row order."""
    return tuple(m.name for m in declarations.on_stream(stream) if not m.on_host)


def measured_row(step: Step) -> Tensor:
    """All measured metrics of one step as one float32 vector, in declared order, on the latents' device."""
    return torch.cat([MEASURES[name](step).float().reshape(-1) for name in measured_names(step.layout.stream)])
