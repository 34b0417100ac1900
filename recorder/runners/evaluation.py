"""One evaluation of the model as a runner hands it over, and its tokens as the chain keeps them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from recorder.format import protocol
from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.step import UNKNOWN, Drift
from recorder.sampling import tokens
from recorder.sampling.manual_loop import as_tokens, check_passes, layout_of, velocity_of
from recorder.sampling.sampler_step import Injected, Sampler, SamplerStep

DriftRule = Callable[[float, float], Drift | None]
"""What a sampler's step from one level to the next is without its own noise; None if it adds none."""


def no_noise(sigma: float, sigma_next: float) -> Drift | None:
    """The rule of a sampler that adds no noise."""
    return None


def unknown_noise(sigma: float, sigma_next: float) -> Drift | None:
    """The rule of a sampler whose noise is not known."""
    return UNKNOWN


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the model for one stream.

    Attributes:
        stream: `video` or `audio`.
        sigma: level that the model is called at.
        sample: x at that level: video [B, C, F, H, W], or tokens [B, S, C] with `grid`, whose clip comes first; audio
            [B, C, L, M] or [B, L, C].
        velocity: v = ε − x0 after guidance, of the sample's shape; or else `x0`.
        x0: the predicted clean sample after guidance; the passes are clean samples too then.
        passes: the model's predictions before guidance, by name: `conditional`, `cfg`, `stg`, `modality`.
        grid: (F, H, W) of packed video tokens, (L,) of audio to which other tokens are appended.
        free: 1 − conditioning strength, per token [B, S] or [B, S, 1], or laid out like the sample with one channel.
            Latent frames of the video, and latents of the audio, that are conditioned at all are not measured. None if
            nothing is conditioned. Read once per stage.
        midpoint: True for an evaluation inside a step, which is counted and has no row; None if that is not known yet.
        reused: the model was not called: this is the output of an earlier evaluation.
        timestep: what the model was given; by default 1,000·σ.
        guidance_scale: scale of classifier-free guidance, if known.
        drift: the sampler's step without its own noise.
        injected: fresh noise that was added to the sample since the last evaluation, if it is known.
    """

    stream: str
    sigma: float
    sample: Tensor
    velocity: Tensor | None = None
    x0: Tensor | None = None
    passes: Mapping[str, Tensor] = field(default_factory=dict)
    grid: tuple[int, ...] | None = None
    free: Tensor | None = None
    midpoint: bool | None = False
    reused: bool = False
    timestep: float | None = None
    guidance_scale: float = math.nan
    drift: DriftRule = unknown_noise
    injected: Injected | None = None

    def check(self) -> None:
        """Raises ValueError if arguments do not fit together."""
        if self.stream not in protocol.STREAMS:
            raise ValueError(f"stream must be one of {protocol.STREAMS}, not {self.stream!r}")
        if (self.velocity is None) == (self.x0 is None):
            raise ValueError("give either velocity or x0")
        if not 0 <= self.sigma <= 1:
            raise ValueError(f"sigma must be at least 0 and at most 1, not {self.sigma}")
        check_passes(self.passes)
        fresh = None if self.injected is None else self.injected.fresh
        for name, tensor in {"velocity": self.velocity, "x0": self.x0, "injected": fresh, **self.passes}.items():
            if tensor is not None and tensor.shape != self.sample.shape:
                raise ValueError(f"{name} has shape {list(tensor.shape)}, the sample {list(self.sample.shape)}")

    def layout(self) -> LatentLayout | None:
        """The positions of the generated tokens; None if no token is generated at all. Waits for the device.

        Raises:
            ValueError: if shape, grid and mask do not fit together, or if everything is conditioned in part.
        """
        sample = self.sample
        if sample.ndim == 3 and self.grid is not None:
            grid = self.grid
        else:
            grid = layout_of(sample, self.stream, self.grid).grid
        frames = None
        if self.free is not None:
            free = free_tokens(self.free, sample, self.stream)
            if not bool((free > 0).any()):
                return None
            frames = tokens.generated_frames(free == 1, grid)
        return tokens.clip_layout(self.stream, as_tokens(sample, self.stream), grid, frames)


@dataclass
class Begun:
    """A step whose result is not known yet. Its tensors are copies: a sampler may write to its latents meanwhile."""

    layout: LatentLayout
    sigma: float
    timestep: float
    sample: Tensor
    velocity: Tensor
    passes: dict[str, Tensor]
    evaluations: int
    guidance_scale: float
    drift: DriftRule
    injected: Injected | None = None

    @classmethod
    def by(cls, one: Evaluation, layout: LatentLayout) -> Begun:
        """The step that begins with an evaluation."""
        sigma = float(one.sigma)
        prediction = one.x0 if one.velocity is None else one.velocity
        assert prediction is not None

        def laid(tensor: Tensor) -> Tensor:
            velocity = velocity_of(one.sample, sigma, tensor, one.x0)
            chosen = tokens.take(as_tokens(velocity, one.stream), layout)
            return chosen.clone() if velocity is tensor else chosen

        return cls(
            layout,
            sigma,
            float(sigma * 1000 if one.timestep is None else one.timestep),
            laid_sample(one.sample, layout),
            laid(prediction),
            {name: laid(tensor) for name, tensor in one.passes.items()},
            0 if one.reused else 1,
            one.guidance_scale,
            one.drift,
        )

    def ends(self, sigma_next: float, result: Tensor | None) -> SamplerStep:
        """The step, once it is known where it went; without a result, that of an Euler step."""
        drift = self.drift(self.sigma, sigma_next)
        if result is None:
            result, drift = self.sample.float() + (sigma_next - self.sigma) * self.velocity.float(), None
        sampler = Sampler(self.guidance_scale, drift)
        return SamplerStep(
            self.layout,
            self.sigma,
            sigma_next,
            self.timestep,
            self.sample,
            self.velocity,
            result,
            self.passes,
            self.injected,
            sampler,
            evaluations=self.evaluations,
        )


def laid_sample(sample: Tensor, layout: LatentLayout) -> Tensor:
    """The generated tokens of a sample [B, S′, C], as a copy."""
    return tokens.take(as_tokens(sample, layout.stream), layout).clone()


def free_tokens(free: Tensor, sample: Tensor, stream: str) -> Tensor:
    """1 − conditioning strength per token, [B, S]; the least of its channels where it has several.

    Args:
        free: [B, S], [B, S, C], or laid out like the sample; sides of length 1 stand for all.
        sample: what it belongs to.
        stream: `video` or `audio`.

    Raises:
        ValueError: if it does not fit the sample.
    """
    try:
        if sample.ndim == 3:
            free = free.unsqueeze(-1) if free.ndim == 2 else free
            return free.amin(dim=2).expand(sample.shape[:2])
        return as_tokens(free.expand(-1, -1, *sample.shape[2:]), stream).amin(dim=2).expand(sample.shape[0], -1)
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"a mask of {list(free.shape)} does not fit a sample of {list(sample.shape)}") from error


def same_level(a: float, b: float) -> bool:
    """Whether two noise levels are one, up to rounding in float32."""
    return math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-7)
