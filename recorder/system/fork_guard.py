"""A forked child does not record: it lets go of its parent's files, and nothing that it does reaches the run."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable

_numbers = itertools.count()
_watched: dict[int, Callable[[], None]] = {}


def watch(let_go: Callable[[], None]) -> int:
    """Call `let_go` in every child that is forked from now on; returns a ticket for `unwatch`.

    It runs in the child alone, whose only thread is the one that forked: it must take no lock that another thread may
    have held, and may do no more than close descriptors and set flags.
    """
    ticket = next(_numbers)
    _watched[ticket] = let_go
    return ticket


def unwatch(ticket: int) -> None:
    """What had been watched is closed; any ticket may be given back twice."""
    _watched.pop(ticket, None)


def _in_child() -> None:
    for let_go in list(_watched.values()):
        with contextlib.suppress(OSError):  # a descriptor that the parent's threads were just closing
            let_go()
    _watched.clear()


os.register_at_fork(after_in_child=_in_child)
