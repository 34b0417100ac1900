"""Rows from any sampling loop, for samplers that are not diffusers pipelines: `run.stage(...)` and `run.step(...)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor

from recorder import describe, words
from recorder.stages import Misfit, Stages
from recorder.step import Layout


class Loop:
    """Takes steps from a loop that calls it; mistakes of the caller raise ValueError with what was expected."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._calls = 0

    def stage(self, sigmas: Sequence[float] | None, metadata: dict[str, Any]) -> None:
        """Begin a stage; `sigmas` are the planned levels of its model calls, if they are known."""
        planned = [float(s) for s in sigmas if s > 0] if sigmas is not None else []
        self._stages.begin(self._calls, planned, describe.brief(metadata))
        self._calls += 1

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
        if stream not in words.STREAMS:
            raise ValueError(f"stream must be one of {words.STREAMS}, not {stream!r}")
        if (velocity is None) == (x0 is None):
            raise ValueError("give either velocity or x0")
        if not 0 < sigma <= 1:
            raise ValueError(f"sigma must be above 0 and at most 1, not {sigma}")
        for name, tensor in (("velocity", velocity), ("x0", x0), ("result", result)):
            if tensor is not None and tensor.shape != sample.shape:
                raise ValueError(f"{name} has shape {list(tensor.shape)}, the sample {list(sample.shape)}")
        layout = layout_of(sample, stream, grid)
        if self._stages.current is None:
            self.stage(None, {})
        try:
            if velocity is None:
                velocity = (sample - cast(Tensor, x0)) / sigma
            if result is None:
                result = sample + (sigma_next - sigma) * velocity
            self._stages.step(
                layout,
                float(sigma),
                float(sigma_next),
                float(sigma * 1000 if timestep is None else timestep),
                as_tokens(sample, stream),
                as_tokens(velocity, stream),
                as_tokens(result, stream),
            )
        except Misfit:
            raise
        except Exception as error:  # noqa: BLE001 - such as no memory left: the caller's loop goes on
            self._stages.missed(stream, error)
        self._stages.control.stepped()


def layout_of(sample: Tensor, stream: str, grid: tuple[int, ...] | None) -> Layout:
    """Where a sample lies: 5-D [B, C, F, H, W] and 4-D audio [B, C, L, M] say so themselves, 3-D tokens need a grid.

    Raises:
        ValueError: if the shape and the grid do not fit together.
    """
    if sample.ndim == 5 and stream == "video":
        return Layout(stream, sample.shape[0], tuple(sample.shape[2:]))
    if sample.ndim == 4 and stream == "audio":
        return Layout(stream, sample.shape[0], (sample.shape[2],))
    if sample.ndim == 3 and stream == "audio":
        return Layout(stream, sample.shape[0], (sample.shape[1],))
    if sample.ndim == 3 and grid is not None and len(grid) == 3:
        if grid[0] * grid[1] * grid[2] != sample.shape[1]:
            raise ValueError(f"{sample.shape[1]} tokens do not fill a grid of {grid[0]}×{grid[1]}×{grid[2]}")
        return Layout(stream, sample.shape[0], tuple(grid))
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
