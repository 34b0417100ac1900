"""The σ schedule that a generation would really use, from the model's own scheduler; needs no weights and no GPU."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recorder.format.events import reason_of
from recorder.generate import CannotGenerate, Request, call_arguments, check_extra, quiet, scheduler_of
from recorder.shocks.plan import Plan, plan

_SPATIAL, _TEMPORAL = 32, 8
"""Pixels and frames per latent of every LTX 2 VAE; `LTX2Pipeline` assumes the same where it has none."""
_SCHEDULERS = ("FlowMatchEulerDiscreteScheduler", "ShockScheduler")


@dataclass(frozen=True)
class Native:
    """Levels of the model calls without shocks, without the closing 0.

    `size` is height, width and frames in pixels, `grid` the same in latents (F, H, W): the schedule is shifted by the
    number of tokens. Both are None for a σ list of one's own, which nothing shifts.
    """

    sigmas: tuple[float, ...]
    size: tuple[int, int, int] | None = None
    grid: tuple[int, int, int] | None = None

    @property
    def tokens(self) -> int | None:
        """Video tokens, F·H·W."""
        return None if self.grid is None else self.grid[0] * self.grid[1] * self.grid[2]


def planned(request: Request) -> tuple[Native, Plan]:
    """The schedule of a request, and the plan of its shocks on it.

    Raises:
        CannotGenerate: if the model's scheduler cannot be had.
        PlanError: if a shock cannot act on the schedule.
    """
    found = native(request)
    return found, plan(found.sigmas, request.shocks)


def native(request: Request) -> Native:
    """The levels a request's pipeline call would set: `LTX2Pipeline`'s own functions on the model's own scheduler.

    Raises:
        CannotGenerate: if the model's scheduler cannot be had, or the levels are not known before the run.
    """
    if request.sigmas is not None:
        return Native(request.sigmas)
    check_extra()
    quiet()
    import numpy as np
    from diffusers.pipelines.ltx2.pipeline_ltx2 import LTX2Pipeline, calculate_shift, retrieve_timesteps

    call = call_arguments(request)
    scheduler = scheduler_of(request, _configuration(request))
    usual = inspect.signature(LTX2Pipeline.__call__).parameters
    height, width = (call.get(name) or usual[name].default for name in ("height", "width"))
    frames = call.get("num_frames")
    if frames is None:
        _check_length_is_known(request)
        frames = inspect.signature(LTX2Pipeline.prepare_latents).parameters["num_frames"].default
    grid = ((frames - 1) // _TEMPORAL + 1, height // _SPATIAL, width // _SPATIAL)
    steps, sigmas = call["num_inference_steps"], call.get("sigmas")
    if sigmas is None:
        sigmas = np.linspace(1.0, 1 / steps, steps)
    mu = calculate_shift(
        grid[0] * grid[1] * grid[2],
        scheduler.config.get("base_image_seq_len", 1024),
        scheduler.config.get("max_image_seq_len", 4096),
        scheduler.config.get("base_shift", 0.95),
        scheduler.config.get("max_shift", 2.05),
    )
    retrieve_timesteps(scheduler, steps, "cpu", None, sigmas=sigmas, mu=mu)
    return Native(tuple(s for s in scheduler.sigmas.tolist() if s > 0), (height, width, frames), grid)


def _configuration(request: Request) -> Mapping[str, Any]:
    """The scheduler's configuration: the request's own, or the model's."""
    if request.scheduler is not None:
        config: Mapping[str, Any] = request.scheduler
    else:
        from diffusers import FlowMatchEulerDiscreteScheduler

        config = _load(FlowMatchEulerDiscreteScheduler, request.model, "scheduler")
    kind = config.get("_class_name", _SCHEDULERS[0])
    if kind not in _SCHEDULERS:
        raise CannotGenerate(f"the levels of {kind} are not known beforehand; plans are for {_SCHEDULERS[0]}")
    return config


def _check_length_is_known(request: Request) -> None:
    """Refuse a model that chooses the length of its clips by the prompt, and with it the shift of the schedule."""
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

    source = nano.WEIGHTS if nano.is_nano(model) else model  # their scheduler is the same
    try:
        loaded: Mapping[str, Any] = cls.load_config(source, **({} if folder is None else {"subfolder": folder}))
    except Exception as error:
        reason = reason_of(error)
        raise CannotGenerate(
            f"the scheduler of {model!r} cannot be loaded; give `nano`, a folder written by save_pretrained, a hub id "
            f"that is cached or can be reached, or its file with --config scheduler_config.json ({reason[:160]})"
        ) from error
    return loaded
