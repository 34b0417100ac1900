"""What both fakes of ltx-pipelines share: states, steppers and a model, all tiny and of our own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

DISTILLED = (1.0, 0.9, 0.7, 0.4, 0.0)
SECOND = (0.85, 0.5, 0.0)


@dataclass(frozen=True)
class LatentState:
    latent: Tensor
    denoise_mask: Tensor
    positions: Tensor
    clean_latent: Tensor


@dataclass(frozen=True)
class TargetShape:
    frames: int
    height: int | None = None
    width: int | None = None


@dataclass(frozen=True)
class Tools:
    target_shape: TargetShape


class EulerDiffusionStep:
    def step(self, sample: Tensor, denoised_sample: Tensor, sigmas: Tensor, step_index: int, **_: Any) -> Tensor:
        dt = sigmas[step_index + 1] - sigmas[step_index]
        velocity = (sample.float() - denoised_sample.float()) / sigmas[step_index]
        return (sample.float() + velocity * dt).to(sample.dtype)


class EulerAncestralDiffusionStep:
    def __init__(self, eta: float = 1.0, s_noise: float = 1.0) -> None:
        self.eta, self.s_noise = eta, s_noise

    def step(self, sample: Tensor, denoised_sample: Tensor, sigmas: Tensor, step_index: int, noise: Tensor) -> Tensor:
        now, then = sigmas[step_index], sigmas[step_index + 1]
        down = then * (1 + (then / now - 1) * self.eta)
        moved = down / now * sample + (1 - down / now) * denoised_sample
        scale = (1 - then) / (1 - down)
        return scale * moved + (then**2 - (down * scale) ** 2).clamp(min=0).sqrt() * self.s_noise * noise


class Res2sDiffusionStep:
    pass


class EulerCfgPpDiffusionStep:
    eta = 0.0


class Model(torch.nn.Module):
    """Predicts clean samples that depend on sample, level, context and perturbations."""

    def forward(self, video: Any = None, audio: Any = None, perturbations: Any = None) -> tuple[Any, Any]:
        shift = 0.0 if perturbations is None else 0.1 * len(perturbations.perturbations)
        return tuple(
            None if one is None else predicted(one[0].float(), one[1], one[2] + shift).to(one[0].dtype)
            for one in (video, audio)
        )


def predicted(x: Tensor, sigma: Tensor, context: float) -> Tensor:
    """The mean of Gaussian data given x, moved by the context: what a perfect model predicts."""
    place = torch.arange(x.shape[1])[:, None] + 3 * torch.arange(x.shape[2])
    mean = torch.sin(0.7 * place) * (0.7 + 0.3 * context)
    gain = 0.25 * (1 - sigma) / (0.25 * (1 - sigma) ** 2 + sigma**2)
    return mean + gain * (x - (1 - sigma) * mean)


def state(shape: tuple[int, ...], generator: torch.Generator, scale: float = 1.0, dtype: Any = torch.float32) -> Any:
    """Noise in tokens [1, S, 4]; positions are those of a clip in the order F, H, W."""
    count = int(torch.tensor(shape).prod())
    noise = torch.randn(1, count, 4, generator=generator)
    clean = 0.2 * torch.ones(1, count, 4)
    grid = torch.stack(torch.meshgrid(*(torch.arange(side) for side in shape), indexing="ij")).reshape(
        1, len(shape), -1, 1
    )
    latent = (scale * noise + (1 - scale) * clean).to(dtype)
    return LatentState(latent, torch.ones(1, count, 1), torch.cat([grid, grid + 1], dim=-1).float(), clean.to(dtype))


def blend(denoised: Tensor, one: LatentState) -> Tensor:
    return (denoised * one.denoise_mask + one.clean_latent.float() * (1 - one.denoise_mask)).to(denoised.dtype)


Loop = Callable[..., tuple[Any, Any]]
