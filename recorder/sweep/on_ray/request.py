"""Where a sweep is to be made on Ray, as it is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LOCAL: Final = "local"
AUTO: Final = "auto"
CLIENT: Final = "ray://"
ADDRESS: Final = re.compile(r"(?:ray://)?(?P<host>\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class RayRequest:
    """Which cluster makes the runs, and how.

    Attributes:
        address: of the cluster, from `read_address`.
        shared: the sweep's folder is on a disk that all nodes have at the same path.
        workers: most workers; None for one on each GPU.
    """

    address: str
    shared: bool = False
    workers: int | None = None


def read_address(text: str) -> str:
    """An address as it was given.

    Raises:
        ValueError: if it is none: HOST:PORT, ray://HOST:PORT, auto or local.
    """
    if text in (AUTO, LOCAL) or ADDRESS.fullmatch(text):
        return text
    raise ValueError(f"{text!r} is no address of a Ray cluster: give HOST:PORT, ray://HOST:PORT, auto or local")
