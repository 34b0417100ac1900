"""`record`: one run, from the first hook to the finished archive."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from recorder import describe, families, hooks, words
from recorder.control import STOPPED
from recorder.dispatch import SamplingObserver
from recorder.recording import Run
from recorder.shocks.conductor import Conductor
from recorder.shocks.schedules import free
from recorder.shocks.spec import Shock
from recorder.system import gpu_of


def _conductor(
    pipes: Sequence[Any], shocks: Sequence[Shock | Mapping[str, Any]], sigmas: Sequence[float] | None
) -> Conductor | None:
    """Who decides on the shocks of this run; None if none can act in it.

    Raises:
        ValueError: if shocks are wanted and a pipeline cannot take them exactly.
    """
    read = [s if isinstance(s, Shock) else Shock.from_dict(s) for s in shocks]
    own = None if sigmas is None else free(sigmas)
    if not pipes or not (read or own):
        if read or own:
            raise ValueError("shocks act in a pipeline's scheduler; a loop of your own injects its noise itself")
        return None
    from recorder.shocks.scheduler import check_lendable

    for pipe in pipes:
        for name in hooks.SCHEDULER_NAMES:
            if getattr(pipe, name, None) is not None:
                check_lendable(getattr(pipe, name))
    return Conductor(read, own)


def take_back(schedulers: Iterable[Any]) -> None:
    """Give schedulers back that were lent shocks for this run."""
    from recorder.shocks import scheduler

    for lent in schedulers:
        scheduler.take_back(lent)


@contextlib.contextmanager
def record(
    pipe: Any = None,
    *,
    shocks: Sequence[Shock | Mapping[str, Any]] = (),
    sigmas: Sequence[float] | None = None,
    runs_dir: str | os.PathLike[str] = "runs",
    name: str | None = None,
    metadata: dict[str, Any] | None = None,
    save_latents: bool = False,
    data_eigenvalue: float | None = None,
    previews: bool = True,
    sync: bool = False,
    allow_control: bool = False,
) -> Iterator[Run]:
    """Record every call of one pipeline or several while the block runs.

    The pipelines are not changed beyond the block, and without shocks what they generate is bit-identical to an
    unrecorded call.
    Errors of the recorder become events of the run and never reach the generation.
    With several ranks, record on rank 0 only: each rank sees whole latents, and would write an equal run.
    Calls may be made at the same time, in threads or asyncio tasks, and may share models; each needs a pipeline and a
    scheduler of its own, and calls of one pipeline at once are refused with an event.

    Args:
        pipe: a diffusers pipeline such as `LTX2Pipeline`, or a sequence of them; none for a loop of your own, which
            then calls `run.step`.
        shocks: noise to inject, in every loop whose schedule reaches it: see `Shock`, `ancestral`, `spikes`.
        sigmas: a σ list of one's own for every loop, used as it is, without the closing 0.
        runs_dir: where archives go; made if missing.
        name: added to the time in the run's name; two random words if not given.
        metadata: anything JSON-like to keep with the run.
        save_latents: also keep the sample and the predicted clean sample of every step, in float16.
        data_eigenvalue: Λ, the top eigenvalue of the covariance of the model's data, if it is known: adds the
            speciation estimate to the critical phase.
        previews: send and keep a small false-colour picture of the predicted clean video of every step.
        sync: force every message onto the disk, to survive a power cut too.
        allow_control: let viewers, who are always of the same user, send commands over the run's socket: a shock at
            the next step, stop after this step, a snapshot of the latents. See `ltxtui control`.

    Yields:
        The run: `run.path` is its archive, complete when the block has ended.

    Raises:
        OSError: if `runs_dir` cannot be written, before anything is generated.
        RuntimeError: if a pipeline, or its scheduler, is being recorded already.
        ValueError: if a pipeline or its scheduler cannot be observed rightly, or shocked exactly; from the pipeline's
            call, if no shock can act on its schedule as asked.

    Example:
        >>> with record(pipe, runs_dir="runs") as run:
        ...     pipe("a red ball moving left")
        >>> run.path
    """
    pipes = list(pipe) if isinstance(pipe, Sequence) else [] if pipe is None else [pipe]
    for p in pipes:
        families.check(p)
    conductor = _conductor(pipes, shocks, sigmas) or (Conductor() if pipes and allow_control else None)
    known = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "command": describe.command(),
        "pipelines": [type(p).__name__ for p in pipes],
        "model": describe.model_id(pipes[0]) if pipes else "",
        "device": describe.device_name(pipes[0].device) if pipes else "",
        "versions": describe.versions(),
        "shocks": [s.as_dict() for s in conductor.shocks] if conductor else [],
        "user": describe.brief(metadata or {}),
    }
    run = Run(
        Path(runs_dir),
        name,
        known,
        save_latents=save_latents,
        eigenvalue=data_eigenvalue,
        previews=previews,
        sync=sync,
        gpu=gpu_of(pipes[0] if pipes else None),
        allow_control=allow_control,
    )
    ending = _Ending()
    with contextlib.ExitStack() as closing:
        # Each of these is done whatever happens to the others, in the reverse order.
        closing.callback(lambda: run.finish(ending.status, ending.error))
        closing.callback(_guarded, run, "the end of the last stage", run.end_stages)
        observer = SamplingObserver(run.stages, conductor)
        run.control.shock = observer.request_shock if pipes else None
        closing.callback(_guarded, run, "the end of the last call", observer.close)
        if conductor is not None:
            closing.callback(_guarded, run, "the end of shocks", partial(take_back, observer.schedulers))
        closing.callback(_guarded, run, "the end of a scheduler's hooks", partial(_unhook_schedulers, observer))
        try:
            for p in pipes:
                hooks.hook_pipeline(p, observer)
                closing.callback(_guarded, run, "the end of a pipeline's hooks", partial(hooks.unhook, p))
            yield run
            if run.stopping:
                ending.status, ending.error = "interrupted", STOPPED
        except (KeyboardInterrupt, SystemExit, GeneratorExit) as stopped:
            ending.status, ending.error = "interrupted", type(stopped).__name__
            raise
        except BaseException as failure:
            ending.status, ending.error = "failed", f"{type(failure).__name__}: {failure}"
            raise


@dataclass
class _Ending:
    status: words.Status = "complete"
    error: str | None = None


def _unhook_schedulers(observer: SamplingObserver) -> None:
    for scheduler in observer.schedulers:
        hooks.unhook_scheduler(scheduler)


def _guarded(run: Run, what: str, function: Callable[[], None]) -> None:
    """Whatever fails at the end of a recording is told, and does not reach who records."""
    try:
        function()
    except Exception as error:  # noqa: BLE001 - see above
        run.trouble(what, error)
