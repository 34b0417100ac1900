"""The jobs of a sweep that any number of makers share, by claims in its folder. Imports no torch."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeVar

from recorder.sweep.claims import Claim, Claims, Listed, key_of
from recorder.sweep.jobs import JobsUnreachable
from recorder.sweep.makers import Watch
from recorder.sweep.spec import Job

LOOK_SECONDS: Final = 2.0
"""How often a maker without a job looks whether one is free again."""
READ_SECONDS: Final = 30.0
"""How often it reads all names at least: the time of a folder's last change is coarse, and kept by network disks."""
PATIENCE_SECONDS: Final = 600.0
"""How long a folder that cannot be used is tried again."""
MAX_TRIES: Final = 3
"""A job that failed so often, at different makers, is left to a later start."""
_CONFLICTS: Final = 8
"""This many claims that others made first, one after the other, and the folder is read again."""

T = TypeVar("T")


class EarlierRuns(Protocol):
    """What is in the sweep's folder of a job that somebody has begun before."""

    def has(self, job: Job) -> bool:
        """Whether there was anything of it, claimed or not, when this maker began."""

    def finished(self, job: Job) -> str | None:
        """The name of its finished run, if there is one. Raises OSError."""

    def keep_only(self, job: Job, run: str) -> None:
        """Remove all other runs of the job, if this one is there. Raises OSError."""


class SharedJobs:
    """A `JobSource` of the jobs that are free: never claimed, given back, failed elsewhere, or of a maker that is gone.

    Jobs are taken nearly in their order. When none is free, it waits as long as other makers are at work on some, since
    these may yet become free; then there are no further ones.
    """

    def __init__(
        self, claims: Claims, watch: Watch, jobs: Iterable[Job], earlier: EarlierRuns, say: Callable[[str], None]
    ) -> None:
        """
        Args:
            claims: of this maker.
            watch: its view of the others.
            jobs: all of the sweep, in their order.
            earlier: what is in the sweep's folder of them.
            say: is told, once each, what a user should know.
        """
        self._claims = claims
        self._watch = watch
        self._earlier = earlier
        self._say = say
        self._jobs = {key_of(job): job for job in jobs}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._unclaimed: list[str] = []
        self._window = 1
        self._conflicts = 0
        self._listed: Listed | None = None
        self._read_at = 0.0
        self._mine: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._ended: dict[tuple[str, int], Claim] = {}
        self._left_out: set[str] = set()
        self._again: set[str] = set()
        self._told: set[str] = set()
        self.failed_elsewhere: dict[str, str] = {}
        """Arms of jobs that others failed at too often to try them here, with a reason each."""

    def next(self) -> Job | None:
        """The next free job; None if there will be none, or after `stop`. Raises JobsUnreachable."""
        while not self._stopped.is_set():
            with self._lock:
                key = self._patiently(self._take)
                if key is not None:
                    return self._jobs[key]
                if not self._patiently(self._held_elsewhere):
                    # Not all file systems say at once that something was added: the last word is a new reading's.
                    self._patiently(self._look)
                    if not self._unclaimed and not self._patiently(self._held_elsewhere):
                        return None
                    continue
            self._stopped.wait(LOOK_SECONDS)
        return None

    def done(self, job: Job, run: str) -> None:
        """Its run counts, unless another maker's run of it does: then that one is kept. Raises JobsUnreachable."""
        key = key_of(job)
        with self._lock:
            number = self._mine.pop(key)
        if self._patiently(lambda: self._claims.mark_done(key, run)):
            if number > 1 or self._earlier.has(job):
                self._tidy(job, run)
            return
        counts = self._patiently(lambda: self._claims.run_of(key))
        if counts is not None and counts != run:
            self._say(f"{job.arm} seed {job.seed} was made by another maker too, whose run {counts} counts")
            self._tidy(job, counts)

    def failed(self, job: Job, error: str, no_plan: bool) -> int:
        """Leave it to others, or with `no_plan` the whole arm to nobody. Raises JobsUnreachable."""
        key = key_of(job)
        with self._lock:
            number, failures = self._mine.pop(key), self._failures.get(key, 0) + 1
            out = {key}
            if no_plan:
                out |= {k for k in self._unclaimed if self._jobs[k].arm == job.arm}
            self._left_out |= out
            self._unclaimed = [k for k in self._unclaimed if k not in out]
        claim = Claim(self._claims.maker, "failed", failures, error[:300], no_plan)
        self._patiently(lambda: self._claims.end(key, number, claim))
        return len(out) - 1

    def give_back(self, job: Job) -> None:
        """Others may take it at once. Raises JobsUnreachable."""
        key = key_of(job)
        with self._lock:
            number, failures = self._mine.pop(key), self._failures.get(key, 0)
        claim = Claim(self._claims.maker, "given back", failures)
        self._patiently(lambda: self._claims.end(key, number, claim))

    def stop(self) -> None:
        """Give no further job."""
        self._stopped.set()

    def done_count(self) -> int:
        """How many jobs are done, by all makers. Raises OSError."""
        return sum(key in self._jobs for key in self._claims.listed().done)

    # -- with the lock held

    def _take(self) -> str | None:
        """Claim a job, if one is free. Raises OSError."""
        if self._listed is None:
            self._look()
            begun = self._open()
            if all(claim is not None and claim.ended == "failed" for _, _, claim in begun):
                # Nobody is at work: this is a start to try again what failed before.
                self._again = {key for key, _, _ in begun}
        while True:
            while self._unclaimed and self._conflicts < _CONFLICTS:
                # Not all want the first one.
                at = random.randrange(min(self._window, len(self._unclaimed)))
                key, claimed = self._unclaimed[at], self._claimed(self._unclaimed[at], 1)
                del self._unclaimed[at]
                if claimed and not (self._earlier.has(self._jobs[key]) and self._was_made(key)):
                    return key
            if self._conflicts or self._is_stale():
                self._look()
            if not self._unclaimed:
                return self._take_again()

    def _claimed(self, key: str, number: int, failures: int = 0) -> bool:
        if not self._claims.take(key, number, failures):
            self._conflicts += 1
            return False
        self._conflicts = 0
        self._mine[key], self._failures[key] = number, failures
        return True

    def _is_stale(self) -> bool:
        """Whether the last reading of the folder may lack something. Raises OSError."""
        assert self._listed is not None
        return self._claims.has_changed(self._listed) or time.monotonic() - self._read_at > READ_SECONDS

    def _look(self) -> None:
        self._listed = listed = self._claims.listed()
        self._read_at, self._conflicts = time.monotonic(), 0
        self._window = 1 if listed.makers < 2 else 2 * listed.makers
        gone = listed.last.keys() | listed.done | self._left_out
        self._unclaimed = [key for key in self._jobs if key not in gone]

    def _take_again(self) -> str | None:
        """Claim a job that somebody has begun before, if one is free. Raises OSError."""
        for key, number, claim in self._open():
            if not self._is_free(key, number, claim):
                continue
            if self._claimed(key, number + 1, claim.failures if claim else 0) and not self._was_made(key):
                return key
        return None

    def _was_made(self, key: str) -> bool:
        """Whether a job that was just claimed has a finished run, marked or not; then it is let go."""
        try:
            if not self._claims.is_done(key):  # it may be since the folder was read
                run = self._earlier.finished(self._jobs[key])
                if run is None:
                    return False
                self._claims.mark_done(key, run)  # its maker was gone between the end of the run and the mark
        except OSError:
            return False  # if it was, the mark says so in the end
        del self._mine[key]
        return True

    def _open(self) -> list[tuple[str, int, Claim | None]]:
        """The jobs that somebody has begun, and nobody has done, with their last claim. Raises OSError."""
        assert self._listed is not None
        found = []
        for key, number in self._listed.last.items():
            if key not in self._jobs or key in self._listed.done or key in self._mine or key in self._left_out:
                continue
            claim = self._ended.get((key, number)) or self._claims.read(key, number)
            if claim is not None and claim.ended:
                self._ended[key, number] = claim
            found.append((key, number, claim))
        return found

    def _is_free(self, key: str, number: int, claim: Claim | None) -> bool:
        if claim is None:
            return self._watch.is_left(self._claims.file(key, number))
        if claim.ended == "failed":
            return key in self._again or not self._is_exhausted(claim)
        if claim.ended:
            return True
        if claim.maker == self._claims.maker or not self._watch.is_gone(claim.maker):
            return False
        if claim.maker not in self._told:
            self._told.add(claim.maker)
            maker = self._watch.maker(claim.maker)
            self._say(f"{maker.name if maker else claim.maker} is gone; what it was at is free again")
        return True

    @staticmethod
    def _is_exhausted(claim: Claim) -> bool:
        return claim.no_plan or claim.failures >= MAX_TRIES

    def _held_elsewhere(self) -> bool:
        """Whether others are at work on jobs that may become free. Raises OSError."""
        held = []
        for key, _, claim in self._open():
            if claim is not None and claim.ended == "failed" and key not in self._again and self._is_exhausted(claim):
                self.failed_elsewhere[self._jobs[key].arm] = claim.error
            else:
                held.append(key)
        if held and not self._mine and "waiting" not in self._told:
            self._told.add("waiting")
            self._say(f"waiting for {len(held)} run{'s' * (len(held) > 1)} of other makers")
        return bool(held)

    # -- without it, too

    def _tidy(self, job: Job, run: str) -> None:
        try:
            self._earlier.keep_only(job, run)
        except OSError as error:  # files of another user, or a disk that is away: they harm nothing
            self._say(f"other runs of {job.arm} seed {job.seed} cannot be removed ({error.strerror or error})")

    def _patiently(self, act: Callable[[], T]) -> T:
        """Do something in the folder, again and again while it cannot be used; told once. Raises JobsUnreachable."""
        limit = time.monotonic() + PATIENCE_SECONDS
        told = False
        while True:
            try:
                found = act()
            except OSError as error:
                why = f"{self._claims.folder} cannot be used ({error.strerror or error})"
                if self._stopped.is_set() or time.monotonic() > limit:
                    raise JobsUnreachable(why) from error
                if not told:
                    self._say(f"{why}; it is tried again for {PATIENCE_SECONDS / 60:.0f} minutes")
                told = True
                self._stopped.wait(LOOK_SECONDS)
            else:
                if told:
                    self._say(f"{self._claims.folder} can be used again")
                return found
