"""The pipeline call of a request: its arguments, its levels and its scheduler."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recorder.format.numerals import counted
from recorder.nano.names import is_nano
from recorder.recipes.guidance import BLOCKS, call_values
from recorder.recipes.libraries import CannotGenerate
from recorder.recipes.named_schedule import DISTILLED, BadSchedule, read_schedule
from recorder.recipes.request import Request
from recorder.recipes.sampler_name import read_sampler
from recorder.sampling.guidance_presets import UNGUIDED

SPATIAL, TEMPORAL = 32, 8
"""Pixels and frames per latent of every LTX 2 VAE; `LTX2Pipeline` assumes the same where it has none."""
_NOISE_SEED = 0x5EED
"""Separates the noise of a sampler from that of the latents, which have the seed itself."""


@dataclass(frozen=True)
class CallLevels:
    """Levels that a call is given: those of the model calls, and the level that the last step goes to."""

    sigmas: tuple[float, ...]
    closing: float = 0.0


def levels_of(request: Request) -> CallLevels | None:
    """The levels that a request gives to the call; None for those of the scheduler, or of the recorder's conductor.

    Raises:
        CannotGenerate: if its parameters leave no levels.
    """
    if request.sigmas is not None:
        return None if request.is_conducted else CallLevels(request.sigmas)
    if request.schedule is None:
        return CallLevels(DISTILLED) if request.distilled else None
    try:
        named = read_schedule(request.schedule)
        tokens = 1
        if named.by_size:
            frames, height, width = grid_of(request)
            tokens = frames * height * width
        return CallLevels(*named.sigmas(request.steps, tokens))
    except BadSchedule as error:
        raise CannotGenerate(str(error)) from error


def grid_of(request: Request) -> tuple[int, int, int]:
    """The latent grid (F, H, W) of a request; a clip of unknown length has the 121 frames of `LTX2Pipeline`."""
    height, width, frames = size_of(request)
    return (frames - 1) // TEMPORAL + 1, height // SPATIAL, width // SPATIAL


def size_of(request: Request) -> tuple[int, int, int]:
    """Height, width and frames in pixels, with the defaults of `LTX2Pipeline`."""
    from diffusers import LTX2Pipeline

    call = _sizes(request)
    usual = inspect.signature(LTX2Pipeline.__call__).parameters
    height, width = (call.get(name) or usual[name].default for name in ("height", "width"))
    frames = call.get("num_frames") or inspect.signature(LTX2Pipeline.prepare_latents).parameters["num_frames"].default
    return height, width, frames


def _sizes(request: Request) -> dict[str, Any]:
    call: dict[str, Any] = {}
    if is_nano(request.model):
        from recorder import nano

        call |= nano.HOME
    call |= {k: v for k, v in request.arguments.items() if k in ("height", "width", "num_frames")}
    sizes = {"height": request.height, "width": request.width, "num_frames": request.frames}
    return call | {k: v for k, v in sizes.items() if v is not None}


def call_arguments(request: Request) -> dict[str, Any]:
    """Arguments of the pipeline call of a request without stages, or of one stage, except generator and latents.

    Raises:
        CannotGenerate: if its schedule has no levels.
    """
    call: dict[str, Any] = {"prompt": request.prompt, "negative_prompt": request.negative_prompt}
    call["num_inference_steps"] = request.steps
    if is_nano(request.model):
        from recorder import nano

        call |= nano.CALL
    call |= request.arguments
    call |= _sizes(request)
    if request.frame_rate is not None:
        call["frame_rate"] = request.frame_rate
    if request.guidance_scale is not None:
        call["guidance_scale"] = request.guidance_scale
        if request.guidance_scale <= 1:
            call |= UNGUIDED
    if request.distilled:
        call |= UNGUIDED
    given = levels_of(request)
    if given is not None:
        call |= {"sigmas": list(given.sigmas), "num_inference_steps": len(given.sigmas)}
    first = given.sigmas[0] if given is not None else 1.0
    call |= call_values(request.guidance, call, 0, first)
    if BLOCKS in request.guidance:
        call["spatio_temporal_guidance_blocks"] = list(request.guidance[BLOCKS])
    call["output_type"] = "np" if request.output else "latent"
    return call


def no_levels(steps: int) -> CannotGenerate:
    """The error for a number of steps that a scheduler has no noise levels for."""
    return CannotGenerate(
        f"the scheduler gives no noise level for {counted(steps, 'step')}: a stretched schedule needs at least two; "
        "use --steps 2, or --sigmas 1"
    )


def check_steps(request: Request, config: Mapping[str, Any]) -> None:
    """Refuse one step of a stretched schedule: stretching a single level divides by zero, and the clip is NaN.

    Args:
        request: without stages, or of one stage.
        config: the configuration of the model's own scheduler.

    Raises:
        CannotGenerate: if the request is for such a step.
    """
    call = call_arguments(request)
    chosen = config if request.scheduler is None else request.scheduler
    given = request.sigmas is not None or call.get("sigmas") is not None
    if not given and call["num_inference_steps"] == 1 and chosen.get("shift_terminal"):
        raise no_levels(1)


def scheduler_of(request: Request, config: Mapping[str, Any]) -> Any:
    """The scheduler of a request; `config` is the configuration of the model's own one."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    # Given levels are neither shifted nor stretched.
    exact: dict[str, Any] = {}
    given = levels_of(request)
    if given is not None:
        exact = {"use_dynamic_shifting": False, "shift_terminal": None}
    if request.schedule is not None or request.sigmas is not None:
        exact |= {"shift": 1.0, "use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}
    chosen = dict(config if request.scheduler is None else request.scheduler)
    closing = 0.0 if given is None else given.closing
    if read_sampler(request.sampler).name == "euler" and not closing:
        return FlowMatchEulerDiscreteScheduler.from_config(chosen, **exact)
    from recorder.recipes.step_scheduler import StepScheduler

    own = {"sampler": request.sampler, "seed": (request.seed ^ _NOISE_SEED) % 2**63, "closing": closing}
    kept = {
        k: v for k, v in chosen.items() if not k.startswith(("use_karras", "use_exp", "use_beta", "invert", "stoch"))
    }
    return StepScheduler.from_config(kept, **{k: v for k, v in exact.items() if not k.endswith("_sigmas")}, **own)
