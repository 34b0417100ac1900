"""The denoising loop of a pipeline call that is under way: its levels, and the positions of its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from recorder.metrics.latent_layout import LatentLayout
from recorder.sampling import tokens
from recorder.sampling.given_frames import GivenFrames


@dataclass
class Schedule:
    """Noise levels and timesteps of one scheduler, read once; `source` is the tensor they were read from."""

    source: Tensor
    sigmas: list[float]
    timesteps: list[float]
    steps: int = 0

    @classmethod
    def read(cls, scheduler: Any) -> Schedule:
        """The schedule that a scheduler has now. Waits for the device: call it before a loop, not inside one."""
        return cls(scheduler.sigmas, scheduler.sigmas.tolist(), scheduler.timesteps.tolist())

    @property
    def planned(self) -> list[float]:
        """The levels that the model is called at; the ancestral scheduler has a call at the closing 0 as well."""
        return self.sigmas[: len(self.timesteps)]

    @property
    def opened(self) -> list[float]:
        """`planned` without that call."""
        levels = self.planned
        return levels[:-1] if len(levels) == len(self.sigmas) and levels[-1:] == [0.0] else levels


@dataclass
class CallLoop:
    """What is known so far of one denoising loop of a call."""

    grids: dict[str, tuple[int, ...]] = field(default_factory=dict)
    frames: tokens.Frames | None = None
    layouts: dict[str, LatentLayout] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    free: Tensor | None = None
    """1 − conditioning strength of every token of the video [B, S, 1]; None if none is conditioned."""
    given: GivenFrames = field(default_factory=GivenFrames)
    sequence: int | None = None
    """Tokens of the full sequence, if the model may be called with a part of it."""


def grid_of(arguments: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """The grid (F, H, W) that a model is called with; None if it is called without one."""
    match [arguments.get(name) for name in ("num_frames", "height", "width")]:
        case [int(frames), int(height), int(width)]:
            return frames, height, width
    return None
