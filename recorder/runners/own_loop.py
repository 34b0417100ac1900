"""The methods of a run for loops that report their own steps or evaluations."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recorder.runners.chain import Chain
from recorder.runners.evaluation import Evaluation, no_noise, unknown_noise
from recorder.sampling.manual_loop import Loop
from recorder.sampling.sampler_step import Injected
from recorder.sampling.stages import Stages

if TYPE_CHECKING:
    from torch import Tensor


class _Chains:
    """The chains of evaluations by line of stages."""

    def __init__(self) -> None:
        self.complete = True
        self._chains: weakref.WeakKeyDictionary[Stages, Chain] = weakref.WeakKeyDictionary()

    def of(self, line: Stages) -> Chain:
        """The chain of a line, which begins with its first evaluation."""
        if line not in self._chains:
            self._chains[line] = Chain(line)
        return self._chains[line]

    def end(self, line: Stages) -> None:
        """The line's stage ends."""
        if (chain := self._chains.pop(line, None)) is not None:
            chain.end(self.complete)


class OwnLoop:
    """What a loop that is not hooked calls: `stage`, then `step` or `evaluated`. `RunHandle` has these methods."""

    def __init__(self, stages: Stages) -> None:
        self.stages = stages
        # An object of its own, so that a run and its loop are no circle, which would live on until it is collected.
        self._chains = _Chains()
        self._loop = Loop(stages, self._chains.end)

    def stage(self, sigmas: Sequence[float] | None = None, **metadata: Any) -> None:
        """Begin a stage of a custom sampling loop, and end the previous one. Hooked pipelines do this automatically.

        The stage belongs to the calling thread or asyncio task, and to threads and tasks that get a copy of its
        context, as by `asyncio.to_thread`. Begin one in each of several loops that run at the same time.

        Args:
            sigmas: the planned levels of the steps, if known, so that viewers can show the schedule ahead.
            metadata: kept with the stage, such as `prompt=…`.
        """
        self._loop.stage(sigmas, metadata)

    def step(
        self,
        *,
        sigma: float,
        sigma_next: float,
        sample: Tensor,
        velocity: Tensor | None = None,
        x0: Tensor | None = None,
        result: Tensor | None = None,
        stream: str = "video",
        grid: tuple[int, ...] | None = None,
        timestep: float | None = None,
        passes: Mapping[str, Tensor] | None = None,
        frames: Sequence[int] | None = None,
        injected: Tensor | None = None,
        sigma_down: float | None = None,
    ) -> None:
        """Record one step of a custom sampling loop, on any device. Begins a stage if none is under way.

        In a thread or task that has not begun a stage, the step belongs to the stage begun last. Steps of several
        threads in one stage are recorded one at a time, and each is compared with the previous one of any thread.

        During the capture of a CUDA graph nothing is recorded; a warning says so.

        Args:
            sigma: noise level the model was called at, from 0 to 1.
            sigma_next: noise level the step goes to.
            sample: x at `sigma`: video [B, C, F, H, W], or tokens [B, F·H·W, C] with `grid`; audio [B, C, L, M] or
                [B, L, C].
            velocity: v = ε − x0 after guidance, of the sample's shape; or give `x0`, the predicted clean sample.
            result: the sample after the step; by default that of an Euler step in float32.
            stream: `video` or `audio`.
            grid: (F, H, W) of packed video tokens.
            timestep: the timestep that the model was given; by default 1,000·σ.
            passes: the model's predictions before guidance, by name: `conditional`, and those of `cfg`, `stg` and
                `modality` that were run. They are velocities if `velocity` is given, clean samples with `x0`.
            frames: the latent frames that are generated, of audio its latents along time; by default all. The others
                are not measured.
            injected: fresh noise in `result`, of the sample's shape, such as that of a shock.
            sigma_down: the level that the sample was at before this noise; by default `sigma_next`.

        Raises:
            ValueError: if shapes or arguments do not fit together.
        """
        self._loop.step(
            sigma=sigma,
            sigma_next=sigma_next,
            sample=sample,
            velocity=velocity,
            x0=x0,
            result=result,
            stream=stream,
            grid=grid,
            timestep=timestep,
            passes=passes,
            frames=frames,
            injected=injected,
            sigma_down=sigma_down,
        )

    def evaluated(
        self,
        *,
        sigma: float,
        sample: Tensor,
        velocity: Tensor | None = None,
        x0: Tensor | None = None,
        stream: str = "video",
        grid: tuple[int, ...] | None = None,
        free: Tensor | None = None,
        passes: Mapping[str, Tensor] | None = None,
        midpoint: bool | None = False,
        reused: bool = False,
        noiseless: bool = False,
        injected: Tensor | None = None,
        sigma_down: float | None = None,
        guidance_scale: float = math.nan,
        timestep: float | None = None,
    ) -> None:
        """Record one evaluation of the model in a custom sampling loop, whatever the sampler does with it.

        A step's row is written when the next evaluation tells where the step went: its sample is the result of the
        step. After the last evaluation call `reached`. Latents are copied, so the sampler may change them in place.

        Args:
            sigma: noise level the model was called at, from 0 to 1.
            sample: x at `sigma`: video [B, C, F, H, W], or tokens [B, S, C] with `grid`, whose first F·H·W are the
                clip; audio [B, C, L, M] or [B, L, C].
            velocity: v = ε − x0 after guidance, of the sample's shape; or give `x0`, the predicted clean sample.
            x0: see `velocity`.
            stream: `video` or `audio`.
            grid: (F, H, W) of packed video tokens.
            free: 1 − conditioning strength, per token [B, S] or like the sample with one channel. Latent frames with
                any conditioning are not measured. It is read once per stage.
            passes: predictions before guidance, as in `step`.
            midpoint: True for an evaluation inside a step, such as a second-order sampler's second: it is counted in
                the step's `evaluations` and has no row. None leaves the decision to the stage's `sigmas`: a level that
                is not one of them, or that is evaluated again at once, is inside a step.
            reused: the model was not called, and the output of an earlier evaluation is used again.
            noiseless: the sampler adds no noise; then `noise_injected` is 0, otherwise it is not known.
            injected: fresh noise that was added to the sample since the last evaluation, of its shape.
            sigma_down: the level that the sample was at before this noise; by default `sigma`.
            guidance_scale: scale of classifier-free guidance, if known.
            timestep: the timestep that the model was given; by default 1,000·σ.

        Raises:
            ValueError: if shapes or arguments do not fit together.
        """
        noise = None if injected is None else Injected(float(sigma if sigma_down is None else sigma_down), injected)
        self._chain().evaluated(
            Evaluation(
                stream,
                float(sigma),
                sample,
                velocity=velocity,
                x0=x0,
                passes=passes or {},
                grid=grid,
                free=free,
                midpoint=midpoint,
                reused=reused,
                timestep=timestep,
                guidance_scale=guidance_scale,
                drift=no_noise if noiseless else unknown_noise,
                injected=noise,
            )
        )

    def reached(self, *, sample: Tensor, sigma: float = 0.0, stream: str = "video") -> None:
        """The loop has ended: the last step that was `evaluated` went to this sample. Without it, Euler's is taken.

        Args:
            sample: x at the end of the loop, shaped as those before.
            sigma: its noise level.
            stream: `video` or `audio`.
        """
        self._chain().reached(stream, sample, float(sigma))

    def end_stages(self, complete: bool = True) -> None:
        """End all stages of custom loops.

        Args:
            complete: False after an error: then a step that was evaluated, and perhaps not taken, has no row.
        """
        self._chains.complete = complete
        self._loop.end()
        self._chains.complete = True

    def _chain(self) -> Chain:
        return self._chains.of(self._loop.line())
