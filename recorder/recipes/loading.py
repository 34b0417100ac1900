"""Loads the pipeline of a request: text or picture to video, its LoRAs, its device, its upsampler."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any

from recorder.format.events import reason_of
from recorder.format.numerals import real
from recorder.nano.names import is_nano
from recorder.recipes.call import check_steps, scheduler_of
from recorder.recipes.libraries import CannotGenerate, no_loading_bars
from recorder.recipes.request import Request

BILINEAR = "bilinear"
MODEL = "model"


def load(request: Request) -> Any:
    """Load the pipeline: `nano`, a folder, or a repository id on the hub. All but nano are loaded in bf16.

    It has the scheduler of the first stage. With a picture it is an `LTX2ImageToVideoPipeline`, or an
    `LTX2ConditionPipeline` where the picture's strength is below 1.

    Raises:
        CannotGenerate: if it cannot be loaded, or has no levels for the number of steps.
    """
    stages = request.in_stages()
    check_files(request)
    pipe = _of_pictures(_loaded(request), stages)
    for stage in stages:
        check_steps(stage, pipe.scheduler.config)
    _load_loras(pipe, stages)
    own = stages[0].schedule or stages[0].sampler != "euler" or request.distilled or request.scheduler is not None
    if own or is_nano(request.model):
        pipe.scheduler = scheduler_of(stages[0], pipe.scheduler.config)
    if not is_nano(request.model):
        move_to_device(pipe, request)
    return pipe


def check_files(request: Request) -> None:
    """Refuse pictures and LoRAs that are not there, before weights are loaded. Raises CannotGenerate."""
    for stage in request.in_stages():
        if stage.image is not None and not Path(stage.image).is_file():
            raise CannotGenerate(f"the image {stage.image} does not exist; give the path of a picture")
        for text in stage.loras:
            path = read_lora(text)[0]
            on_hub = path.count("/") >= 2 and not path.startswith((".", "/", "~"))
            if not on_hub and not Path(path).expanduser().exists():
                raise CannotGenerate(f"the LoRA {path} does not exist; give a file, or OWNER/REPOSITORY/FILE")
    if any(stage.loras for stage in request.in_stages()) and find_spec("peft") is None:
        raise CannotGenerate("LoRAs need peft; install it with: pip install 'ltxtui[lora]'")


def _loaded(request: Request) -> Any:
    import torch

    if is_nano(request.model):
        from recorder import nano

        # With tensors this small, threads mostly wait for one another.
        torch.set_num_threads(1)
        no_loading_bars()
        try:
            return nano.load(weights=nano.weights_of(request.model))
        except FileNotFoundError as error:
            raise CannotGenerate(str(error)) from error
    from diffusers import LTX2Pipeline

    try:
        return LTX2Pipeline.from_pretrained(request.model, dtype=torch.bfloat16)
    except Exception as error:
        reason = reason_of(error)
        raise CannotGenerate(
            f"the model {request.model!r} cannot be loaded: {shorten(reason, 160, placeholder=' …')}; it can be "
            "`nano`, a folder written by save_pretrained, or a repository of the hub that this machine can reach"
        ) from error


def _of_pictures(pipe: Any, stages: tuple[Request, ...]) -> Any:
    """The pipeline that takes a picture, from the same components, if a stage has one."""
    pictures = [stage for stage in stages if stage.image is not None]
    if not pictures:
        return pipe
    from diffusers.pipelines.ltx2 import LTX2ConditionPipeline, LTX2ImageToVideoPipeline

    partly = any(stage.image_strength < 1 for stage in pictures) or len(pictures) < len(stages)
    cls = LTX2ConditionPipeline if partly else LTX2ImageToVideoPipeline
    made = cls(**pipe.components)
    made.register_to_config(_name_or_path=pipe.config.get("_name_or_path", ""))
    return made


def read_lora(text: str) -> tuple[str, float]:
    """Path and strength of `PATH` or `PATH:STRENGTH`. Raises ValueError for a strength that is not a number."""
    path, colon, strength = text.rpartition(":")
    if not colon:
        return text, 1.0
    try:
        return path, real(strength)
    except ValueError as error:
        raise ValueError(f"LoRA {text!r}: the strength {strength!r} is not a number; write PATH:0.8") from error


def _load_loras(pipe: Any, stages: tuple[Request, ...]) -> None:
    """Load the LoRAs of all stages; `use_loras` turns on those of one."""
    paths = dict.fromkeys(read_lora(text)[0] for stage in stages for text in stage.loras)
    for number, path in enumerate(paths):
        try:
            local = Path(path).expanduser()
            if local.exists():
                pipe.load_lora_weights(str(local.parent), weight_name=local.name, adapter_name=f"lora_{number}")
            else:
                repository, _, file = path.rpartition("/")
                pipe.load_lora_weights(repository, weight_name=file, adapter_name=f"lora_{number}")
        except Exception as error:
            raise CannotGenerate(f"the LoRA {path} cannot be loaded: {reason_of(error)[:200]}") from error


def use_loras(pipe: Any, stage: Request, stages: tuple[Request, ...]) -> None:
    """Turn on the LoRAs of a stage, with their strengths, and turn off all others."""
    paths = list(dict.fromkeys(read_lora(text)[0] for each in stages for text in each.loras))
    if not paths:
        return
    own = [read_lora(text) for text in stage.loras]
    if own:
        pipe.enable_lora()
        pipe.set_adapters([f"lora_{paths.index(path)}" for path, _ in own], [strength for _, strength in own])
    else:
        pipe.disable_lora()


def move_to_device(pipe: Any, request: Request) -> None:
    """Move a pipeline to its device, with the requested offload where there is a GPU."""
    import torch

    device = request.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu" or request.offload == "none":
        pipe.to(device)
    elif request.offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.enable_model_cpu_offload(device=device)


def upsampled(pipe: Any, stage: Request, latents: Any) -> Any:
    """Video latents [B, C, F, H, W] twice as high and wide, by the stage's upsampler.

    `bilinear` interpolates frame by frame; the nano model has no other.

    Raises:
        CannotGenerate: if the upsampler cannot be loaded.
    """
    import torch

    if stage.upsampler == BILINEAR or (stage.upsampler == MODEL and is_nano(stage.model)):
        frames = latents.transpose(1, 2).flatten(0, 1)
        larger = torch.nn.functional.interpolate(frames.float(), scale_factor=2, mode="bilinear")
        return larger.unflatten(0, (len(latents), -1)).transpose(1, 2).to(latents.dtype)
    from diffusers.pipelines.ltx2 import LTX2LatentUpsamplePipeline
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

    source = {"subfolder": "latent_upsampler"} if stage.upsampler == MODEL else {}
    place = stage.model if stage.upsampler == MODEL else str(stage.upsampler)
    try:
        model = LTX2LatentUpsamplerModel.from_pretrained(place, dtype=pipe.vae.dtype, **source)
    except Exception as error:
        raise CannotGenerate(
            f"the upsampler {place!r} cannot be loaded: {reason_of(error)[:160]}; it is `model`, `bilinear`, or a "
            "folder or hub id of an LTX2LatentUpsamplerModel"
        ) from error
    larger = LTX2LatentUpsamplePipeline(vae=pipe.vae, latent_upsampler=model.to(latents.device))
    larger.set_progress_bar_config(disable=True)
    return larger(latents=latents, output_type="latent", return_dict=False)[0]
