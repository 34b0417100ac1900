"""Signals that end a recording as Ctrl-C does: a closed terminal, a stopped service. Imports no torch."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

ENDING: Final = (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT)
PREEMPTION: Final = signal.SIGUSR2
"""What batch systems are asked to send some time before they end a job."""


@contextlib.contextmanager
def as_ctrl_c(*, forced: bool = False, batch: bool = False) -> Iterator[None]:
    """While the block runs, SIGHUP, SIGTERM and SIGQUIT raise KeyboardInterrupt in the main thread.

    A signal that is ignored when the block begins, such as SIGHUP under nohup, stays ignored. Handlers are put back as
    they were. In another thread than the main one this changes nothing, since Python sets handlers only there.

    Args:
        forced: also take SIGINT and SIGTERM where they are ignored, as in a process that was started in the background.
        batch: also take SIGUSR2, and only the first of all these signals: batch systems send them to a process and to
            what it started, which then gets one from each, and a later one would hurt what the first has begun to end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = {*ENDING, *([signal.SIGINT] if forced else []), *([PREEMPTION] if batch else [])}
    handler = _first_only() if batch else signal.default_int_handler
    always = {signal.SIGINT, signal.SIGTERM} if forced else set()
    before: dict[signal.Signals, Any] = {}
    try:
        for number in wanted:
            had = signal.getsignal(number)
            if had is not None and (had is not signal.SIG_IGN or number in always):  # None: not set by Python
                before[number] = had
                signal.signal(number, handler)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_only() -> Callable[[int, FrameType | None], None]:
    came = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if not came:
            came = True
            raise KeyboardInterrupt

    return handle
