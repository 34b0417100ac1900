"""Hooks into diffusers: pipelines and schedulers are given a subclass of their own class while a run is recorded.

A dynamic subclass keeps every result bit-identical and survives `copy.deepcopy(scheduler)`, by which the pipelines
make their audio scheduler; the copy learns in `__deepcopy__` that it is the audio stream. Names and signatures stay,
since diffusers inspects both (`retrieve_timesteps`, `save_config`).
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

OBSERVER = "_ltxtui_observer"
STREAM = "_ltxtui_stream"
SCHEDULER_NAMES = {"scheduler": "video", "audio_scheduler": "audio"}


@dataclass(frozen=True)
class SchedulerStep:
    """One `scheduler.step`: what went in, what came out, and the place in `scheduler.sigmas` it stepped from."""

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
    """What a hooked pipeline and its schedulers report to. None of these may raise."""

    def call_begins(self, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None: ...

    def call_ends(self, pipe: Any) -> None: ...

    def latents_prepared(self, pipe: Any, arguments: dict[str, Any], result: Any) -> None: ...

    def scheduler_joins(self, scheduler: Any, stream: str) -> None: ...

    def scheduler_hooked(self, scheduler: Any) -> None: ...

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
        observer: Observer = self.__dict__[OBSERVER]
        observer.call_begins(self, args, kwargs)
        try:
            return cls.__call__(self, *args, **kwargs)
        finally:
            observer.call_ends(self)

    methods: dict[str, Callable[..., Any]] = {"__call__": call}
    if hasattr(cls, "prepare_latents"):
        signature = inspect.signature(cls.prepare_latents)

        @functools.wraps(cls.prepare_latents)
        def prepare_latents(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = cls.prepare_latents(self, *args, **kwargs)
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            self.__dict__[OBSERVER].latents_prepared(self, dict(bound.arguments), result)
            return result

        methods["prepare_latents"] = prepare_latents
    return _subclass(cls, _HookedPipeline, methods)


@functools.cache
def _scheduler_class(cls: type[Any]) -> type[Any]:
    @functools.wraps(cls.set_timesteps)
    def set_timesteps(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = cls.set_timesteps(self, *args, **kwargs)
        self.__dict__[OBSERVER].schedule_set(self, self.__dict__[STREAM])
        return result

    @functools.wraps(cls.step)
    def step(self: Any, model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        # Read beforehand: at the end of its list the ancestral scheduler does not count on.
        index = self.step_index
        result = cls.step(self, model_output, timestep, sample, *args, **kwargs)
        if index is None:
            index = self.step_index - 1 if self.begin_index is None else self.begin_index
        after = result[0] if isinstance(result, tuple) else result.prev_sample
        per_token = kwargs.get("per_token_timesteps") is not None
        applied = getattr(self, "applied", None)
        seen = SchedulerStep(self, self.__dict__[STREAM], index, model_output, sample, after, per_token, applied)
        self.__dict__[OBSERVER].stepped(seen)
        return result

    def deepcopy(self: Any, memo: dict[int, Any]) -> Any:
        duplicate = self.__class__.__new__(self.__class__)
        memo[id(self)] = duplicate
        state = {k: v for k, v in self.__dict__.items() if k not in (OBSERVER, STREAM)}
        duplicate.__dict__.update(copy.deepcopy(state, memo))
        _report_to(duplicate, "audio", self.__dict__[OBSERVER])
        return duplicate

    return _subclass(cls, _HookedScheduler, {"set_timesteps": set_timesteps, "step": step, "__deepcopy__": deepcopy})


def _subclass(cls: type[Any], mark: type[Any], methods: dict[str, Callable[..., Any]]) -> type[Any]:
    same = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls, mark), {**same, **methods})


def is_hooked(pipe: Any) -> bool:
    """Whether a pipeline is being recorded."""
    return isinstance(pipe, _HookedPipeline)


def hook_pipeline(pipe: Any, observer: Observer) -> None:
    """Make a pipeline and its schedulers report to `observer`.

    Raises:
        RuntimeError: if the pipeline is being recorded already.
    """
    if is_hooked(pipe):
        raise RuntimeError(f"this {type(pipe).__name__} is being recorded already; end that recording first")
    pipe.__dict__[OBSERVER] = observer
    pipe.__class__ = _pipeline_class(type(pipe))  # type: ignore[arg-type]
    hook_schedulers(pipe, observer)


def hook_schedulers(pipe: Any, observer: Observer) -> None:
    """Hook whatever schedulers a pipeline has at the moment; called again before every call, as they get replaced."""
    for name, stream in SCHEDULER_NAMES.items():
        scheduler = getattr(pipe, name, None)
        if scheduler is not None:
            hook_scheduler(scheduler, stream, observer)


def hook_scheduler(scheduler: Any, stream: str, observer: Observer) -> None:
    """Make one scheduler report to `observer` as a stream."""
    if not isinstance(scheduler, _HookedScheduler):
        observer.scheduler_joins(scheduler, stream)
        scheduler.__class__ = _scheduler_class(type(scheduler))  # type: ignore[arg-type]
    _report_to(scheduler, stream, observer)


def _report_to(scheduler: Any, stream: str, observer: Observer) -> None:
    scheduler.__dict__.update({OBSERVER: observer, STREAM: stream})
    observer.scheduler_hooked(scheduler)


def unhook(pipe: Any) -> None:
    """Give a pipeline and its present schedulers their own classes back."""
    for name in SCHEDULER_NAMES:
        if (scheduler := getattr(pipe, name, None)) is not None:
            unhook_scheduler(scheduler)
    if isinstance(pipe, _HookedPipeline):
        pipe.__class__ = type(pipe).__mro__[1]
        del pipe.__dict__[OBSERVER]


def unhook_scheduler(scheduler: Any) -> None:
    """Give a scheduler its own class back."""
    if isinstance(scheduler, _HookedScheduler):
        scheduler.__class__ = type(scheduler).__mro__[1]
    for name in (OBSERVER, STREAM):
        scheduler.__dict__.pop(name, None)


def watch_model(
    model: Any, before: Callable[[dict[str, Any]], None], after: Callable[[dict[str, Any], Any], None]
) -> Callable[[], None]:
    """Report the keyword arguments of every call of a model, and then its result; returns what ends that.

    A module that was compiled in place would have its hooks compiled with it, and with `fullgraph` would fail on
    them: such a one is watched around the compiled call.
    """
    compiled = model.__dict__.get("_compiled_call_impl")
    if compiled is None:
        begins = model.register_forward_pre_hook(lambda module, args, kwargs: before(kwargs), with_kwargs=True)
        ends = model.register_forward_hook(lambda module, args, kwargs, out: after(kwargs, out), with_kwargs=True)

        def remove() -> None:
            begins.remove()
            ends.remove()

        return remove

    def watched(*args: Any, **kwargs: Any) -> Any:
        before(kwargs)
        result = compiled(*args, **kwargs)
        after(kwargs, result)
        return result

    model._compiled_call_impl = watched

    def restore() -> None:
        model._compiled_call_impl = compiled

    return restore
