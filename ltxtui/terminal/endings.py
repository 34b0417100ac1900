"""How a program on a terminal ends: by a signal, a closed terminal, or an unexpected error."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import types
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from textual import events
from textual.app import App
from textual.driver import Driver
from textual.timer import Timer

from ltxtui.terminal import crash_log
from ltxtui.terminal.served import is_served

T = TypeVar("T")

SIGNALLED: Final = 128
"""Plus the number of a signal, the exit status of a process ended by that signal."""
LAST_WAIT: Final = 5.0
"""Seconds that an app has to end after a signal; then the terminal is restored and the process exits."""
_OTHERS: Final = frozenset(
    getattr(signal, name)
    for name in (
        # Cannot be caught, do not end a process, or report a fault of the process itself.
        "SIGKILL", "SIGSTOP", "SIGCHLD", "SIGCONT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGWINCH", "SIGPIPE",
        "SIGSEGV", "SIGILL", "SIGFPE", "SIGBUS", "SIGABRT", "SIGTRAP", "SIGSYS", "SIGINFO", "SIGXFSZ", "SIGEMT",
    )
    if hasattr(signal, name)
)  # fmt: skip


class Signals:
    """A context in which the first signal that would end the process is passed to `caught`; later ones are ignored.

    Signals that are already ignored, such as SIGHUP under nohup, stay ignored. After a signal the handlers remain: the
    process is ending, and further signals must not interrupt that.
    """

    def __init__(self, caught: Callable[[int], None]) -> None:
        self.number = 0
        """The signal that was received; 0 if none was."""
        self._on_signal = caught
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in sorted(signal.valid_signals() - _OTHERS):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                with contextlib.suppress(OSError):  # reserved by the C library
                    self._before[number] = signal.signal(number, self._caught)
        return self

    def __exit__(self, *_: object) -> None:
        if not self.number:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _caught(self, number: int, frame: types.FrameType | None) -> None:
        if not self.number:
            self.number = number
            self._on_signal(number)


class TerminalApp(App[T], inherit_bindings=False):
    """An app that restores the terminal however it ends. `show_app` runs it.

    A subclass that has work to do at the end overrides `leave`. `plain` is whether only ASCII may be written.
    """

    signalled = 0
    """The first signal that was received; 0 if none was."""
    _status = 0
    _ended: str = ""
    leaving = False
    """Whether it is ending; later keys are left to the shell."""

    @property
    def plain(self) -> bool:
        return False

    @property
    def status(self) -> int:
        """The exit status of the process."""
        if self.signalled:
            return SIGNALLED + self.signalled
        return self._status or self.return_code or 0

    def on_load(self) -> None:
        if self.signalled:  # before the event loop was started
            self.end_with(SIGNALLED + self.signalled)

    def leave(self) -> None:
        """End the app."""
        self.exit()

    def exit(self, *given: Any, **named: Any) -> None:
        self.leaving = True
        super().exit(*given, **named)

    def hung_up(self) -> None:
        """The terminal is closed: end as after SIGHUP, even if that is ignored."""
        self.end_with(SIGNALLED + signal.SIGHUP)

    def end_with(self, status: int) -> None:
        """End the app with an exit status, unless it has one already."""
        self._status = self._status or status
        self.leave()

    def get_driver_class(self) -> type[Driver]:
        if is_served():
            from ltxtui.terminal.web import Web

            return Web
        from ltxtui.terminal.driver import Terminal

        return Terminal

    async def on_event(self, event: events.Event) -> None:
        """Drop keys and clicks that were read before the app ended."""
        over = self.leaving or not self._running
        if not (over and isinstance(event, events.InputEvent | events.Paste)):
            await super().on_event(event)

    def set_timer(self, *given: Any, **named: Any) -> Timer:
        """A timer that fires once, also on a busy machine.

        Textual's skips what is late, and that is all of it where the process was stopped for the delay before the
        first look at the clock. A change of size waits for such a timer, and so would every later one.
        """
        timer = super().set_timer(*given, **named)
        timer._skip = False  # the timer has not started yet; Textual has no public option for this
        return timer

    def _handle_exception(self, error: Exception) -> None:
        """Instead of a traceback with all variables: details in a file, one line on the terminal."""
        self._return_code = self._status = 1
        self.leaving = True
        if self._exception is None:
            self._ended = crash_log.report(error)
            self._exception = error
            self._exception_event.set()
        self._close_messages_no_wait()

    def _print_error_renderables(self) -> None:
        if self._ended:
            say(self._ended)


def show_app(app: TerminalApp[Any], *, mouse: bool = True) -> int:
    """Run an app on the terminal until it ends; the exit status.

    Must be called in the main thread.
    """
    over = threading.Event()
    # No `Event`: a signal handler that interrupts the owner of its lock would wait forever. `put` may be interrupted.
    signalled: SimpleQueue[int] = SimpleQueue()

    def caught(number: int) -> None:
        app.signalled = number
        signalled.put(number)
        if (loop := app._loop) is not None:
            with contextlib.suppress(RuntimeError):  # the loop is already closed
                loop.call_soon_threadsafe(app.end_with, SIGNALLED + number)

    def watch() -> None:
        """Restore the terminal and exit if the app does not end in time after a signal."""
        number = signalled.get()
        if not over.wait(LAST_WAIT):
            _restore(app)
            os._exit(SIGNALLED + number)

    with Signals(caught):
        threading.Thread(target=watch, name="last-wait", daemon=True).start()
        try:
            app.run(mouse=mouse)
        except Exception as error:  # noqa: BLE001 - the terminal is restored after any error
            _restore(app)
            say(crash_log.report(error))
            return 1
        finally:
            over.set()
            signalled.put(0)  # ends the thread
    return app.status


def say(line: str) -> None:
    """Print a line on standard error; does nothing if it is closed."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.__stderr__, flush=True)


def _restore(app: TerminalApp[Any]) -> None:
    from ltxtui.terminal.driver import Terminal

    if isinstance(app._driver, Terminal):
        app._driver.restore_now()
