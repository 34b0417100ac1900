"""Records the calls of ltx-pipelines in one run: which loops belong to it, their shocks, and viewers' commands."""

from __future__ import annotations

import functools
import inspect
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from recorder.format.events import event, reason_of
from recorder.runners.lightricks import hook
from recorder.runners.lightricks.api import NAME, Api, is_pipeline
from recorder.runners.lightricks.described import call_description
from recorder.runners.lightricks.frames import Surroundings
from recorder.runners.lightricks.loop import LoopRecording
from recorder.runners.lightricks.shocked import StepShocks, not_exact
from recorder.runners.stop import GenerationStopped
from recorder.sampling.commands import TOO_LATE, AnswerCallback
from recorder.sampling.stages import Stages
from recorder.shocks.conductor import Conductor
from recorder.shocks.plan import PlanError
from recorder.shocks.spec import Shock

logger = logging.getLogger(__name__)

OBSERVER: Final = "_ltxtui_observer"
REPLACED: Final = (
    "another program has replaced a hook in ltx-pipelines, so this recording ends here; sampling is not affected. "
    "Begin the recording after that program has put its hooks"
)


class _Call:
    """One call of a pipeline. A viewer's `stop` sets `_interrupt`."""

    def __init__(self, number: int, pipe: Any, conductor: Conductor | None) -> None:
        self.number, self.pipe, self.conductor = number, pipe, conductor
        self.loops = 0
        self._interrupt = False

    @staticmethod
    def of(number: int, pipe: Any, conductor: Conductor | None) -> _Call:
        """A call that is named after its pipeline, since events name what was interrupted."""
        name = NAME if pipe is None else type(pipe).__name__
        made: _Call = type(name, (_Call,), {})(number, pipe, conductor)
        return made


class LightricksObserver:
    """Records the loops of some pipelines, or of everything that ltx-pipelines runs meanwhile."""

    def __init__(
        self,
        api: Api,
        stages: Stages,
        pipes: Sequence[Any] | None,
        conductor: Conductor | None,
    ) -> None:
        """`pipes` None is everything; `conductor` decides on shocks, and every call gets its own copy."""
        self._api, self._stages, self._lent = api, stages, conductor
        self._all = pipes is None
        self._pipes = list(pipes or ())
        self._lock = threading.Lock()
        self._calls: tuple[_Call, ...] = ()
        self._shocks: tuple[tuple[_Call, StepShocks | None, str], ...] = ()
        """Loops under way: their call, their shocks, and why they cannot be shocked."""
        self._lost = False
        self._composed = False
        """Loops have been seen though another program has put a hook over this one's: it passes calls on."""
        self._unwatch = hook.watch(api, self)
        for pipe in self._pipes:
            self._hook(pipe)

    def __deepcopy__(self, memo: dict[int, Any]) -> LightricksObserver:
        return self  # it holds threads and files

    def add(self, pipes: Sequence[Any] | None) -> None:
        """Record further pipelines, or everything (None)."""
        self._all = self._all or pipes is None
        for pipe in pipes or ():
            self._pipes.append(pipe)
            self._hook(pipe)

    # -- calls

    def _hook(self, pipe: Any) -> None:
        pipe.__dict__[OBSERVER] = self
        pipe.__class__ = _pipeline_class(type(pipe))  # type: ignore[arg-type]

    def call_begins(self, pipe: Any) -> Callable[[], None]:
        """A pipeline is called; returns what to call when it has returned."""
        if self._stages.book.off or self._call_of(pipe) is not None:
            return lambda: None  # a subclass calls its parent
        call = self._begin_call(pipe)

        def ends() -> None:
            self._end_call(call)
            if not call.loops:
                self._check_hooks()

        return ends

    def _begin_call(self, pipe: Any) -> _Call:
        call = _Call.of(self._stages.book.next_call(), pipe, self._lent.of_call() if self._lent is not None else None)
        with self._lock:
            self._calls = (*self._calls, call)
        self._stages.control.call_begins(call)
        return call

    def _end_call(self, call: _Call) -> None:
        with self._lock:
            self._calls = tuple(one for one in self._calls if one is not call)
        if call.conductor is not None:
            call.conductor.release(TOO_LATE)
        self._guard("a viewer's command", self._stages.control.call_ends, call)

    def _call_of(self, pipe: Any) -> _Call | None:
        return next((call for call in reversed(self._calls) if pipe is not None and call.pipe is pipe), None)

    # -- loops: what the hook calls

    def claims(self, around: Surroundings) -> bool:
        """Whether a loop belongs to this run."""
        if self._stages.book.off or self._lost:
            return False
        return self._all or any(around.pipe is pipe for pipe in self._pipes)

    def runs(self, inner: Callable[..., Any], arguments: dict[str, Any], around: Surroundings) -> Any:
        """Run a loop and record it. Raises what the loop raises, and ValueError for shocks that cannot act in it."""
        self._composed = self._composed or not hook.in_place()
        call = self._call_of(around.pipe)
        own = None if call is not None else self._begin_call(around.pipe)
        call = call or own
        assert call is not None
        try:
            return self._runs(call, inner, arguments, around)
        finally:
            if own is not None:
                self._end_call(own)

    def _runs(self, call: _Call, inner: Callable[..., Any], arguments: dict[str, Any], around: Surroundings) -> Any:
        try:
            shocks, reason = self._shocks_of(call, inner, arguments)
            call.loops += 1
            metadata = call_description(around.pipe, around.arguments)
            loop = LoopRecording(
                self._stages.sibling(),
                call,
                inner,
                dict(arguments),
                self._api.denoiser,
                dict(around.grids),
                metadata,
                self._guard,
                shocks,
            )
        except PlanError:
            raise
        except Exception as error:  # noqa: BLE001 - the generation continues without a recording
            self._stages.trouble("a loop of ltx-pipelines", error)
            return inner(**arguments)
        entry = (call, shocks, reason)
        with self._lock:
            self._shocks = (*self._shocks, entry)
        self._guard("a viewer's command", self._stages.control.loop_begins, (call,))
        try:
            return loop.run()
        finally:
            with self._lock:
                self._shocks = tuple(one for one in self._shocks if one is not entry)
            if call.conductor is not None:
                call.conductor.abandon(TOO_LATE)

    def _shocks_of(
        self, call: _Call, inner: Callable[..., Any], arguments: dict[str, Any]
    ) -> tuple[StepShocks | None, str]:
        """The shocks of a loop, or why it can have none. Raises PlanError if the first loop cannot be shocked."""
        conductor = call.conductor
        if conductor is None:
            return None, "shocks were not allowed when this recording began"
        reason = not_exact(inner, arguments.get("stepper"))
        levels = arguments["sigmas"].tolist()
        if not reason and levels[-1:] != [0.0]:
            reason = "its list of levels does not end with 0"
        if reason and conductor.wanted:
            if not conductor.lenient:
                raise PlanError(f"no shock can act here: {reason}")
            self._stages.put(
                event("warning", f"no shocks in this loop: {reason}", payload={"finding": "shocks-left-out"})
            )
        if reason:
            return None, reason
        streams = tuple(s for s in ("video", "audio") if arguments.get(f"{s}_state") is not None)
        return StepShocks(conductor, levels[:-1], streams), ""

    def request_shock(self, shock: Shock, answer: AnswerCallback) -> None:
        """Ask for a shock at the next step of the loop under way; called in the server's thread, waits for nothing."""
        under_way = self._shocks
        if not under_way:
            answer(False, "its denoising has not begun yet", {})
            return
        call, shocks, reason = under_way[-1]
        if shocks is None or call.conductor is None:
            answer(False, reason, {})
            return
        call.conductor.request(shock, answer)
        if under_way[-1] not in self._shocks:  # the loop has ended since
            call.conductor.abandon(TOO_LATE)

    @property
    def loop_under_way(self) -> bool:
        return bool(self._shocks)

    # -- the end

    def close(self) -> None:
        """Restore the pipelines and the hooks that are still this recording's own."""
        self._check_hooks()
        for pipe in self._pipes:
            self._unhook(pipe)
        self._unwatch()

    def remove(self, pipe: Any) -> None:
        """Record a pipeline no longer, and restore it."""
        self._pipes = [one for one in self._pipes if one is not pipe]
        self._unhook(pipe)

    def _unhook(self, pipe: Any) -> None:
        if pipe.__dict__.get(OBSERVER) is self:
            if issubclass(type(pipe), _HookedLightricksPipeline):
                pipe.__class__ = type(pipe).__mro__[1]
            pipe.__dict__.pop(OBSERVER, None)

    def _check_hooks(self) -> None:
        """Report, once, that another program has replaced a hook: what runs from here on is not seen."""
        if not (self._lost or self._composed or hook.in_place() or self._stages.book.off):
            self._lost = True
            logger.warning("%s", REPLACED)
            self._stages.put(event("warning", REPLACED, payload={"finding": "hook-replaced"}))

    def _guard(self, what: str, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function of the recorder whose failure must not reach the generation; a stop does reach it."""
        try:
            function(*arguments)
        except GenerationStopped:
            raise
        except Exception as error:
            stage = self._stages.book.position()[0]
            if self._stages.book.first(what, stage):
                text = f"{what} could not be recorded: {reason_of(error)}"
                logger.error("%s; the generation continues", text)
                logger.debug("%s", what, exc_info=error)
                self._stages.put(event("error", text, stage=stage))


class _HookedLightricksPipeline:
    """Mark of the class of a pipeline of ltx-pipelines that is recorded."""


@functools.cache
def _pipeline_class(cls: type[Any]) -> type[Any]:
    @functools.wraps(cls.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        observer: LightricksObserver | None = self.__dict__.get(OBSERVER)
        if observer is None:
            return cls.__call__(self, *args, **kwargs)
        ends = observer.call_begins(self)
        try:
            return cls.__call__(self, *args, **kwargs)
        finally:
            ends()

    same = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls, _HookedLightricksPipeline), {**same, "__call__": call})


def is_recorded(pipe: Any) -> bool:
    """Whether a pipeline of ltx-pipelines is being recorded."""
    return isinstance(pipe, _HookedLightricksPipeline)


def takes(pipe: Any) -> bool:
    """Whether something that `record` was given is recorded here: a pipeline of ltx-pipelines, or all of them."""
    if isinstance(pipe, str):
        if pipe != NAME:
            raise ValueError(f"there is no runner {pipe!r}; what can be recorded by name is {NAME!r}")
        return True
    return not inspect.isclass(pipe) and is_pipeline(pipe)
