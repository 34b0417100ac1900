"""Whether more of a run will follow."""

from __future__ import annotations

from enum import Enum


class Liveness(Enum):
    """Where a run's messages come from and whether more will follow."""

    LIVE = "live"  # its recorder is running
    FINISHED = "finished"  # its recorder sent `end`
    UNFINISHED = "unfinished"  # its recorder is gone and sent no `end`
