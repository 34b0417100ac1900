"""One run of a recorded command: opened at a call, joined by further ones, ended with the call or the process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from recorder.findings.named import read_rules
from recorder.recording import RunHandle
from recorder.runners.launched.notes import note_once
from recorder.runners.launched.options import LaunchOptions
from recorder.runners.lightricks.api import NAME
from recorder.runners.targets import Targets
from recorder.session import Recording
from recorder.system.ranks import rank_here
from recorder.writing.machine_load import gpu_of


class LaunchedRun:
    """A run that calls join. Keeps no pipeline after its call, so that the script can free its memory."""

    def __init__(self, options: LaunchOptions, first: Any) -> None:
        """Begin a run, described by the pipeline that is called first.

        Raises:
            ValueError: if the pipeline, or a shock, cannot be recorded correctly.
            RuntimeError: if the pipeline is being recorded already.
            OSError: if the folder of runs cannot be written.
        """
        self.process = os.getpid()
        self.failure: BaseException | None = None
        """With which the last call ended."""
        self._lock = threading.Lock()
        self._pipes: list[Any] = []
        self._recording = _recording(options, Targets.of(first))
        self._run = self._recording.start()
        note_once("begun", str(self._run.path))

    @property
    def under_way(self) -> bool:
        """Whether calls can join: not in a forked child, and not after its end."""
        return self.process == os.getpid() and self._run.status == "recording"

    @property
    def watcher(self) -> Any:
        """What records its loops of ltx-pipelines, if anything does."""
        return self._recording.watcher

    def has(self, pipe: Any) -> bool:
        """Whether a call of the pipeline is being recorded, as while a subclass calls its parent."""
        return any(one is pipe for one in self._pipes)

    def joins(self, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], None]:
        """A call of a pipeline begins; returns what to call when it has ended. Raises as `RunHandle.join`."""
        with self._lock:
            ends = self._recording.call_begins(pipe, args, kwargs)
            self._pipes = [*self._pipes, pipe]

        def ended() -> None:
            with self._lock:
                self._pipes = [one for one in self._pipes if one is not pipe]
                ends()

        return ended

    def joins_stages(self) -> None:
        """Record everything that ltx-pipelines runs from now on."""
        self._run.join(NAME)

    def end(self) -> Path | None:
        """Complete the run; its archive, or None if no step was taken."""
        self._recording.end(self.failure)
        self.failure = None
        return self._run.path if self._run.kept else None


def _recording(options: LaunchOptions, described: Targets) -> Recording:
    targets = Targets(joining=True)
    conductor = targets.conductor(options.shocks, None, options.allow_control)
    if options.shocks:
        described.conductor(options.shocks, None, False)  # refuses a scheduler that cannot be shocked
    known = replace(described, joining=True).known(conductor, None)
    rank = rank_here()
    name = options.name
    if name and rank is not None and options.ranks == "all":
        name = f"{name}-rank{rank.number}"
    make = partial(
        RunHandle,
        Path(options.runs_dir),
        name or None,
        known,
        save_latents=False,
        eigenvalue=None,
        previews=True,
        sync=False,
        gpu=gpu_of(next(iter((*described.pipes, *described.others)), None)),
        allow_control=options.allow_control,
        stop_if=read_rules(options.stop_if),
    )
    return Recording(lambda recording: partial(recording.open, make, targets, conductor))
