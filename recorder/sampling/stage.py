"""One denoising loop under way, and the state of its streams between steps."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from recorder.format import protocol
from recorder.format.events import event
from recorder.format.protocol import Message
from recorder.metrics.device_copy import GpuClock
from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.preview import Filmstrip
from recorder.metrics.row_events import StreamWatch
from recorder.metrics.stage_summary import PathTracker
from recorder.metrics.step import Step
from recorder.sampling.cuda_streams import CudaOrder
from recorder.sampling.row_attachments import Rest


@dataclass
class Stream:
    """The state of one stream of a stage between steps."""

    layout: LatentLayout
    channels: int
    watch: StreamWatch
    tracker: PathTracker = field(default_factory=PathTracker)
    filmstrip: Filmstrip | None = None
    gpu: GpuClock | None = None
    order: CudaOrder | None = None
    rows: int = 0
    missed: int = 0
    """Rows that are empty because their step could not be recorded."""
    reached: float = math.nan
    """The level of the last step's result; NaN if the step could not be recorded."""
    previous: Step | None = None
    last_time: float = 0.0
    rest: Rest = field(default_factory=Rest)

    def leave_out(self) -> None:
        """Leave the row of a step empty: the next step has no predecessor, and the path is broken."""
        self.previous = None
        self.reached = math.nan
        self.tracker.broken()
        self.rows += 1
        self.missed += 1

    def out_of_memory(self) -> None:
        """Drop all latents that are kept, and pause."""
        self.previous = None
        self.lose_path()
        self.rest.begin()

    def lose_path(self) -> None:
        """Drop the state of the path; the stage has no straightness then."""
        self.tracker = PathTracker()
        self.tracker.broken()


class Misfit(ValueError):
    """A sample whose shape differs from that of its stage."""


@dataclass
class Stage:
    """One denoising loop. `sigmas` are the planned levels of its model calls; empty if unknown.

    `index` is -1 until it is announced.
    """

    call: int
    tile: int | None
    sigmas: list[float]
    metadata: dict[str, Any]
    set_at: float
    cautions: list[str] = field(default_factory=list)
    """Warnings that are sent when it begins."""
    index: int = -1
    ended: bool = False
    lost: dict[str, int] = field(default_factory=dict)
    """Steps that could not be recorded, by stream; includes streams that were never declared."""
    streams: dict[str, Stream] = field(default_factory=dict)
    clocks: dict[torch.device, GpuClock] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    """Steps to keep at a viewer's request. The first stream to step decides, the others do the same."""

    def messages(self, index: int) -> list[Message]:
        """The messages of its beginning, as stage number `index`."""
        declared: Message = {
            "t": protocol.STAGE,
            "stage": index,
            "call": self.call,
            "tile": self.tile,
            "time": time.time(),
            "sigmas": self.sigmas,
            "metadata": self.metadata,
        }
        planned = f": {len(self.sigmas)} steps" if self.sigmas else ""
        begins = event("stage_start", f"stage {index} begins{planned}", stage=index)
        return [declared, begins, *(event("warning", text, stage=index) for text in self.cautions)]

    def left(self) -> float:
        """The noise level of its result after all planned steps; 0 if it is unknown."""
        planned = len(self.sigmas)
        whole = [
            s.reached for s in self.streams.values() if planned and s.rows >= planned and not math.isnan(s.reached)
        ]
        return max(whole, default=0.0)

    def position(self) -> tuple[int | None, int | None]:
        """Its number and its last step with a row; None where there is none. Thread-safe."""
        if self.index < 0:
            return None, None
        rows = max((s.rows for s in list(self.streams.values())), default=0)
        return self.index, rows - 1 if rows else None
