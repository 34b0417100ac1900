"""How a replay advances: at the median pace of the run or as it happened, at a speed, in a loop. Pure arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SPEEDS: Final[tuple[float, ...]] = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0, 16.0, math.inf)
"""Replay speeds; 1 is the run's own pace, infinity as fast as the screen can draw."""

_MAX_SPEED_TICKS: Final = 40
_STALL: Final = 1.0
"""Seconds: a longer stall of the terminal must not make the replay jump."""


@dataclass
class Playback:
    """Advances a replay. A playhead is a number of steps: 1 shows the first step only.

    Attributes:
        playing: whether it advances.
        speed: times the pace.
        as_recorded: whether each step takes the time that it took, pauses included, instead of the median time.
        loop: first and last step of a selection that is played again and again.
    """

    playing: bool = False
    speed: float = 1.0
    as_recorded: bool = False
    loop: tuple[int, int] | None = None
    _owed: float = 0.0
    """Seconds of the run that have passed since the playhead last moved."""

    def rest(self) -> None:
        """Forget the part of a step that has passed: the playhead was moved by hand."""
        self._owed = 0.0

    def change_speed(self, by: int) -> None:
        self.speed = SPEEDS[max(0, min(SPEEDS.index(self.speed) + by, len(SPEEDS) - 1))]

    def start(self, playhead: int, total: int) -> int:
        """Where playing begins: from the start if a loop was passed or the run has ended, else at the playhead."""
        if self.loop is not None:
            return self.loop[0] + 1 if playhead > self.loop[1] else playhead
        return 1 if playhead >= total else playhead

    def advance(self, playhead: int, seconds: float, pace: float, elapsed: NDArray[np.float64]) -> int:
        """The playhead after some seconds of real time.

        Args:
            playhead: where it is, 1 or more.
            seconds: that have passed.
            pace: seconds per step of the run.
            elapsed: seconds at which each step was done, never falling [total].

        Returns:
            At most the number of steps; in a loop, back at its beginning after its last step.
        """
        total = len(elapsed)
        end = total if self.loop is None else min(total, self.loop[1] + 1)
        if math.isinf(self.speed):
            return self._around(playhead + max(1, total // _MAX_SPEED_TICKS), end)
        self._owed += min(seconds, _STALL) * self.speed
        if not self.as_recorded:
            whole = int(self._owed / pace + 1e-9)
            self._owed -= whole * pace
            return self._around(playhead + whole, end)
        while True:
            reached = int(np.searchsorted(elapsed[:end], elapsed[playhead - 1] + self._owed, side="right"))
            reached = max(playhead, reached)
            self._owed -= float(elapsed[reached - 1] - elapsed[playhead - 1])
            playhead = reached
            # From the last step of a loop to its first no time was recorded: it takes the median.
            if self.loop is None or playhead < end or self._owed < pace or end <= self.loop[0] + 1:
                return playhead
            self._owed -= pace
            playhead = self.loop[0] + 1

    def _around(self, playhead: int, end: int) -> int:
        if self.loop is None or playhead <= end:
            return min(playhead, end)
        first = self.loop[0] + 1
        return first + (playhead - first) % max(1, end - first + 1)
