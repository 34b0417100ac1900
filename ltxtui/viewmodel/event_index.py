"""Which events lie at or before a step, and the latest of them. No Textual."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recorder.format.protocol import Message


class EventIndex:
    """Stage, step and time of every event as arrays, so that a moved cursor does not cost a walk over all of them."""

    def __init__(self) -> None:
        self._of: Sequence[Message] = []
        self._stages = self._steps = self._times = np.empty(0)

    def before(
        self, events: Sequence[Message], stage: int, step: int, time: float | None
    ) -> tuple[NDArray[np.bool_], int]:
        """Whether each event lies at or before a step, and the place of the latest that does; −1 if none does.

        `time` is the Unix time of the step, for events without one. The latest is that of the latest step, and of one
        step the last that was written: what is known only when a stage has ended may be of an early step.
        """
        self._fill(events)
        here = np.nan if time is None else time
        stages, steps, times = self._stages, self._steps, self._times
        with np.errstate(invalid="ignore"):
            on_stage = stages == stage
            elsewhere = ~np.isnan(stages) & ~on_stage
            by_step = on_stage & ~np.isnan(steps)
            # An event with neither step nor time is not known to come later.
            by_time = (times <= here) | np.isnan(times) | np.isnan(here)
            before = np.where(elsewhere, stages < stage, np.where(by_step, steps <= step, by_time))
        # An event without a step belongs to the latest step written before it; one of an earlier stage, to none.
        reached = np.maximum.accumulate(np.where(by_step, steps, -1.0))
        at = np.where(before, np.where(elsewhere, -2.0, np.where(by_step, steps, reached)), -np.inf)
        return before, len(at) - 1 - int(np.argmax(at[::-1])) if before.any() else -1

    def _fill(self, events: Sequence[Message]) -> None:
        known = len(self._times)
        if known > len(events) or events is not self._of:  # another list: some events were dropped
            known, self._of = 0, events
        if known == len(events):
            return
        new = events[known:]
        self._stages = np.append(self._stages[:known], [_whole(e.get("stage")) for e in new])
        self._steps = np.append(self._steps[:known], [_whole(e.get("step")) for e in new])
        self._times = np.append(self._times[:known], [event_time(e) for e in new])


def _whole(value: object) -> float:
    return float(value) if isinstance(value, int) and abs(value) < 1 << 53 else np.nan


def event_time(event: Message) -> float:
    """Unix time of an event; NaN where it has none."""
    value = event.get("time")
    return float(value) if isinstance(value, float | int) and abs(value) < 1 << 53 else np.nan
