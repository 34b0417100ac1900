"""Holds the plan of the loop under way, and decides what is unknown beforehand: the critical phase, live requests.

The video's scheduler and the audio's share one conductor, so that both arrive at the same levels and a decision that
one of them meets first holds for the other too.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from recorder.format import protocol, sigma_math
from recorder.metrics.critical_phase import CriticalPhaseDetector
from recorder.shocks import plan as planning
from recorder.shocks import plan_warnings, replan
from recorder.shocks.action import ShockAction
from recorder.shocks.noise import TokenInfo
from recorder.shocks.plan import Plan, PlanError
from recorder.shocks.spec import CRITICAL, EVERY, Shock

logger = logging.getLogger(__name__)

Reply = Callable[[bool, str, dict[str, Any]], None]
"""Called once with whether a requested shock was accepted, a text, and details."""


@dataclass
class _Begun:
    """How many loops have been planned in the calls of a run."""

    loops: int = 0


class Conductor:
    """Shocks of one pipeline's loops, one loop after the other; calls at the same time have one each, see `of_call`."""

    def __init__(self, shocks: Sequence[Shock] = (), sigmas: Sequence[float] | None = None) -> None:
        """`sigmas` is a σ list of one's own, instead of the scheduler's."""
        self.shocks = tuple(shocks)
        self.sigmas = None if sigmas is None else tuple(sigmas)
        self.notice: Callable[[str], None] = logger.warning
        """Called with one line on each shock that did not act."""
        self._begun_before = _Begun()
        self.where: dict[str, TokenInfo] = {}
        """Grid and conditioning by stream, as far as they are known."""
        self.plan: Plan | None = None
        self.critical_sigma: float | None = None
        """Where the critical phase was found in this loop, if a shock waited for it."""
        self.critical_confidence: float | None = None
        """How sure it was that this is a peak of the rate; whether a larger one follows is not known then."""
        self._requests: deque[tuple[Shock, Reply]] = deque()
        self._live = 0
        self._begun: dict[str, tuple[float, ...]] = {}
        self._stepped: dict[str, int] = {}
        self._forget()

    def of_call(self) -> Conductor:
        """A conductor of the same shocks for one call, apart from other calls that are under way."""
        made = Conductor(self.shocks, self.sigmas)
        made._begun_before = self._begun_before
        return made

    @property
    def lenient(self) -> bool:
        """From the second loop of a run on a shock that is beyond its schedule is left out, and not an error."""
        return self._begun_before.loops > 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Conductor:
        return self  # both copies of a scheduler are in one loop

    def _forget(self) -> None:
        self._phase = CriticalPhaseDetector()
        self._last: tuple[float, Tensor] | None = None

    def begin(self, native: Sequence[float], stream: str) -> Plan:
        """Plan a loop on its native schedule; called by both schedulers of a loop, in either order.

        Raises:
            PlanError: if a shock cannot act there, or video and audio are on different schedules.
        """
        native = tuple(self.sigmas or native)
        joins = self.plan is not None and not self._stepped and stream not in self._begun
        if joins and self.plan is not None and native in self._begun.values():
            self._begun[stream] = native
            return self.plan
        if joins and self.shocks:
            raise PlanError("video and audio are on different schedules; shocks need one that both share")
        self._begun, self._stepped = {stream: native}, {}
        self.critical_sigma = self.critical_confidence = None
        self._forget()
        self.plan = self._planned(native, self._begun_before.loops + 1)
        self._begun_before.loops += 1
        return self.plan

    def _planned(self, native: Sequence[float], stage: int) -> Plan:
        if not self.lenient:
            made = planning.plan(native, self.shocks, stage)
        else:
            left_out: set[int] = set(range(len(self.shocks)))
            made = planning.plan(native, ())
            for number in range(len(self.shocks)):
                try:
                    made = planning.plan(native, self.shocks, stage, left_out - {number})
                    left_out.discard(number)
                except PlanError as error:
                    self.notice(f"left out in this loop: {error}")
        return made

    @property
    def wanted(self) -> bool:
        """True if anything but the native schedule was requested beforehand."""
        return bool(self.shocks or self.sigmas)

    def as_metadata(self) -> dict[str, Any]:
        """What a stage keeps of its shocks; nothing if the schedule is the native one."""
        made = self.plan
        if made is None or not self.wanted:
            return {}
        return {
            "shocks": {
                "shocks": [s.as_dict() for s in self.shocks],
                "sigmas": None if self.sigmas is None else list(self.sigmas),
                "native": list(made.native),
                "actions": [a.as_dict() for a in made.actions],
                "warnings": list(made.warnings),
            }
        }

    def details(self, action: ShockAction) -> dict[str, Any]:
        """The payload for an action that was decided in the run: how it was decided, and its warnings."""
        live = action.number >= len(self.shocks)
        if self.plan is None or not (live or action.shock.at == CRITICAL):
            return {}
        told = {"cautions": plan_warnings.of_shock(action.shock, [action], self.plan.native)}
        if live:
            return {"live": True, **told}
        return {"critical_sigma": self.critical_sigma, "critical_confidence": self.critical_confidence, **told}

    def describe(self, action: ShockAction) -> str:
        """The text of an event about an action: the action itself, and the confidence of the peak that it follows."""
        if action.shock.at != CRITICAL or self.critical_sigma is None or self.critical_confidence is None:
            return action.describe()
        peak = f"the change of x0 peaked at σ {self.critical_sigma:.4g}, {self.critical_confidence:.1%} sure"
        return f"{action.describe()}; {peak}; a larger peak may follow"

    # -- live requests, from another thread

    def request(self, shock: Shock, answer: Reply) -> None:
        """Ask for a shock at the next step; `answer` is called once, from the sampling thread."""
        self._requests.append((shock, answer))

    def abandon(self, reason: str) -> None:
        """Refuse what is still asked for; the loop has ended."""
        with contextlib.suppress(IndexError):  # two threads may empty it
            while True:
                _, answer = self._requests.popleft()
                answer(False, reason, {})

    def release(self, reason: str) -> None:
        """The call has ended: refuse what is still asked for, and send notices to the log."""
        self.abandon(reason)
        self.notice = logger.warning

    # -- in the loop

    def arriving(self, index: int, stream: str, sample: Tensor, velocity: Tensor) -> ShockAction | None:
        """What acts on a stream at the end of the step that begins at row `index`; decides what is open.

        A wait for the device happens here in every step of the video while a shock waits for the critical phase, and
        at no other time.
        """
        assert self.plan is not None
        first = all(self._stepped.get(s) != index for s in protocol.STREAMS)
        self._stepped[stream] = index
        if stream == "video" and (self.plan.waiting is not None or self._requests):
            self._decide(index, first, sample, velocity)
        # A bump is an ordinary step on a σ list that rises.
        return next((a for a in self.plan.at(index + 1, stream) if a.shock.kind != "sigma_bump"), None)

    def marks(self, index: int, stream: str) -> ShockAction | None:
        """The action of any kind at the end of row `index`, for the record."""
        assert self.plan is not None
        found = self.plan.at(index + 1, stream)
        return found[0] if found else None

    def _decide(self, index: int, first: bool, sample: Tensor, velocity: Tensor) -> None:
        assert self.plan is not None
        while self._requests:
            shock, answer = self._requests.popleft()
            if not first:
                answer(False, "this pipeline steps audio before video, so nothing can be decided in between", {})
                continue
            self._fire_live(index, shock, answer)
        if self.plan.waiting is None:
            return
        number, shock = self.plan.waiting
        if not first:
            self._give_up("this pipeline steps audio before video, so nothing can be decided in between")
            return
        sigma = self.plan.sigmas[index]
        shocked = any(a.shock.at != EVERY for a in self.plan.at(index, "video"))
        found = self._phase.take(index, sigma, self._change_rate(sigma, sample, velocity), shocked=shocked)
        peak = next((f for f in found if f.notion == "x0_rate_peak"), None)
        if peak is not None:
            self.critical_sigma, self.critical_confidence = peak.sigma, peak.confidence
            try:
                self.plan = replan.fired(self.plan, index + 1, shock, number, peak.sigma)
            except PlanError as error:
                self._give_up(str(error))
        elif index + 1 >= len(self.plan.sigmas) - self.plan.spare:
            self._give_up("no peak of the rate at which x0 changes stood out from its noise in time")

    def _give_up(self, reason: str) -> None:
        assert self.plan is not None and self.plan.waiting is not None
        spare = self.plan.spare
        more = f"; its {spare} spare evaluation{'s are' if spare > 1 else ' is'} spent on smooth steps" if spare else ""
        self.notice(f"{self.plan.waiting[1].describe()}: did not fire: {reason}{more}")
        self.plan = replan.given_up(self.plan)
        self._last = None

    def _fire_live(self, index: int, shock: Shock, answer: Reply) -> None:
        assert self.plan is not None
        number = len(self.shocks) + self._live
        try:
            if shock.at == CRITICAL:
                raise PlanError("live shocks take effect at the next step; they cannot wait for the critical phase")
            shock = replan.settled(shock, self.plan.native_step(index + 1))
            self.plan = replan.fired(self.plan, index + 1, shock, number, None)
        except ValueError as error:
            answer(False, str(error), {})
            return
        self._live += 1
        action = self.plan.at(index + 1)[-1]
        answer(True, action.describe(), {**action.as_dict(), "live": True})

    def _change_rate(self, sigma: float, sample: Tensor, velocity: Tensor) -> float:
        """The metric `x0_change_rate` of the tokens that are generated, mean over the batch; waits for the device."""
        x0 = sample.float() - sigma * velocity.float()
        last, self._last = self._last, (sigma, x0)
        if last is None or last[0] == sigma:
            return math.nan
        change = (x0 - last[1]).square()
        where = self.where.get("video", TokenInfo())
        if where.grid is not None and x0.ndim == 3:
            change = change[:, : math.prod(where.grid)]
        free = where.free_of(x0)
        if free is not None:
            whole = (free[:, : change.shape[1]] == 1).float().expand_as(change)
            squares = (change * whole).flatten(1).sum(dim=1) / whole.flatten(1).sum(dim=1)
        else:
            squares = change.flatten(1).mean(dim=1)
        return float(squares.sqrt().mean()) / abs(sigma_math.log_snr(sigma) - sigma_math.log_snr(last[0]))


@dataclass(frozen=True)
class Applied:
    """A shock that the last step applied to a stream; `fresh` is the noise in the sample, None for a `sigma_bump`."""

    action: ShockAction
    fresh: Tensor | None


class StreamState:
    """What a shocked scheduler carries besides its own state; a deep copy of it is the audio's."""

    def __init__(self, conductor: Conductor, stream: str = "video") -> None:
        self.conductor = conductor
        self.stream = stream
        self.plan: Plan | None = None
        """The plan whose levels the scheduler holds."""
        self.applied: Applied | None = None
        self.lent = False
        """The scheduler is a ShockScheduler only while it is recorded."""

    @property
    def where(self) -> TokenInfo:
        return self.conductor.where.get(self.stream, TokenInfo())

    def __deepcopy__(self, memo: dict[int, Any]) -> StreamState:
        # The pipelines make their audio scheduler by copying the video's.
        copied = StreamState(self.conductor, "audio")
        copied.plan, copied.lent = self.plan, self.lent
        return copied


def entrust(scheduler: Any, conductor: Conductor, stream: str) -> None:
    """Give the shocks of a lent scheduler to a call's conductor; a ShockScheduler of the user keeps its own.

    A copy that was made of such a scheduler becomes the stream that it is used for.
    """
    state = getattr(scheduler, "_shocked", None)
    if isinstance(state, StreamState) and state.lent:
        scheduler._shocked = StreamState(conductor, stream)
        scheduler._shocked.lent = True


def conductor_of(scheduler: Any) -> Conductor | None:
    """The conductor of a scheduler's shocks; None if it is not a ShockScheduler."""
    state = getattr(scheduler, "_shocked", None)
    return state.conductor if isinstance(state, StreamState) else None
