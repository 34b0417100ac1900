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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from recorder.sweep import spec
from recorder.sweep.jobs import JobSource, JobsUnreachable
from recorder.sweep.makers import Heartbeat
from recorder.sweep.spec import Job
from recorder.system.open_folders import FILE_MODE, make_folders
from recorder.system.signals import ENDING, PREEMPTION

STOP_SECONDS: Final = 20.0
"""How long workers get to complete the archive of a run that is stopped."""
MAX_FAILURES: Final = 3
"""This many failures with no success between them end the sweep: further runs would fail too."""
WORKER: Final = "recorder.sweep.worker"
"""The module that workers run."""
TOLD_TO_END: Final = {130, *(-number for number in (*ENDING, PREEMPTION, signal.SIGINT))}
"""Exit statuses of a worker that a signal told to end, the latter ones before it had loaded anything."""


@dataclass(frozen=True)
class JobResult:
    """The result of one job.

    `no_plan`: the arm's shocks cannot act on this schedule, with any seed; `dropped` jobs of the arm were left out.
    `run`: the name of the archive, if it is complete.
    """

    job: Job
    error: str | None
    seconds: float
    no_plan: bool = False
    fatal: bool = False
    dropped: int = 0
    run: str = ""


class Stopped(RuntimeError):
    """The sweep cannot continue; the message has the reason."""


@dataclass(frozen=True)
class _Shared:
    """What the threads share: where jobs come from, and where their results go. None: a worker is gone."""

    jobs: JobSource
    log: Path
    answers: queue.Queue[JobResult | JobsUnreachable | None] = field(default_factory=queue.Queue)
    stopping: threading.Event = field(default_factory=threading.Event)


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
    folder: Path,
    jobs: JobSource,
    workers: int,
    told: Callable[[JobResult, int], None],
    *,
    gpus: Sequence[str] = (),
    heartbeat: Heartbeat | None = None,
) -> list[JobResult]:
    """Make runs with `workers` processes, until the source has no further job.

    Args:
        folder: of the sweep.
        jobs: where the jobs come from.
        workers: processes; each loads the model once.
        told: called after each run with its result and the number of jobs that were dropped because of it.
        gpus: what each worker sees as its only GPU, as CUDA_VISIBLE_DEVICES has it; empty to leave that as it is.
        heartbeat: of the maker that the workers work for. Among others, none of them outlives it by a run.

    Returns:
        The results of failed jobs.

    Raises:
        Stopped: if a model cannot be loaded, run after run fails, or the source cannot be reached any more.
        KeyboardInterrupt: on Ctrl-C, once the workers have closed their archives.
    """
    shared = _Shared(jobs, log_of(folder, heartbeat))
    failed: list[JobResult] = []
    processes: list[subprocess.Popen[str]] = []
    threads: list[threading.Thread] = []
    in_a_row = 0
    try:
        make_folders(shared.log.parent)
        log_file = os.open(shared.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
        with os.fdopen(log_file, "a") as log:
            tied = heartbeat is not None and not heartbeat.maker.alone
            for gpu in gpus or [""] * workers:
                processes.append(_start(folder, log.fileno(), gpu, tied=tied))
        if heartbeat is not None:
            heartbeat.works_with(p.pid for p in processes)
        threads += [threading.Thread(target=_drive, args=(p, shared), daemon=True) for p in processes]
        for thread in threads:
            thread.start()
        alive = len(threads)
        while alive:
            try:
                # A wait without end could not be interrupted everywhere.
                answer = shared.answers.get(timeout=0.5)
            except queue.Empty:
                continue
            if answer is None:
                alive -= 1
                continue
            if isinstance(answer, JobsUnreachable):
                raise Stopped(str(answer)) from answer
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
        shared.stopping.set()
        jobs.stop()
        _end(processes)
        for thread in threads:
            if thread.ident is not None:
                thread.join()  # a job is ended by its thread
    return failed


def log_of(folder: Path, heartbeat: Heartbeat | None) -> Path:
    """What workers print; of makers among others one file each, since network disks mix what several append."""
    if heartbeat is None or heartbeat.maker.alone:
        return folder / spec.LOG
    return folder / spec.LOGS / f"{heartbeat.maker.id}.log"


def _start(folder: Path, log: int, gpu: str, *, tied: bool) -> subprocess.Popen[str]:
    # Who shares a folder shares no lock: not every network disk has them.
    locks = () if tied else (spec.worker_lock(folder),)
    device = {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}
    try:
        return subprocess.Popen(
            [sys.executable, "-m", WORKER, str(folder), *(["--tied"] if tied else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            pass_fds=locks,
            env=os.environ | device,
            # Only this process gets Ctrl-C: a second one from the terminal would hurt an archive that is being closed.
            start_new_session=True,
        )
    finally:
        for lock in locks:
            os.close(lock)


def _drive(process: subprocess.Popen[str], shared: _Shared) -> None:
    """Give one worker a job, wait for its answer, and so on; the last message is None."""
    assert process.stdin is not None and process.stdout is not None
    try:
        while (job := shared.jobs.next()) is not None:
            try:
                process.stdin.write(json.dumps({"arm": job.arm, "seed": job.seed}) + "\n")
                process.stdin.flush()
                reply = json.loads(process.stdout.readline())
            except (OSError, ValueError):  # a broken pipe or half an answer
                _ended(process, job, shared)
                break
            shared.answers.put(_kept(job, reply, shared.jobs))
        with contextlib.suppress(OSError):
            process.stdin.close()
    except JobsUnreachable as error:
        shared.answers.put(error)
    shared.answers.put(None)


def _kept(job: Job, reply: dict[str, Any], jobs: JobSource) -> JobResult:
    """A worker's answer, after the source of the jobs was told of it. Raises JobsUnreachable."""
    answer = JobResult(job, reply["error"], reply["seconds"], reply["no_plan"], reply["fatal"], run=reply["run"])
    if answer.error is None:
        jobs.done(job, answer.run)
    elif answer.fatal:
        jobs.give_back(job)  # no worker of this machine can make it
    else:
        answer = replace(answer, dropped=jobs.failed(job, answer.error, answer.no_plan))
    return answer


def _ended(process: subprocess.Popen[str], job: Job, shared: _Shared) -> None:
    """A worker ended within a job: it was told to, or it died. Raises JobsUnreachable."""
    code = process.wait()
    if code in TOLD_TO_END or shared.stopping.is_set():
        shared.jobs.give_back(job)
        return
    why = f"signal {-code}" if code < 0 else f"exit status {code}"
    error = f"WorkerDied: its process ended ({why}); see {shared.log.name}"
    shared.jobs.failed(job, error, no_plan=False)
    shared.answers.put(JobResult(job, error, 0.0))


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
