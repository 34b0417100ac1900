"""Hands the missing runs of a sweep to worker processes, one at a time, and passes on the results. Imports no torch."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recorder.sweep import spec
from recorder.sweep.spec import Job
from recorder.system.open_folders import FILE_MODE

STOP_SECONDS: Final = 20.0
"""How long workers get to complete the archive of a run that is stopped."""
MAX_FAILURES: Final = 3
"""This many failures with no success between them end the sweep: further runs would fail too."""


@dataclass(frozen=True)
class JobResult:
    """The result of one job.

    `no_plan`: the arm's shocks cannot act on this schedule, with any seed; `dropped` jobs of the arm were left out.
    """

    job: Job
    error: str | None
    seconds: float
    no_plan: bool = False
    fatal: bool = False
    dropped: int = 0


class Stopped(RuntimeError):
    """The sweep cannot continue; the message has the reason."""


@dataclass
class _State:
    """What the threads share."""

    waiting: list[Job]
    answers: queue.Queue[JobResult | None]
    lock: threading.Lock
    stopped: bool = False

    def next_job(self) -> Job | None:
        with self.lock:
            return self.waiting.pop(0) if self.waiting and not self.stopped else None

    def drop(self, arm: str) -> int:
        with self.lock:
            before = len(self.waiting)
            self.waiting[:] = [j for j in self.waiting if j.arm != arm]
            return before - len(self.waiting)


def wait_for_workers(folder: Path, say: Callable[[str], None], seconds: float = 600.0) -> None:
    """Wait until workers that a killed sweep left behind have ended their runs. Raises Busy if they never do."""
    limit = time.monotonic() + seconds
    if spec.working(folder):
        say("waiting for workers of an earlier start to end their current run")
    while spec.working(folder):
        if time.monotonic() > limit:
            raise spec.SweepBusy(f"workers of an earlier start are still at work in {folder}")
        time.sleep(0.1)


def run_jobs(
    folder: Path, jobs: Sequence[Job], workers: int, told: Callable[[JobResult, int], None]
) -> list[JobResult]:
    """Make runs with `workers` processes; the caller holds `spec.ownership`.

    Args:
        folder: of the sweep.
        jobs: what to run, in this order.
        workers: processes; each loads the model once.
        told: called after each run with its result and the number of jobs that were dropped because of it.

    Returns:
        The results of failed jobs.

    Raises:
        Stopped: if a model cannot be loaded, or run after run fails.
        KeyboardInterrupt: on Ctrl-C, once the workers have closed their archives.
    """
    state = _State(list(jobs), queue.Queue(), threading.Lock())
    failed: list[JobResult] = []
    processes: list[subprocess.Popen[str]] = []
    in_a_row = 0
    try:
        log_file = os.open(folder / spec.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
        with os.fdopen(log_file, "a") as log:
            for _ in range(min(workers, len(jobs))):
                processes.append(_start(folder, log.fileno()))
        threads = [threading.Thread(target=_drive, args=(p, state), daemon=True) for p in processes]
        for thread in threads:
            thread.start()
        alive = len(threads)
        while alive:
            try:
                # A wait without end could not be interrupted everywhere.
                answer = state.answers.get(timeout=0.5)
            except queue.Empty:
                continue
            if answer is None:
                alive -= 1
                continue
            if answer.error is None:
                in_a_row = 0
            else:
                failed.append(answer)
                in_a_row += 0 if answer.no_plan else 1
            told(answer, answer.dropped)
            if answer.fatal:
                raise Stopped(str(answer.error).partition(": ")[2] or str(answer.error))
            if in_a_row >= MAX_FAILURES:
                raise Stopped(f"{in_a_row} runs failed one after the other, the last with {answer.error}")
    finally:
        state.stopped = True
        _end(processes)
    return failed


def _start(folder: Path, log: int) -> subprocess.Popen[str]:
    lock = spec.worker_lock(folder)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "recorder.sweep.worker", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            pass_fds=(lock,),
            # Only this process gets Ctrl-C: a second one from the terminal would hurt an archive that is being closed.
            start_new_session=True,
        )
    finally:
        os.close(lock)


def _drive(process: subprocess.Popen[str], state: _State) -> None:
    """Give one worker a job, wait for its answer, and so on; the last message is None."""
    assert process.stdin is not None and process.stdout is not None
    job: Job | None = None
    with contextlib.suppress(OSError, ValueError):  # a broken pipe or half an answer: a death, reported below
        while (job := state.next_job()) is not None:
            process.stdin.write(json.dumps({"arm": job.arm, "seed": job.seed}) + "\n")
            process.stdin.flush()
            reply = json.loads(process.stdout.readline())
            # Before the next job is taken, which may be one of the same arm.
            dropped = state.drop(job.arm) if reply["no_plan"] else 0
            state.answers.put(
                JobResult(job, reply["error"], reply["seconds"], reply["no_plan"], reply["fatal"], dropped)
            )
        process.stdin.close()
    if job is not None and not state.stopped:
        code = process.wait()
        why = f"signal {-code}" if code < 0 else f"exit status {code}"
        state.answers.put(JobResult(job, f"WorkerDied: its process ended ({why}); see {spec.LOG}", 0.0))
    state.answers.put(None)


def _end(processes: list[subprocess.Popen[str]]) -> None:
    """Stop what still runs as Ctrl-C would, so that archives are closed, and harder if that does not help."""
    for process in processes:
        if process.poll() is None and process.stdin is not None and not process.stdin.closed:
            process.send_signal(signal.SIGINT)
    limit = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(0.1, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
