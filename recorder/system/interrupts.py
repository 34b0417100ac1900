"""Work that Ctrl-C cannot stop half-way. Light: no torch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class _Work:
    """A function that is called in a thread of its own, unless its caller has given up before it began."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self.begun = False
        self.given_up = False
        self.failure: BaseException | None = None
        self.done = threading.Event()  # a thread's `join` takes it for ended when a signal interrupts it

    def start(self, name: str) -> None:
        try:
            threading.Thread(target=self._call, name=name, daemon=True).start()
        except RuntimeError:  # no more threads, or none any more since the interpreter ends
            self._call()

    def _call(self) -> None:
        # Set before the other's flag is read, as the other does it: one of the two sees the other.
        self.begun = True
        try:
            if not self.given_up:
                self._function()
        except BaseException as error:  # noqa: BLE001 - it is raised where the work is waited for
            self.failure = error
        finally:
            self.done.set()


def shielded(function: Callable[[], None], name: str, note: str = "") -> None:
    """Call a function in a thread, which no signal reaches, and wait until it returns.

    Python raises KeyboardInterrupt in the main thread alone, between any two instructions. Here a Ctrl-C is raised when
    the function has returned, a second one at once. If it comes before the function has begun, it is never called.

    Args:
        function: what must be done as a whole or not at all.
        name: of the thread.
        note: logged as a warning when a Ctrl-C has to wait.

    Raises:
        BaseException: what the function raises.
    """
    work = _Work(function)
    try:
        work.start(name)
        work.done.wait()
    except BaseException:
        work.given_up = True
        if work.begun and not work.done.is_set():
            if note:
                logger.warning("%s", note)
            work.done.wait()
        raise
    if work.failure is not None:
        raise work.failure
