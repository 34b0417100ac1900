"""Stages and their streams: turns steps of a sampling loop into messages and rows, whoever runs the loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recorder import words
from recorder.control import Control
from recorder.declared import declaration_of
from recorder.events import event, reason_of
from recorder.extras import Rest, out_of_memory
from recorder.host import GpuClock, to_host
from recorder.measuring import Taken, measure
from recorder.preview import Filmstrip
from recorder.rows import Row, StageEnd
from recorder.step import Layout, Step
from recorder.summary import PathTracker
from recorder.watch import StreamWatch
from recorder.words import Message

logger = logging.getLogger(__name__)

Put = Callable[[Message | Row | StageEnd], None]
"""Takes messages, rows and ends of stages; must not wait."""


@dataclass
class _Stream:
    """What is remembered of one stream of a stage between its steps."""

    layout: Layout
    channels: int
    watch: StreamWatch
    tracker: PathTracker = field(default_factory=PathTracker)
    filmstrip: Filmstrip | None = None
    gpu: GpuClock | None = None
    rows: int = 0
    missed: int = 0
    """Rows that are empty since their step could not be recorded."""
    previous: Step | None = None
    last_time: float = 0.0
    rest: Rest = field(default_factory=Rest)

    def leave_out(self) -> None:
        """A step has no row: the next one is compared with none, and the path is broken."""
        self.previous = None
        self.tracker.broken()
        self.rows += 1
        self.missed += 1

    def out_of_memory(self) -> None:
        """Drop every latent that is kept, and rest."""
        self.previous = None
        self.lose_path()
        self.rest.begin()

    def lose_path(self) -> None:
        """Drop what the path was followed with; what comes of it from here on has no straightness."""
        self.tracker = PathTracker()
        self.tracker.broken()


class Misfit(ValueError):
    """A sample of another shape than its stage's."""


@dataclass(frozen=True)
class Injected:
    """A shock at the end of a step: how far down the sample went, and the fresh noise in it, as tokens, if any."""

    sigma_down: float
    fresh: Tensor | None


@dataclass
class Stage:
    """One denoising loop. `sigmas` are the levels its model calls are planned at; empty if nobody knows."""

    index: int
    call: int
    tile: int | None
    sigmas: list[float]
    metadata: dict[str, Any]
    set_at: float
    announced: bool = False
    ended: bool = False
    streams: dict[str, _Stream] = field(default_factory=dict)
    clocks: dict[torch.device, GpuClock] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    """Steps that a viewer asked to keep, as the first stream to step decided; the others follow it."""


class Stages:
    """The stages of one run. One is under way at a time; a stage that is never used leaves no trace."""

    def __init__(
        self,
        put: Put,
        save_latents: bool = False,
        eigenvalue: float | None = None,
        previews: bool = True,
        control: Control | None = None,
    ) -> None:
        self.put = put
        self._previews = previews
        self._eigenvalue = eigenvalue
        self.save_latents = save_latents
        self._told: set[tuple[str, int | None]] = set()
        self._count = 0
        self.current: Stage | None = None
        self.control = control or Control(put)
        self.control.loops = self

    def position(self) -> tuple[int | None, int | None]:
        """The stage under way and the last step of it that has a row; None for what there is not. For any thread."""
        stage = self.current
        if stage is None or not stage.announced:
            return None, None
        rows = max((s.rows for s in list(stage.streams.values())), default=0)
        return stage.index, rows - 1 if rows else None

    def begin(self, call: int, sigmas: list[float], metadata: dict[str, Any], tile: int | None = None) -> Stage:
        """End the stage under way and prepare the next one; it is announced once its model is called."""
        self.end()
        self.current = Stage(self._count, call, tile, sigmas, metadata, time.perf_counter())
        return self.current

    def announce(self) -> None:
        """Tell of the current stage, once: a schedule that is set and never used is no stage."""
        stage = self.current
        if stage is None or stage.announced:
            return
        stage.announced = True
        self._count += 1
        self.put(
            {
                "t": words.STAGE,
                "stage": stage.index,
                "call": stage.call,
                "tile": stage.tile,
                "time": time.time(),
                "sigmas": stage.sigmas,
                "metadata": stage.metadata,
            }
        )
        planned = f": {len(stage.sigmas)} steps" if stage.sigmas else ""
        self.put(event("stage_start", f"stage {stage.index} begins{planned}", stage=stage.index))

    def end(self) -> None:
        """End the stage under way, if there is one."""
        stage, self.current = self.current, None
        if stage is not None:
            self._finish(stage)

    def _finish(self, stage: Stage) -> None:
        if not stage.announced or stage.ended:
            return
        stage.ended = True
        done = max((s.rows for s in stage.streams.values()), default=0)
        of = f" of {len(stage.sigmas)}" if stage.sigmas else ""
        text = f"stage {stage.index} ends after {done}{of} steps"
        if missed := max((s.missed for s in stage.streams.values()), default=0):
            text += f", {missed} of them not recorded"
        ends = []
        for name, stream in stage.streams.items():
            try:
                ends.append((stream.watch, *to_host(stream.tracker.finish())))
            except Exception as error:  # noqa: BLE001 - the stage ends, and the generation goes on
                self.trouble(f"the summary of {name}", error, stage.index)
            # Latents that were kept to compare with go with their stage.
            stream.previous, stream.tracker = None, PathTracker()
        self.put(StageEnd(event("stage_end", text, stage=stage.index, step=done - 1 if done else None), ends))

    def step(
        self,
        layout: Layout,
        sigma: float,
        sigma_next: float,
        timestep: float,
        sample: Tensor,
        velocity: Tensor,
        result: Tensor,
        passes: MutableMapping[str, Tensor] | None = None,
        shock: Injected | None = None,
    ) -> None:
        """Take one row of the current stage.

        Args:
            layout: the stream, and where its tokens lie.
            sigma: level the model was called at; a call at 0 has no noise left to measure and gives no row.
            sigma_next: level the step went to.
            timestep: what the model was told.
            sample: tokens before the step [B, F′·H·W, C] or [B, L, C], or laid out on the grid.
            velocity: v = ε − x0 after guidance, of the same shape.
            result: the sample after the step, of the same shape.
            passes: the model's raw velocities before guidance, of the same shape, by name. Emptied: nobody else holds
                them while the rest is measured.
            shock: the shock that the step ended with.

        What fails while it is measured is told, and leaves the row empty.

        Raises:
            RuntimeError: if no stage is under way.
            Misfit: if the stage's samples had another shape.
        """
        clock = time.perf_counter()
        stage = self.current
        if stage is None:
            raise RuntimeError("a step came before its schedule was set")
        if sigma <= 0:
            return
        self.announce()
        name = layout.stream
        stream = stage.streams.get(name) or self._declare(stage, layout, sample)
        if (layout, sample.shape[-1]) != (stream.layout, stream.channels):
            had, has = [*stream.layout.shape, stream.channels], [*layout.shape, sample.shape[-1]]
            raise Misfit(f"the {name} samples of stage {stage.index} are {had}, this one is {has}; begin another stage")
        if stream.rest.skips():
            stream.leave_out()
        else:
            try:
                taken = Taken(clock, sigma, sigma_next, timestep, sample, velocity, result, passes or {}, shock)
                measure(self, stage, stream, taken)
            except Exception as error:  # noqa: BLE001 - such as no memory left for the metrics: the generation goes on
                self.missed(name, error)
        planned = len(stage.sigmas)
        if planned and len(stage.streams) > 1 and all(s.rows >= planned for s in stage.streams.values()):
            self._finish(stage)

    def missed(self, name: str, error: Exception) -> None:
        """A step of a stream could not be recorded: its row stays empty, and nothing is compared with it."""
        stage = self.current
        stream = stage.streams.get(name) if stage is not None else None
        row = stream.rows if stream is not None else None
        if stream is not None:
            if out_of_memory(error):
                stream.out_of_memory()
            stream.leave_out()
        index = stage.index if stage is not None else None
        self.trouble(f"a step of {name}", error, index, row)

    def resting(self) -> set[str]:
        """Streams whose next step will not be measured, since memory ran out."""
        stage = self.current
        return {name for name, s in stage.streams.items() if s.rest.left} if stage is not None else set()

    def trouble(
        self, what: str, error: Exception, stage: int | None = None, step: int | None = None, not_done: str = "recorded"
    ) -> None:
        """Tell that something could not be recorded, in one line, once per stage: a loop must not say it 50 times."""
        if (what, stage) in self._told:
            return
        self._told.add((what, stage))
        text = f"{what} could not be {not_done}: {reason_of(error)}"
        logger.error("%s; the generation goes on", text)
        logger.debug("%s", what, exc_info=error)
        self.put(event("error", text, stage=stage, step=step))

    def _declare(self, stage: Stage, layout: Layout, sample: Tensor) -> _Stream:
        name = layout.stream
        declaration, columns = declaration_of(stage.index, layout, sample)
        self.put(declaration)
        stream = _Stream(
            layout, sample.shape[-1], StreamWatch(stage.index, name, layout.batch, columns, self._eigenvalue)
        )
        if self._previews and name == "video":
            stream.filmstrip = Filmstrip(stage.index, layout)
        if sample.device.type == "cuda":
            stream.gpu = stage.clocks.setdefault(sample.device, GpuClock(sample.device))
        stage.streams[name] = stream
        return stream
