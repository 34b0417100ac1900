"""Loads LTX 2.3, or the nano model, and runs one recorded generation: what `ltxtui record` does."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from recorder.format.events import reason_of
from recorder.sampling import metadata
from recorder.sampling.guidance_presets import UNGUIDED
from recorder.shocks import schedules
from recorder.shocks.spec import Shock

if TYPE_CHECKING:
    from recorder.recording import Run

MISSING_EXTRA = (
    "generating needs torch and diffusers; install them in the checkout: pip install -c constraints.txt '.[ltx]'"
)
DISTILLED_SIGMAS = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875)
"""Levels the distilled LTX 2.3 was trained for (the model card of diffusers/LTX-2.3-Distilled-Diffusers)."""


_OF_THE_PLACE = frozenset({"runs_dir", "name", "output", "device", "allow_control"})
"""What a request says of where it runs and who may watch, and not of what comes out."""


class CannotGenerate(RuntimeError):
    """Something that the user can mend; the message says how."""


@dataclass(frozen=True)
class Request:
    """One generation as asked for; None means the model's own default.

    Attributes:
        shocks: noise to inject.
        sigmas: a σ list of one's own, used as it is, without the closing 0; there are as many steps as levels.
        arguments: more arguments of the pipeline call; the other fields win over them.
        scheduler: a configuration of FlowMatchEulerDiscreteScheduler, instead of the model's.
    """

    model: str
    prompt: str
    negative_prompt: str | None = None
    steps: int = 30
    seed: int = 0
    height: int | None = None
    width: int | None = None
    frames: int | None = None
    guidance_scale: float | None = None
    distilled: bool = False
    shocks: tuple[Shock, ...] = ()
    sigmas: tuple[float, ...] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    scheduler: Mapping[str, Any] | None = None
    save_latents: bool = False
    allow_control: bool = False
    offload: str = "model"
    device: str | None = None
    runs_dir: Path = Path("runs")
    name: str | None = None
    output: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-like form of what decides the result, without folders, names and devices; `from_dict` reads it."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _OF_THE_PLACE}
        sigmas = None if self.sigmas is None else list(self.sigmas)
        scheduler = None if self.scheduler is None else dict(self.scheduler)
        shocks = [s.as_dict() for s in self.shocks]
        return {**found, "shocks": shocks, "sigmas": sigmas, "arguments": dict(self.arguments), "scheduler": scheduler}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Request:
        """From what `as_dict` gave, and any other field. Raises ValueError naming what is wrong with a shock or σ."""
        shocks = tuple(s if isinstance(s, Shock) else Shock.from_dict(s) for s in given.get("shocks", ()))
        sigmas = given.get("sigmas")
        return cls(**{**given, "shocks": shocks, "sigmas": None if sigmas is None else schedules.free(sigmas)})

    def as_metadata(self) -> dict[str, Any]:
        """What a run keeps of its request, so that `replay.rerun` finds how to run it again."""
        asked = self.as_dict()
        # A run keeps texts and lists of bounded size only; it must not seem to have everything if it has not.
        return {"model": self.model, "request": asked, "request_is_whole": metadata.brief(asked) == asked}


@dataclass(frozen=True)
class Outcome:
    """What a generation left behind.

    Attributes:
        archive: None if no step was taken.
        standing: the status in a few words, with what is not recorded of the steps that were taken.
        rows: recorded, of all streams.
        missed: rows that could not be recorded, of all streams.
    """

    archive: Path | None
    status: str
    standing: str
    rows: int
    missed: int
    seconds: float
    output: Path | None


def check_extra() -> None:
    """Raise CannotGenerate if torch and the rest are not installed; imports nothing."""
    if any(find_spec(package) is None for package in ("torch", "diffusers", "transformers", "accelerate")):
        raise CannotGenerate(MISSING_EXTRA)


def generate(
    request: Request,
    progress: Callable[[int, int], None] | None = None,
    begun: Callable[[Run], None] | None = None,
) -> Outcome:
    """Load the model, generate once while recording, and write the video if asked for.

    Args:
        request: what to generate.
        progress: called with (steps done, steps in all); without it the pipeline's own progress bar is shown.
        begun: called with the run when its recording has begun.

    Raises:
        CannotGenerate: if the model cannot be loaded or the request does not fit it.
    """
    check_extra()
    quiet()
    import torch

    from recorder import nano
    from recorder.session import record

    pipe = load(request)
    call = call_arguments(request)
    call["generator"] = torch.Generator("cpu").manual_seed(request.seed)
    # A TTY gets the pipeline's bar; anything else gets plain lines from the callback.
    pipe.set_progress_bar_config(disable=True if progress else None)
    if progress:
        call["callback_on_step_end"] = _reporter(progress, request)
    began = time.monotonic()
    with record(
        pipe,
        shocks=request.shocks,
        sigmas=request.sigmas,
        runs_dir=request.runs_dir,
        name=request.name,
        metadata=request.as_metadata(),
        save_latents=request.save_latents,
        allow_control=request.allow_control,
        data_eigenvalue=nano.DATA_EIGENVALUE if nano.is_nano(request.model) else None,
    ) as run:
        if begun is not None:
            begun(run)
        result = pipe(**call)
    seconds = time.monotonic() - began
    if request.output:
        write_video(request.output, result, pipe, float(call.get("frame_rate", 24.0)))
    archive = request.runs_dir / run.path.name if run.kept else None  # as it was asked for, not from the root
    return Outcome(archive, run.status, run.standing, run.rows, run.missed, seconds, request.output)


def _reporter(progress: Callable[[int, int], None], request: Request) -> Callable[..., dict[str, Any]]:
    def report(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        progress(step + 1, pipe.num_timesteps)
        return kwargs

    return report


def load(request: Request) -> Any:
    """The pipeline: `nano`, a folder, or a repository id on the hub; in bf16 but for nano.

    Raises:
        CannotGenerate: if it cannot be loaded.
    """
    import torch

    from recorder import nano

    if nano.is_nano(request.model):
        # Its tensors are so small that several threads mostly wait for each other.
        torch.set_num_threads(1)
        _no_loading_bars()
        try:
            pipe = nano.load(weights=nano.weights_of(request.model))
        except FileNotFoundError as error:
            raise CannotGenerate(str(error)) from error
        pipe.scheduler = scheduler_of(request, pipe.scheduler.config)
        return pipe
    from diffusers import LTX2Pipeline

    try:
        pipe = LTX2Pipeline.from_pretrained(request.model, dtype=torch.bfloat16)
    except Exception as error:
        reason = reason_of(error)
        raise CannotGenerate(
            f"the model {request.model!r} cannot be loaded: {shorten(reason, 160, placeholder=' …')}; it can be "
            "`nano`, a folder written by save_pretrained, or a repository of the hub that this machine can reach"
        ) from error
    if request.distilled or request.scheduler is not None:
        pipe.scheduler = scheduler_of(request, pipe.scheduler.config)
    place(pipe, request)
    return pipe


def scheduler_of(request: Request, config: Mapping[str, Any]) -> Any:
    """The scheduler that a request is for, of a model whose own scheduler has this configuration."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    # The distilled model's levels are used as they are, neither shifted nor stretched.
    exact = {"use_dynamic_shifting": False, "shift_terminal": None} if request.distilled else {}
    chosen = config if request.scheduler is None else request.scheduler
    return FlowMatchEulerDiscreteScheduler.from_config(dict(chosen), **exact)


def place(pipe: Any, request: Request) -> None:
    """Put a pipeline on its device, with the offload asked for where there is a GPU."""
    import torch

    device = request.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu" or request.offload == "none":
        pipe.to(device)
    elif request.offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.enable_model_cpu_offload(device=device)


def call_arguments(request: Request, pipe: Any = None) -> dict[str, Any]:
    """Arguments of the pipeline call, but for the generator."""
    call: dict[str, Any] = {"prompt": request.prompt, "negative_prompt": request.negative_prompt}
    call["num_inference_steps"] = request.steps
    from recorder import nano

    if nano.is_nano(request.model):
        call |= {**nano.HOME, **nano.CALL}
    call |= request.arguments
    sizes = {"height": request.height, "width": request.width, "num_frames": request.frames}
    call |= {k: v for k, v in sizes.items() if v is not None}
    if request.guidance_scale is not None:
        call["guidance_scale"] = request.guidance_scale
        if request.guidance_scale <= 1:
            call |= UNGUIDED
    if request.distilled:
        call |= {**UNGUIDED, "sigmas": list(DISTILLED_SIGMAS), "num_inference_steps": len(DISTILLED_SIGMAS)}
    call["output_type"] = "np" if request.output else "latent"
    return call


def write_video(path: Path, result: Any, pipe: Any, frame_rate: float) -> None:
    """Write the generated frames and sound as a video file.

    Raises:
        CannotGenerate: if PyAV is missing or cannot write the file.
    """
    if find_spec("av") is None:
        raise CannotGenerate("--output needs PyAV; install it in the checkout: pip install -c constraints.txt '.[ltx]'")
    import torch
    from diffusers.utils import encode_video

    frames = (torch.from_numpy(result.frames[0]) * 255).round().clamp(0, 255).to(torch.uint8)
    audio = result.audio[0].float().cpu() if result.audio is not None else None
    rate = int(pipe.vocoder.config.output_sampling_rate)
    try:
        # It draws a bar over the one chunk that there is, into logs and pipes too.
        with contextlib.redirect_stderr(io.StringIO()):
            encode_video(frames, fps=frame_rate, audio=audio, audio_sample_rate=rate, output_path=str(path))
    except (OSError, ValueError) as error:
        raise CannotGenerate(f"the video {path} cannot be written: {error}") from error


def quiet() -> None:
    """Keep libraries' chatter off the terminal; errors still come through."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    if not sys.warnoptions:
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").setLevel(logging.ERROR)


def _no_loading_bars() -> None:
    """The nano model loads in a second; bars are for the real one."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
