"""The missing runs of a sweep, made on a Ray cluster."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from recorder.format.numerals import counted
from recorder.sweep import spec
from recorder.sweep.on_ray.cluster import Cluster, connected
from recorder.sweep.on_ray.pool import Hearing, run_jobs
from recorder.sweep.on_ray.request import RayRequest
from recorder.sweep.runner import JobResult
from recorder.sweep.spec import Job, Sweep
from recorder.system.open_folders import FILE_MODE

Begin = Callable[[str, int], AbstractContextManager[Callable[[JobResult, int], None]]]
"""Begins to show progress: given a line on the cluster, and the number of workers."""


def run_on_ray(
    folder: Path,
    sweep: Sweep,
    jobs: list[Job],
    asked: RayRequest,
    begin: Begin,
    said: Callable[[str], None],
    kept: Callable[[Job], bool],
) -> list[JobResult]:
    """Connect to a cluster and make runs there; gives those that failed. The caller holds `spec.ownership`.

    Args:
        folder: of the sweep.
        sweep: what it holds.
        jobs: the missing runs, in their order.
        asked: where to make them.
        begin: shows progress.
        said: is told what happens on the cluster, in a line.
        kept: of a `Hearing`.

    Raises:
        NoCluster: if the cluster cannot be used.
        Stopped, OSError, KeyboardInterrupt: as `run_jobs` of the pool.
    """
    with contextlib.ExitStack() as stack:
        log_file = os.open(folder / spec.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
        log = stack.enter_context(os.fdopen(log_file, "a", encoding="utf-8"))
        cluster = stack.enter_context(connected(asked.address, log))
        workers = min(len(jobs), asked.workers or cluster.gpus or 1)
        told = stack.enter_context(begin(_described(cluster, workers), workers))
        hearing = Hearing(told, said, kept, log)
        return run_jobs(folder, sweep, jobs, workers, hearing, gpus=min(1, cluster.gpus), shared=asked.shared)


def _described(cluster: Cluster, workers: int) -> str:
    has = f"{counted(cluster.nodes, 'node')}, {counted(cluster.gpus, 'GPU')}"
    return f"Ray cluster with {has}: {counted(workers, 'worker')}{'' if cluster.gpus else ', which compute on CPUs'}"
