"""Turns a scheduler's step into what is measured: levels from the schedule, and the clip's tokens of the sequence."""

from __future__ import annotations

from typing import Any

from recorder.metrics.latent_layout import LatentLayout
from recorder.sampling import effective_settings, hooks, tokens
from recorder.sampling.guidance_passes import Passes
from recorder.sampling.pipeline_loop import CallLoop, Schedule
from recorder.sampling.sampler_step import Injected, Sampler, SamplerStep
from recorder.sampling.scheduler_noise import drift_of


def observed(pipe: Any, loop: CallLoop, passes: Passes, step: hooks.SchedulerStep) -> tuple[SamplerStep, int]:
    """The step to measure, and its number among the stream's steps.

    Args:
        pipe: the pipeline whose loop it is.
        loop: what is known of the loop. The step is counted in the schedule of its stream.
        passes: model calls since the last step; those of this step are taken out.
        step: what the scheduler was given and returned.

    Raises:
        ValueError: if the step cannot be measured correctly, with the reason.
    """
    if step.per_token:
        raise ValueError("the scheduler moves every token from its own noise level")
    schedule = _schedule(loop, step)
    called, index = schedule.steps, step.index
    schedule.steps += 1
    # The ancestral scheduler does not change the sample at the end of its list, at any level.
    at_end = index + 1 >= len(schedule.sigmas)
    sigma, sigma_next = schedule.sigmas[index], schedule.sigmas[index if at_end else index + 1]
    if called != index and schedule.timesteps[called] != schedule.timesteps[index]:
        raise ValueError(
            f"the model was called at timestep {schedule.timesteps[called]:g}, but the scheduler stepped from "
            f"σ = {sigma:g}; does the schedule begin with the same σ twice?"
        )
    layout = _layout(loop, step)
    sample = tokens.take(step.sample, layout)
    drift = None if at_end else drift_of(step.scheduler, sigma, sigma_next)
    taken = SamplerStep(
        layout,
        sigma,
        sigma_next,
        schedule.timesteps[index],
        sample,
        tokens.take(step.velocity, layout),
        tokens.take(step.result, layout),
        passes.of_step(step.stream, sample.shape[0], sample.shape),
        _injected(step.applied, layout),
        Sampler(effective_settings.guidance_scale(pipe, step.stream), drift),
        loop.given.change(sample.shape[0]) if step.stream == "video" else None,
    )
    return taken, called


def _schedule(loop: CallLoop, step: hooks.SchedulerStep) -> Schedule:
    schedule = loop.schedules.get(step.stream)
    if schedule is not None and schedule.source is step.scheduler.sigmas:
        return schedule
    # A copy made after the schedule was set, or one that was replaced since: read again, once.
    current = loop.schedules[step.stream] = Schedule.read(step.scheduler)
    current.steps = schedule.steps if schedule else 0
    return current


def _layout(loop: CallLoop, step: hooks.SchedulerStep) -> LatentLayout:
    layout = loop.layouts.get(step.stream)
    if layout is None:
        if step.stream not in loop.grids:
            raise ValueError("no model call was seen before the step, so its grid is unknown")
        frames = loop.frames if step.stream == "video" else None
        layout = tokens.clip_layout(step.stream, step.sample, loop.grids[step.stream], frames)
        loop.layouts[step.stream] = layout
    return layout


def _injected(applied: Any, layout: LatentLayout) -> Injected | None:
    if applied is None:
        return None
    return Injected(applied.action.reaches, None if applied.fresh is None else tokens.take(applied.fresh, layout))
