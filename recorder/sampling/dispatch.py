"""Assigns what the hooks report to the pipeline call it belongs to, so that concurrent calls are kept apart.

Hooks run in the thread that calls them, so a context variable names the call: each thread and asyncio task has its own
value, and nested calls keep it. If a pipeline steps or calls its model in its own threads, which have no context,
the scheduler is known to belong to a call, and a model call is assigned to the only user of the model.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from typing import Any

from recorder.format.events import event
from recorder.sampling import decoder_calls, hooks
from recorder.sampling.commands import AnswerCallback, Position
from recorder.sampling.observer import CallObserver
from recorder.sampling.stages import Stages
from recorder.shocks.conductor import Conductor
from recorder.shocks.spec import Shock

logger = logging.getLogger(__name__)

_here: ContextVar[CallObserver | None] = ContextVar("ltxtui_call", default=None)
"""The call under way in this context, of any run."""


class SamplingObserver(hooks.Observer):
    """Receives the reports of one run's hooks; never raises into the generation."""

    def __init__(self, stages: Stages, conductor: Conductor | None = None) -> None:
        """`conductor` decides on shocks; every call gets its own copy."""
        self._stages = stages
        self._lent = conductor
        # Replaced and never changed in place, so that any thread may read it.
        self._calls: tuple[CallObserver, ...] = ()
        self._lock = threading.Lock()
        self.schedulers = _Remembered()

    def __deepcopy__(self, memo: dict[int, Any]) -> SamplingObserver:
        return self  # it holds threads and files, and both copies of a scheduler report to the same run

    # -- what the hooks call

    def call_begins(self, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], None]:
        if self._stages.book.off:
            return _nothing
        control, outer = self._stages.control, _here.get()
        control.call_begins(pipe)
        if outer is not None and outer.over:  # a thread that was started in a call, and has outlived it
            outer = None
        lent = self._lent.of_call() if self._lent is not None else None
        call = CallObserver(self._stages.sibling(), pipe, outer, lent)
        with self._lock:
            others, self._calls = self._calls, (*self._calls, call)
        token = _here.set(call)
        call.guard("the beginning of a call", self._call_begins, call, others, args, kwargs, vital=True)
        return lambda: self._call_ends(call, token)

    def _call_begins(
        self, call: CallObserver, others: tuple[CallObserver, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        for other in others:
            if other.pipe is call.pipe:
                _in_conflict(call, other, f"this {type(call.pipe).__name__}", "called")

        def watch(model: Any) -> Callable[[], None]:
            return hooks.watch_model(
                model,
                lambda arguments: self._model_begins(call, model, arguments),
                lambda arguments, result: self._model_ends(call, model, arguments, result),
            )

        call.begin(self, watch, args, kwargs)

        def watch_decoder(decoder: Any) -> Callable[[], None]:
            return decoder_calls.watch_decoder(decoder, lambda *decode: self._decoded(call, decoder, *decode))

        call.guard("the colours of a model", call.watch_decoder, watch_decoder)

    def _call_ends(self, call: CallObserver, token: Token[CallObserver | None]) -> None:
        _here.reset(token)
        with self._lock:
            self._calls = tuple(c for c in self._calls if c is not call)
        if not self._stages.book.off:
            call.guard("the end of a call", call.end)
            call.guard("a viewer's command", self._stages.control.call_ends, call.pipe)

    def scheduler_joins(self, scheduler: Any, stream: str) -> None:
        if self._lent is None:
            return
        from recorder.shocks.scheduler import lend_shocks  # imports diffusers, which a custom loop may lack

        try:
            lend_shocks(scheduler, self._lent, stream)
        except ValueError as error:
            if self._lent.wanted:
                text = f"no shocks in this call: {error}"
                logger.warning("%s", text)
                self._stages.put(event("warning", text, payload={"finding": "shocks-left-out"}))

    def scheduler_hooked(self, scheduler: Any) -> None:
        self.schedulers.add(scheduler)

    def scheduler_copied(self, scheduler: Any, duplicate: Any) -> None:
        call = self._call_here() or _owner(scheduler) or self._sole(lambda c: _has(c.pipe, scheduler))
        if call is not None:
            duplicate.__dict__[hooks.ORIGIN] = call

    # Outside a call, and after one was given up, reports of a scheduler that others use too are ignored.

    def latents_prepared(self, pipe: Any, arguments: dict[str, Any], result: Any) -> None:
        call = self._call_here() or self._sole(lambda c: c.pipe is pipe)
        if call is not None and call.pipe is pipe and call.prepared and not call.given_up:
            call.guard("the layout of a clip", call.latents_prepared, arguments, result, vital=True)

    def schedule_set(self, scheduler: Any, stream: str) -> None:
        here, owner = self._call_here(), _owner(scheduler)
        call = here or owner or self._sole(lambda c: _has(c.pipe, scheduler)) or _owner(scheduler, hooks.ORIGIN)
        if call is None:
            return
        if owner is not None and (call is not owner or (here is None and owner.calls_itself)):
            _in_conflict(here, owner, "its scheduler", "given another schedule")
        scheduler.__dict__[hooks.OWNER] = call
        if not call.given_up:
            call.guard("a schedule", call.schedule_set, scheduler, stream, vital=True)
        for other in self._calls if call.conductor is not None else ():
            if other is not call and other.conductor is call.conductor and not other.over:
                _in_conflict(call, other, "its ShockScheduler, or a copy of it,", "given another schedule")
        if stream == "video":
            call.guard("a viewer's command", self._stages.control.loop_begins, call.pipes)

    def stepped(self, step: hooks.SchedulerStep) -> None:
        if self._stages.book.off:
            return
        here, owner = self._call_here(), _owner(step.scheduler)
        call = owner or here or _owner(step.scheduler, hooks.ORIGIN)
        if call is None:
            return
        if here is not None and here is not call:
            _in_conflict(here, call, "its scheduler", "stepped")
        if not call.given_up and step.stream in call.streams:
            call.guard(f"a step of {step.stream}", call.stepped, step)
        call.guard("a viewer's command", self._stages.control.stepped, call.pipe, call.position())

    def _model_begins(self, call: CallObserver, model: Any, arguments: dict[str, Any]) -> None:
        own = self._is_of(call, model)
        if own is not None and not call.given_up and not self._stages.captured():
            call.guard("the layout of a clip", call.model_begins, arguments, vital=own)

    def _model_ends(self, call: CallObserver, model: Any, arguments: dict[str, Any], result: Any) -> None:
        of_call = self._is_of(call, model) is not None
        if of_call and call.passes_known and not call.given_up and not self._stages.captured():
            call.guard("a guidance pass", call.model_ends, arguments, result)

    def _decoded(self, call: CallObserver, decoder: Any, *decode: Any) -> None:
        here = self._call_here()
        if here is None:
            here = self._sole(lambda c: getattr(c.pipe, "vae", None) is decoder)
        if here is call and not call.given_up and not self._stages.captured():
            call.guard("a decoded clip", call.decoded, decoder, *decode)

    def request_shock(self, shock: Shock, answer: AnswerCallback) -> None:
        """Ask for a shock at the next step of every loop under way; called in the server's thread, waits for nothing.

        The first loop that accepts it answers; it is refused if none can.
        """
        calls = tuple(c for c in self._calls if c.conductor is not None) or self._calls
        if not calls:
            answer(False, "its denoising has not begun yet", {})
        votes = _Votes(answer, len(calls))
        for call in calls:
            call.shock(shock, votes.of(call))

    def close(self) -> None:
        """End the stages that are open and release the models; calls of other threads may still be under way."""
        with self._lock:
            calls, self._calls = self._calls, ()
        for call in calls:
            if call.thread != threading.get_ident() and call.loop_under_way:
                call.give_up("the recording ends while a call in another thread is under way; its rest is not recorded")
            call.guard("the end of a call", call.end)

    # -- the call of a report

    def _call_here(self) -> CallObserver | None:
        """The call of this run that is under way in this context."""
        call = _here.get()
        return call if call is not None and not call.over and call in self._calls else None

    def _sole(self, fits: Callable[[CallObserver], bool]) -> CallObserver | None:
        """The only matching call under way; None inside a call, where the context decides."""
        here = _here.get()
        found = [c for c in self._calls if fits(c)] if here is None or here.over else []
        return found[0] if len(found) == 1 else None

    def _is_of(self, call: CallObserver, model: Any) -> bool | None:
        """True if a call itself calls the model, False if a thread of the call does, None if others do.

        A thread without context belongs to the call if no other call uses the model and the call itself never does.
        """
        if self._call_here() is call:
            if not call.calls_itself:
                call.calls_itself = True
                call.guard("the layout of a clip", call.forget_model_calls)
            return True
        if call.calls_itself or self._sole(lambda c: getattr(c.pipe, "transformer", None) is model) is not call:
            return None
        return False


def _in_conflict(call: CallObserver | None, other: CallObserver, what: str, done: str) -> None:
    """Two calls share an object that cannot be shared. Of nested calls in one thread the inner one is recorded on."""
    if call is not None and call.thread == other.thread:
        other.give_up(f"{what} was {done} inside a call of it; the rest of the outer call is not recorded")
        return
    for one in (other, call):
        if one is not None:
            one.give_up(
                f"{what} was {done} in one thread while another thread's call of it is under way; diffusers cannot "
                "keep them apart, so neither is recorded from here on: give every thread a pipeline with its own "
                "scheduler (models may be shared)"
            )


def _owner(scheduler: Any, by: str = hooks.OWNER) -> CallObserver | None:
    """The call under way that a scheduler is known to belong to."""
    owner = scheduler.__dict__.get(by)
    return owner if isinstance(owner, CallObserver) and not owner.over else None


def _has(pipe: Any, scheduler: Any) -> bool:
    return any(getattr(pipe, name, None) is scheduler for name in hooks.SCHEDULER_NAMES)


def _nothing() -> None:
    """In a forked child."""


class _Votes:
    """One answer to a request that went to several calls: the first that accepts, or the last that refuses."""

    def __init__(self, answer: AnswerCallback, count: int) -> None:
        self._answer = answer
        self._open = count
        self._lock = threading.Lock()

    def of(self, call: CallObserver) -> AnswerCallback:
        def vote(accepted: bool, text: str, payload: dict[str, Any], where: Position | None = None, /) -> None:
            with self._lock:
                self._open -= 1
                last = self._open == 0
            if accepted or last:
                self._answer(accepted, text, payload, where or call.position())

        return vote


class _Remembered:
    """Weakly held objects; iterates over a snapshot, so that other threads may add more."""

    def __init__(self) -> None:
        self._held: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()

    def add(self, thing: Any) -> None:
        with self._lock:
            self._held.add(thing)

    def __iter__(self) -> Iterator[Any]:
        with self._lock:
            return iter(list(self._held))
