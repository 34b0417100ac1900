"""Which of several ranks this process is, by torch.distributed or by the variables of its launcher."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any, Final

_VARIABLES: Final = (
    ("RANK", "WORLD_SIZE"),  # torchrun, accelerate, DeepSpeed
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
)


@dataclass(frozen=True)
class Rank:
    """A process among `size`, numbered from 0."""

    number: int
    size: int

    def as_metadata(self) -> dict[str, int]:
        return {"rank": self.number, "world_size": self.size}


def rank_here() -> Rank | None:
    """The rank of this process; None if it is the only one. Imports nothing."""
    found = _initialised(sys.modules.get("torch.distributed")) or _of_launcher()
    return found if found is not None and found.size > 1 else None


def _initialised(distributed: Any) -> Rank | None:
    try:
        if distributed is not None and distributed.is_available() and distributed.is_initialized():
            return Rank(int(distributed.get_rank()), int(distributed.get_world_size()))
    except (AttributeError, RuntimeError, ValueError):  # it is being imported, or its group is gone
        return None
    return None


def _of_launcher() -> Rank | None:
    for number, size in _VARIABLES:
        given, of = os.environ.get(number, ""), os.environ.get(size, "")
        if given.isdecimal() and of.isdecimal():
            return Rank(int(given), int(of))
    return None
