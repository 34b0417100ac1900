"""Samplers of one model evaluation a step, as short functions of rectified flow: x = (1 − σ)·x0 + σ·ε.

They follow ComfyUI's and k-diffusion's, whose samplers these names are known from. Latents are in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from recorder.format.sigma_math import ancestral_down


@dataclass
class Before:
    """What a multistep sampler keeps of the last step that changed the level."""

    sigma: float
    x0: Tensor
    velocity: Tensor


@dataclass(frozen=True)
class StepInputs:
    """One step of a stream.

    Attributes:
        x: the sample at `sigma`.
        velocity: ε − x0 after guidance.
        sigma: level of the sample.
        sigma_next: level to go to, 0 at the end.
        noise: gives fresh white noise of the sample's shape.
        before: of the last step that changed the level, None before one did.
        uncond: x0 of the unconditional pass, for the CFG++ samplers.
        eta: part of the noise that is fresh, from 0 to 1.
        s_noise: factor of the fresh noise.
    """

    x: Tensor
    velocity: Tensor
    sigma: float
    sigma_next: float
    noise: Callable[[], Tensor]
    before: Before | None = None
    uncond: Tensor | None = None
    eta: float = 1.0
    s_noise: float = 1.0

    @property
    def x0(self) -> Tensor:
        return self.x - self.sigma * self.velocity


def euler(s: StepInputs) -> Tensor:
    """Euler's step, as FlowMatchEulerDiscreteScheduler takes it."""
    return s.x + (s.sigma_next - s.sigma) * s.velocity


def euler_ancestral(s: StepInputs) -> Tensor:
    """Down to a lower level, then up with fresh noise, as LTXEulerAncestralRFScheduler (ComfyUI's RF form)."""
    down = ancestral_down(s.sigma, s.sigma_next, s.eta)
    lower = s.x + (down - s.sigma) * s.velocity
    alpha = (1 - s.sigma_next) / (1 - down + 1e-12)
    fresh = math.sqrt(max(s.sigma_next**2 - (down * alpha) ** 2, 0.0))
    return alpha * lower + fresh * s.s_noise * s.noise()


def stochastic(s: StepInputs) -> Tensor:
    """x0 and wholly fresh noise, as in consistency sampling (Song et al., 2303.01469); diffusers'
    `stochastic_sampling`, ComfyUI's `lcm`."""
    return (1 - s.sigma_next) * s.x0 + s.sigma_next * s.s_noise * s.noise()


def euler_ancestral_cfg_pp(s: StepInputs) -> Tensor:
    """CFG++ (Chung et al., 2406.08070): x0 with guidance, the noise of the unconditional pass, a part of it fresh."""
    assert s.uncond is not None
    alpha, alpha_next = 1 - s.sigma, 1 - s.sigma_next
    # Ancestral sampling is defined on the ratios σ/α, which are infinite at σ = 1. No step up to it adds noise.
    kept = 1 - (s.sigma_next * alpha / (alpha_next * s.sigma)) ** 2 if alpha_next else 0.0
    up = s.sigma_next * min(1.0, s.eta * math.sqrt(max(kept, 0.0)))
    down = math.sqrt(max(s.sigma_next**2 - up**2, 0.0))
    result = alpha_next * s.x0 + down * (s.x - alpha * s.uncond) / s.sigma
    return result + up * s.s_noise * s.noise() if up else result


def dpmpp_2m(s: StepInputs) -> Tensor:
    """DPM-Solver++(2M) (Lu et al., 2211.01095) in −log σ, as ComfyUI steps a rectified flow."""
    ratio, x0 = s.sigma_next / s.sigma, s.x0
    if s.before is not None:
        h, last = -math.log(ratio), math.log(s.before.sigma / s.sigma)
        weight = h / (2 * last)
        x0 = (1 + weight) * x0 - weight * s.before.x0
    return ratio * s.x + (1 - ratio) * x0


def res_multistep(s: StepInputs) -> Tensor:
    """The second-order multistep exponential integrator of RES (Zhang et al., 2308.02157)."""
    if s.before is None or s.sigma_next == s.sigma:
        return euler(s)
    h, c2 = math.log(s.sigma / s.sigma_next), math.log(s.sigma / s.before.sigma)
    c2 /= h
    phi1 = math.expm1(-h) / -h
    phi2 = (phi1 - 1) / -h
    first, second = phi1 - phi2 / c2, phi2 / c2
    return math.exp(-h) * s.x + h * (first * s.x0 + second * s.before.x0)


def gradient_estimation(s: StepInputs) -> Tensor:
    """Gradient estimation (Permenter and Yuan, 2306.04848) with γ = 2: the velocity, extrapolated from the last one."""
    if s.before is None:
        return euler(s)
    return s.x + (s.sigma_next - s.sigma) * (2 * s.velocity - s.before.velocity)


SamplerFunction = Callable[[StepInputs], Tensor]
SAMPLERS: Final[dict[str, SamplerFunction]] = {
    "euler": euler,
    "euler_ancestral": euler_ancestral,
    "stochastic": stochastic,
    "euler_cfg_pp": euler_ancestral_cfg_pp,
    "euler_ancestral_cfg_pp": euler_ancestral_cfg_pp,
    "dpmpp_2m": dpmpp_2m,
    "res_multistep": res_multistep,
    "gradient_estimation": gradient_estimation,
}
"""By name. The last step, to σ = 0, is x0 with each of them."""


def next_sample(name: str, s: StepInputs) -> Tensor:
    """The sample after a step; x0 if it goes to 0."""
    return s.x0 if s.sigma_next <= 0 else SAMPLERS[name](s)
