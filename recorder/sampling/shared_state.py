"""State that all stages of one run share, across pipeline calls, threads and tasks."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from recorder.format.protocol import Message
from recorder.writing.items import ClipItem, RowItem, StageEndItem

if TYPE_CHECKING:
    from recorder.sampling.stage import Stage

Put = Callable[[Message | RowItem | StageEndItem | ClipItem], None]
"""Takes messages, rows and ends of stages; must not block."""


CONTINUES: Final = 1e-3
"""Largest difference of noise levels at which a later stage continues from an earlier one."""


@dataclass(frozen=True)
class Left:
    """Noise that is left in the result of a stage, unless a later stage continues from there."""

    stage: int
    step: int
    level: float
    thread: int
    """The thread that took its last step; stages of other threads may be under way."""


class Book:
    """Numbers stages and calls, and knows which stages are under way. Safe in any thread."""

    def __init__(self, put: Put) -> None:
        self._put = put
        self.off = False
        """True in a forked child, where nothing is recorded and no lock may be taken."""
        self._lock = threading.RLock()  # a signal handler may run while it is held
        self._stages = itertools.count()
        self._calls = itertools.count()
        self._told: set[tuple[str, int | None]] = set()
        self._left: list[Left] = []
        # Replaced and never changed in place, so that it is read without the lock.
        self._open: tuple[Stage, ...] = ()
        self._latest: Stage | None = None

    def next_call(self) -> int:
        """A number that is unique among the calls of this run."""
        return next(self._calls)

    def begins(self, stage: Stage) -> None:
        """A stage is under way."""
        with self._lock:
            self._open = (*self._open, stage)
            self._latest = stage

    def announce(self, stage: Stage, messages: Callable[[int], list[Message]]) -> None:
        """Number a stage and send its messages: readers expect stages in the order of their numbers."""
        with self._lock:
            stage.index = next(self._stages)
            for message in messages(stage.index):
                self._put(message)

    def steps(self, stage: Stage) -> None:
        """A stage has taken a step; answers to viewers' commands refer to it."""
        self._latest = stage

    def ends(self, stage: Stage) -> None:
        """A stage has ended."""
        with self._lock:
            self._open = tuple(s for s in self._open if s is not stage)

    def first(self, what: str, stage: int | None) -> bool:
        """True the first time that something is reported of a stage, since a loop would repeat it at every step."""
        with self._lock:
            if (what, stage) in self._told:
                return False
            self._told.add((what, stage))
            return True

    def leaves(self, stage: int, step: int, level: float) -> None:
        """A stage has ended with noise left in its result."""
        with self._lock:
            self._left.append(Left(stage, step, level, threading.get_ident()))

    def continues_from(self, sigma: float | None) -> list[Left]:
        """The noise that finally remains, when a stage takes its first step from a level or the run ends (None).

        The next stage of the same thread decides. One of another thread decides only if it begins at that level.
        """
        with self._lock:
            kept, here = self._left, threading.get_ident()
            if sigma is None:
                self._left = []
                return kept
            taken = next((left for left in kept if abs(left.level - sigma) <= CONTINUES), None)
            final = [left for left in kept if left is not taken and left.thread == here]
            self._left = [left for left in kept if left is not taken and left not in final]
            return final

    @property
    def current(self) -> Stage | None:
        """The stage under way that stepped last; None if there is none."""
        under_way, latest = self._open, self._latest
        if latest is not None and any(s is latest for s in under_way):
            return latest
        return under_way[-1] if under_way else None

    def position(self) -> tuple[int | None, int | None]:
        """The stage that stepped last and its last step with a row; None where there is none."""
        stage = self.current
        return (None, None) if stage is None else stage.position()
