"""One denoising loop while it is under way, and what is remembered of its streams between their steps."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from recorder import declarations, words
from recorder.events import event
from recorder.host import GpuClock
from recorder.order import CudaOrder
from recorder.preview import Filmstrip
from recorder.step import Layout, Step
from recorder.summary import PathTracker
from recorder.watch import StreamWatch
from recorder.words import Message


@dataclass
class Stream:
    """What is remembered of one stream of a stage between its steps."""

    layout: Layout
    channels: int
    watch: StreamWatch
    tracker: PathTracker = field(default_factory=PathTracker)
    filmstrip: Filmstrip | None = None
    gpu: GpuClock | None = None
    order: CudaOrder | None = None
    rows: int = 0
    missed: int = 0
    """Rows that are empty since their step could not be recorded."""
    previous: Step | None = None
    last_time: float = 0.0


class Misfit(ValueError):
    """A sample of another shape than its stage's."""


@dataclass(frozen=True)
class Injected:
    """A shock at the end of a step: how far down the sample went, and the fresh noise in it, as tokens, if any."""

    sigma_down: float
    fresh: Tensor | None


@dataclass
class Stage:
    """One denoising loop. `sigmas` are the levels its model calls are planned at; empty if nobody knows.

    `index` is -1 until it is announced.
    """

    call: int
    tile: int | None
    sigmas: list[float]
    metadata: dict[str, Any]
    set_at: float
    index: int = -1
    ended: bool = False
    streams: dict[str, Stream] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    """Steps that a viewer asked to keep, as the first stream to step decided; the others follow it."""

    def messages(self, index: int) -> list[Message]:
        """What tells that it begins, as stage number `index`."""
        declared: Message = {
            "t": words.STAGE,
            "stage": index,
            "call": self.call,
            "tile": self.tile,
            "time": time.time(),
            "sigmas": self.sigmas,
            "metadata": self.metadata,
        }
        planned = f": {len(self.sigmas)} steps" if self.sigmas else ""
        return [declared, event("stage_start", f"stage {index} begins{planned}", stage=index)]

    def position(self) -> tuple[int | None, int | None]:
        """Its number and its last step that has a row; None for what there is not. For any thread."""
        if self.index < 0:
            return None, None
        rows = max((s.rows for s in list(self.streams.values())), default=0)
        return self.index, rows - 1 if rows else None


def declaration(stage: int, layout: Layout, sample: Tensor) -> Message:
    """What declares a stream of a stage: its shape, its metrics, and the coordinates of their dimensions."""
    declared: Message = {
        "t": words.STREAM,
        "stage": stage,
        "stream": layout.stream,
        "grid": list(layout.grid),
        "shape": [layout.batch, math.prod(layout.shape), sample.shape[-1]],
        "dtype": str(sample.dtype).removeprefix("torch."),
        "metrics": [m.as_message(layout.stream, layout.row_shape(m)) for m in declarations.on_stream(layout.stream)],
        "coordinates": layout.coordinates(),
    }
    if layout.frames is not None:
        declared["conditioning_frames"] = sorted(set(range(layout.grid[0])) - set(layout.frames))
    return declared
