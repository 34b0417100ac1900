"""Rows from any sampling loop, for samplers that are not diffusers pipelines: `run.stage(...)` and `run.step(...)`.

A stage belongs to the thread or asyncio task that began it, and to the tasks and threads that were given a copy of its
context: loops that run at the same time are kept apart if each begins a stage of its own.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from recorder.format import protocol
from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.step import UNKNOWN
from recorder.sampling.metadata import brief
from recorder.sampling.sampler_step import NO_NOISE, Sampler, SamplerStep
from recorder.sampling.stage import Misfit
from recorder.sampling.stages import Stages
from recorder.shocks import plan_warnings


class _Place:
    """Stands for the contexts in which a stage was begun; it is gone once none of them is left."""


_OF_ONES_OWN = Sampler(drift=UNKNOWN)

_places: ContextVar[weakref.WeakKeyDictionary[Loop, _Place]] = ContextVar("ltxtui_places")


class Loop:
    """Takes steps from a loop that calls it; mistakes of the caller raise ValueError with what was expected."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._lock = threading.RLock()
        self._lines: list[tuple[weakref.ref[_Place], Stages]] = []
        """The lines of stages that are under way, the one begun last at the end."""

    def stage(self, sigmas: Sequence[float] | None, metadata: dict[str, Any]) -> None:
        """Begin a stage in this context; `sigmas` are the planned levels of its model calls, if they are known."""
        planned = [float(s) for s in sigmas] if sigmas is not None else []
        if planned and planned[-1] == 0:  # the closing level, to which the last step goes
            planned.pop()
        place = _Place()
        if not self._stages.book.off:
            with self._lock:
                self._begin(place, planned, brief(metadata))
        # A mapping of its own: a copied context must not see what happens in the other.
        places = weakref.WeakKeyDictionary(_places.get(None) or {})
        places[self] = place
        _places.set(places)

    def _begin(self, place: _Place | None, sigmas: list[float], metadata: dict[str, Any]) -> Stages:
        """Begin a stage; the one begun in this context before ends, and those whose contexts are gone."""
        here = self._here()
        for kept in list(self._lines):
            if kept[0]() is None or kept[0]() is here:
                self._lines.remove(kept)
                kept[1].end()
        line = self._stages.beside()
        line.begin(line.book.next_call(), sigmas, metadata, cautions=plan_warnings.of_list(sigmas, "own"))
        self._lines.append((weakref.ref(place or _Place()), line))
        return line

    def _here(self) -> _Place | None:
        places = _places.get(None)
        return None if places is None else places.get(self)

    def _line(self) -> Stages:
        """Where a step of this context belongs: to the stage begun in it, else to the one begun last."""
        if self._stages.book.off:
            return self._stages
        with self._lock:
            here = self._here()
            mine = next((line for place, line in self._lines if here is not None and place() is here), None)
            return mine or (self._lines[-1][1] if self._lines else self._begin(None, [], {}))

    def end(self) -> None:
        """End all stages."""
        with self._lock:
            lines, self._lines = self._lines, []
        for _, line in lines:
            line.end()

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
    ) -> None:
        """Take one step; see `Run.step`."""
        if stream not in protocol.STREAMS:
            raise ValueError(f"stream must be one of {protocol.STREAMS}, not {stream!r}")
        if (velocity is None) == (x0 is None):
            raise ValueError("give either velocity or x0")
        if not 0 <= sigma <= 1:
            raise ValueError(f"sigma must be at least 0 and at most 1, not {sigma}")
        for name, tensor in (("velocity", velocity), ("x0", x0), ("result", result)):
            if tensor is not None and tensor.shape != sample.shape:
                raise ValueError(f"{name} has shape {list(tensor.shape)}, the sample {list(sample.shape)}")
        layout = layout_of(sample, stream, grid)
        line = self._line()
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
                            as_tokens(sample, stream),
                            as_tokens(v, stream),
                            as_tokens(after, stream),
                            sampler=NO_NOISE if result is None else _OF_ONES_OWN,
                        )
                    )
        except Misfit:
            raise
        except Exception as error:  # noqa: BLE001 - such as no memory left: the caller's loop goes on
            line.missed(stream, error)
        line.control.stepped(where=line.position())


def completed(
    sample: Tensor, sigma: float, sigma_next: float, velocity: Tensor | None, x0: Tensor | None, result: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Velocity and result of a step, of the sample's shape; what is not given is computed in float32.

    In half precision it would be off by more than x0 moves in a late step.
    """
    if velocity is None:
        assert x0 is not None
        # At σ = 0 there is no noise to tell a velocity from: 0/0, and NaN of what is not x0.
        velocity = (sample.float() - x0.float()) / sigma if sigma else torch.full_like(sample, math.nan)
    if result is None:
        result = sample.float() + (sigma_next - sigma) * velocity.float() if sigma_next != sigma else sample
    return velocity, result


def layout_of(sample: Tensor, stream: str, grid: tuple[int, ...] | None) -> LatentLayout:
    """Where a sample lies: 5-D [B, C, F, H, W] and 4-D audio [B, C, L, M] say so themselves, 3-D tokens need a grid.

    Raises:
        ValueError: if the shape and the grid do not fit together.
    """
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
