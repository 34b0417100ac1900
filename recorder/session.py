"""`record`: one run, from the first hook to the finished archive."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from recorder.format import locations, protocol
from recorder.format.events import named
from recorder.recording import COMPLETING, Run
from recorder.sampling import hooks, supported_pipelines
from recorder.sampling.commands import STOPPED
from recorder.sampling.dispatch import SamplingObserver
from recorder.sampling.metadata import brief, command, device_name, model_id, versions
from recorder.shocks.conductor import Conductor
from recorder.shocks.schedules import free
from recorder.shocks.spec import Shock
from recorder.system.interrupts import shielded
from recorder.writing.machine_load import gpu_of


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


def record(
    pipe: Any = None,
    *,
    shocks: Sequence[Shock | Mapping[str, Any]] = (),
    sigmas: Sequence[float] | None = None,
    runs_dir: str | os.PathLike[str] = "runs",
    name: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    save_latents: bool = False,
    data_eigenvalue: float | None = None,
    previews: bool = True,
    sync: bool = False,
    allow_control: bool = False,
) -> Recording:
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

    Returns:
        A context manager that gives the run: `run.path` is its archive's absolute path, complete when the block has
        ended; its journal stays beside it until the archive is on the disk, which a slow disk may do later. A run in
        which no step was taken leaves nothing, and `run.kept` is False then.

    Raises:
        OSError: if `runs_dir` cannot be written, before anything is generated.
        RuntimeError: if a pipeline, or its scheduler, is being recorded already.
        ValueError: if `runs_dir` is a URL; if a pipeline or its scheduler cannot be observed rightly, or shocked
            exactly; from the pipeline's call, if no shock can act on its schedule as asked.

    All of them are raised where the block is entered, and leave nothing behind.

    Example:
        >>> with record(pipe, runs_dir="runs") as run:
        ...     pipe("a red ball moving left")
        >>> run.path
    """

    def begin(recording: Recording) -> Callable[[], None]:
        pipes = list(pipe) if isinstance(pipe, Sequence) else [] if pipe is None else [pipe]
        for p in pipes:
            supported_pipelines.check(p)
        _check_free(pipes)
        # Absolute, since the program may change its working directory while the block runs.
        folder = Path(os.path.abspath(locations.local_path(runs_dir, "runs_dir")))  # noqa: PTH100 - keeps links
        conductor = _conductor(pipes, shocks, sigmas) or (Conductor() if pipes and allow_control else None)
        make = partial(
            Run,
            folder,
            name,
            _known(pipes, conductor, metadata),
            save_latents=save_latents,
            eigenvalue=data_eigenvalue,
            previews=previews,
            sync=sync,
            gpu=gpu_of(pipes[0] if pipes else None),
            allow_control=allow_control,
        )
        return partial(recording.open, make, pipes, conductor)

    return Recording(begin)


def _known(pipes: Sequence[Any], conductor: Conductor | None, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is known of a run when it begins."""
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "command": command(),
        "pipelines": [type(p).__name__ for p in pipes],
        "model": model_id(pipes[0]) if pipes else "",
        "device": device_name(pipes[0].device) if pipes else "",
        "versions": versions(),
        "shocks": [s.as_dict() for s in conductor.shocks] if conductor else [],
        "user": {} if metadata is None else brief(metadata),
    }


def _check_free(pipes: Sequence[Any]) -> None:
    """Refuse pipelines that are recorded already. Raises RuntimeError."""
    for i, pipe in enumerate(pipes):
        if hooks.is_hooked(pipe):
            raise RuntimeError(f"this {type(pipe).__name__} is being recorded already; end that recording first")
        if any(pipe is other for other in pipes[:i]):
            raise RuntimeError(f"this {type(pipe).__name__} is given twice; give each pipeline once")


class Recording(contextlib.ContextDecorator):
    """One recording, to be entered once; what `record` returns. As a decorator it records every call apart.

    It is opened and closed in threads of their own, where no Ctrl-C can leave it half open.
    """

    _run: Run | None = None
    _closing = False

    def __init__(self, begin: Callable[[Recording], Callable[[], None]]) -> None:
        """`begin` checks what is asked for and returns what opens the recording."""
        self._begin = begin
        self._entered = False
        self._pipes: Sequence[Any] = ()
        self._observer: SamplingObserver | None = None
        self._take_back: Callable[[Any], None] | None = None

    def _recreate_cm(self) -> Recording:
        return Recording(self._begin)

    def __enter__(self) -> Run:
        if self._entered:
            raise RuntimeError("a recording is entered once; call record() again")
        self._entered = True
        try:
            # Checked here: the current CUDA device is the thread's own.
            shielded(self._begin(self), "ltxtui-opener")
            run = self._run
            assert run is not None
            return run
        except BaseException as error:
            self._leave(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._leave(error)

    def __del__(self) -> None:
        # A block whose end was never reached, such as that of a generator that nobody has run to its end. While the
        # interpreter goes, its runs have been ended, and torch cannot be used any more.
        if self._run is not None and not self._closing and not sys.is_finalizing():
            self._leave(GeneratorExit())

    def open(self, make: Callable[[], Run], pipes: Sequence[Any], conductor: Conductor | None) -> None:
        """Make the run and hook the pipelines; what is done when this fails is undone by leaving."""
        if conductor is not None:
            # Brings diffusers, and is loaded here: at the end there may be no file descriptor left to do so.
            from recorder.shocks.scheduler import take_back

            self._take_back = take_back
        self._pipes = pipes
        self._run = run = make()
        self._observer = observer = SamplingObserver(run.stages, conductor)
        run.control.shock = observer.request_shock if pipes else None
        for p in pipes:
            hooks.hook_pipeline(p, observer)

    def _leave(self, error: BaseException | None) -> None:
        if self._run is None:
            return
        try:
            # In the thread that has sampled, whose streams and modes the last measurements belong to.
            self._end_sampling(self._run)
        finally:
            try:
                shielded(partial(self._close, self._run, error), "ltxtui-closer", COMPLETING)
            except BaseException:
                if not self._closing:  # the Ctrl-C came first
                    shielded(partial(self._close, self._run, error), "ltxtui-closer", COMPLETING)
                raise

    def _end_sampling(self, run: Run) -> None:
        if self._observer is not None:
            _guarded(run, "the end of the last call", self._observer.close)
        _guarded(run, "the end of the last stage", run.end_stages)

    def _close(self, run: Run, error: BaseException | None) -> None:
        """Give everything back and end the run; once."""
        if self._closing:
            return
        self._closing = True
        if (observer := self._observer) is not None:
            for pipe in self._pipes:
                _guarded(run, "the end of a pipeline's hooks", partial(_unhook, pipe, observer))
            for scheduler in list(observer.schedulers):
                _guarded(run, "the end of a scheduler's hooks", partial(_unhook_scheduler, scheduler, observer))
                if self._take_back is not None:
                    _guarded(run, "the end of shocks", partial(self._take_back, scheduler))
            self._end_sampling(run)  # once more, in case that a Ctrl-C has stopped it
        run.close(*_ending(run, error))


def _ending(run: Run, error: BaseException | None) -> tuple[protocol.Status, str | None]:
    """How a run ends whose block was left with this exception."""
    if error is None:
        return ("interrupted", STOPPED) if run.stopping else ("complete", None)
    if isinstance(error, Exception):
        try:
            return "failed", named(error)
        except BaseException:  # noqa: BLE001 - its text is the user's code, which may raise SystemExit too
            return "failed", type(error).__name__
    return "interrupted", type(error).__name__  # Ctrl-C, exit, a generator that is closed, a task that is cancelled


def _unhook(pipe: Any, observer: SamplingObserver) -> None:
    """Give a pipeline and its present schedulers back, if it is still this recording's."""
    for name in hooks.SCHEDULER_NAMES:
        if (scheduler := getattr(pipe, name, None)) is not None:
            _unhook_scheduler(scheduler, observer)
    if pipe.__dict__.get(hooks.OBSERVER) is observer:
        hooks.unhook(pipe)
        pipe.__dict__.pop(hooks.OBSERVER, None)


def _unhook_scheduler(scheduler: Any, observer: SamplingObserver) -> None:
    if scheduler.__dict__.get(hooks.OBSERVER) is observer:
        hooks.unhook_scheduler(scheduler)


def _guarded(run: Run, what: str, function: Callable[[], None]) -> None:
    """Whatever fails at the end of a recording is told, and does not reach who records."""
    try:
        function()
    except Exception as error:  # noqa: BLE001 - see above
        run.trouble(what, error)
