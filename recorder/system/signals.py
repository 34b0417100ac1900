"""Signals that end a recording as Ctrl-C does: a closed terminal, a stopped service. Imports no torch."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any, Final

ENDING: Final = (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT)


@contextlib.contextmanager
def as_ctrl_c(*, forced: bool = False) -> Iterator[None]:
    """While the block runs, SIGHUP, SIGTERM and SIGQUIT raise KeyboardInterrupt in the main thread.

    A signal that is ignored when the block begins, such as SIGHUP under nohup, stays ignored. Handlers are put back as
    they were. In another thread than the main one this changes nothing, since Python sets handlers only there.

    Args:
        forced: also take SIGINT and SIGTERM where they are ignored, as in a process that was started in the background.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = set(ENDING) | ({signal.SIGINT} if forced else set())
    always = {signal.SIGINT, signal.SIGTERM} if forced else set()
    before: dict[signal.Signals, Any] = {}
    try:
        for number in wanted:
            had = signal.getsignal(number)
            if had is not None and (had is not signal.SIG_IGN or number in always):  # None: not set by Python
                before[number] = had
                signal.signal(number, signal.default_int_handler)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
