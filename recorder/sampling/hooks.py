"""Hooks into diffusers: while a run is recorded, pipelines and schedulers have a subclass of their class.

A dynamic subclass keeps every result bit-identical and survives `copy.deepcopy(scheduler)`, by which the pipelines
make their audio scheduler; the copy learns in `__deepcopy__` that it is the audio stream. Names and signatures stay,
since diffusers inspects both (`retrieve_timesteps`, `save_config`).

A shocked scheduler changes its class twice: `Observer.scheduler_joins` first lends it the class that injects noise
(`recorder.shocks.scheduler.lend_shocks`), then `hook_scheduler` derives the hooked class from that. In this order the
hook sees the step with its shock, and undoing the hook leaves the lent class to be taken back.

A recording may end while a hooked method runs in another thread; then there is no observer to report to.
"""

from __future__ import annotations

import copy
import functools
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from recorder.sampling.model_calls import watch_model as watch_model

OBSERVER = "_ltxtui_observer"
STREAM = "_ltxtui_stream"
OWNER = "_ltxtui_owner"
"""The call that has set a scheduler's schedule."""
ORIGIN = "_ltxtui_origin"
"""The call that a scheduler was copied in, if known."""
_OURS = (OBSERVER, STREAM, OWNER, ORIGIN)
SCHEDULER_NAMES = {"scheduler": "video", "audio_scheduler": "audio"}


@dataclass(frozen=True)
class SchedulerStep:
    """One `scheduler.step`: its inputs, its result, and the index in `scheduler.sigmas` that it stepped from."""

    scheduler: Any
    stream: str
    index: int
    velocity: Tensor
    sample: Tensor
    result: Tensor
    per_token: bool
    applied: Any = None
    """The shock that the step ended with, a `recorder.shocks.scheduler.Applied`."""


class Observer(Protocol):
    """Receives the reports of a hooked pipeline and its schedulers. No method may raise."""

    def call_begins(self, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], None]:
        """Returns the function to call, in the same thread, when the call has ended."""
        ...

    def latents_prepared(self, pipe: Any, arguments: dict[str, Any], result: Any) -> None: ...

    def scheduler_joins(self, scheduler: Any, stream: str) -> None: ...

    def scheduler_hooked(self, scheduler: Any) -> None: ...

    def scheduler_copied(self, scheduler: Any, duplicate: Any) -> None: ...

    def schedule_set(self, scheduler: Any, stream: str) -> None: ...

    def stepped(self, step: SchedulerStep) -> None: ...


class _HookedPipeline:
    """Mark of a hooked pipeline's class."""


class _HookedScheduler:
    """Mark of a hooked scheduler's class."""


@functools.cache
def _pipeline_class(cls: type[Any]) -> type[Any]:
    @functools.wraps(cls.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        observer: Observer | None = self.__dict__.get(OBSERVER)
        if observer is None:
            return cls.__call__(self, *args, **kwargs)
        ends = observer.call_begins(self, args, kwargs)
        try:
            return cls.__call__(self, *args, **kwargs)
        finally:
            ends()

    methods: dict[str, Callable[..., Any]] = {"__call__": call}
    if hasattr(cls, "prepare_latents"):
        signature = inspect.signature(cls.prepare_latents)

        @functools.wraps(cls.prepare_latents)
        def prepare_latents(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = cls.prepare_latents(self, *args, **kwargs)
            observer: Observer | None = self.__dict__.get(OBSERVER)
            if observer is not None:
                bound = signature.bind(self, *args, **kwargs)
                bound.apply_defaults()
                observer.latents_prepared(self, dict(bound.arguments), result)
            return result

        methods["prepare_latents"] = prepare_latents
    return _subclass(cls, _HookedPipeline, methods)


@functools.cache
def _scheduler_class(cls: type[Any]) -> type[Any]:
    @functools.wraps(cls.set_timesteps)
    def set_timesteps(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = cls.set_timesteps(self, *args, **kwargs)
        observer: Observer | None = self.__dict__.get(OBSERVER)
        if observer is not None:
            observer.schedule_set(self, self.__dict__.get(STREAM, "video"))
        return result

    @functools.wraps(cls.step)
    def step(self: Any, model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        # Read first: at the end of its list the ancestral scheduler does not advance its index.
        index = self.step_index
        result = cls.step(self, model_output, timestep, sample, *args, **kwargs)
        observer: Observer | None = self.__dict__.get(OBSERVER)
        if observer is None:
            return result
        if index is None:
            index = self.step_index - 1 if self.begin_index is None else self.begin_index
        after = result[0] if isinstance(result, tuple) else result.prev_sample
        per_token = kwargs.get("per_token_timesteps") is not None
        applied = getattr(self, "applied", None)
        stream = self.__dict__.get(STREAM, "video")
        observer.stepped(SchedulerStep(self, stream, index, model_output, sample, after, per_token, applied))
        return result

    def deepcopy(self: Any, memo: dict[int, Any]) -> Any:
        duplicate = self.__class__.__new__(self.__class__)
        memo[id(self)] = duplicate
        observer: Observer | None = self.__dict__.get(OBSERVER)
        duplicate.__dict__.update(copy.deepcopy({k: v for k, v in self.__dict__.items() if k not in _OURS}, memo))
        if observer is None:
            unhook_scheduler(duplicate)
        else:
            _report_to(duplicate, "audio", observer)
            observer.scheduler_copied(self, duplicate)
        return duplicate

    return _subclass(cls, _HookedScheduler, {"set_timesteps": set_timesteps, "step": step, "__deepcopy__": deepcopy})


def _subclass(cls: type[Any], mark: type[Any], methods: dict[str, Callable[..., Any]]) -> type[Any]:
    same = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls, mark), {**same, **methods})


_hooking = threading.Lock()


def is_hooked(pipe: Any) -> bool:
    """Whether a pipeline is being recorded."""
    return isinstance(pipe, _HookedPipeline)


def hook_pipeline(pipe: Any, observer: Observer) -> None:
    """Make a pipeline and its schedulers report to `observer`.

    Raises:
        RuntimeError: if the pipeline, or a scheduler of it, is being recorded already; nothing is hooked then.
    """
    with _hooking:
        if is_hooked(pipe):
            raise RuntimeError(f"this {type(pipe).__name__} is being recorded already; end that recording first")
        check_schedulers(pipe, observer)
        pipe.__dict__[OBSERVER] = observer
        pipe.__class__ = _pipeline_class(type(pipe))  # type: ignore[arg-type]
    hook_schedulers(pipe, observer)


def check_schedulers(pipe: Any, observer: Observer) -> None:
    """Refuse schedulers that report to another observer: one object cannot be in two runs.

    Raises:
        RuntimeError: if there is one.
    """
    for name in SCHEDULER_NAMES:
        scheduler = getattr(pipe, name, None)
        if isinstance(scheduler, _HookedScheduler) and scheduler.__dict__.get(OBSERVER, observer) is not observer:
            raise RuntimeError(
                f"the {name} of this {type(pipe).__name__} is being recorded already, as a part of another pipeline; "
                "end that recording first, or give each pipeline its own scheduler"
            )


def hook_schedulers(pipe: Any, observer: Observer) -> None:
    """Hook the current schedulers of a pipeline; called before every call, since they may be replaced.

    Raises:
        RuntimeError: as `check_schedulers`.
    """
    with _hooking:
        check_schedulers(pipe, observer)
        for name, stream in SCHEDULER_NAMES.items():
            scheduler = getattr(pipe, name, None)
            if scheduler is not None:
                hook_scheduler(scheduler, stream, observer)


def hook_scheduler(scheduler: Any, stream: str, observer: Observer) -> None:
    """Make one scheduler report to `observer` as a stream."""
    if not isinstance(scheduler, _HookedScheduler):
        # Shocks are planned twice: for the warnings, before weights are loaded, and in `set_timesteps`, on the real σ.
        # The class is swapped twice, in this order: `lend_shocks` makes it a ShockScheduler, and the hooked class is
        # derived from that one, so that the step that is observed includes the shock.
        observer.scheduler_joins(scheduler, stream)
        scheduler.__class__ = _scheduler_class(type(scheduler))  # type: ignore[arg-type]
    _report_to(scheduler, stream, observer)


def _report_to(scheduler: Any, stream: str, observer: Observer) -> None:
    scheduler.__dict__.update({OBSERVER: observer, STREAM: stream})
    observer.scheduler_hooked(scheduler)


def stepping_class(scheduler: Any) -> type[Any]:
    """The class whose `step` a scheduler takes, whether it is hooked or not."""
    classes = [c for c in type(scheduler).__mro__ if _HookedScheduler not in c.__bases__]
    return next((c for c in classes if "step" in vars(c)), type(scheduler))


def unhook(pipe: Any) -> None:
    """Restore the classes of a pipeline and its current schedulers."""
    observer = pipe.__dict__.get(OBSERVER)
    for name in SCHEDULER_NAMES:
        scheduler = getattr(pipe, name, None)
        if scheduler is not None and scheduler.__dict__.get(OBSERVER) is observer:
            unhook_scheduler(scheduler)
    if isinstance(pipe, _HookedPipeline):
        pipe.__class__ = type(pipe).__mro__[1]
        pipe.__dict__.pop(OBSERVER, None)


def release(pipe: Any, observer: Observer) -> None:
    """Restore a pipeline and its current schedulers if they still report to this observer."""
    for name in SCHEDULER_NAMES:
        if (scheduler := getattr(pipe, name, None)) is not None:
            release_scheduler(scheduler, observer)
    if pipe.__dict__.get(OBSERVER) is observer:
        unhook(pipe)
        pipe.__dict__.pop(OBSERVER, None)


def release_scheduler(scheduler: Any, observer: Observer) -> None:
    """Restore a scheduler if it still reports to this observer."""
    if scheduler.__dict__.get(OBSERVER) is observer:
        unhook_scheduler(scheduler)


def unhook_scheduler(scheduler: Any) -> None:
    """Restore the class of a scheduler."""
    if isinstance(scheduler, _HookedScheduler):
        scheduler.__class__ = type(scheduler).__mro__[1]
    for name in _OURS:
        scheduler.__dict__.pop(name, None)
