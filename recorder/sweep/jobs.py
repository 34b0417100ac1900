"""The jobs of a sweep as those who make runs see them: the next one, done, failed, given back. Imports no torch."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Protocol

from recorder.sweep.spec import Job


class JobsUnreachable(RuntimeError):
    """The place that the jobs are in cannot be used any more; the message has the reason."""


class JobSource(Protocol):
    """Where makers get their jobs. Every method may be called by several threads, one for each worker.

    Each job that `next` gave is ended by one of `done`, `failed` and `give_back`. All but `stop` raise JobsUnreachable.
    """

    def next(self) -> Job | None:
        """The next job; None if there is no further one, or after `stop`. May wait."""

    def done(self, job: Job, run: str) -> None:
        """The run of a job is complete in the sweep's folder, under this name."""

    def failed(self, job: Job, error: str, no_plan: bool) -> int:
        """A job failed; with `no_plan` its arm would with any seed. Returns how many jobs were left out therefore."""

    def give_back(self, job: Job) -> None:
        """A job was not made, through no fault of its own; it may be given again, here or elsewhere."""

    def stop(self) -> None:
        """Give no further job."""


class JobList:
    """The jobs of a sweep that one process makes alone, in their order."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._waiting = list(jobs)
        self._lock = threading.Lock()
        self._stopped = False

    def next(self) -> Job | None:
        """The next job; None if there is no further one, or after `stop`."""
        with self._lock:
            return self._waiting.pop(0) if self._waiting and not self._stopped else None

    def done(self, job: Job, run: str) -> None:
        """Nothing is kept: the archive says it."""

    def failed(self, job: Job, error: str, no_plan: bool) -> int:
        """With `no_plan`, leave out the arm's other jobs; returns how many."""
        with self._lock:
            before = len(self._waiting)
            if no_plan:
                self._waiting[:] = [j for j in self._waiting if j.arm != job.arm]
            return before - len(self._waiting)

    def give_back(self, job: Job) -> None:
        """Nothing is kept: a job without a complete archive is made when the sweep is resumed."""

    def stop(self) -> None:
        """Give no further job."""
        with self._lock:
            self._stopped = True
