"""Runs the stages of a request one after the other, with one pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from recorder.nano.names import is_nano
from recorder.recipes.call import call_arguments, levels_of, scheduler_of
from recorder.recipes.loading import upsampled, use_loras
from recorder.recipes.native_schedule import planned
from recorder.recipes.request import Request
from recorder.recipes.step_control import StepCallback, callbacks, controlled

Progress = Callable[[int, int], None]
"""Called with the steps done and those in all."""


def run_stages(
    pipe: Any,
    request: Request,
    progress: Progress | None = None,
    stopping: Callable[[], bool] = lambda: False,
    changed: Callable[[int, dict[str, Any]], None] = lambda number, call: None,
) -> Any:
    """Call the pipeline once for each stage; returns the result of the last one, or None if it was stopped before that.

    A later stage begins with the latents of the one before, upsampled if it has an upsampler, and noised to its first
    level or to its `noise`. One generator goes through all stages, unless a stage has a seed of its own.

    Args:
        pipe: from `load`, with the scheduler of the first stage.
        request: what to generate.
        progress: told of every step.
        stopping: asked before every later stage.
        changed: may change the arguments of a stage's call; called with its number.
    """
    import torch

    stages = request.in_stages()
    generator = torch.Generator("cpu").manual_seed(stages[0].seed)
    configuration = dict(pipe.scheduler.config)
    total = _total(request) if progress is not None and len(stages) > 1 else 0
    done, result = 0, None
    for number, stage in enumerate(stages):
        if number and stopping():
            return None
        use_loras(pipe, stage, stages)
        call = call_arguments(stage)
        if number + 1 < len(stages):
            call["output_type"] = "latent"
        if number:
            pipe.scheduler = scheduler_of(stage, _model_configuration(pipe, configuration, request))
            if stage.seed != stages[number - 1].seed:
                generator = torch.Generator("cpu").manual_seed(stage.seed)
            call |= _continued(pipe, stage, call, result)
        call["generator"] = generator
        if stage.image is not None:
            call |= _picture(pipe, stage)
        changed(number, call)
        told = [*callbacks(stage, call), *([_reporter(progress, done, total)] if progress is not None else [])]
        if told:
            call["callback_on_step_end"] = _all(told)
        with controlled(pipe, stage, call):
            result = pipe(**call)
        done += int(pipe.num_timesteps)
    return result


def _total(request: Request) -> int:
    return sum(made.evaluations for _, made in planned(request))


def _model_configuration(pipe: Any, first: dict[str, Any], request: Request) -> dict[str, Any]:
    """The configuration of the model's own scheduler: the first stage may have another one."""
    from recorder.recipes.native_schedule import configuration

    return first if levels_of(request.in_stages()[0]) is None else dict(configuration(request))


def _continued(pipe: Any, stage: Request, call: dict[str, Any], result: Any) -> dict[str, Any]:
    """Arguments of a call that begins with the result of the stage before."""
    video, audio = result.frames, result.audio
    if stage.upsampler is not None:
        video = upsampled(pipe, stage, video)
    levels = call.get("sigmas")
    noise = stage.noise if stage.noise is not None else float(levels[0]) if levels else 1.0
    return {"latents": video, "audio_latents": audio, "noise_scale": noise}


def _picture(pipe: Any, stage: Request) -> dict[str, Any]:
    """Arguments of a call with a picture as the first frame."""
    import PIL.Image

    with PIL.Image.open(str(stage.image)) as opened:
        picture = opened.convert("RGB")
    crf = 0 if is_nano(stage.model) else None  # the nano model knows no compressed pictures
    if type(pipe).__name__.endswith("ImageToVideoPipeline"):
        return {"image": picture, "image_crf": crf}
    from diffusers.pipelines.ltx2 import LTX2VideoCondition

    return {"conditions": LTX2VideoCondition(frames=picture, index=0, strength=stage.image_strength, crf=crf)}


def _reporter(progress: Progress, before: int, total: int) -> StepCallback:
    def report(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        progress(before + step + 1, max(total, before + pipe.num_timesteps))
        return kwargs

    return report


def _all(functions: Sequence[StepCallback]) -> StepCallback:
    def call(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        for each in functions:
            kwargs = each(pipe, step, timestep, kwargs)
        return kwargs

    return call
