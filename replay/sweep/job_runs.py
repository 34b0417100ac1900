"""The runs of some jobs in a sweep's folder, found by their names, for makers that share it."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from recorder.format import locations
from recorder.sweep import spec
from recorder.sweep.spec import Job, Sweep
from replay.library.listing import archives_in
from replay.sweep.results import SweepRun, discard, finished, run_in

_NAME: Final = re.compile(r"\d{8}-\d{6}-(.+?)(-\d+)?")
"""When a run began, the name of its job, and a number if others have the same."""
_TIME: Final = len("20261122-143015-")


class JobRuns:
    """What is in a sweep's folder of its jobs. Only archives of the jobs asked for are opened."""

    def __init__(self, folder: Path, sweep: Sweep) -> None:
        """Reads the folder's names. Raises OSError."""
        self._folder = folder
        self._sweep = sweep
        self._jobs = {_name_of(job) for job in sweep.jobs()}
        self._first = self._names()

    def has(self, job: Job) -> bool:
        """Whether the folder had anything by a job's name at first."""
        return _name_of(job) in self._first

    def lacks(self, job: Job) -> bool:
        """Whether the folder had nothing of a job at first, as far as names say it: not a run of one named alike."""
        own = _name_of(job)
        names = (locations.run_name(path)[_TIME:] for path in self._first.get(own, ()))
        return all(name != own and name in self._jobs for name in names)

    def all_finished(self, jobs: Collection[Job]) -> dict[Job, str]:
        """The names of the finished runs of those of some jobs that have one. Raises OSError."""
        done = finished(self._folder, self._runs(jobs), self._sweep)
        return {job: locations.run_name(path) for job, path in done.items()}

    def finished(self, job: Job) -> str | None:
        """The name of a job's finished run, if there is one. Raises OSError."""
        return self.all_finished({job}).get(job)

    def keep_only(self, job: Job, run: str) -> None:
        """Remove all other runs of a job, if this one is there and complete. Raises OSError."""
        runs = self._runs({job})
        others = [r for r in runs if locations.run_name(r.path) != run]
        if any(locations.run_name(r.path) == run and r.state == "complete" for r in runs):
            discard(others)

    def _runs(self, jobs: Collection[Job]) -> list[SweepRun]:
        names = self._names()
        archives = sorted({path for job in jobs for path in names.get(_name_of(job), ())})
        found = (run_in(path, self._sweep) for path in archives)
        return [run for run in found if run is not None and run.job in jobs]

    def _names(self) -> dict[str, list[Path]]:
        """The archives by the names of their jobs; one that ends in a number has two."""
        found: dict[str, list[Path]] = {}
        for archive in archives_in(self._folder / spec.RUNS):
            if name := _NAME.fullmatch(locations.run_name(archive)):
                for job in {name[1], f"{name[1]}{name[2] or ''}"}:
                    found.setdefault(job, []).append(archive)
        return found


def _name_of(job: Job) -> str:
    return locations.safe_name(job.file)  # as `record` takes the name of a run
