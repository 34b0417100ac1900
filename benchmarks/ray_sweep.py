"""`python -m benchmarks ray`: what a Ray cluster costs a sweep, beyond its runs. Needs the extra `ray`.

The cluster is one of this machine, with two workers that compute on CPUs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO, Final

from benchmarks.reporting import ms, table
from recorder.format.version import VERSION
from recorder.sweep import spec
from recorder.sweep.grid import arms_of, with_controls
from recorder.sweep.on_ray import pool
from recorder.sweep.on_ray.cluster import connected
from recorder.sweep.on_ray.maker import Made, Ready, RunMaker
from recorder.sweep.runner import JobResult
from recorder.sweep.spec import Job, Sweep, SweepSettings

DRY_JOBS: Final = 10_000
DRY_ARCHIVES: Final = 400
ARCHIVE_BYTES: Final = 265_000
"""Of the packed archives that the real runs make."""
REAL_SEEDS: Final = 8


class DryMaker(RunMaker):
    """Answers at once; nothing comes home."""

    def ready(self, version: str) -> Ready:
        return Ready("node", {"ltxtui": VERSION})

    def make(self, arm: str, seed: int) -> Made:
        return Made(0.0, name=f"{seed:05d}-{arm}")


class ArchiveMaker(DryMaker):
    """Answers at once, with a file as large as an archive."""

    def make(self, arm: str, seed: int) -> Made:
        return Made(0.0, name=f"{seed:05d}-{arm}", archive=bytes(ARCHIVE_BYTES))


@dataclass
class Heard:
    """When each result came, and how long its run took."""

    log: IO[str]
    began: float = 0.0
    times: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def told(self, result: JobResult, dropped: int) -> None:
        if result.error is not None:
            raise RuntimeError(result.error)
        self.times.append(time.perf_counter())
        self.seconds.append(result.seconds)

    def hearing(self) -> pool.Hearing:
        return pool.Hearing(self.told, print, lambda job: False, self.log)

    @property
    def overheads(self) -> list[float]:
        """Of one worker: time from one result to the next beyond the run between them."""
        between = (after - before for before, after in pairwise(self.times))
        return [gap - seconds for gap, seconds in zip(between, self.seconds[1:], strict=True)]


def run(folder: Path) -> None:
    """Print the costs of dry and real jobs."""
    settings = SweepSettings(
        "nano", ("a red ball moving left",), steps=10, height=128, width=160, frames=33, guidance_scale=1.0
    )
    arms = with_controls(arms_of(["kind=restart at=0.9 db=6"], [])[0])
    made = Sweep.make(settings, tuple(range(REAL_SEEDS)), arms, {})
    dry = [Job(arm.name, seed) for seed in range(DRY_JOBS) for arm in arms][:DRY_JOBS]
    rows: list[tuple[str, str]] = []
    with (folder / "ray.log").open("w") as log:
        began = time.perf_counter()
        with connected("local", log):
            rows.append(("cluster of this machine started", f"{time.perf_counter() - began:.1f} s"))
            for title, jobs, maker in (
                ("a dry job, nothing comes home", dry, DryMaker),
                (f"a dry job, {ARCHIVE_BYTES // 1000} kB come home", dry[:DRY_ARCHIVES], ArchiveMaker),
            ):
                heard = _made(folder / maker.__name__, made, jobs, 2, maker, log)
                each = (heard.times[-1] - heard.times[0]) / (len(jobs) - 1)
                rows.append((f"{title}: {len(jobs):,}, two workers, each", ms(each)))
            real = _made(folder / "real", made, made.jobs(), 1, RunMaker, log)
            title = f"a real job, beyond its run of {ms(statistics.median(real.seconds))}"
            rows.append((f"{title}: {len(made.jobs())}, one worker, median", ms(statistics.median(real.overheads))))
            rows.append(("the same, worst", ms(max(real.overheads))))
    table(f"a sweep on Ray {_version()}", rows)


def _made(folder: Path, sweep: Sweep, jobs: Sequence[Job], workers: int, maker: type[RunMaker], log: IO[str]) -> Heard:
    spec.write(folder, sweep)
    heard = Heard(log)
    pool.run_jobs(folder, sweep, jobs, workers, heard.hearing(), gpus=0, maker=maker)
    return heard


def _version() -> str:
    from importlib.metadata import version

    return version("ray")
