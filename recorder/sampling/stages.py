"""Stages and their streams: turns the steps of a sampling loop, hooked or custom, into messages and rows."""

from __future__ import annotations

import copy
import functools
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Concatenate, Final, ParamSpec

from torch import Tensor

from recorder.format import protocol
from recorder.format.events import event, reason_of
from recorder.format.run_status import NOISE_LEFT, noise_percent
from recorder.metrics.colours.true_colours import ModelColours, TrueColours
from recorder.metrics.device_copy import GpuClock, to_host
from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.preview import Filmstrip
from recorder.metrics.row_events import StreamWatch
from recorder.metrics.stage_summary import PathTracker
from recorder.sampling import cuda_streams
from recorder.sampling.commands import Control, Position
from recorder.sampling.measure_step import measure
from recorder.sampling.row_attachments import out_of_memory
from recorder.sampling.sampler_step import SamplerStep
from recorder.sampling.shared_state import Book, Left, Put
from recorder.sampling.stage import Misfit, Stage, Stream
from recorder.sampling.stream_declaration import declaration_of
from recorder.writing.items import StageEndItem

logger = logging.getLogger(__name__)

P = ParamSpec("P")

NOISE_NOT_SEEN: Final = 1e-3
"""A result at this level or below counts as clean."""


def _one_by_one(
    method: Callable[Concatenate[Stages, P], None],
) -> Callable[Concatenate[Stages, P], None]:
    """One thread at a time. In a forked child, where a lock may stay held forever, the method does nothing."""

    @functools.wraps(method)
    def alone(self: Stages, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if not self.book.off:
            with self.lock:
                method(self, *args, **kwargs)

    return alone


class Stages:
    """A line of stages, one after the other: those of one pipeline call or of custom loops. Unused ones leave no trace.

    `sibling` gives another line of stages of the same run, for a concurrent call or loop. Steps that several threads
    take in one line are recorded one at a time.
    """

    def __init__(
        self,
        put: Put,
        save_latents: bool = False,
        eigenvalue: float | None = None,
        previews: bool = True,
        control: Control | None = None,
    ) -> None:
        self.put = put
        self.previews = previews
        self.colours = TrueColours()
        self.model_colours: ModelColours | None = None
        """Those of the model of this line, if it is known which that is."""
        self._eigenvalue = eigenvalue
        self.save_latents = save_latents
        self.book = Book(put)
        self.control = control or Control(put)
        self.control.loops = self.book
        self.current: Stage | None = None
        # Reentrant: a signal handler may take a step in the middle of one.
        self.lock = threading.RLock()

    def sibling(self) -> Stages:
        """Another line of stages of the same run."""
        made = copy.copy(self)
        made.current, made.lock = None, threading.RLock()
        return made

    def position(self) -> Position:
        """The stage of this line that is under way, and its last row."""
        stage = self.current
        return (None, None) if stage is None else stage.position()

    @_one_by_one
    def begin(
        self,
        call: int,
        sigmas: list[float],
        metadata: dict[str, Any],
        tile: int | None = None,
        cautions: Sequence[str] = (),
    ) -> None:
        """End the stage under way and prepare the next one, which is announced when its model is called.

        `sigmas` are the planned levels of its model calls, `cautions` are warnings about them.
        """
        self.end()
        self.current = Stage(call, tile, sigmas, metadata, time.perf_counter(), list(cautions))
        self.book.begins(self.current)

    @_one_by_one
    def adds(self, metadata: dict[str, Any], cautions: Sequence[str] = ()) -> None:
        """Add metadata, merging tables, and warnings to a stage that begins. Ignored once it is announced."""
        stage = self.current
        if stage is None or stage.index >= 0:
            return
        for name, value in metadata.items():
            stage.metadata[name] = {**stage.metadata.get(name, {}), **value}
        stage.cautions += cautions

    @_one_by_one
    def announce(self) -> None:
        """Announce the current stage, once: a schedule that is set and never used is not a stage."""
        if self.current is not None and self.current.index < 0:
            for text in self.current.cautions:
                logger.warning("%s", text)
            self.book.announce(self.current, self.current.messages)

    @_one_by_one
    def end(self) -> None:
        """End the stage under way, if there is one."""
        stage, self.current = self.current, None
        if stage is not None:
            self._finish(stage)
            self.book.ends(stage)

    def _finish(self, stage: Stage) -> None:
        if stage.index < 0 or stage.ended:
            return
        stage.ended = True
        done = max((s.rows for s in stage.streams.values()), default=0)
        of = f" of {len(stage.sigmas)}" if stage.sigmas else ""
        text = f"stage {stage.index} ends after {done}{of} steps"
        if stage.lost:
            text += f", {max(stage.lost.values())} of them not recorded"
            if set(stage.streams) - set(stage.lost):
                text += f" of {' and '.join(stage.lost)}"
        ends = []
        for name, stream in stage.streams.items():
            try:
                with stream.order.last() if stream.order else nullcontext():
                    ends.append((stream.watch, *to_host(stream.tracker.finish())))
            except Exception as error:  # noqa: BLE001 - the stage ends, and the generation continues
                self.trouble(f"the summary of {name}", error, stage.index)
            # Latents that were kept for comparison are freed with their stage.
            stream.previous, stream.tracker = None, PathTracker()
        self.put(StageEndItem(event("stage_end", text, stage=stage.index, step=done - 1 if done else None), ends))
        if (level := stage.left()) > NOISE_NOT_SEEN:
            self.book.leaves(stage.index, done - 1, level)

    @_one_by_one
    def step(self, step: SamplerStep) -> None:
        """Take one row of the current stage.

        A failure while the step is measured is reported as an event and leaves the row empty. So does a step that a
        CUDA graph captures.

        Raises:
            RuntimeError: if no stage is under way.
            Misfit: if the stage's samples had another shape.
        """
        clock = time.perf_counter()
        stage = self.current
        if stage is None:
            raise RuntimeError("a step came before its schedule was set")
        layout, sample = step.layout, step.sample
        name = layout.stream
        if self.leaves_out(name):
            return
        self.announce()
        if not stage.streams:
            self._report_left(self.book.continues_from(step.sigma))
        stream = stage.streams.get(name) or self._declare(stage, layout, sample)
        if (layout, sample.shape[-1]) != (stream.layout, stream.channels):
            had, has = [*stream.layout.shape, stream.channels], [*layout.shape, sample.shape[-1]]
            raise Misfit(f"the {name} samples of stage {stage.index} are {had}, this one is {has}; begin another stage")
        stream.reached = step.sigma_next
        if stream.rest.skips():
            self._leave_empty(name)
        else:
            try:
                if stream.order is not None:
                    stream.order.begin(stream.previous, stream.tracker)
                measure(self, stage, stream, step, clock)
            except Exception as error:  # noqa: BLE001 - such as no memory left for the metrics
                self.missed(name, error)
            if stream.order is not None:
                stream.order.end()
        self.book.steps(stage)
        planned = len(stage.sigmas)
        if planned and len(stage.streams) > 1 and all(s.rows >= planned for s in stage.streams.values()):
            self._finish(stage)

    def report_left(self) -> None:
        """The run ends: no later stage continues from where noise was left."""
        self._report_left(self.book.continues_from(None))

    def _report_left(self, found: list[Left]) -> None:
        for left in found:
            text = (
                f"{noise_percent(left.level)} of noise is left in the result of stage {left.stage}: its last step went "
                f"to σ {left.level:.4g}, and no later stage continues there; let the list of levels end with 0"
            )
            logger.warning("%s", text)
            payload = {NOISE_LEFT: left.level}
            self.put(event("warning", text, stage=left.stage, step=left.step, payload=payload))

    def captured(self) -> bool:
        """Whether a CUDA graph is being captured, so that nothing may be measured; reported once."""
        if not cuda_streams.capturing():
            return False
        if self.book.first(cuda_streams.CAPTURED, None):
            logger.warning("%s", cuda_streams.CAPTURED)
            self.put(event("warning", cuda_streams.CAPTURED))
        return True

    def leaves_out(self, name: str) -> bool:
        """Whether a step of a stream is skipped because of such a capture; then its row stays empty."""
        if not self.captured():
            return False
        with self.lock:
            self._leave_empty(name)
        return True

    @_one_by_one
    def missed(self, name: str, error: Exception) -> None:
        """A step of a stream could not be recorded: its row stays empty, and the next step has no predecessor."""
        stream = self.current.streams.get(name) if self.current is not None else None
        if stream is not None and out_of_memory(error):
            stream.out_of_memory()
        row = self._leave_empty(name)
        self.control.snapshot_failed()
        self.trouble(f"a step of {name}", error, self.position()[0], row)

    def _leave_empty(self, name: str) -> int | None:
        """Leave a row of a stream empty; returns its number, or None without such a stream."""
        self.lost(name)
        stream = self.current.streams.get(name) if self.current is not None else None
        if stream is None:
            return None
        stream.leave_out()
        return stream.rows - 1

    def lost(self, name: str) -> None:
        """A step of a stream was taken and has no row."""
        self.announce()
        if (stage := self.current) is not None:
            stage.lost[name] = stage.lost.get(name, 0) + 1
            self.put({"t": protocol.MISSED, "stage": stage.index, "stream": name, "count": 1})

    def resting(self) -> set[str]:
        """Streams whose next step will be skipped, since memory ran out."""
        stage = self.current
        return {name for name, s in stage.streams.items() if s.rest.left} if stage is not None else set()

    def trouble(
        self, what: str, error: Exception, stage: int | None = None, step: int | None = None, not_done: str = "recorded"
    ) -> None:
        """Report that something could not be recorded, in one line and once per stage."""
        if not self.book.first(what, stage):
            return
        text = f"{what} could not be {not_done}: {reason_of(error)}"
        logger.error("%s; the generation continues", text)
        logger.debug("%s", what, exc_info=error)
        self.put(event("error", text, stage=stage, step=step))

    def _declare(self, stage: Stage, layout: LatentLayout, sample: Tensor) -> Stream:
        name = layout.stream
        declaration, columns = declaration_of(stage.index, layout, sample)
        self.put(declaration)
        size = math.prod(declaration["shape"][1:])
        watch = StreamWatch(stage.index, name, layout.batch, columns, self._eigenvalue, size)
        stream = Stream(layout, sample.shape[-1], watch)
        if self.previews and name == "video":
            stream.filmstrip = Filmstrip(stage.index, layout, self.model_colours)
        if sample.device.type == "cuda":
            stream.gpu = stage.clocks.setdefault(sample.device, GpuClock(sample.device))
            stream.order = cuda_streams.CudaOrder(sample.device)
        stage.streams[name] = stream
        return stream
