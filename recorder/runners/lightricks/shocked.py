"""Shocks in ltx-pipelines' Euler loop: a stepper whose step ends with the noise that the plan has there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from recorder.runners.lightricks.api import EULER
from recorder.runners.lightricks.described import loop_name
from recorder.sampling.sampler_step import Injected
from recorder.shocks import noise
from recorder.shocks.action import ShockAction
from recorder.shocks.conductor import Conductor
from recorder.shocks.plan import Plan

_EULER_STEP = "EulerDiffusionStep"


def not_exact(loop: Callable[..., Any], stepper: Any) -> str:
    """Why shocks are not exact in a loop; empty if they are."""
    name, kind = loop_name(loop), type(stepper).__name__
    if name == EULER and kind == _EULER_STEP:
        return ""
    return (
        f"the steps of {name} with {kind} depend on more than a sample and its level, so that a shock between them is "
        f"not exact; it is in {EULER} with {_EULER_STEP}"
    )


class StepShocks:
    """The shocks of one loop."""

    def __init__(self, conductor: Conductor, native: list[float], streams: tuple[str, ...]) -> None:
        """Plan the loop. Raises PlanError if a shock cannot act there."""
        self.conductor = conductor
        for stream in streams:
            self.plan: Plan = conductor.begin(native, stream)
        self.levels = list(self.plan.sigmas)
        self.samples: Mapping[str, Tensor] = {}
        """The sample of each stream that the model was called with last."""
        self.arrived: Callable[[dict[str, Injected], int, str, ShockAction], None] = lambda *_: None
        """Called with the noise of a step that ended with a shock, its row, its stream and the action."""
        self.moved: Callable[[list[float]], None] = lambda levels: None
        """Called with the levels once a decision in the loop has changed them."""

    def stepper(self, original: Any) -> Any:
        """A stepper like another one, with shocks; a subclass, since loops ask for the class."""
        cls, shocks = type(original), self

        def step(
            self: Any, sample: Tensor, denoised_sample: Tensor, sigmas: Tensor, step_index: int, **more: Any
        ) -> Tensor:
            plain: Tensor = cls.step(self, sample, denoised_sample, sigmas, step_index, **more)
            return shocks.step(sample, denoised_sample, int(step_index), plain)

        made: Any = object.__new__(type(cls.__name__, (cls,), {"step": step, "__module__": cls.__module__}))
        made.__dict__.update(vars(original))
        return made

    def step(self, sample: Tensor, denoised: Tensor, index: int, plain: Tensor) -> Tensor:
        """The sample after step `index` of the plan, whose plain result is given."""
        stream = next((name for name, one in self.samples.items() if one is sample), None)
        if stream is None or index >= len(self.levels):
            return plain
        sigma, result = self.levels[index], plain
        velocity = (sample.float() - denoised.float()) / sigma
        action = self.conductor.arriving(index, stream, sample, velocity)
        if action is not None:
            where = self.conductor.where.get(stream, noise.TokenInfo())
            shocked, fresh = noise.apply(action, stream, sample, velocity, sigma, where)
            result = shocked.to(plain.dtype)
            self.arrived({stream: Injected(action.reaches, fresh)}, index, stream, action)
        elif (bump := self.conductor.marks(index, stream)) is not None:
            self.arrived({stream: Injected(bump.reaches, None)}, index, stream, bump)
        made = self.conductor.plan
        if made is not None and made is not self.plan:
            self.plan, self.levels = made, list(made.sigmas)
            self.moved(self.levels)
        return result
