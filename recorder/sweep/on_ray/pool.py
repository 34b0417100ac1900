"""Hands the missing runs of a sweep to workers on a Ray cluster, and brings the results home.

A job is with one worker at a time. It is handed out again when its worker is lost; the folder of the sweep holds all
that is done, so that nothing else has to survive.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final

from recorder.format.events import reason_of
from recorder.format.version import VERSION
from recorder.sweep import spec
from recorder.sweep.on_ray.cluster import last_raised
from recorder.sweep.on_ray.home import bring_home, marked
from recorder.sweep.on_ray.maker import Made, Ready, RunMaker, SharedFolder
from recorder.sweep.runner import MAX_FAILURES, JobResult, Stopped
from recorder.sweep.spec import Job, Sweep

MAX_LOSSES: Final = 3
"""A run whose worker is lost so often has failed."""
WAIT_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 60.0
"""After this time without any worker, the user is told that workers are waited for."""
LEAVE_SECONDS: Final = 5.0
_WHY_LOST: Final = re.compile(r"actor is dead because (.*?)(?:\.\s|\.?$)", re.MULTILINE)


@dataclass(frozen=True)
class Hearing:
    """Who is told what.

    Attributes:
        told: the result of each job, and the number of jobs that were dropped because of it.
        said: a line on what happened on the cluster.
        kept: whether the run of a job whose worker was lost is complete in the folder; if not, what is left of it there
            may be removed, and the job is handed out again.
        log: gets tracebacks of the nodes.
    """

    told: Callable[[JobResult, int], None]
    said: Callable[[str], None]
    kept: Callable[[Job], bool]
    log: IO[str]


@dataclass(eq=False)
class _Worker:
    actor: Any
    node: str = ""
    failed: list[str] = field(default_factory=list)
    """The arms of its runs since the last one that did not fail."""


@dataclass
class _Progress:
    """What counts towards giving up."""

    losses: Counter[Job] = field(default_factory=Counter)
    lost_while_loading: int = 0
    failed_in_a_row: list[_Worker] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


def run_jobs(
    folder: Path,
    sweep: Sweep,
    jobs: Sequence[Job],
    workers: int,
    hearing: Hearing,
    *,
    gpus: int = 1,
    shared: bool = False,
    maker: type[RunMaker] = RunMaker,
) -> list[JobResult]:
    """Make runs with workers on the cluster that this process is connected to; the caller holds `spec.ownership`.

    Args:
        folder: of the sweep.
        jobs: what to run, in this order.
        workers: most of them at a time; each loads the model once.
        gpus: of each worker; 0 for one that computes on a CPU.
        shared: all nodes have the folder at the same path, and write runs into it. Else runs come home packed.
        maker: the class of the workers.

    Returns:
        The results of failed jobs.

    Raises:
        Stopped: if no worker can load the model, or run after run fails.
        OSError: if a result cannot be written into the folder.
        KeyboardInterrupt: on Ctrl-C. Runs under way are given up.
    """
    with marked(folder) if shared else contextlib.nullcontext() as mark:
        pool = _Pool(folder, sweep, list(jobs), hearing, _starter(sweep, maker, gpus, mark))
        try:
            pool.run(min(workers, len(jobs)))
        finally:
            pool.end()
    return pool.failed


def _starter(sweep: Sweep, maker: type[RunMaker], gpus: int, shared: SharedFolder | None) -> Callable[[], Any]:
    import ray

    # Two threads: `leave` is answered during a run.
    actor = ray.remote(num_gpus=gpus, num_cpus=1, max_restarts=0, max_concurrency=2)(maker)
    made = sweep.as_dict()
    return lambda: actor.remote(made, shared)


class _Pool:
    def __init__(
        self, folder: Path, sweep: Sweep, waiting: list[Job], hearing: Hearing, start: Callable[[], Any]
    ) -> None:
        import ray

        self.failed: list[JobResult] = []
        self._ray = ray
        self._folder = folder
        self._sweep = sweep
        # What this process has installed says nothing: it makes no run.
        self._versions = {} if set(sweep.jobs()) <= set(waiting) else sweep.versions
        self._waiting = waiting
        self._hearing = hearing
        self._start_actor = start
        self._workers: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._under_way: dict[Any, tuple[_Worker, Job | None]] = {}
        """By the reference of its answer; without a job, a worker loads the model."""
        self._so_far = _Progress()

    def run(self, workers: int) -> None:
        """Until every job has a result. Raises as `run_jobs` does."""
        try:
            self._run(workers)
        except ConnectionError as error:
            raise Stopped(f"the connection to the Ray cluster was lost: {reason_of(error).rstrip('.')}") from error

    def _run(self, workers: int) -> None:
        for _ in range(workers):
            self._start()
        began, patient = time.monotonic(), True
        while self._waiting or any(job is not None for _, job in self._under_way.values()):
            if not self._workers:
                raise Stopped(self._so_far.refusals[-1])
            if patient and time.monotonic() - began > PATIENCE_SECONDS and not any(w.node for w in self._workers):
                patient = False
                self._hearing.said("no worker is ready yet: the model is being loaded, or the GPUs are in use")
            ready, _ = self._ray.wait(list(self._under_way), num_returns=1, timeout=WAIT_SECONDS)
            for reference in ready:
                self._answered(reference)
            while self._waiting and self._idle:
                self._hand_out(self._idle.pop())

    def end(self) -> None:
        """End all workers, those too that make a run; with a lost cluster, they have ended."""
        if not self._ray.is_initialized():
            return
        with contextlib.suppress(ConnectionError, self._ray.exceptions.RayError):
            leaving = [worker.actor.leave.remote() for worker in self._workers if worker.node]
            if leaving:
                self._ray.wait(leaving, num_returns=len(leaving), timeout=LEAVE_SECONDS)
            for worker in [*self._workers]:
                self._dismiss(worker)

    def _start(self) -> None:
        worker = _Worker(self._start_actor())
        self._workers.add(worker)
        self._under_way[worker.actor.ready.remote(VERSION)] = worker, None

    def _dismiss(self, worker: _Worker) -> None:
        self._workers.discard(worker)
        self._ray.kill(worker.actor)

    def _hand_out(self, worker: _Worker) -> None:
        job = self._waiting.pop(0)
        self._under_way[worker.actor.make.remote(job.arm, job.seed)] = worker, job

    def _answered(self, reference: Any) -> None:
        worker, job = self._under_way.pop(reference)
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:  # the worker lives; its code raised what it never should
            answer = _unexpected(error, job)
        except self._ray.exceptions.RayError as error:
            self._lost(worker, job, error)
            return
        if job is None:
            self._loaded(worker, answer)
        else:
            self._made(worker, job, answer)

    def _loaded(self, worker: _Worker, answer: Ready) -> None:
        if answer.error is None:
            worker.node = answer.node
            self._idle.append(worker)
            self._compare_versions(answer)
            return
        self._keep_log(f"loading the model on {answer.node}", answer.log)
        self._dismiss(worker)
        refusal = f"{answer.node}: {answer.error}" if answer.node else answer.error
        if refusal not in self._so_far.refusals and self._workers:
            self._hearing.said(f"a worker cannot be used: {refusal}")
        self._so_far.refusals.append(refusal)

    def _compare_versions(self, answer: Ready) -> None:
        """Say which versions differ from those of other runs; the first of all are kept with the sweep."""
        if not self._versions:
            self._versions = answer.versions
            spec.write(self._folder, replace(self._sweep, versions=answer.versions))
        new = {k: v for k, v in answer.versions.items() if self._versions.get(k, v) != v}
        if new:
            changed = "; ".join(f"{k} {self._versions[k]} elsewhere, {v} on {answer.node}" for k, v in new.items())
            self._hearing.said(f"versions differ ({changed}); runs may not be exact pairs")
        self._versions = {**answer.versions, **self._versions}

    def _made(self, worker: _Worker, job: Job, made: Made) -> None:
        if made.error is None:
            bring_home(self._folder, made)
            self._so_far.failed_in_a_row.clear()
            worker.failed.clear()
            self._so_far.lost_while_loading = 0
        self._keep_log(f"{job.arm} seed {job.seed} on {worker.node}", made.log)
        dropped = self._drop(job.arm) if made.no_plan else 0
        self._idle.append(worker)
        self._tell(worker, JobResult(job, made.error, made.seconds, made.no_plan, dropped=dropped))

    def _tell(self, worker: _Worker, result: JobResult) -> None:
        """Pass on a result; after failures in a row, give up the worker that has them, or the sweep."""
        self._hearing.told(result, result.dropped)
        if result.error is None:
            return
        self.failed.append(result)
        if result.no_plan:
            return
        row, alone = self._so_far.failed_in_a_row, self._workers <= {worker}
        row.append(worker)
        worker.failed.append(result.job.arm)
        why = f"{len(row)} runs failed one after the other, the last with {result.error}"
        if len(row) >= MAX_FAILURES and (alone or len(set(row)) > 1):
            raise Stopped(why)
        # Of one arm alone, the failures may be the arm's.
        if worker in self._workers and len(worker.failed) >= MAX_FAILURES and len(set(worker.failed)) > 1:
            row.clear()
            self._idle.remove(worker)
            self._dismiss(worker)
            why = f"{len(worker.failed)} of its runs failed one after the other, the last with {result.error}"
            self._so_far.refusals.append(f"{worker.node}: {why}")
            self._hearing.said(f"a worker is not used any more: {self._so_far.refusals[-1]}")

    def _lost(self, worker: _Worker, job: Job | None, error: BaseException) -> None:
        """Hand the job of a lost worker out again, and start another worker in its place."""
        why = _why_lost(error)
        self._dismiss(worker)
        if job is None:
            self._so_far.lost_while_loading += 1
            if self._so_far.lost_while_loading >= MAX_FAILURES:
                way_out = "; install ltxtui on every node" if "No module named 'recorder" in why else ""
                raise Stopped(f"{MAX_FAILURES} workers were lost while they loaded the model: {why}{way_out}")
        else:
            self._so_far.losses[job] += 1
            said = f"a worker on {worker.node} was lost ({why})"
            if self._hearing.kept(job):
                self._hearing.said(f"{said} after a run")
                self._tell(worker, JobResult(job, None, 0.0))
            elif self._so_far.losses[job] < MAX_LOSSES:
                self._hearing.said(f"{said}; {job.arm} seed {job.seed} is made again")
                self._waiting.insert(0, job)
            else:
                died = f"WorkerDied: {MAX_LOSSES} workers were lost during this run ({why})"
                self._tell(worker, JobResult(job, died, 0.0))
        if len(self._waiting) > len(self._idle):
            self._start()

    def _drop(self, arm: str) -> int:
        before = len(self._waiting)
        self._waiting[:] = [job for job in self._waiting if job.arm != arm]
        return before - len(self._waiting)

    def _keep_log(self, of: str, text: str) -> None:
        if text:
            self._hearing.log.write(f"{of}:\n{text.rstrip()}\n")
            self._hearing.log.flush()


def _unexpected(error: BaseException, job: Job | None) -> Ready | Made:
    said = last_raised(error) or reason_of(error)
    return Ready("", {}, said, str(error)) if job is None else Made(0.0, said, log=str(error))


def _why_lost(error: BaseException) -> str:
    found = _WHY_LOST.search(str(error))
    return last_raised(error) or (found[1] if found else reason_of(error))
