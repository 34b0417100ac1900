"""`record`: one run, from the first hook to the finished archive."""

from __future__ import annotations

import inspect
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakMethod

from recorder.findings.named import read_rules
from recorder.format import locations
from recorder.recording import COMPLETING, RunHandle
from recorder.runners.lightricks import observer as lightricks
from recorder.runners.lightricks.observer import LightricksObserver
from recorder.runners.stop import ending_of
from recorder.runners.targets import Targets
from recorder.sampling import hooks
from recorder.sampling.commands import AnswerCallback
from recorder.sampling.dispatch import SamplingObserver
from recorder.shocks.conductor import Conductor
from recorder.shocks.spec import Shock
from recorder.system.calls import inside
from recorder.system.interrupts import shielded
from recorder.writing.machine_load import gpu_of

F = TypeVar("F", bound=Callable[..., Any])


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
    stop_if: str | Sequence[str] = (),
    pack: bool = False,
) -> Recording:
    """Record every call of one or more pipelines while the block runs.

    The pipelines are restored at the end of the block. Without shocks, the results are bit-identical to those of
    unrecorded calls. Errors of the recorder become events of the run and never reach the generation.

    With several ranks, record on rank 0 only: each rank sees all latents and would write the same run. Calls may run
    concurrently in threads or asyncio tasks, and may share models. Each call needs its own pipeline and scheduler;
    concurrent calls of one pipeline are not recorded, and an event says so.

    Args:
        pipe: a diffusers pipeline such as `LTX2Pipeline`, one of Lightricks' ltx-pipelines such as
            `DistilledPipeline`, or a sequence of them; `"ltx-pipelines"` for everything that ltx-pipelines runs while
            the block runs; None for a custom loop, which calls `run.step` or `run.evaluated`.
        shocks: noise to inject, in every loop whose schedule reaches it: see `Shock`, `ancestral`, `spikes`.
        sigmas: an explicit σ list for every loop, used unchanged, without the closing 0.
        runs_dir: the folder for archives, created if missing.
        name: follows the time in the run's name; by default two random words. Letters and digits of any script,
            `.`, `_` and `-` are kept.
        metadata: any JSON-like data to keep with the run.
        save_latents: also keep the sample and the predicted clean sample of every step, in float16.
        data_eigenvalue: Λ, the top eigenvalue of the covariance of the model's data, if it is known: adds the
            speciation estimate to the critical phase.
        previews: send and keep a small picture of the predicted clean video of every step. Its colours are true once
            a pipeline has decoded a clip of the model, in this run or an earlier one. Also keep small pictures of the
            decoded clip.
        sync: force every message onto the disk, to survive a power failure.
        allow_control: let viewers, which always belong to the same user, send commands over the run's socket: a shock
            at the next step, stop after this step, a snapshot of the latents. See `ltxtui control`.
        stop_if: ids of rules, such as `("not-finite",)`: the first finding of one of them stops the run after the step,
            as a viewer's `stop` does; its status is `interrupted`, and its error names rule and step. Rules are
            evaluated outside of the sampling thread, so that one more step may be taken. A custom loop ends itself: it
            checks `run.stopping` before each step. See `ltxtui explain --verbose` and docs/findings.md for the rules.
        pack: keep the run as one file, `….zarr.zip`, which is what `run.path` is after the block. A run of some
            thousand steps has no folder before that: until it ends it is in the journal only. Runs that are longer or
            keep latents are packed from their folder at the end.

    Returns:
        A context manager, which is a decorator as well. As a context manager it gives a `RunHandle`: `run.path` is the
        absolute path of the archive, which is complete when the block has ended. The journal stays next to it until
        the archive is on the disk. A run in which no step was taken leaves nothing, and `run.kept` is False.
        As a decorator it records each call of a function as a separate run; functions, coroutine functions and
        generator functions, asynchronous ones as well, are recorded until they have finished.

    Raises:
        OSError: if `runs_dir` cannot be written, before anything is generated.
        RuntimeError: if a pipeline, or its scheduler, is being recorded already.
        ValueError: if `runs_dir` is a URL; if `stop_if` names an unknown rule; if a pipeline or its scheduler cannot be
            observed correctly, or shocked exactly; from the pipeline's call, if no shock can act on its schedule as
            asked.
        TypeError: at once, if a function is given in place of a pipeline, as by `@record` without parentheses.

    ltx-pipelines has no other way to end a loop, so there a `stop` raises `GenerationStopped` from the pipeline's call.
    All but TypeError are raised where the block is entered, and leave nothing behind.

    Example:
        >>> with record(pipe, runs_dir="runs") as run:
        ...     pipe("a red ball moving left")
        >>> run.path
    """

    if inspect.isroutine(pipe) or inspect.isclass(pipe):
        raise TypeError(f"{pipe.__qualname__} is not a pipeline; as a decorator write @record() or @record(pipe)")

    def begin(recording: Recording) -> Callable[[], None]:
        targets = Targets.of(pipe)
        rules = read_rules(stop_if)
        # Absolute, since the program may change its working directory while the block runs.
        folder = Path(os.path.abspath(locations.local_path(runs_dir, "runs_dir")))  # noqa: PTH100 - keeps links
        conductor = targets.conductor(shocks, sigmas, allow_control)
        make = partial(
            RunHandle,
            folder,
            name,
            targets.known(conductor, metadata),
            save_latents=save_latents,
            eigenvalue=data_eigenvalue,
            previews=previews,
            sync=sync,
            gpu=gpu_of(next(iter((*targets.pipes, *targets.others)), None)),
            allow_control=allow_control,
            stop_if=rules,
            pack=pack,
        )
        return partial(recording.open, make, targets, conductor)

    return Recording(begin)


class Recording:
    """What `record` returns: a context manager, to be entered once, and a decorator that records each call as a run.

    A recording is opened and closed in separate threads, where no Ctrl-C can leave it half open.
    """

    _run: RunHandle | None = None
    _closing = False

    def __init__(self, begin: Callable[[Recording], Callable[[], None]]) -> None:
        """`begin` checks what is asked for and returns what opens the recording."""
        self._begin = begin
        self._entered = False
        self._pipes: Sequence[Any] = ()
        self._observer: SamplingObserver | None = None
        self._others: LightricksObserver | None = None
        self._conductor: Conductor | None = None
        self._take_back: Callable[[Any], None] | None = None
        self._shocks_joining = False
        """Shocks act in pipelines that join too."""

    def __call__(self, function: F) -> F:
        """Decorate a function: each call is a run, from its beginning until it returns.

        The run of a coroutine function ends when the coroutine has been awaited, that of a generator function when the
        generator is exhausted or closed.
        """
        return inside(function, lambda: Recording(self._begin))

    def __enter__(self) -> RunHandle:
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

    def start(self) -> RunHandle:
        """Begin the run, for a host that has no block to put around it; end it with `end`. Raises as `record` does."""
        return self.__enter__()

    def end(self, error: BaseException | None = None) -> None:
        """End a run that was started: `failed` with an Exception, `interrupted` with another one such as Ctrl-C."""
        self._leave(error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._leave(error)

    def __del__(self) -> None:
        # A block that was never left, such as that of a generator that was not exhausted. At interpreter shutdown the
        # runs have been ended already, and torch cannot be used.
        if self._run is not None and not self._closing and not sys.is_finalizing():
            self._leave(GeneratorExit())

    @property
    def watcher(self) -> LightricksObserver | None:
        """What records the loops of ltx-pipelines in this run, if anything does."""
        return self._others

    def open(self, make: Callable[[], RunHandle], targets: Targets, conductor: Conductor | None) -> None:
        """Make the run and hook the pipelines. If this fails, leaving the block undoes what was done."""
        self._conductor = conductor
        self._prepare_shocks(targets)
        self._pipes = targets.pipes
        self._shocks_joining = targets.joining
        self._run = run = make()
        in_pipes = conductor if targets.pipes or targets.joining else None
        self._observer = observer = SamplingObserver(run.stages, in_pipes)
        # Weakly: a recording that is dropped ends its run at once, not at the next collection of circles.
        run.joins = WeakMethod(self._join)
        self._hook(run, targets)
        for p in targets.pipes:
            hooks.hook_pipeline(p, observer)

    def _hook(self, run: RunHandle, targets: Targets) -> None:
        """Watch what ltx-pipelines runs, and send requests for shocks to what is under way."""
        if targets.api is not None:
            watched = None if targets.all_others else targets.others
            self._others = LightricksObserver(targets.api, run.stages, watched, self._conductor)
        if targets:
            run.control.shock = partial(_request_shock, self._observer, self._others, bool(self._pipes))

    def _prepare_shocks(self, targets: Targets) -> None:
        if self._conductor is not None and targets.pipes and self._take_back is None:
            # Imports diffusers. At the end there may be no file descriptor left for that.
            from recorder.shocks.scheduler import take_back

            self._take_back = take_back

    def call_begins(self, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], None]:
        """Record a call of a pipeline that begins now, for a host that sees calls.

        Args:
            pipe: the pipeline. It is hooked, and kept, during this call alone.
            args: what it is called with.
            kwargs: the same by name.

        Returns:
            The function to call, in the same thread, when the call has ended.

        Raises:
            RuntimeError: if the run has ended, or if the pipeline or its scheduler is being recorded already.
            ValueError: if the pipeline cannot be observed correctly.
        """
        self._join(pipe)
        if self._others is not None and lightricks.takes(pipe):
            ends = self._others.call_begins(pipe)
        else:
            assert self._observer is not None
            ends = self._observer.call_begins(pipe, args, kwargs)

        def ended() -> None:
            try:
                ends()
            finally:
                self._part(pipe)

        return ended

    def _part(self, pipe: Any) -> None:
        """Restore a pipeline that had joined for a call."""
        self._pipes = [p for p in self._pipes if p is not pipe]
        if self._others is not None and lightricks.takes(pipe):
            self._others.remove(pipe)
        elif self._observer is not None:
            schedulers = [getattr(pipe, name, None) for name in hooks.SCHEDULER_NAMES]
            hooks.release(pipe, self._observer)
            for scheduler in schedulers:
                if scheduler is not None and self._take_back is not None:
                    self._take_back(scheduler)

    def _join(self, pipe: Any) -> None:
        """Record a further pipeline in this run; see `RunHandle.join`."""
        run, observer = self._run, self._observer
        if run is None or observer is None or self._closing or run.status != "recording":
            raise RuntimeError("the run has ended; a pipeline can only join a run that is being recorded")
        targets = Targets.of(pipe)
        if self._shocks_joining:
            self._prepare_shocks(targets)
        for p in targets.pipes:
            hooks.hook_pipeline(p, observer)
            self._pipes = [*self._pipes, p]
        if targets.api is not None and self._others is not None:
            self._others.add(None if targets.all_others else targets.others)
        else:
            self._hook(run, targets)

    def _leave(self, error: BaseException | None) -> None:
        if self._run is None:
            return
        try:
            # In the sampling thread: the last measurements belong to its CUDA streams and modes.
            self._end_sampling(self._run, complete=error is None)
        finally:
            try:
                shielded(partial(self._close, self._run, error), "ltxtui-closer", COMPLETING)
            except BaseException:
                if not self._closing:  # the Ctrl-C came first
                    shielded(partial(self._close, self._run, error), "ltxtui-closer", COMPLETING)
                raise

    def _end_sampling(self, run: RunHandle, complete: bool) -> None:
        if self._observer is not None:
            _guarded(run, "the end of the last call", self._observer.close)
        _guarded(run, "the end of the last stage", partial(run.end_stages, complete))

    def _close(self, run: RunHandle, error: BaseException | None) -> None:
        """Restore the pipelines and end the run; once."""
        if self._closing:
            return
        self._closing = True
        if self._others is not None:
            _guarded(run, "the end of the hooks in ltx-pipelines", self._others.close)
        if (observer := self._observer) is not None:
            for pipe in self._pipes:
                _guarded(run, "the end of a pipeline's hooks", partial(hooks.release, pipe, observer))
            for scheduler in list(observer.schedulers):
                _guarded(run, "the end of a scheduler's hooks", partial(hooks.release_scheduler, scheduler, observer))
                if self._take_back is not None:
                    _guarded(run, "the end of shocks", partial(self._take_back, scheduler))
            self._end_sampling(run, complete=error is None)  # again, in case a Ctrl-C has stopped it
        run.close(*ending_of(error, run.stopping, run.control.stopped_by))


def _request_shock(
    observer: SamplingObserver | None,
    others: LightricksObserver | None,
    pipes: bool,
    shock: Shock,
    answer: AnswerCallback,
) -> None:
    """Send a request for a shock to what is under way."""
    if others is not None and (others.loop_under_way or not pipes):
        others.request_shock(shock, answer)
    elif observer is not None:
        observer.request_shock(shock, answer)


def _guarded(run: RunHandle, what: str, function: Callable[[], None]) -> None:
    """Call a function; a failure becomes an event of the run and does not reach the caller."""
    try:
        function()
    except Exception as error:  # noqa: BLE001 - as documented
        run.trouble(what, error)
