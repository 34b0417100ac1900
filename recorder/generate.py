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
    from recorder.findings.finding import Finding
    from recorder.recording import RunHandle

MISSING_EXTRA = "generating needs torch and diffusers; install them: pip install 'ltxtui[ltx]'"
DISTILLED_SIGMAS = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875)
"""Levels the distilled LTX 2.3 was trained for (the model card of diffusers/LTX-2.3-Distilled-Diffusers)."""


_NOT_THE_RESULT = frozenset({"runs_dir", "name", "output", "device", "allow_control", "stop_if", "pack"})
"""Fields that set where a request runs, which users may watch and what ends it early; they do not change the result."""


class CannotGenerate(RuntimeError):
    """A generation that cannot run as requested; the message names what to change."""


@dataclass(frozen=True)
class Request:
    """One generation as requested; None means the model's own default.

    Attributes:
        shocks: noise to inject.
        sigmas: an explicit σ list, used unchanged, without the closing 0; one step per level.
        arguments: more arguments of the pipeline call; the other fields take precedence.
        scheduler: a configuration of FlowMatchEulerDiscreteScheduler, instead of the model's.
        stop_if: ids of rules that stop the run.
        pack: keep the run as one file.
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
    stop_if: tuple[str, ...] = ()
    pack: bool = False
    offload: str = "model"
    device: str | None = None
    runs_dir: Path = Path("runs")
    name: str | None = None
    output: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields that decide the result, as JSON-like data, without folders, names and devices; see `from_dict`."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_THE_RESULT}
        sigmas = None if self.sigmas is None else list(self.sigmas)
        scheduler = None if self.scheduler is None else dict(self.scheduler)
        shocks = [s.as_dict() for s in self.shocks]
        return {**found, "shocks": shocks, "sigmas": sigmas, "arguments": dict(self.arguments), "scheduler": scheduler}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Request:
        """A request from the result of `as_dict` and any other field. Raises ValueError for an invalid shock or σ."""
        shocks = tuple(s if isinstance(s, Shock) else Shock.from_dict(s) for s in given.get("shocks", ()))
        sigmas = given.get("sigmas")
        return cls(**{**given, "shocks": shocks, "sigmas": None if sigmas is None else schedules.free(sigmas)})

    def as_metadata(self) -> dict[str, Any]:
        """The metadata that lets `replay.rerun` repeat a run."""
        asked = self.as_dict()
        # A run keeps texts and lists of bounded size only; a cut request must not look complete.
        return {"model": self.model, "request": asked, "request_is_whole": metadata.brief(asked) == asked}


@dataclass(frozen=True)
class Outcome:
    """The result of a generation.

    Attributes:
        archive: path of the run; None if no step was taken.
        standing: the status in a few words, with the steps that could not be recorded.
        rows: rows recorded, over all streams.
        missed: rows that could not be recorded, over all streams.
        rule_met: the finding of a rule of `stop_if` that stopped it, or came too late to.
    """

    archive: Path | None
    status: str
    standing: str
    rows: int
    missed: int
    seconds: float
    output: Path | None
    rule_met: Finding | None = None


def check_extra() -> None:
    """Raise CannotGenerate if torch, diffusers, transformers or accelerate is missing; imports none of them."""
    if any(find_spec(package) is None for package in ("torch", "diffusers", "transformers", "accelerate")):
        raise CannotGenerate(MISSING_EXTRA)


def generate(
    request: Request,
    progress: Callable[[int, int], None] | None = None,
    begun: Callable[[RunHandle], None] | None = None,
) -> Outcome:
    """Load the model, generate once while recording, and write the video if requested.

    Args:
        request: what to generate.
        progress: called with (steps done, total steps); without it the pipeline's own progress bar is shown.
        begun: called with the run when its recording has begun.

    Raises:
        CannotGenerate: if a package is missing, the model cannot be loaded or the video cannot be written.
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
        stop_if=request.stop_if,
        pack=request.pack,
        data_eigenvalue=nano.DATA_EIGENVALUE if request.model == "nano" else None,
    ) as run:
        if begun is not None:
            begun(run)
        result = pipe(**call)
    seconds = time.monotonic() - began
    if request.output:
        write_video(request.output, result, pipe, float(call.get("frame_rate", 24.0)))
    archive = request.runs_dir / run.path.name if run.kept else None  # relative if it was requested so
    return Outcome(archive, run.status, run.standing, run.rows, run.missed, seconds, request.output, run.rule_met)


def _reporter(progress: Callable[[int, int], None], request: Request) -> Callable[..., dict[str, Any]]:
    def report(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        progress(step + 1, pipe.num_timesteps)
        return kwargs

    return report


def load(request: Request) -> Any:
    """Load the pipeline: `nano`, a folder, or a repository id on the hub. All but nano are loaded in bf16.

    Raises:
        CannotGenerate: if it cannot be loaded.
    """
    import torch

    if request.model == "nano":
        from recorder import nano

        # With tensors this small, threads mostly wait for one another.
        torch.set_num_threads(1)
        _no_loading_bars()
        pipe = nano.load()
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
    move_to_device(pipe, request)
    return pipe


def scheduler_of(request: Request, config: Mapping[str, Any]) -> Any:
    """The scheduler of a request; `config` is the configuration of the model's own one."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    # The levels of the distilled model are neither shifted nor stretched.
    exact = {"use_dynamic_shifting": False, "shift_terminal": None} if request.distilled else {}
    chosen = config if request.scheduler is None else request.scheduler
    return FlowMatchEulerDiscreteScheduler.from_config(dict(chosen), **exact)


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


def call_arguments(request: Request) -> dict[str, Any]:
    """Arguments of the pipeline call, except the generator."""
    call: dict[str, Any] = {"prompt": request.prompt, "negative_prompt": request.negative_prompt}
    call["num_inference_steps"] = request.steps
    if request.model == "nano":
        from recorder import nano

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
        raise CannotGenerate("--output needs PyAV; install it: pip install 'ltxtui[ltx]'")
    import torch
    from diffusers.utils import encode_video

    frames = (torch.from_numpy(result.frames[0]) * 255).round().clamp(0, 255).to(torch.uint8)
    audio = result.audio[0].float().cpu() if result.audio is not None else None
    rate = int(pipe.vocoder.config.output_sampling_rate)
    try:
        # It draws a progress bar over a single chunk, into logs and pipes too.
        with contextlib.redirect_stderr(io.StringIO()):
            encode_video(frames, fps=frame_rate, audio=audio, audio_sample_rate=rate, output_path=str(path))
    except (OSError, ValueError) as error:
        raise CannotGenerate(f"the video {path} cannot be written: {error}") from error


def quiet() -> None:
    """Silence the libraries' warnings; errors are still shown."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    if not sys.warnoptions:
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").setLevel(logging.ERROR)


def _no_loading_bars() -> None:
    """Turn off progress bars of loading: the nano model loads in a second."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
