"""How each metric is computed: one function per name in `recorder/format/declarations.py`.

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

from recorder.format import declarations, sigma_math
from recorder.metrics.constants import nans, nothing, time_weights
from recorder.metrics.spectra import mean_square, mean_square_
from recorder.metrics.step import Step

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
    """NaN per batch item, for a comparison without a predecessor."""
    return nans((step.layout.batch,), step.device)


def decibels(step: Step, signal: Tensor, noise: Tensor) -> Tensor:
    """(1−σ)²·signal / (σ²·noise) in dB; −inf at σ = 1, where x holds no signal, and inf at 0."""
    if step.sigma >= 1:
        return torch.full_like(signal, -math.inf)
    return torch.log10(signal / noise).mul_(10).add_(sigma_math.snr_db(step.sigma))


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
    now, before = step.mean_square["velocity"], step.previous.mean_square["velocity"]
    # a² + b² − (a − b)² = 2ab: a difference costs no more than a product, and is most exact for similar directions.
    return (now + before).sub_(step.mean_square["velocity_change"]).div_((now * before).sqrt_().mul_(2))


@measure("velocity_conditional_rms")
def velocity_conditional_rms(step: Step) -> Tensor:
    return step.guidance["conditional"] if step.guidance else unknown(step)


@measure("guidance_gap_cfg")
def guidance_gap_cfg(step: Step) -> Tensor:
    return step.guidance["cfg"] if "cfg" in step.guidance else unknown(step)


@measure("guidance_gap_stg")
def guidance_gap_stg(step: Step) -> Tensor:
    return step.guidance["stg"] if "stg" in step.guidance else unknown(step)


@measure("guidance_gap_modality")
def guidance_gap_modality(step: Step) -> Tensor:
    return step.guidance["modality"] if "modality" in step.guidance else unknown(step)


@measure("displacement_rms")
def displacement_rms(step: Step) -> Tensor:
    return mean_square_(step.displacement).sqrt_()


@measure("noise_injected")
def noise_injected(step: Step) -> Tensor:
    if step.fresh is not None:
        return mean_square(step.fresh)
    if step.drift is None:
        return nothing((step.layout.batch,), step.device)
    if not step.drift.known:
        return unknown(step)
    rest = torch.sub(step.result, step.x, alpha=step.drift.keep)
    return mean_square_(rest.sub_(step.velocity, alpha=step.drift.move))


@measure("x0_change_rms")
def x0_change_rms(step: Step) -> Tensor:
    return unknown(step) if step.previous is None else step.mean_square["x0_change"].sqrt()


@measure("x0_change_rate")
def x0_change_rate(step: Step) -> Tensor:
    if step.previous is None or step.sigma == step.previous.sigma or step.sigma == 0:
        return unknown(step)
    # From σ = 1, where λ is infinite, any change is slow.
    return x0_change_rms(step) / abs(sigma_math.log_snr(step.sigma) - sigma_math.log_snr(step.previous.sigma))


@measure("low_frequency_wander")
def low_frequency_wander(step: Step) -> Tensor:
    return unknown(step) if step.previous is None else step.band["x0_change"][0].sqrt()


@measure("low_frequency_wander_share")
def low_frequency_wander_share(step: Step) -> Tensor:
    if step.previous is None:
        return unknown(step)
    return (step.band["x0_change"][0] / step.mean_square["x0_change"]).sqrt()


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
            measure(f"energy_{band}_{quantity}")(lambda step, i=index, q=quantity: step.band[q][i])  # type: ignore[misc]
        measure(f"noise_whiteness_{band}")(lambda step, i=index: step.band["whiteness"][i])  # type: ignore[misc]


_register_bands()


@measure("x0_mean")
def x0_mean(step: Step) -> Tensor:
    return step.channels[1].mean(dim=1)


@measure("channel_mean")
def channel_mean(step: Step) -> Tensor:
    return step.channels[1]


@measure("channel_std")
def channel_std(step: Step) -> Tensor:
    return step.channels[0]


@measure("temporal_spectrum_x0")
def temporal_spectrum_x0(step: Step) -> Tensor:
    span = step.layout.timeline
    if span is None:
        return nans((step.layout.batch, 1), step.device)
    length = span.stop - span.start
    frames = step.x0.narrow(1, span.start, length)
    spectrum = torch.view_as_real(torch.fft.rfft(frames - frames.mean(dim=1, keepdim=True), dim=1))
    # In two stages: for this memory order a CPU adds a long sum one by one, and loses digits.
    power = spectrum.square_().mean(dim=(4, 5)).mean(dim=(2, 3))
    return power.mul_(time_weights(length, step.device))


@measure("frame_identity")
def frame_identity(step: Step) -> Tensor:
    return step.by_frame[0]


@measure("frame_coherence")
def frame_coherence(step: Step) -> Tensor:
    return step.by_frame[2]


@measure("motion")
def motion(step: Step) -> Tensor:
    return step.by_frame[3]


@measure("jerk")
def jerk(step: Step) -> Tensor:
    return step.by_frame[4]


@measure("frame_contrast")
def frame_contrast(step: Step) -> Tensor:
    return step.by_frame[1]


@measure("given_change")
def given_change(step: Step) -> Tensor:
    return unknown(step) if step.given_change is None else step.given_change


@measure("mean")
def mean(step: Step) -> Tensor:
    return step.moments[1]


@measure("std")
def std(step: Step) -> Tensor:
    return step.moments[0]


@measure("max_abs")
def max_abs(step: Step) -> Tensor:
    largest: Tensor = torch.linalg.vector_norm(step.result, ord=math.inf, dim=step.per_item)
    return largest


@measure("nan_count")
def nan_count(step: Step) -> Tensor:
    return step.x_next.isnan().sum(dim=step.per_item, dtype=torch.float32)


@measure("inf_count")
def inf_count(step: Step) -> Tensor:
    return step.x_next.isinf().sum(dim=step.per_item, dtype=torch.float32)


@measure("sample_frame_cosine")
def sample_frame_cosine(step: Step) -> Tensor:
    if step.previous is not None or step.x.shape[1] < 2:
        return unknown(step)
    # The product of two frames needs no latent of its own, unlike a product of neighbours.
    frames = step.x.float().flatten(2)
    products = torch.bmm(frames, frames.mT)  # fewer operations than `@`
    power = products.diagonal(dim1=1, dim2=2)
    return (products.diagonal(1, 1, 2) / (power[:, 1:] * power[:, :-1]).sqrt_()).mean(dim=1)


@measure("sample_clip_cosine")
def sample_clip_cosine(step: Step) -> Tensor:
    if step.previous is not None or step.layout.batch < 2:
        return unknown(step)
    clips = step.x.float().flatten(1)
    products = clips @ clips.T
    size = products.diagonal().sqrt()
    found: Tensor = (products / torch.outer(size, size)).fill_diagonal_(-math.inf).amax(dim=1)
    return found


@measure("sample_change")
def sample_change(step: Step) -> Tensor:
    if step.previous is None:
        return unknown(step)
    changed = step.picked(step.x) - step.previous.left
    size: Tensor = torch.linalg.vector_norm(changed, dim=1)
    return size.mul_(max(1, changed.shape[1]) ** -0.5)


@lru_cache
def measured_names(stream: str) -> tuple[str, ...]:
    """Names of the metrics that are computed from a stream's latents, in row order."""
    return tuple(m.name for m in declarations.on_stream(stream) if not m.on_host)


def measured_row(step: Step) -> Tensor:
    """All measured metrics of one step as one float32 vector, in declared order, on the latents' device.

    The step's passes are freed.
    """
    step.measure_passes()
    rows = [MEASURES[name](step).float() for name in measured_names(step.layout.stream)]
    return torch.cat([row if row.ndim == 1 else row.reshape(-1) for row in rows])
