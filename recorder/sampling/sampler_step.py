"""One step of a sampler as it is handed to `Stages.step`: what went into the step, what came out, and how."""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Final

from torch import Tensor

from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.step import Drift


@dataclass(frozen=True)
class Sampler:
    """What the host knows of how a step was taken: its guidance scale, and what it would be without fresh noise."""

    guidance_scale: float = math.nan
    drift: Drift | None = None


NO_NOISE: Final = Sampler()
"""A sampler that adds no noise, such as Euler's."""


@dataclass(frozen=True)
class Injected:
    """A shock at the end of a step: how far down the sample went, and the fresh noise in it, as tokens, if any."""

    sigma_down: float
    fresh: Tensor | None


@dataclass(frozen=True)
class SamplerStep:
    """One step of a stream, as the sampler took it.

    `sample`, `velocity` and `result` have one shape: tokens [B, F′·H·W, C] or [B, L, C], or latents on the grid.

    Attributes:
        layout: the stream, and the positions of its tokens.
        sigma: level that the model was called at. At 0 the sample is x0, and what is divided by σ is NaN.
        sigma_next: level that the step went to.
        timestep: the timestep that the model was given.
        sample: x before the step.
        velocity: v = ε − x0 after guidance.
        result: x after the step.
        passes: the model's raw velocities before guidance, of the same shape, by name. The mapping is emptied when the
            step is measured, so that nothing else keeps them in memory meanwhile.
        shock: the shock that the step ended with.
        sampler: what else is known of how the step was taken.
        given_change: how far the given frames are from what they were at the stage's first model call [B], relatively.
        evaluations: model evaluations that the step took; guidance passes are not counted apart.
    """

    layout: LatentLayout
    sigma: float
    sigma_next: float
    timestep: float
    sample: Tensor
    velocity: Tensor
    result: Tensor
    passes: MutableMapping[str, Tensor] = field(default_factory=dict)
    shock: Injected | None = None
    sampler: Sampler = NO_NOISE
    given_change: Tensor | None = None
    evaluations: int = 1
