"""`record`: one run, from the first hook to the finished archive."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import random
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recorder import describe, hooks, locations, words
from recorder.archive import ArchiveWriter, plain
from recorder.journal import Journal
from recorder.observer import SamplingObserver
from recorder.pump import Archivist, Pump, event
from recorder.server import Server
from recorder.stages import Stages
from recorder.words import Message

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

    def __init__(self, runs_dir: Path, name: str | None, metadata: dict[str, Any], sync: bool) -> None:
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
            "metadata": plain(metadata),
        }
        self._pump.put(header)
        self._serve()

    @property
    def name(self) -> str:
        """The run's name: the archive's file name without its ending."""
        return self.path.stem

    @property
    def socket_path(self) -> Path | None:
        """The socket that viewers connect to; None where there could be none."""
        return self._server.path if self._server else None

    def put(self, item: Any) -> None:
        """Hand a message or a row to the pump; never waits."""
        self._pump.put(item)

    def _serve(self) -> None:
        try:
            directory = locations.make_runtime_directory()
            path = _free_socket(directory, self.name)
            self._server = Server(self._journal, path)
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


@contextlib.contextmanager
def record(
    pipe: Any,
    *,
    runs_dir: str | os.PathLike[str] = "runs",
    name: str | None = None,
    metadata: dict[str, Any] | None = None,
    save_latents: bool = False,
    sync: bool = False,
) -> Iterator[Run]:
    """Record every call of one pipeline or several while the block runs.

    The pipelines are not changed beyond the block, and what they generate is bit-identical to an unrecorded call.
    Errors of the recorder become events of the run and never reach the generation.

    Args:
        pipe: a diffusers pipeline such as `LTX2Pipeline`, or a sequence of them.
        runs_dir: where archives go; made if missing.
        name: added to the time in the run's name; two random words if not given.
        metadata: anything JSON-like to keep with the run.
        save_latents: also keep the sample and the predicted clean sample of every step, in float16.
        sync: force every message onto the disk, to survive a power cut too.

    Yields:
        The run: `run.path` is its archive, complete when the block has ended.

    Raises:
        OSError: if `runs_dir` cannot be written, before anything is generated.
        RuntimeError: if a pipeline is being recorded already.

    Example:
        >>> with record(pipe, runs_dir="runs") as run:
        ...     pipe("a red ball moving left")
        >>> run.path
    """
    pipes = list(pipe) if isinstance(pipe, Sequence) else [pipe]
    if not pipes:
        raise ValueError("record() needs a pipeline")
    known = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "command": describe.command(),
        "pipelines": [type(p).__name__ for p in pipes],
        "model": describe.model_id(pipes[0]),
        "device": describe.device_name(pipes[0].device),
        "versions": describe.versions(),
        "user": describe.brief(metadata or {}),
    }
    run = Run(Path(runs_dir), name, known, sync)
    observer = SamplingObserver(Stages(run.put, save_latents))
    status: words.Status = "complete"
    error: str | None = None
    hooked: list[Any] = []
    try:
        for p in pipes:
            hooks.hook_pipeline(p, observer)
            hooked.append(p)
        yield run
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
        observer.close()
        run.finish(status, error)
