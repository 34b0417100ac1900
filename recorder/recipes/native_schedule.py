"""The σ schedules that a generation would use, from the model's own scheduler, without weights or GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recorder.format.events import reason_of
from recorder.recipes.call import call_arguments, grid_of, levels_of, no_levels, scheduler_of, size_of
from recorder.recipes.libraries import CannotGenerate, check_extra, quiet
from recorder.recipes.named_schedule import read_schedule
from recorder.recipes.request import Request
from recorder.recipes.sampler_name import read_sampler
from recorder.shocks.plan import Plan, PlanError, plan
from recorder.shocks.plan_warnings import Stepping
from recorder.shocks.spec import EULER, EULER_STEPS, Shock


@dataclass(frozen=True)
class Native:
    """Levels of the model calls without shocks, without the closing level.

    `size` is height, width and frames in pixels, `grid` the same in latents (F, H, W): the schedule is shifted by the
    number of tokens. Both are None for an explicit σ list, which is not shifted.
    """

    sigmas: tuple[float, ...]
    size: tuple[int, int, int] | None = None
    grid: tuple[int, int, int] | None = None
    closing: float = 0.0
    """The level that the last step goes to."""

    @property
    def tokens(self) -> int | None:
        """Video tokens, F·H·W."""
        return None if self.grid is None else self.grid[0] * self.grid[1] * self.grid[2]


def planned(request: Request) -> tuple[tuple[Native, Plan], ...]:
    """The schedule of each stage, and the plan of its shocks on it; of a request without a recipe there is one.

    Raises:
        CannotGenerate: if the model's scheduler cannot be loaded.
        PlanError: if a shock cannot act on the schedule.
    """
    found = []
    stages = request.in_stages()
    for shock in request.shocks:
        if shock.stage is not None and shock.stage > len(stages):
            raise PlanError(f"{shock.describe()}: there is no stage {shock.stage}; this generation has {len(stages)}")
    for number, stage in enumerate(stages, start=1):
        here = native(stage)
        own = [s for s in request.shocks if s.acts_in(number) and not s.is_noop]
        _check_euler(stage, here, own)
        found.append((here, _plan(here, request.shocks, number, read_sampler(stage.sampler).stepping)))
    return tuple(found)


def _plan(here: Native, shocks: tuple[Shock, ...], number: int, stepping: Stepping) -> Plan:
    """The plan of one stage; in a later one, a shock for every stage is left out where it cannot act."""
    left_out: list[int] = []
    for index, shock in enumerate(shocks):
        if number > 1 and shock.stage is None:
            try:
                plan(here.sigmas, [shock])
            except PlanError:
                left_out.append(index)
    return plan(here.sigmas, shocks, number, left_out, stepping)


def _check_euler(stage: Request, here: Native, shocks: list[Shock]) -> None:
    if not shocks:
        return
    name = read_sampler(stage.sampler).name
    if name != "euler":
        raise PlanError(
            f"shocks are exact on Euler's steps, not on those of {name}; take --sampler euler, with --shock "
            "ancestral:eta=0.5 for noise at every step"
        )
    if here.closing:
        raise PlanError(f"a stage that ends at σ {here.closing:.4g} cannot have shocks; take a whole schedule")


def native(request: Request) -> Native:
    """The levels that the pipeline call of a request would set, by the functions of `LTX2Pipeline` itself.

    Raises:
        CannotGenerate: if the model's scheduler cannot be loaded, or its levels are not known before the run.
    """
    if request.sigmas is not None:
        return Native(request.sigmas)
    check_extra()
    quiet()
    given = levels_of(request)
    if given is not None and request.schedule is not None:
        sigmas = tuple(float(np.float32(s)) for s in given.sigmas)
        explicit = not read_schedule(request.schedule).name
        closing = float(np.float32(given.closing))
        if explicit and not request.upsampler:
            return Native(sigmas, closing=closing)
        return Native(sigmas, size_of(request), grid_of(request), closing)
    from diffusers.pipelines.ltx2.pipeline_ltx2 import calculate_shift, retrieve_timesteps

    call = call_arguments(request)
    scheduler = scheduler_of(request, configuration(request))
    if call.get("num_frames") is None:
        _check_length_is_known(request)
    grid = grid_of(request)
    steps, sigmas_ = call["num_inference_steps"], call.get("sigmas")
    if sigmas_ is None:
        sigmas_ = np.linspace(1.0, 1 / steps, steps)
    mu = calculate_shift(
        grid[0] * grid[1] * grid[2],
        scheduler.config.get("base_image_seq_len", 1024),
        scheduler.config.get("max_image_seq_len", 4096),
        scheduler.config.get("base_shift", 0.95),
        scheduler.config.get("max_shift", 2.05),
    )
    retrieve_timesteps(scheduler, steps, "cpu", None, sigmas=sigmas_, mu=mu)
    levels = tuple(s for s in scheduler.sigmas.tolist() if s > 0)
    if not levels:
        raise no_levels(steps)
    return Native(levels, size_of(request), grid)


def configuration(request: Request) -> Mapping[str, Any]:
    """The configuration of the request's own scheduler, or of the model's. Raises CannotGenerate."""
    if request.scheduler is not None:
        config: Mapping[str, Any] = request.scheduler
    else:
        from diffusers import FlowMatchEulerDiscreteScheduler

        config = _load(FlowMatchEulerDiscreteScheduler, request.model, "scheduler")
    kind = config.get("_class_name", EULER)
    if kind not in EULER_STEPS:
        raise CannotGenerate(f"the levels of {kind} are not known beforehand; plans are for {EULER}")
    return config


def _check_length_is_known(request: Request) -> None:
    """Refuse a model that chooses the clip length by the prompt: the length decides the shift of the schedule."""
    if request.scheduler is not None:
        return
    from diffusers import LTX2Pipeline

    if any(_load(LTX2Pipeline, request.model).get("duration_head") or [None]):
        raise CannotGenerate(
            f"{request.model} chooses the length by the prompt, and the length decides σ; give --frames"
        )


def _load(cls: Any, model: str, folder: str | None = None) -> Mapping[str, Any]:
    """A configuration of a model, from its folder, the cache or the hub."""
    from recorder import nano

    source = nano.WEIGHTS if nano.is_nano(model) else model  # the young one has the same scheduler
    try:
        loaded: Mapping[str, Any] = cls.load_config(source, **({} if folder is None else {"subfolder": folder}))
    except Exception as error:
        reason = reason_of(error)
        raise CannotGenerate(
            f"the scheduler of {model!r} cannot be loaded; give `nano`, a folder written by save_pretrained, a hub id "
            f"that is cached or can be reached, or its file with --config scheduler_config.json ({reason[:160]})"
        ) from error
    return loaded
