"""What a shock does to a sample: pure functions over tensors; fresh noise from generators of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from torch import Tensor

from recorder.format import protocol, sigma_math
from recorder.metrics.device_copy import staging
from recorder.metrics.spectra import exact_dtype
from recorder.shocks.action import ShockAction
from recorder.shocks.spec import EVERY, Shock


@dataclass(frozen=True)
class TokenInfo:
    """What is known of a sample's tokens.

    Attributes:
        grid: (F, H, W) of a packed video's clip, which is the first F·H·W tokens; None if it is unknown or not needed.
        free: 1 − conditioning strength per token, [B, S, 1]; None if no token is conditioned as far as is known.
    """

    grid: tuple[int, ...] | None = None
    free: Tensor | None = None

    def free_of(self, sample: Tensor) -> Tensor | None:
        """`free` for a sample [B, S, C]; None for latents that are laid out, which hold nothing conditioned.

        Guidance may have doubled the batch of the model's call; the conditional half is the later one.
        """
        return None if self.free is None or sample.ndim != 3 else self.free[-sample.shape[0] :]


def fresh_noise(shock: Shock, number: int, stream: str, sample: Tensor, step: int = 0) -> Tensor:
    """ξ of a sample's shape, standard normal, float32, on its device.

    Drawn on the CPU, so that a run can be repeated on any device. Shocks, streams and, of a shock that acts at every
    one, steps have seeds of their own, derived from the shock's by NumPy's SeedSequence: nothing is shared with the
    pipeline's generators.
    """
    # The index of the stream seeds its noise: another order of STREAMS would give other noise.
    entropy = [shock.seed, number, [*protocol.STREAMS].index(cast(protocol.Stream, stream))]
    if shock.at == EVERY:
        entropy.append(step)  # noise that came again at every step would add up to a pattern
    # A generator takes what fits a signed 64-bit number.
    seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
    generator = torch.Generator("cpu").manual_seed(seed)
    # Memory that the device copies from by itself, where there is any: the sampling thread need not wait for it.
    noise, at_leisure = staging(sample.shape, torch.float32, sample.device)
    return noise.normal_(generator=generator).to(sample.device, non_blocking=at_leisure)


def euler(sample: Tensor, velocity: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """x + (σ′ − σ)·v in float32."""
    return sample.float() + (sigma_next - sigma) * velocity.float()


def renoised(x_lo: Tensor, lo: float, hi: float, noise: Tensor, free: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """x_hi = α·x_lo + β·ξ, and β·ξ alone. Marginal kept: see `sigma_math.renoise_coefficients`.

    Args:
        x_lo: the sample at σ_lo, any shape.
        lo: σ_lo.
        hi: σ_hi.
        noise: ξ of the same shape.
        free: 1 − conditioning strength per token; such a token's level is σ·free, and at 0 it stays as it is.
    """
    if free is None:
        alpha, beta = sigma_math.renoise_coefficients(lo, hi)
        fresh = beta * noise
        return alpha * x_lo + fresh, fresh
    sigma_math.renoise_coefficients(lo, hi)  # refuses levels that cannot be
    exact = free.to(exact_dtype(free.device))
    # 1 − σ·free and up² − (α·down)², written without differences of nearly equal numbers: a device may have no float64.
    kept = 1 - exact
    up, down = hi * exact, lo * exact
    alphas = (1 - hi + hi * kept) / (1 - lo + lo * kept)
    betas = ((hi - lo) * exact / (1 - lo + lo * kept) * (up + alphas * down)).sqrt()
    fresh = betas.float() * noise
    return alphas.float() * x_lo + fresh, fresh


def apply(
    action: ShockAction, stream: str, sample: Tensor, velocity: Tensor, sigma: float, where: TokenInfo
) -> tuple[Tensor, Tensor]:
    """The sample after a step with a shock on arrival, and the fresh noise in it; both float32, of the sample's shape.

    Args:
        action: what to do; not a `sigma_bump`, which is an ordinary step.
        stream: `video` or `audio`, for the seed.
        sample: x at `sigma`.
        velocity: v at `sigma`, of the same shape.
        sigma: the level stepped from.
        where: grid and conditioning, for what needs them.

    Raises:
        ValueError: if the noise is shaped or placed and the grid is unknown or does not fit.
    """
    shock, x = action.shock, sample.float()
    noise = fresh_noise(shock, action.number, stream, x, action.step)
    free = where.free_of(x)
    if free is None and x.ndim == 3:
        # A conditioned token's velocity is zero in every channel: the pipelines put the clean token in x0's place.
        free = (velocity != 0).any(dim=-1, keepdim=True).float()
    plain = euler(x, velocity, sigma, action.sigma_up)
    if shock.kind == "predict_perturb":
        level = action.sigma_up if free is None else action.sigma_up * free
        fresh = level * noise
        shocked = (1 - level) * (x - sigma * velocity.float()) + fresh
    elif shock.kind == "additive":
        _, fresh = renoised(x, action.sigma_down, action.sigma_up, noise, free)
        shocked = plain + fresh
    else:
        down = euler(x, velocity, sigma, action.sigma_down)
        shocked, fresh = renoised(down, action.sigma_down, action.sigma_up, noise, free)
    if free is not None:
        kept = free == 0
        shocked, fresh = torch.where(kept, plain, shocked), torch.where(kept, torch.zeros_like(fresh), fresh)
    if not shock.is_shaped or (stream == "audio" and shock.shape == "white"):
        return shocked, fresh
    grid = grid_of(x, stream, where.grid)
    moved = shaped(shocked - plain, shock, stream, grid)
    fresh = shaped(fresh, shock, stream, grid)
    if free is not None:  # a band reaches over the edges of what is conditioned
        moved, fresh = moved * (free > 0), fresh * (free > 0)
    return plain + moved, fresh


def grid_of(sample: Tensor, stream: str, known: tuple[int, ...] | None) -> tuple[int, ...]:
    """(F, H, W) of a video sample or (L,) of an audio one: from latents [B, C, F, H, W] themselves, else as known.

    Raises:
        ValueError: if it is unknown or there are too few tokens.
    """
    if stream == "audio":
        return (sample.shape[1],)
    if sample.ndim == 5:
        return tuple(sample.shape[2:])
    if known is None:
        raise ValueError(
            "a band, frames or a mask need the latent grid of packed latents: use record(pipe, shocks=…), which finds "
            "it out, or set scheduler.grid = (frames, height, width) in latents before the call"
        )
    if sample.shape[1] < math.prod(known):
        raise ValueError(f"{sample.shape[1]} tokens do not fill a grid of {' x '.join(map(str, known))}")
    return known


def shaped(change: Tensor, shock: Shock, stream: str, grid: tuple[int, ...]) -> Tensor:
    """The part of a change that lies in the shock's band, frames and mask; zero for tokens behind the clip."""
    if stream == "audio":
        return banded(change, shock.band, (1,)) if shock.shape != "white" else change
    if change.ndim == 5:
        return _within(change, shock, (-2, -1), 2)
    count = math.prod(grid)
    clip = change[:, :count].unflatten(1, grid)
    found = torch.zeros_like(change)
    found[:, :count] = _within(clip, shock, (2, 3), 1).flatten(1, 3)
    return found


def _within(clip: Tensor, shock: Shock, axes: tuple[int, ...], frame_axis: int) -> Tensor:
    if shock.shape != "white":
        clip = banded(clip, shock.band, axes)
    frames = clip.shape[frame_axis]
    shape = [1] * clip.ndim
    if shock.frames is not None:
        if shock.frames[-1] >= frames:
            raise ValueError(f"there is no latent frame {shock.frames[-1]}: the clip has {frames}, counted from 0")
        chosen = torch.zeros(frames, device=clip.device)
        chosen[list(shock.frames)] = 1
        shape[frame_axis] = frames
        return clip * chosen.reshape(shape)
    if shock.mask is not None:
        mask = torch.tensor(shock.mask, dtype=clip.dtype, device=clip.device)
        height, width = (clip.shape[a] for a in axes)
        if tuple(mask.shape) not in ((height, width), (frames, height, width)):
            raise ValueError(f"a mask of {list(mask.shape)} does not fit {frames} latent frames of {height} x {width}")
        shape[axes[0]], shape[axes[1]] = height, width
        if mask.ndim == 3:
            shape[frame_axis] = frames
        return clip * mask.reshape(shape)
    return clip


def banded(values: Tensor, band: tuple[float, float], axes: tuple[int, ...]) -> Tensor:
    """What of some values lies in a band of spatial frequency, by FFT over `axes`.

    Args:
        values: real, any shape.
        band: half-open bounds of the radius in parts of the Nyquist frequency.
        axes: the axes of space (of time, for audio).
    """
    axes = tuple(a % values.ndim for a in axes)
    sides = tuple(values.shape[a] for a in axes)
    keep = _pass(sides, band).to(values.device)
    shape = [1] * values.ndim
    for axis, side in zip(axes, sides, strict=True):
        shape[axis] = side
    spectrum = torch.fft.fftn(values, dim=axes)
    return torch.fft.ifftn(spectrum * keep.reshape(shape), dim=axes).real


@lru_cache(maxsize=16)
def _pass(sides: tuple[int, ...], band: tuple[float, float]) -> Tensor:
    """1 where the radial frequency lies in the band, on the full FFT grid."""
    squares = np.zeros(sides)
    for axis, side in enumerate(sides):
        frequency = np.fft.fftfreq(side) / 0.5
        squares = squares + np.square(frequency).reshape([-1 if a == axis else 1 for a in range(len(sides))])
    radius = np.sqrt(squares)
    top = radius <= band[1] if band[1] >= math.sqrt(2) else radius < band[1]
    return torch.from_numpy(((radius >= band[0]) & top).astype(np.float32))
