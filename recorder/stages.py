"""Stages and their streams: turns steps of a sampling loop into messages and rows, whoever runs the loop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recorder import declarations, words
from recorder.control import Control
from recorder.events import event, reason_of
from recorder.host import GpuClock, no_time, to_host
from recorder.measures import measured_row
from recorder.precision import full_precision
from recorder.preview import Filmstrip, shrunk
from recorder.rows import Kept, Row, StageEnd
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
        self._save_latents = save_latents
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
        passes: Mapping[str, Tensor] | None = None,
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
            passes: the model's raw velocities before guidance, of the same shape, by name.
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
        try:
            self._measure(
                stage, stream, clock, sigma, sigma_next, timestep, (sample, velocity, result), passes or {}, shock
            )
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
            stream.previous = None
            stream.tracker.broken()
            stream.rows += 1
            stream.missed += 1
        self.lost(name)
        self.trouble(f"a step of {name}", error, stage.index if stage is not None else None, row)

    def lost(self, name: str) -> None:
        """A step of a stream was taken and has no row."""
        if (stage := self.current) is not None:
            self.put({"t": words.MISSED, "stage": stage.index, "stream": name, "count": 1})

    def trouble(self, what: str, error: Exception, stage: int | None = None, step: int | None = None) -> None:
        """Tell that something could not be recorded, in one line, once per stage: a loop must not say it 50 times."""
        if (what, stage) in self._told:
            return
        self._told.add((what, stage))
        text = f"{what} could not be recorded: {reason_of(error)}"
        logger.error("%s; the generation goes on", text)
        logger.debug("%s", what, exc_info=error)
        self.put(event("error", text, stage=stage, step=step))

    def _measure(
        self,
        stage: Stage,
        stream: _Stream,
        clock: float,
        sigma: float,
        sigma_next: float,
        timestep: float,
        tensors: tuple[Tensor, Tensor, Tensor],
        passes: Mapping[str, Tensor],
        shock: Injected | None,
    ) -> None:
        layout, (sample, velocity, result) = stream.layout, tensors
        name, now = layout.stream, time.time()
        with torch.no_grad(), full_precision(sample.device.type):
            step = Step(
                layout,
                sigma,
                layout.on_grid(sample),
                layout.on_grid(velocity),
                layout.on_grid(result),
                stream.previous,
                {k: layout.on_grid(v) for k, v in passes.items()},
                None if shock is None or shock.fresh is None else layout.on_grid(shock.fresh),
            )
            send = {"row": measured_row(step)}
            if self._save_latents:
                send |= {"latents": step.x.half(), "x0": step.x0.half()}
            if stream.filmstrip is not None:
                send["picture"] = shrunk(step.x0, layout)
            first = next(iter(stage.streams)) == name
            if first and self.control.wants_snapshot():
                stage.kept.add(stream.rows)
            if stream.rows in stage.kept:
                # A copy, since on the CPU the loop may write to its latents before the disk has taken them.
                send |= {"kept_x": step.x.clone(), "kept_x0": step.x0}
            host, wait = to_host(send)
            stream.tracker.add(step, sigma_next)
            if shock is not None:
                stream.tracker.broken()
        step.forget()
        kept = self._kept(stage, stream, sigma, host) if "kept_x" in host else None
        measured, picture, snapshot = host.pop("row"), host.pop("picture", None), host or None
        watch = _with_preview(stream, sigma, picture) if picture is not None else stream.watch.take
        seconds = clock - (stream.last_time or stage.set_at)
        gpu_ms, vram_peak = stream.gpu.lap() if stream.gpu else (no_time, math.nan)
        sigma_down = sigma_next if shock is None else min(sigma_next, shock.sigma_down)
        # Taken last: all that this step still costs is a place in a queue.
        cost = time.perf_counter() - clock
        schedule = (sigma, sigma_next, sigma_down, timestep, _snr_db(sigma), seconds, cost, gpu_ms, vram_peak)
        self.put(Row(stage.index, name, stream.rows, now, schedule, measured, wait, watch, snapshot, kept))
        if kept is not None and first:
            self.control.snapshot_begins(stage.index, stream.rows)
        stream.previous, stream.last_time = step, clock
        stream.rows += 1

    def _kept(self, stage: Stage, stream: _Stream, sigma: float, host: dict[str, Tensor]) -> Kept:
        """What a viewer asked to keep of a step, taken out of what goes to the host."""
        tensors = {name: host.pop(f"kept_{name}") for name in ("x", "x0")}
        layout, written = stream.layout, self.control.snapshot_sent()
        frames = layout.places if layout.stream == "video" else None
        return Kept(stage.index, layout.stream, stream.rows, sigma, frames, tensors, written)

    def _declare(self, stage: Stage, layout: Layout, sample: Tensor) -> _Stream:
        layout.on_grid(sample)  # fails here, before anything is declared, if the tokens do not fill the grid
        name = layout.stream
        metrics = declarations.on_stream(name)
        columns, at = {}, 0
        for metric in metrics:
            size = math.prod(layout.row_shape(metric))
            columns[metric.name] = slice(at, at + size)
            at += size
        declaration: Message = {
            "t": words.STREAM,
            "stage": stage.index,
            "stream": name,
            "grid": list(layout.grid),
            "shape": [layout.batch, math.prod(layout.shape), sample.shape[-1]],
            "dtype": str(sample.dtype).removeprefix("torch."),
            "metrics": [m.as_message(name, layout.row_shape(m)) for m in metrics],
            "coordinates": layout.coordinates(),
        }
        if layout.frames is not None:
            declaration["conditioning_frames"] = sorted(set(range(layout.grid[0])) - set(layout.frames))
        self.put(declaration)
        stream = _Stream(
            layout, sample.shape[-1], StreamWatch(stage.index, name, layout.batch, columns, self._eigenvalue)
        )
        if self._previews and name == "video":
            stream.filmstrip = Filmstrip(stage.index, layout)
        if sample.device.type == "cuda":
            stream.gpu = GpuClock(sample.device)
        stage.streams[name] = stream
        return stream


def _with_preview(stream: _Stream, sigma: float, picture: Tensor) -> Callable[[int, Any], list[Message]]:
    """What the pump makes of a row that comes with a small picture: the row's events, then its `preview` message."""
    watch, filmstrip = stream.watch, stream.filmstrip
    assert filmstrip is not None

    def take(step: int, row: Any) -> list[Message]:
        return [*watch.take(step, row), filmstrip.message(step, sigma, picture.numpy())]

    return take


def _snr_db(sigma: float) -> float:
    return -math.inf if sigma >= 1 else 20 * math.log10((1 - sigma) / sigma)
