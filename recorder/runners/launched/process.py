"""The runs of one process of a recorded command: which calls are recorded, in which run, and what is kept."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recorder.archive.removal import remove_run
from recorder.runners.launched.launched_run import LaunchedRun
from recorder.runners.launched.notes import note_once
from recorder.runners.launched.options import LaunchOptions
from recorder.runners.stop import without_frames
from recorder.system.ranks import rank_here


class LaunchedProcess:
    """What is recorded in this process. Thread-safe."""

    def __init__(self, options: LaunchOptions) -> None:
        self.options = options
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._number = itertools.count()
        self._run: LaunchedRun | None = None
        """The run of the process, with `each="process"`."""
        self._open: tuple[LaunchedRun, ...] = ()
        self._kept: deque[Path] = deque()
        self._runs = 0
        self._calls = 0
        _at_the_end(self.end)

    @property
    def open(self) -> tuple[LaunchedRun, ...]:
        """Runs under way."""
        return self._open

    def wants_next(self) -> bool:
        """Whether the call that begins now is recorded: this rank, and the first of every so many."""
        rank = rank_here()
        if rank is not None and rank.number != 0 and self.options.ranks != "all":
            note_once("rank", f"rank {rank.number} of {rank.size}")
            return False
        self._calls += 1
        return next(self._number) % self.options.every == 0

    def run_for(self, pipe: Any) -> LaunchedRun:
        """The run that a call belongs to: the process's, or one of its own. Raises as `LaunchedRun`."""
        if self.options.each == "call":
            return self._begin(pipe)
        with self._lock:
            if self._run is None or not self._run.under_way:
                self._run = self._begin(pipe)
            return self._run

    def _begin(self, pipe: Any) -> LaunchedRun:
        run = LaunchedRun(self.options, pipe)
        self._open = (*self._open, run)
        return run

    def call_ended(self, run: LaunchedRun, error: BaseException | None) -> None:
        """An outermost call has ended."""
        run.failure = None if error is None else without_frames(error)
        if self.options.each == "call":
            self._end_run(run)

    def _end_run(self, run: LaunchedRun) -> None:
        path = run.end()
        with self._lock:
            self._open = tuple(one for one in self._open if one is not run)
        if path is not None:
            self.kept(path)

    def kept(self, path: Path) -> None:
        """A run is complete; the oldest ones beyond what is to be kept are removed."""
        note_once("kept", str(path))
        with self._lock:
            self._runs += 1
            self._kept.append(path)
            surplus = [self._kept.popleft() for _ in range(len(self._kept) - self.options.keep)]
            if not self.options.keep:
                self._kept = deque([path])
                return
        for old in surplus:
            with contextlib.suppress(OSError):  # another program has it open, or has removed it
                remove_run(old)

    def end(self) -> None:
        """End the runs that are open, and say on standard error what was recorded. Once."""
        if self._process != os.getpid():
            return  # a forked child
        for run in self._open:
            if run.under_way:
                with contextlib.suppress(Exception):  # it is in the log, and in the run's events
                    self._end_run(run)
        if self._runs:
            say(f"ltxtui run: {self._summary()}{_other_ranks(self.options)}")
            self._runs = 0

    def _summary(self) -> str:
        newest = self._kept[-1]
        if self._runs == 1:
            return f"recorded {newest}"
        kept = min(self._runs, self.options.keep or self._runs)
        left = "" if kept == self._runs else f", kept the newest {kept}"
        calls = f" of {self._calls} calls" if self._calls else ""  # ComfyUI counts prompts
        return f"recorded {self._runs} runs{calls}{left}, in {newest.parent}"


def say(line: str) -> None:
    """Print a line on the process's own standard error, wherever the script sends its output."""
    with contextlib.suppress(OSError, ValueError):
        if sys.__stderr__ is not None:
            print(line, file=sys.__stderr__, flush=True)


def _other_ranks(options: LaunchOptions) -> str:
    rank = rank_here()
    if rank is None or options.ranks == "all":
        return ""
    return f" (rank {rank.number} of {rank.size}; --ranks all records every rank)"


def _at_the_end(function: Callable[[], None]) -> None:
    """Call a function when the process ends; children of multiprocessing end without `atexit`."""
    atexit.register(function)
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, function, exitpriority=100)


_here: LaunchedProcess | None = None
_making = threading.Lock()


def this_process() -> LaunchedProcess:
    """The runs of this process. Raises ValueError if it has no options."""
    global _here
    with _making:
        if _here is None:
            _here = LaunchedProcess(LaunchOptions.of_environment())
        return _here


def _in_child() -> None:
    global _here, _making
    _making = threading.Lock()
    _here = None


os.register_at_fork(after_in_child=_in_child)
