"""Runs one recorded generation, of one stage or several: what `ltxtui record` does."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recorder.recipes.libraries import CannotGenerate as CannotGenerate
from recorder.recipes.libraries import check_extra as check_extra
from recorder.recipes.libraries import quiet
from recorder.recipes.request import Request as Request

if TYPE_CHECKING:
    from recorder.findings.finding import Finding
    from recorder.recording import RunHandle


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
    from recorder import nano
    from recorder.recipes.loading import load
    from recorder.recipes.stages import run_stages
    from recorder.session import record

    pipe = load(request)
    # A TTY gets the pipeline's bar; anything else gets plain lines from the callback.
    pipe.set_progress_bar_config(disable=True if progress else None)
    began = time.monotonic()
    with record(
        pipe,
        shocks=request.shocks,
        sigmas=request.sigmas if request.is_conducted else None,
        runs_dir=request.runs_dir,
        name=request.name,
        metadata=request.as_metadata(),
        save_latents=request.save_latents,
        allow_control=request.allow_control,
        stop_if=request.stop_if,
        pack=request.pack,
        data_eigenvalue=nano.DATA_EIGENVALUE if nano.is_nano(request.model) else None,
    ) as run:
        if begun is not None:
            begun(run)
        result = run_stages(pipe, request, progress, lambda: run.stopping)
    seconds = time.monotonic() - began
    if request.output and result is not None:
        write_video(request.output, result, pipe, _frame_rate(request))
    archive = request.runs_dir / run.path.name if run.kept else None  # relative if it was requested so
    return Outcome(archive, run.status, run.standing, run.rows, run.missed, seconds, request.output, run.rule_met)


def _frame_rate(request: Request) -> float:
    return float(request.frame_rate or request.arguments.get("frame_rate", 24.0))


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
