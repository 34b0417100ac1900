"""Makes runs of a sweep: `python -m recorder.sweep.worker FOLDER`, one JSON line per run on stdin and stdout.

A separate process, so that several can share a machine and the command line stays light. It ends when its stdin does:
if the process that started it dies, it finishes the run under way and no other. With `--tied` it interrupts that run,
whose job is another maker's then.
"""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from recorder.format import locations
from recorder.format.events import reason_of
from recorder.sweep import spec
from recorder.sweep.grid import Arm
from recorder.sweep.spec import Job, Sweep
from recorder.system.signals import as_ctrl_c

EXPECTED: Final = (ValueError, RuntimeError, OSError, TypeError, ArithmeticError, LookupError)
"""What a model or a run may raise; it is the result of the job."""


def main(arguments: Sequence[str]) -> int:
    """Answer jobs until there are no more."""
    # Answers have a separate channel: what libraries print goes to the log.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        with as_ctrl_c(forced=True, batch=True):
            serve(Path(arguments[0]), _tied(sys.stdin) if "--tied" in arguments else sys.stdin, answers)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of the answers is gone; the run is in its archive
        return 0
    return 0


def _tied(lines: IO[str]) -> Iterator[str]:
    """The lines of a stream; if it ends while one is worked on, this process is interrupted."""
    read: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    at_work, over = threading.Event(), threading.Event()

    def follow() -> None:
        for line in lines:
            read.put(line)
        # Set before the other's flag is read, as below: one of the two sees the other.
        over.set()
        read.put(None)
        if at_work.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=follow, name="jobs", daemon=True).start()
    while (line := read.get()) is not None:
        at_work.set()
        if over.is_set():
            return
        yield line
        at_work.clear()


def serve(folder: Path, jobs: Iterable[str], answers: IO[str]) -> None:
    """Load the model at the first job, make each run, report its result."""
    sweep = spec.read(folder)
    pipe: Any = None
    for line in jobs:
        job = Job(**json.loads(line))
        began = time.monotonic()
        answer: dict[str, Any] = {"error": None, "fatal": False, "no_plan": False, "run": ""}
        try:
            if pipe is None:
                answer["fatal"] = True
                pipe = load(sweep)
                answer["fatal"] = False
            began = time.monotonic()
            answer["run"] = locations.run_name(make_run(pipe, sweep, job, folder))
        except EXPECTED as error:
            traceback.print_exc()
            answer["error"], answer["no_plan"] = described(error)
        answer["seconds"] = time.monotonic() - began
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def described(error: BaseException) -> tuple[str, bool]:
    """An error in one line, and whether the arm's shocks cannot act on this schedule, with any seed."""
    from recorder.shocks.plan import PlanError

    return f"{type(error).__name__}: {reason_of(error)}", isinstance(error, PlanError)


def request_of(sweep: Sweep, arm: Arm, seed: int) -> Any:
    """The generation request of one run, without its shocks."""
    from recorder.recipes.request import Request

    own = sweep.settings
    setup = dict(own.setup)
    stages = [dict(stage) for stage in setup.pop("stages", ())]
    if stages:
        changed = stages[arm.stage - 1]
        changed["steps"] = changed.get("steps", own.steps) + arm.more_steps
    return Request.from_dict(
        {
            "model": own.model,
            "prompt": own.prompt(seed),
            "negative_prompt": own.negative_prompt,
            "steps": own.steps + (0 if stages else arm.more_steps),
            "seed": seed,
            "height": own.height,
            "width": own.width,
            "frames": own.frames,
            "guidance_scale": own.guidance_scale,
            "distilled": own.distilled,
            "offload": own.offload,
            "device": own.device,
            **setup,
            "stages": stages,
        }
    )


def load(sweep: Sweep) -> Any:
    """The sweep's pipeline. Raises CannotGenerate."""
    from recorder.recipes.libraries import check_extra
    from recorder.recipes.loading import load as load_pipeline

    check_extra()
    pipe = load_pipeline(request_of(sweep, sweep.arms[0], sweep.seeds[0]))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_run(pipe: Any, sweep: Sweep, job: Job, folder: Path, pack: bool = False) -> Path:
    """Generate and record one run, and measure its final latents; returns its archive, packed on request."""
    from recorder import nano
    from recorder.recipes.call import scheduler_of
    from recorder.recipes.named_schedule import read_schedule
    from recorder.recipes.native_schedule import configuration
    from recorder.recipes.stages import run_stages
    from recorder.session import record

    arm = sweep.arm(job.arm)
    request = request_of(sweep, arm, job.seed)
    own = request.in_stages()

    def with_more_steps(number: int, call: dict[str, Any]) -> None:
        """A list of levels of its own gets the control's steps along the same line."""
        stage = own[number]
        fixed = stage.distilled or (stage.schedule is not None and read_schedule(stage.schedule).is_fixed)
        if fixed and arm.more_steps and number + 1 == arm.stage:
            call["sigmas"] = stretched(call["sigmas"], len(call["sigmas"]) + arm.more_steps)
            call["num_inference_steps"] = len(call["sigmas"])

    if own[0].schedule is not None or len(own) > 1 or request.sampler != "euler":
        pipe.scheduler = scheduler_of(own[0], configuration(request))  # the run before may have left another one
    with record(
        pipe,
        shocks=arm.shocks_of(job.seed),
        runs_dir=folder / spec.RUNS,
        name=job.file,
        metadata={"model": sweep.settings.model, "sweep": {"id": sweep.id, "arm": arm.name, "seed": job.seed}},
        data_eigenvalue=nano.DATA_EIGENVALUE if sweep.settings.has_measures else None,
        previews=False,
        pack=pack,
    ) as run:
        result = run_stages(pipe, request, changed=with_more_steps)
        # Before the run is complete, so that no complete run lacks its measures.
        file = spec.measures_file(folder, run.name)
        found = nano_measures(result, request.prompt) if sweep.settings.has_measures else {}
        spec.replace_file(file, json.dumps({"run": run.name, "measures": found}) + "\n")
    if run.status != "complete" or not run.rows:
        raise RuntimeError(f"the run ended as: {run.standing}")
    return run.path


def stretched(sigmas: Sequence[float], count: int) -> list[float]:
    """As many levels along the same line, which ends at 0: a fixed list with steps more."""
    line = np.array([*sigmas, 0.0])
    places = np.linspace(0, len(sigmas), count + 1)[:-1]
    return [float(s) for s in np.interp(places, np.arange(len(line)), line)]


def nano_measures(result: Any, prompt: str) -> dict[str, float | None]:
    """Whether and how steadily a nano clip shows what its prompt describes; empty for a prompt of another grammar."""
    from recorder.nano import clips, measure

    try:
        clips.words_of(prompt)
    except ValueError:
        return {}
    video = result.frames[0].float().cpu().numpy()
    if not np.isfinite(video).all():
        return {}
    with np.errstate(all="ignore"):
        numbers = measure.measure(video, prompt).numbers()
    return {name: value if math.isfinite(value) else None for name, value in numbers.items() if name != "drift"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
