"""`python -m benchmarks.claims`: what sharing a sweep costs, with many makers on jobs that take no time.

A part of `make bench`. Every maker is a process with its heartbeat, as `ltxtui sweep FOLDER --join` is, but a job is
done as soon as it is claimed: all that is left is taking claims, marking jobs and conflicts. Some makers die with a job
in their hands; it must be free again, and no job may be done twice or left over.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import options
from benchmarks.reporting import ms, quantile, table
from recorder.sweep import claims
from recorder.sweep.claims import Claims
from recorder.sweep.makers import Heartbeat, Watch
from recorder.sweep.shared_jobs import SharedJobs
from recorder.sweep.spec import Job

MAKERS = 100
JOBS = 10_000
KILLED = 10
ARMS = 50


class NothingMade:
    """The runs of a dry sweep."""

    def has(self, job: Job) -> bool:
        return False

    def finished(self, job: Job) -> str | None:
        return None

    def keep_only(self, job: Job, run: str) -> None:
        return None


def jobs_of(count: int) -> list[Job]:
    """As many jobs, in the order of a sweep."""
    return [Job(f"arm@{number % ARMS}", number // ARMS) for number in range(count)]


def make(folder: Path, count: int, number: int, dies_after: int | None) -> None:
    """One maker: takes jobs until none is left, or is killed with a job in its hands; leaves its figures in a file."""
    place = claims.prepare(folder)
    taken: list[str] = []
    taking: list[float] = []
    marking: list[float] = []
    random.seed()  # a forked process has its parent's state
    with Heartbeat(place, print) as beat:
        jobs = SharedJobs(
            Claims(folder, "dry", beat.maker.id), Watch(place), jobs_of(count), NothingMade(), lambda said: None
        )
        spent = time.process_time()
        while True:
            began = time.perf_counter()
            job = jobs.next()
            if job is None:
                break
            took = time.perf_counter()
            if dies_after is not None and len(taken) == dies_after:
                os.kill(os.getpid(), signal.SIGKILL)
            jobs.done(job, f"run-{number}")
            taking.append(took - began)
            marking.append(time.perf_counter() - took)
            taken.append(claims.key_of(job))
            if dies_after is not None:  # what it has done counts, though it will not say so itself
                with (folder / f"{number}.done").open("a") as log:
                    log.write(taken[-1] + "\n")
        found = {"cpu": time.process_time() - spent, "taking": taking, "marking": marking, "taken": taken}
    (folder / f"{number}.json").write_text(json.dumps(found))


def measure(folder: Path, makers_: int, count: int, killed: int) -> dict[str, Any]:
    """Let makers share jobs; their figures together.

    Args:
        folder: an empty one, on the disk to be measured.
        makers_: processes.
        count: jobs.
        killed: how many of the makers are killed after a half of an equal share.
    """
    claims.prepare(folder)
    context = get_context("forkserver")  # processes that begin with the modules loaded, and no thread of this one
    context.set_forkserver_preload(["recorder.sweep.shared_jobs", "benchmarks.reporting"])
    half = max(1, count // makers_ // 2)
    processes = [
        context.Process(target=make, args=(folder, count, n, half if n < killed else None)) for n in range(makers_)
    ]
    began = time.perf_counter()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    wall = time.perf_counter() - began
    parts = [json.loads((folder / f"{n}.json").read_text()) for n in range(killed, makers_)]
    done = Counter(key for part in parts for key in part["taken"])
    for n in range(killed):
        done.update((folder / f"{n}.done").read_text().split() if (folder / f"{n}.done").exists() else [])
    began = time.perf_counter()
    listed = Claims(folder, "dry", "reader").listed()
    return {
        "makers": makers_,
        "killed": sum(process.exitcode == -signal.SIGKILL for process in processes),
        "jobs": count,
        "wall": wall,
        "done": len(done),
        "marked": len(listed.done),
        "twice": sum(many > 1 for many in done.values()),
        "again": sum(number > 1 for number in listed.last.values()),
        "cpu": sum(part["cpu"] for part in parts) / max(1, sum(len(part["taken"]) for part in parts)),
        "taking": [seconds for part in parts for seconds in part["taking"]],
        "marking": [seconds for part in parts for seconds in part["marking"]],
        "shares": [len(part["taken"]) for part in parts],
        "listing": time.perf_counter() - began,
    }


def report(found: dict[str, Any]) -> None:
    """Print the figures."""

    def spread(values: list[float]) -> str:
        return f"median {ms(statistics.median(values))}, 99 of 100 within {ms(quantile(values, 0.99))}"

    rows = [
        ("jobs done", f"{found['done']} of {found['jobs']}, marked {found['marked']}, twice {found['twice']}"),
        ("makers killed with a job", f"{found['killed']}; jobs claimed again {found['again']}"),
        ("CPU of a job", f"{ms(found['cpu'])}, claim and mark together"),
        ("a claim", spread(found["taking"])),
        ("a mark", spread(found["marking"])),
        ("jobs of one maker", f"{min(found['shares'])} to {max(found['shares'])}"),
        (
            "all of it",
            f"{found['wall']:.1f} s, {found['jobs'] / found['wall']:.0f} jobs/s; processes start and wait too",
        ),
        ("the folder read once", ms(found["listing"])),
    ]
    table(f"{found['makers']} makers on a sweep of {found['jobs']} dry jobs", rows)


def run(folder: Path, makers_: int = MAKERS, count: int = JOBS, killed: int = KILLED) -> None:
    """Measure and print; exits with status 1 if a job is missing or was done twice."""
    shared = folder / "claims-sweep"
    shared.mkdir()
    found = measure(shared, makers_, count, killed)
    report(found)
    if found["done"] != count or found["marked"] != count or found["twice"]:
        sys.exit("a job is missing, or was done twice")


def main() -> None:
    parser = options.parser(
        "benchmarks.claims", __doc__, "  100 makers, 10,000 jobs", "--makers 8 --jobs 500  seconds", "--folder /mnt/nfs"
    )
    parser.add_argument("--makers", type=int, default=MAKERS, help=f"processes [{MAKERS}]")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"dry jobs [{JOBS}]")
    parser.add_argument("--killed", type=int, default=KILLED, help=f"makers that are killed half-way [{KILLED}]")
    parser.add_argument("--folder", type=Path, default=tempfile.gettempdir(), help="on the disk to measure [temporary]")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ltx-claims-", dir=asked.folder))
    try:
        run(folder, asked.makers, asked.jobs, min(asked.killed, asked.makers - 1))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
