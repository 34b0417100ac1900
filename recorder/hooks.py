"""Hooks into diffusers: pipelines and schedulers are given a subclass of their own class while a run is recorded.

A dynamic subclass keeps every result bit-identical and survives `copy.deepcopy(scheduler)`, by which LTX2Pipeline
makes its audio scheduler; the copy learns in `__deepcopy__` that it is the audio stream. Names and signatures stay,
since diffusers inspects both (`retrieve_timesteps`, `save_config`).
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, Protocol

OBSERVER = "_ltxtui_observer"
STREAM = "_ltxtui_stream"
SCHEDULER_NAMES = {"scheduler": "video", "audio_scheduler": "audio"}


class Observer(Protocol):
    """What a hooked pipeline and its schedulers report to. None of these may raise."""

    def call_begins(self, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None: ...

    def call_ends(self, pipe: Any) -> None: ...

    def schedule_set(self, scheduler: Any, stream: str) -> None: ...

    def stepped(
        self, scheduler: Any, stream: str, model_output: Any, timestep: Any, sample: Any, result: Any
    ) -> None: ...


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

    original_set: Any = cls.__setattr__

    def set_attribute(self: Any, name: str, value: Any) -> None:
        original_set(self, name, value)
        # The two-stage recipe puts a new scheduler in between the calls; it must be hooked before its first step.
        if name in SCHEDULER_NAMES and value is not None and OBSERVER in self.__dict__:
            hook_scheduler(value, SCHEDULER_NAMES[name], self.__dict__[OBSERVER])

    return _subclass(cls, _HookedPipeline, {"__call__": call, "__setattr__": set_attribute})


@functools.cache
def _scheduler_class(cls: type[Any]) -> type[Any]:
    @functools.wraps(cls.set_timesteps)
    def set_timesteps(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = cls.set_timesteps(self, *args, **kwargs)
        self.__dict__[OBSERVER].schedule_set(self, self.__dict__[STREAM])
        return result

    @functools.wraps(cls.step)
    def step(self: Any, model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        result = cls.step(self, model_output, timestep, sample, *args, **kwargs)
        after = result[0] if isinstance(result, tuple) else result.prev_sample
        self.__dict__[OBSERVER].stepped(self, self.__dict__[STREAM], model_output, timestep, sample, after)
        return result

    def deepcopy(self: Any, memo: dict[int, Any]) -> Any:
        duplicate = self.__class__.__new__(self.__class__)
        memo[id(self)] = duplicate
        observer = self.__dict__[OBSERVER]
        state = {k: v for k, v in self.__dict__.items() if k not in (OBSERVER, STREAM)}
        duplicate.__dict__.update(copy.deepcopy(state, memo))
        duplicate.__dict__.update({OBSERVER: observer, STREAM: "audio"})
        return duplicate

    return _subclass(cls, _HookedScheduler, {"set_timesteps": set_timesteps, "step": step, "__deepcopy__": deepcopy})


def _subclass(cls: type[Any], mark: type[Any], methods: dict[str, Callable[..., Any]]) -> type[Any]:
    same = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls, mark), {**same, **methods})


def hook_pipeline(pipe: Any, observer: Observer) -> None:
    """Make a pipeline and its schedulers report to `observer`.

    Raises:
        RuntimeError: if the pipeline is being recorded already.
    """
    if isinstance(pipe, _HookedPipeline):
        raise RuntimeError(f"this {type(pipe).__name__} is being recorded already; end that recording first")
    pipe.__dict__[OBSERVER] = observer
    pipe.__class__ = _pipeline_class(type(pipe))  # type: ignore[arg-type]
    hook_schedulers(pipe, observer)


def hook_schedulers(pipe: Any, observer: Observer) -> None:
    """Hook whatever schedulers a pipeline has at the moment; those that are hooked already stay as they are."""
    for name, stream in SCHEDULER_NAMES.items():
        scheduler = getattr(pipe, name, None)
        if scheduler is not None:
            hook_scheduler(scheduler, stream, observer)


def hook_scheduler(scheduler: Any, stream: str, observer: Observer) -> None:
    """Make one scheduler report to `observer` as a stream."""
    if isinstance(scheduler, _HookedScheduler):
        scheduler.__dict__.update({OBSERVER: observer, STREAM: stream})
        return
    scheduler.__dict__.update({OBSERVER: observer, STREAM: stream})
    scheduler.__class__ = _scheduler_class(type(scheduler))  # type: ignore[arg-type]


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
