"""Whether a run that is being recorded is alive: judged by what arrives, never by comparing two machines' clocks.

A recorder sends a sample of the machine's load twice a second while it lives. So a slow step (samples and no row) is
distinguished from a recorder that is stopped or hangs (nothing at all). How long a step takes is measured on the
recorder's own clock, from one sample or row to the next; how long nothing has come, on the viewer's monotonic clock.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from recorder.format import protocol
from recorder.format.protocol import Message
from replay.model.liveness import Liveness

SILENT_SECONDS: float = 8.0
"""A recorder that has sent nothing for this long is stalled. Polled every second, every list shows it within ten."""
STEP_SECONDS: float = 10.0
USUAL_STEPS: Final = 3.0
"""A loop is stalled once it has taken no step for `STEP_SECONDS` and for this many of its usual steps."""
LOST_SECONDS: float = 60.0
"""A connection that could not be made again for this long is lost."""
CONFIRM_SECONDS: float = 1.5
"""A file whose modification time is old is watched for this long before that time is believed."""
_RECENT: Final = 8
"""Steps that tell how long one usually takes."""
_MOST_LOOPS: Final = 64
"""Loops that may run at once, or never ended."""
_LONGEST_BEAT: Final = 4.0
"""Seconds that the recorder's clock advances at most from one message to the next, where it sends samples: the time for
which it was stopped, or by which its clock was set, is not part of a step."""


class RunState(Enum):
    """The state of a run for a viewer. How a run ended is in its status."""

    LIVE = "live"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    LOST = "lost"
    ENDED = "ended"


@dataclass(frozen=True)
class Stall:
    """Why a run that is being recorded is stalled, and for how many seconds: nothing comes, or no step is taken."""

    seconds: float
    silent: bool
    usual: float = math.nan
    """Seconds that a step usually takes; NaN if the recorder is silent or that is not known."""

    @property
    def text(self) -> str:
        """The reason in a few words, without the duration."""
        if self.silent:
            return "no sign of its recorder"
        return f"no step, and one usually takes {self.usual:.2g} s" if self.usual >= 0.1 else "no step"


WAY_ON: Final = "if it was stopped, continue its process with: kill -CONT {process}; what it has recorded is kept"
"""What to do about a recorder that is silent; `{process}` is its number, or `PID`."""


@dataclass(frozen=True)
class Signs:
    """What has been seen of a run, at one moment.

    Attributes:
        silence: seconds since anything came.
        beating: whether the recorder sends samples, or owes its first message: then silence means something.
        stepless: seconds since the last step; None if no loop is under way that has taken two.
        usual: seconds that its steps usually take.
    """

    silence: float
    beating: bool
    stepless: float | None
    usual: float


def stalled(signs: Signs) -> Stall | None:
    """Whether a run that is being recorded is stalled.

    Before a loop's second step, between loops and after the last planned step it is not known how long something may
    take: there only silence counts.
    """
    if signs.beating and signs.silence >= SILENT_SECONDS:
        return Stall(signs.silence, silent=True)
    if signs.stepless is not None and signs.stepless >= max(STEP_SECONDS, USUAL_STEPS * signs.usual):
        return Stall(signs.stepless, silent=False, usual=signs.usual)
    return None


def state(liveness: Liveness, stall: Stall | None, disconnected: float | None = None) -> RunState:
    """How a run stands: `disconnected` is for how many seconds its connection has been broken, None if it is there."""
    if liveness is not Liveness.LIVE:
        return RunState.ENDED
    if disconnected is not None:
        return RunState.LOST if disconnected >= LOST_SECONDS else RunState.RECONNECTING
    return RunState.LIVE if stall is None else RunState.STALLED


@dataclass
class _Loop:
    planned: int
    rows: int = 0
    over: bool = False
    last: float = 0.0
    """When its last row came, by the recorder's clock."""

    @property
    def under_way(self) -> bool:
        # Which step of a loop without a plan is the last one is not known.
        return not self.over and 0 < self.rows < self.planned


class Pulse:
    """Follows what arrives of one run; fed with all its messages, in their order."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._heard = clock()
        self._aged = 0.0
        self._header_came = False
        """Whether the header has come, which a recorder sends at once."""
        self._beating = False
        self._last: float | None = None
        self._at = 0.0
        """Seconds for which the recorder has been heard of, by its own clock."""
        self._loops: dict[int, _Loop] = {}
        self._took: deque[float] = deque(maxlen=_RECENT)

    def feed(self, messages: Iterable[Message]) -> None:
        """Take in what has just arrived."""
        came = False
        for message in messages:
            self._take(message)
            came = True
        if came:
            self._heard, self._aged = self._clock(), 0.0

    def aged(self, seconds: float) -> None:
        """What was there at first is this old already; believed once nothing more has come for `CONFIRM_SECONDS`."""
        self._began, self._aged = self._clock(), max(0.0, seconds)

    def rest(self) -> None:
        """Nothing can arrive now: silence begins when this is called for the last time."""
        self._heard = self._clock()

    @property
    def suspect(self) -> bool:
        """Whether another look after `CONFIRM_SECONDS` decides."""
        return self._beating and self._aged >= SILENT_SECONDS and self._clock() - self._began < CONFIRM_SECONDS

    def signs(self) -> Signs:
        now = self._clock()
        silence = now - self._heard
        if self._aged and now - self._began >= CONFIRM_SECONDS:
            silence += self._aged
        under_way = [loop for loop in self._loops.values() if loop.under_way]
        usual = statistics.median(self._took) if self._took else math.nan
        stepless = None
        if under_way and self._took:
            stepless = self._at - max(loop.last for loop in under_way) + silence
        return Signs(silence, self._beating or not self._header_came, stepless, usual)

    @property
    def stall(self) -> Stall | None:
        """Whether the run is stalled now, if it is being recorded at all."""
        return stalled(self.signs())

    # Inside

    def _take(self, message: Message) -> None:
        kind = message["t"]
        self._header_came = True
        self._beating = self._beating or kind == protocol.SYSTEM
        if kind in (protocol.SYSTEM, protocol.STEP):
            self._advance(message.get("time"))
        if kind in (protocol.STEP, protocol.MISSED):
            self._step(message)
        elif kind == protocol.STAGE:
            planned = message.get("sigmas")
            if len(self._loops) >= _MOST_LOOPS:
                self._loops.pop(next(iter(self._loops)))
            self._loops[_stage(message)] = _Loop(len(planned) if isinstance(planned, list | tuple) else 0)
            self._took.clear()
        elif kind == protocol.EVENT:
            self._event(message)

    def _advance(self, moment: object) -> None:
        if type(moment) is not float or not math.isfinite(moment):
            return
        if self._last is not None:
            by = max(0.0, moment - self._last)
            self._at += min(by, _LONGEST_BEAT) if self._beating else by
        self._last = moment

    def _step(self, message: Message) -> None:
        loop = self._loops.get(_stage(message))
        step, count = message.get("step", 0), message.get("count", 1)
        if loop is None or type(step) is not int or type(count) is not int:
            return
        if message["t"] == protocol.MISSED:
            loop.last = self._at
            return
        if step + count > loop.rows:  # not the other stream of the same step
            if loop.rows and count == 1:
                self._took.append(self._at - loop.last)
            loop.rows, loop.last = step + count, self._at

    def _event(self, message: Message) -> None:
        kind, payload = message.get("kind"), message.get("payload")
        if kind == "stage_end":
            self._loops.pop(_stage(message), None)
        elif kind == "shock" and isinstance(payload, dict) and isinstance(payload.get("sigmas"), list | tuple):
            if (loop := self._loops.get(_stage(message))) is not None:
                loop.planned = len(payload["sigmas"])
        elif kind == "control" and isinstance(payload, dict) and payload.get("command") == "stop":
            for loop in self._loops.values():  # what is left of the plan is not taken
                loop.over = loop.over or payload.get("accepted") is True


def _stage(message: Message) -> int:
    stage = message.get("stage")
    return stage if type(stage) is int else -1
