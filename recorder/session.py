"""`record`: one run, from the first hook to the finished archive."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import random
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recorder import describe, families, hooks, locations, words
from recorder.archive import ArchiveWriter
from recorder.control import STOPPED, Control
from recorder.journal import Journal
from recorder.loop import Loop
from recorder.observer import SamplingObserver
from recorder.pump import Archivist, Pump, event
from recorder.server import Server
from recorder.shocks.conductor import Conductor
from recorder.shocks.schedules import free
from recorder.shocks.spec import Shock
from recorder.stages import Stages
from recorder.system import Gpu, SystemLane, gpu_of
from recorder.tables import plain
from recorder.words import Message

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

_COLOURS = (
    "amber",
    "azure",
    "coral",
    "ivory",
    "jade",
    "lilac",
    "mint",
    "olive",
    "pearl",
    "plum",
    "rose",
    "ruby",
    "teal",
)
_THINGS = (
    "arch",
    "cone",
    "cube",
    "disc",
    "dome",
    "fern",
    "kite",
    "leaf",
    "mast",
    "moon",
    "reef",
    "ring",
    "star",
    "wave",
)


def run_name(name: str | None, now: float) -> str:
    """`20261122-143015-red-disc`: when it began, then the given name or two random words."""
    words_ = locations.safe_name(name) if name else f"{random.choice(_COLOURS)}-{random.choice(_THINGS)}"
    return f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{words_}"


class Run:
    """A run that is being recorded; what `with record(...) as run` gives."""

    def __init__(
        self,
        runs_dir: Path,
        name: str | None,
        metadata: dict[str, Any],
        *,
        save_latents: bool,
        eigenvalue: float | None,
        previews: bool,
        sync: bool,
        gpu: Gpu | None,
        allow_control: bool,
    ) -> None:
        now = time.time()
        self.path, journal = _claim(runs_dir, run_name(name, now))
        self._journal = journal
        self.status: words.Status = "recording"
        self._server: Server | None = None
        self._archivist = Archivist(ArchiveWriter(self.path))
        self._pump = Pump(journal, self._archivist, self._notify, sync)
        header: Message = {
            "t": words.HEADER,
            "format": words.FORMAT,
            "version": words.FORMAT_VERSION,
            "run": self.name,
            "time": now,
            "archive": str(self.path.resolve()),
            "control": allow_control,
            "metadata": plain(metadata),
        }
        self._pump.put(header)
        self.control = Control(self._pump.put, allow_control)
        self.stages = Stages(self._pump.put, save_latents, eigenvalue, previews, self.control)
        self._serve()
        self._system = SystemLane(self._pump.put, gpu)
        self._loop = Loop(self.stages)

    @property
    def name(self) -> str:
        """The run's name: the archive's file name without its ending."""
        return self.path.stem

    @property
    def socket_path(self) -> Path | None:
        """The socket that viewers connect to; None where there could be none."""
        return self._server.path if self._server else None

    @property
    def stopping(self) -> bool:
        """True once a viewer has stopped the run.

        For a loop of your own to look at before each step. The loops of a hooked pipeline end by themselves; there it
        tells whether the clip that came out is finished.
        """
        return self.control.stopping

    def stage(self, sigmas: Sequence[float] | None = None, **metadata: Any) -> None:
        """Begin a stage of a sampling loop of your own; the one before ends. Hooked pipelines do this by themselves.

        Args:
            sigmas: the planned levels of the model calls, so that viewers can show the schedule ahead; if known.
            metadata: kept with the stage, such as `prompt=…`.
        """
        self._loop.stage(sigmas, metadata)

    def step(
        self,
        *,
        sigma: float,
        sigma_next: float,
        sample: Tensor,
        velocity: Tensor | None = None,
        x0: Tensor | None = None,
        result: Tensor | None = None,
        stream: str = "video",
        grid: tuple[int, ...] | None = None,
        timestep: float | None = None,
    ) -> None:
        """Record one step of a sampling loop of your own, on any device. Begins a stage if none is under way.

        Args:
            sigma: noise level the model was called at, in (0, 1].
            sigma_next: noise level the step goes to.
            sample: x at `sigma`: video [B, C, F, H, W], or tokens [B, F·H·W, C] with `grid`; audio [B, C, L, M] or
                [B, L, C].
            velocity: v = ε − x0 after guidance, of the sample's shape; or give `x0`, the predicted clean sample.
            result: the sample after the step; an Euler step is assumed if it is not given.
            stream: `video` or `audio`.
            grid: (F, H, W) of packed video tokens.
            timestep: what the model was told; σ times 1,000 if not given.

        Raises:
            ValueError: if shapes or arguments do not fit together.
        """
        self._loop.step(
            sigma=sigma,
            sigma_next=sigma_next,
            sample=sample,
            velocity=velocity,
            x0=x0,
            result=result,
            stream=stream,
            grid=grid,
            timestep=timestep,
        )

    def _serve(self) -> None:
        try:
            directory = locations.make_runtime_directory()
            path = _free_socket(directory, self.name)
            self._server = Server(self._journal, path, self.control.take)
        except OSError as error:
            # Without a socket the run is still recorded and can be followed in its journal.
            logger.warning("no socket for viewers: %s", error)
            self._pump.put(event("warning", f"no socket for viewers: {error}"))

    def _notify(self) -> None:
        if self._server is not None:
            self._server.notify()

    def finish(self, status: words.Status, error: str | None) -> None:
        """Write the end, complete the archive, and remove the journal once the archive has everything."""
        self.status = status
        self.control.close()
        self._system.close()
        if dropped := self._archivist.dropped_snapshots:
            self._pump.put(event("warning", f"{dropped} snapshots of latents were dropped: the disk is too slow"))
        self._pump.put({"t": words.END, "time": time.time(), "status": status, "error": error})
        self._pump.close()
        self._archivist.close()
        failure = self._archivist.error or self._journal.error
        if failure is not None:
            logger.warning("the archive %s is unfinished (%s); its journal stays beside it", self.path, failure)
        self._journal.release(remove=self._archivist.error is None)
        if self._server is None:
            self._journal.close()
            return
        self._server.close()
        # The server's thread serves the last viewers for up to two seconds; the caller need not wait for that, the
        # end of the process does.
        atexit.register(self._server.join, 3.0)


def _claim(runs_dir: Path, name: str) -> tuple[Path, Journal]:
    """A path for the archive that nobody else has, and its journal, locked."""
    runs_dir.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, 1000):
        path = runs_dir / f"{name if attempt == 1 else f'{name}-{attempt}'}{locations.ARCHIVE_SUFFIX}"
        if path.exists():
            continue
        with contextlib.suppress(FileExistsError):
            return path, Journal(locations.journal_of(path))
    raise FileExistsError(f"{runs_dir} has a thousand runs named {name}")


def _free_socket(directory: Path, name: str) -> Path:
    for attempt in range(1, 1000):
        path = directory / f"{name if attempt == 1 else f'{name}-{attempt}'}{locations.SOCKET_SUFFIX}"
        if not path.exists():
            return path
    raise FileExistsError(f"{directory} has a thousand sockets named {name}")


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
        RuntimeError: if a pipeline is being recorded already.
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
    observer = SamplingObserver(run.stages, conductor)
    run.control.shock = observer.request_shock if pipes else None
    status: words.Status = "complete"
    error: str | None = None
    hooked: list[Any] = []
    try:
        for p in pipes:
            hooks.hook_pipeline(p, observer)
            hooked.append(p)
        yield run
        if run.stopping:
            status, error = "interrupted", STOPPED
    except (KeyboardInterrupt, SystemExit, GeneratorExit) as stopped:
        status, error = "interrupted", type(stopped).__name__
        raise
    except BaseException as failure:
        status, error = "failed", f"{type(failure).__name__}: {failure}"
        raise
    finally:
        for p in hooked:
            hooks.unhook(p)
        for scheduler in observer.schedulers:
            hooks.unhook_scheduler(scheduler)
        if conductor is not None:
            take_back(observer.schedulers)
        observer.close()
        run.stages.end()
        run.finish(status, error)
