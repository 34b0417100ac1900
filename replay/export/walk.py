"""Gives a run to a target of an export, step by step, whether the run is complete or still growing."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recorder.format import protocol
from recorder.format.protocol import Message
from replay.export.steps import ExportedStep, Picture, StreamRow, Target
from replay.model.run import Run, StageData
from replay.model.stream import StreamData
from replay.model.validation import NotARun

BLOCK_BYTES: Final = 32 << 20
"""Rows of all streams that are taken from a run at once, about."""


class Walk:
    """Feeds a run and passes on what is new in it: nothing twice, and every step once.

    Of a live run, a step is passed on when the next step of every stream has come: streams are then declared,
    and their rows and pictures of a step come together.
    """

    def __init__(self, target: Target) -> None:
        self.run = Run()
        self._target = target
        self._begun = False
        self._events: deque[Message] = deque()
        self._samples: deque[Message] = deque()
        self._bases = [0]
        """Steps before each stage that was reached."""
        self._announced = 0
        self._step = 0
        """The next step of the stage that was reached last."""
        self._shown: dict[tuple[int, str], set[int]] = {}

    def feed(self, messages: Iterable[Message]) -> None:
        """Take messages in. Raises NotARun if one contradicts the format or what came before."""
        for message in messages:
            skipped = self.run.skipped
            self.run.feed(message)
            if message["t"] == protocol.EVENT and self.run.skipped == skipped:
                self._events.append(message)
            elif message["t"] == protocol.SYSTEM and self.run.skipped == skipped:
                self._samples.append(message)

    def turn(self, *, over: bool = False) -> None:
        """Pass on what is new; with `over` all that is left, and the end."""
        if not self._begun:
            if not self.run.header:
                return
            self._begun = True
            self._target.begin(self.run)
        while self._on_stage(over):
            pass
        if over:
            self._until(math.inf)
            self._target.end(self.run)

    def _on_stage(self, over: bool) -> bool:
        """Pass on what is new of the stage that was reached; whether it is over and another follows."""
        number, stages = len(self._bases) - 1, self.run.stages
        if number >= len(stages):
            return False
        stage = stages[number]
        if self._announced == number:
            self._announced += 1
            self._target.stage(stage)
        follows = number + 1 < len(stages)
        over = over or follows
        self._steps(stage, _ready(stage, over or stage.ended))
        self._pictures(stage)
        if not over:
            return False
        self._decoded(stage)
        self._bases.append(self._bases[-1] + self._step)
        self._step = 0
        return True

    def _steps(self, stage: StageData, end: int) -> None:
        width = sum(s.width for s in stage.streams.values())
        count = max(1, BLOCK_BYTES // (4 * max(1, width)))
        while self._step < end:
            block = {n: _block(s, self._step, min(end, self._step + count)) for n, s in stage.streams.items()}
            for i in range(min(end, self._step + count) - self._step):
                rows = {n: row for n, of in block.items() if (row := of(i)) is not None}
                step = ExportedStep(stage, self._step, self._bases[-1] + self._step, rows)
                self._until(step.time)
                self._target.step(step)
                self._step += 1
                if self._target.wants_pictures:
                    for name, stream in stage.streams.items():
                        self._picture(stage, name, stream, step.step)

    def _until(self, time: float) -> None:
        """Pass on events and samples before a time, in the order of their times."""
        while self._events or self._samples:
            events, samples = self._events, self._samples
            event = _time(events[0]) if events else math.inf
            sample = _time(samples[0]) if samples else math.inf
            if not min(event, sample) < time:  # of a step without a time nothing is known to be earlier
                return
            if events and (event <= sample or not samples):
                found = events.popleft()
                self._target.event(found, self._run_step(found))
            else:
                self._target.sample(samples.popleft(), self._here)

    @property
    def _here(self) -> int:
        return max(0, self._bases[-1] + self._step - 1)

    def _run_step(self, event: Message) -> int:
        """The step of an event over all stages; where it has none, the one that was passed on last."""
        stage, step = event.get("stage"), event.get("step")
        if type(stage) is int and type(step) is int and stage < len(self._bases):
            return self._bases[stage] + step
        return self._here

    def _pictures(self, stage: StageData) -> None:
        """The pictures that came later than their steps."""
        if self._target.wants_pictures:
            for name, stream in stage.streams.items():
                for step in sorted(stream.previews):
                    if step < self._step:
                        self._picture(stage, name, stream, step)

    def _picture(self, stage: StageData, name: str, stream: StreamData, step: int) -> None:
        shown = self._shown.setdefault((stage.index, name), set())
        if step in shown or step not in stream.previews:
            return
        shown.add(step)
        try:
            preview = stream.previews[step]
            pixels = preview.pixels()
        except NotARun:
            return  # damaged: `ltxtui runs check` reports it
        at = self._bases[-1] + step
        self._target.picture(Picture("x0", stage.index, name, step, at, preview.frames, pixels, preview.colours))

    def _decoded(self, stage: StageData) -> None:
        """The frames of the decoded clip, which come last."""
        for name, stream in stage.streams.items() if self._target.wants_pictures else ():
            frames, pixels = [], []
            for frame in stream.decoded.values():
                try:
                    pixels.append(frame.preview.pixels()[0])
                except NotARun:
                    continue
                frames.append(frame.frame)
            if pixels:
                at, step = self._here, max(0, self._step - 1)
                clip = np.stack(pixels)
                self._target.picture(
                    Picture("decoded", stage.index, name, step, at, tuple(frames), clip, "true colours")
                )


def _ready(stage: StageData, over: bool) -> int:
    """How many steps of a stage can be passed on."""
    if over:
        return stage.steps
    return max(0, min((s.rows for s in stage.streams.values()), default=0) - 1)


def _block(stream: StreamData, first: int, end: int) -> Callable[[int], StreamRow | None]:
    """Rows of a stream, read at once: a function that gives the i-th of them, or None if the stream has none."""
    end = min(end, stream.rows)
    if end <= first:
        return lambda i: None
    times = stream.recent_times(end - first, end)
    values: dict[str, NDArray[np.float32]] = {n: stream.recent(n, end - first, end) for n in stream.metrics}

    def row(i: int) -> StreamRow | None:
        if i >= len(times):
            return None
        return StreamRow(float(times[i]), stream.metrics, {name: found[i] for name, found in values.items()})

    return row


def _time(message: Message) -> float:
    """When it happened; what has no time comes at once."""
    time = message.get("time")
    return float(time) if isinstance(time, int | float) and math.isfinite(time) else -math.inf
