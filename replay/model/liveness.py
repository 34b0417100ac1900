"""Whether more messages of a run will follow."""

from __future__ import annotations

from enum import Enum


class Liveness(Enum):
    """Where a run's messages come from and whether more will follow."""

    LIVE = "live"  # its recorder is running
    FINISHED = "finished"  # it said `end`
    UNFINISHED = "unfinished"  # its recorder is gone without an `end`
