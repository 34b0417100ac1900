"""Rows from any sampling loop, for samplers that are not diffusers pipelines: `run.stage(...)` and `run.step(...)`.

A stage belongs to the thread or asyncio task that began it, and to tasks and threads that get a copy of its context.
Concurrent loops are kept apart if each begins its own stage.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from recorder.format import protocol
from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.step import UNKNOWN
from recorder.sampling.metadata import brief
from recorder.sampling.sampler_step import NO_NOISE, Injected, Sampler, SamplerStep
from recorder.sampling.stage import Misfit
from recorder.sampling.stages import Stages
from recorder.sampling.tokens import take
from recorder.shocks import plan_warnings


class _StageContext:
    """Represents the contexts that a stage was begun in; it is collected with the last of them."""


PASSES: Final = ("conditional", "cfg", "stg", "modality")
"""Names of guidance passes."""
_CUSTOM = Sampler(drift=UNKNOWN)

_contexts: ContextVar[weakref.WeakKeyDictionary[Loop, _StageContext]] = ContextVar("ltxtui_contexts")


class Loop:
    """Takes the steps of a custom loop; wrong arguments raise ValueError with what was expected."""

    def __init__(self, stages: Stages, ends: Callable[[Stages], None] = lambda line: None) -> None:
        """`ends` is called with a line of stages before its last stage ends."""
        self._stages = stages
        self._ends = ends
        self._lock = threading.RLock()
        self._lines: list[tuple[weakref.ref[_StageContext], Stages]] = []
        """The lines of stages under way, the newest last."""

    def stage(self, sigmas: Sequence[float] | None, metadata: dict[str, Any]) -> None:
        """Begin a stage in this context; `sigmas` are the planned levels of its model calls, if known."""
        planned = [float(s) for s in sigmas] if sigmas is not None else []
        if planned and planned[-1] == 0:  # the closing level, to which the last step goes
            planned.pop()
        context = _StageContext()
        if not self._stages.book.off:
            with self._lock:
                self._begin(context, planned, brief(metadata))
        # A separate mapping: a copied context must not see what happens in the other.
        contexts = weakref.WeakKeyDictionary(_contexts.get(None) or {})
        contexts[self] = context
        _contexts.set(contexts)

    def _begin(self, context: _StageContext | None, sigmas: list[float], metadata: dict[str, Any]) -> Stages:
        """Begin a stage. The previous one of this context ends, and so do those whose contexts are gone."""
        here = self._here()
        for kept in list(self._lines):
            if kept[0]() is None or kept[0]() is here:
                self._lines.remove(kept)
                self._end_line(kept[1])
        line = self._stages.sibling()
        line.begin(line.book.next_call(), sigmas, metadata, cautions=plan_warnings.of_list(sigmas, "own"))
        self._lines.append((weakref.ref(context or _StageContext()), line))
        return line

    def _here(self) -> _StageContext | None:
        contexts = _contexts.get(None)
        return None if contexts is None else contexts.get(self)

    def _end_line(self, line: Stages) -> None:
        self._ends(line)
        line.end()

    def line(self) -> Stages:
        """The line of stages for a step of this context: the one begun in it, else the newest."""
        if self._stages.book.off:
            return self._stages
        with self._lock:
            here = self._here()
            mine = next((line for context, line in self._lines if here is not None and context() is here), None)
            return mine or (self._lines[-1][1] if self._lines else self._begin(None, [], {}))

    def end(self) -> None:
        """End all stages."""
        with self._lock:
            lines, self._lines = self._lines, []
        for _, line in lines:
            self._end_line(line)

    def step(
        self,
        *,
        sigma: float,
        sigma_next: float,
        sample: Tensor,
        velocity: Tensor | None,
        x0: Tensor | None,
        result: Tensor | None,
        stream: str,
        grid: tuple[int, ...] | None,
        timestep: float | None,
        passes: Mapping[str, Tensor] | None = None,
        frames: Sequence[int] | None = None,
        injected: Tensor | None = None,
        sigma_down: float | None = None,
    ) -> None:
        """Take one step; see `RunHandle.step`."""
        if stream not in protocol.STREAMS:
            raise ValueError(f"stream must be one of {protocol.STREAMS}, not {stream!r}")
        if (velocity is None) == (x0 is None):
            raise ValueError("give either velocity or x0")
        if not 0 <= sigma <= 1:
            raise ValueError(f"sigma must be at least 0 and at most 1, not {sigma}")
        if injected is not None and result is None:
            raise ValueError("injected noise is a part of the result; give the result too")
        passes = {} if passes is None else passes
        check_passes(passes)
        given = {"velocity": velocity, "x0": x0, "result": result, "injected": injected, **passes}
        for name, tensor in given.items():
            if tensor is not None and tensor.shape != sample.shape:
                raise ValueError(f"{name} has shape {list(tensor.shape)}, the sample {list(sample.shape)}")
        layout = layout_of(sample, stream, grid, frames)
        line = self.line()

        def laid(tensor: Tensor) -> Tensor:
            return take(as_tokens(tensor, stream), layout)

        try:
            if not line.leaves_out(stream):
                with torch.no_grad():
                    v, after = completed(sample, float(sigma), float(sigma_next), velocity, x0, result)
                    line.step(
                        SamplerStep(
                            layout,
                            float(sigma),
                            float(sigma_next),
                            float(sigma * 1000 if timestep is None else timestep),
                            laid(sample),
                            laid(v),
                            laid(after),
                            {name: laid(velocity_of(sample, float(sigma), p, x0)) for name, p in passes.items()},
                            None
                            if injected is None
                            else Injected(float(sigma_next if sigma_down is None else sigma_down), laid(injected)),
                            sampler=NO_NOISE if result is None else _CUSTOM,
                        )
                    )
        except Misfit:
            raise
        except Exception as error:  # noqa: BLE001 - such as no memory left: the caller's loop continues
            line.missed(stream, error)
        line.control.stepped(where=line.position())


def completed(
    sample: Tensor, sigma: float, sigma_next: float, velocity: Tensor | None, x0: Tensor | None, result: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Velocity and result of a step, of the sample's shape; missing ones are computed in float32.

    In half precision the rounding error would exceed the change of x0 in a late step.
    """
    if velocity is None:
        assert x0 is not None
        velocity = velocity_of(sample, sigma, x0, x0)
    if result is None:
        result = sample.float() + (sigma_next - sigma) * velocity.float() if sigma_next != sigma else sample
    return velocity, result


def velocity_of(sample: Tensor, sigma: float, prediction: Tensor, x0: Tensor | None) -> Tensor:
    """The velocity of a prediction: itself, or derived from it where the model's predictions are given as `x0`."""
    if x0 is None:
        return prediction
    # At σ = 0 there is no noise to derive a velocity from: 0/0 is NaN.
    return (sample.float() - prediction.float()) / sigma if sigma else torch.full_like(sample, math.nan)


def check_passes(passes: Mapping[str, Tensor]) -> None:
    """Raises ValueError for a pass of an unknown name, or passes without the conditional one."""
    if unknown := sorted(set(passes) - set(PASSES)):
        raise ValueError(f"passes are named {', '.join(PASSES)}, not {', '.join(map(repr, unknown))}")
    if passes and PASSES[0] not in passes:
        raise ValueError(f"the other passes are compared with the {PASSES[0]!r} one, which is not given")


def layout_of(
    sample: Tensor, stream: str, grid: tuple[int, ...] | None, frames: Sequence[int] | None = None
) -> LatentLayout:
    """The layout of a sample: 5-D video and 4-D audio define it by their shape, video tokens need a grid.

    Raises:
        ValueError: if the shape, the grid and the generated frames do not fit together.
    """
    whole = _whole_layout(sample, stream, grid)
    if frames is None:
        return whole
    count = whole.grid[0]
    chosen = tuple(sorted(set(frames)))
    if not chosen or chosen[0] < 0 or chosen[-1] >= count:
        raise ValueError(f"frames are generated latent frames from 0 to {count - 1}, at least one, not {list(frames)}")
    return whole if len(chosen) == count else replace(whole, frames=chosen)


def _whole_layout(sample: Tensor, stream: str, grid: tuple[int, ...] | None) -> LatentLayout:
    if sample.ndim == 5 and stream == "video":
        return LatentLayout(stream, sample.shape[0], tuple(sample.shape[2:]))
    if sample.ndim == 4 and stream == "audio":
        return LatentLayout(stream, sample.shape[0], (sample.shape[2],))
    if sample.ndim == 3 and stream == "audio":
        return LatentLayout(stream, sample.shape[0], (sample.shape[1],))
    if sample.ndim == 3 and grid is not None and len(grid) == 3:
        if grid[0] * grid[1] * grid[2] != sample.shape[1]:
            raise ValueError(f"{sample.shape[1]} tokens do not fill a grid of {grid[0]}×{grid[1]}×{grid[2]}")
        return LatentLayout(stream, sample.shape[0], tuple(grid))
    raise ValueError(
        f"a {stream} sample of shape {list(sample.shape)} cannot be laid out; give video as [B, C, F, H, W] or as "
        "tokens [B, F·H·W, C] with grid=(F, H, W), audio as [B, C, L, M] or [B, L, C]"
    )


def as_tokens(tensor: Tensor, stream: str) -> Tensor:
    """Any accepted shape as packed tokens: [B, F·H·W, C] for video, [B, L, C·M] for audio."""
    if tensor.ndim == 5:
        return tensor.flatten(2).transpose(1, 2)
    if tensor.ndim == 4 and stream == "audio":
        return tensor.transpose(1, 2).flatten(2)
    return tensor
