"""What changes between the steps of a pipeline call: guidance by step or level, skipped steps, CFG++'s extra pass.

Works on a pipeline's own attributes while one call runs, and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from recorder.recipes.guidance import ARGUMENTS, SKIP, by_step, call_values
from recorder.recipes.request import Request
from recorder.recipes.sampler_name import read_sampler

StepCallback = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


class StepGuidance:
    """Sets the guidance of the next step: a callback of the pipeline."""

    def __init__(self, request: Request, call: dict[str, Any]) -> None:
        """`call` has the arguments of the pipeline call."""
        self._guidance = request.guidance
        self._usual = {argument: call.get(argument) for argument in ARGUMENTS.values()}
        self._levels: list[float] = []
        self._source: Any = None

    def __call__(self, pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        if self._source is not pipe.scheduler.sigmas:  # read once, since this waits for the device
            self._source, self._levels = pipe.scheduler.sigmas, pipe.scheduler.sigmas.tolist()
        if step + 1 < len(self._levels):
            values = call_values(self._guidance, self._usual, step + 1, self._levels[step + 1])
            for argument, value in values.items():
                setattr(pipe, f"_{argument}", value)
        return kwargs


def callbacks(request: Request, call: dict[str, Any]) -> list[StepCallback]:
    """Callbacks that a request needs at the end of each step."""
    return [StepGuidance(request, call)] if by_step(request.guidance) else []


@contextlib.contextmanager
def controlled(pipe: Any, request: Request, call: dict[str, Any]) -> Iterator[None]:
    """What a request needs around its pipeline call; changes `call` where a pass must be made."""
    with contextlib.ExitStack() as stack:
        if read_sampler(request.sampler).needs_uncond:
            call["guidance_scale"] = max(call.get("guidance_scale", 0.0), math.nextafter(1.0, math.inf))
            stack.enter_context(_unconditional_kept(pipe))
        if request.guidance.get(SKIP):
            stack.enter_context(_skipping(pipe, int(request.guidance[SKIP])))
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, new: Any) -> Iterator[None]:
    """An attribute of an object replaced for a while; what the class gives is not touched."""
    missing = object()
    old = owner.__dict__.get(name, missing)
    owner.__dict__[name] = new
    try:
        yield
    finally:
        if old is missing:
            del owner.__dict__[name]
        else:
            owner.__dict__[name] = old


@contextlib.contextmanager
def _unconditional_kept(pipe: Any) -> Iterator[None]:
    """Hand the unconditional x0 of each step to the scheduler that steps it.

    The pipeline converts the velocities of a step in turn: that of the conditional pass, then of the unconditional.
    """
    convert = pipe.convert_velocity_to_x0
    seen: dict[int, tuple[int, int]] = {}

    def converted(sample: Any, velocity: Any, step: int, scheduler: Any = None) -> Any:
        found = convert(sample, velocity, step, scheduler)
        target = pipe.scheduler if scheduler is None else scheduler
        last, count = seen.get(id(target), (-1, 0))
        count = count + 1 if last == step else 1
        seen[id(target)] = (step, count)
        if count == 2 and hasattr(target, "stream_noise"):
            target.stream_noise.uncond = found
        return found

    with _replaced(pipe, "convert_velocity_to_x0", converted):
        yield


@contextlib.contextmanager
def _skipping(pipe: Any, skipped: int) -> Iterator[None]:
    """Call the model in one of `skipped` + 1 steps; the others keep the x0 of the step before (ltx-core's `skip_step`).

    In a skipped step the model's velocities are NaN, so that nothing is measured on what was not predicted.
    """
    convert, forward = pipe.convert_x0_to_velocity, pipe.transformer.forward
    kept: dict[int, Any] = {}
    step = 0

    def is_skipped(number: int) -> bool:
        return number % (skipped + 1) != 0

    def predicted(*args: Any, **kwargs: Any) -> Any:
        if not is_skipped(step):
            return forward(*args, **kwargs)
        return tuple(torch.full_like(kwargs[name], math.nan) for name in ("hidden_states", "audio_hidden_states"))

    def converted(sample: Any, x0: Any, number: int, scheduler: Any = None) -> Any:
        nonlocal step
        stream = int(scheduler is not None and scheduler is not pipe.scheduler)
        if is_skipped(number):
            x0 = kept[stream]
        kept[stream] = x0
        step = number + 1 if stream else number
        return convert(sample, x0, number, scheduler)

    with _replaced(pipe, "convert_x0_to_velocity", converted), _replaced(pipe.transformer, "forward", predicted):
        yield
