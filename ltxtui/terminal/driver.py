"""The terminal driver of the dashboard: Textual's driver, made robust against a terminal that misbehaves or closes."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import termios
import threading
import time
from codecs import getincrementaldecoder
from collections.abc import Callable
from typing import IO, Any, Final

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

RESTORING: Final = (
    "\x1b[?2004l\x1b[?7h\x1b[?2048l\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l\x1b[<u"
    "\x1b[?1049l\x1b[?25h\x1b[?1004l"
)
"""Paste and mouse reports off, line wrap on, the main screen, a cursor: what the driver writes when it stops."""
_LEAVING: Final = frozenset(b"q\x03\x11")
"""Bytes of the keys that may quit: later keys may belong to the shell."""
_HOPS: Final = 40
"""Turns of the event loop that a key needs to pass all queues, from the app to the screen and back."""
_PATIENCE: Final = 1.0
_GATE: Final = 0.25
"""Most seconds that keys wait for an earlier key that may quit."""
_CHUNK: Final = 4096


class Output:
    """Writes to the terminal. Characters that cannot be encoded are replaced; a closed terminal is reported once.

    With `plain` only ASCII is written, one character per cell, whatever a widget drew.
    """

    def __init__(self, file: IO[str], plain: Callable[[], bool], gone: Callable[[], None]) -> None:
        self._fd = file.fileno()
        self._encoding = getattr(file, "encoding", None) or "utf-8"
        self._plain = plain
        self._gone = gone
        self._lost = False

    def fileno(self) -> int:
        return self._fd

    def flush(self) -> None:
        """Nothing is buffered."""

    def write(self, text: str) -> None:
        if self._lost:
            return
        if self._plain() and not text.isascii():
            from ltxtui.plot.text import ascii_cells

            text = ascii_cells(text)
        left = memoryview(text.encode(self._encoding, "replace"))
        try:
            while left:
                try:
                    left = left[os.write(self._fd, left) :]
                except BlockingIOError:  # another process that shares the terminal made it non-blocking
                    with selectors.DefaultSelector() as selector:
                        selector.register(self._fd, selectors.EVENT_WRITE)
                        selector.select(_PATIENCE)
        except OSError:
            self._lost = True
            self._gone()


class Terminal(LinuxDriver):
    """Textual's driver for Linux and macOS, with these differences.

    Bytes that are not UTF-8 are replaced. A terminal that hangs up ends the app. Signals act between two turns of the
    event loop, never in the middle of a write. Keys that are typed after the app has begun to quit stay with the
    terminal, for the shell.
    """

    _file: Any
    _app: Any

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self._file = Output(self._file, lambda: bool(getattr(app, "plain", False)), self._hung_up)
        self._active = False
        self._reported = -_PATIENCE
        """When the terminal last sent something other than a plain key."""
        self._encoded_keys = False
        self._pasting = False

    # Start and end

    def start_application_mode(self) -> None:
        super().start_application_mode()  # type: ignore[no-untyped-call]
        self._active = self._writer_thread is not None and self._writer_thread.is_alive()
        if self._active:
            self._handle_resizes_one_at_a_time()

    def suspend_application_mode(self) -> None:
        super().suspend_application_mode()
        self._active = False

    def disable_input(self) -> None:
        """Stop reading. Keys typed ahead are left in the terminal, unless mouse reports may be among them."""
        if self._key_thread is None:
            return  # done already
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)
        self._disable_mouse_support()
        self.exit_event.set()
        self._key_thread.join()  # it may have ended already, since the app is ending
        self._key_thread = None
        self.exit_event.clear()
        if self._encoded_keys or time.monotonic() - self._reported < _PATIENCE:
            with contextlib.suppress(termios.error):
                termios.tcflush(self.fileno, termios.TCIFLUSH)

    def _disable_mouse_support(self) -> None:
        super()._disable_mouse_support()
        if self._mouse_pixels:
            self.write("\x1b[?1016l")

    def restore_now(self) -> None:
        """Restore the terminal at once, bypassing all queues: for an app that does not end by itself."""
        with contextlib.suppress(OSError, ValueError):
            os.set_blocking(self._file.fileno(), False)
            try:
                os.write(self._file.fileno(), RESTORING.encode())
            finally:
                os.set_blocking(self._file.fileno(), True)
        if self.attrs_before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before)

    # Signals

    def _handle_resizes_one_at_a_time(self) -> None:
        """Let the event loop call Textual's handler of SIGWINCH, once for all signals that have come meanwhile.

        As a signal handler it would be interrupted by itself: signals that come faster than it returns exceed the
        recursion limit.
        """
        resized: Any = signal.getsignal(signal.SIGWINCH)
        waiting = False  # no `Event`: its lock cannot be taken by a signal handler that interrupts its owner

        def handle() -> None:
            nonlocal waiting
            waiting = False  # first, so that a signal from here on is handled too
            if self._active:
                resized(signal.SIGWINCH, None)

        def caught(*_: Any) -> None:
            nonlocal waiting
            if not waiting:
                waiting = True
                with contextlib.suppress(RuntimeError):  # the loop is already closed
                    self._loop.call_soon_threadsafe(handle)

        signal.signal(signal.SIGWINCH, caught)

    def _sigtstp_application(self, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._suspend)

    def _sigcont_application(self, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._resume)

    def _suspend(self) -> None:
        if self._auto_restart and self._active:
            self.suspend_application_mode()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _resume(self) -> None:
        if not self._auto_restart:
            return
        if self._active:  # stopped by SIGSTOP, without notice: other programs may have used the terminal since
            self.suspend_application_mode()
        self._must_signal_resume = True
        self.resume_application_mode()

    def _hung_up(self) -> None:
        """The terminal is closed: nothing can be shown or typed."""
        with contextlib.suppress(RuntimeError):  # the loop is already closed
            self._loop.call_soon_threadsafe(self._app.hung_up)

    # Input

    def run_input_thread(self) -> None:
        """Read input and pass it on until the app quits, is suspended or loses its terminal."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                ready = selector.select(0.1)
                if self.exit_event.is_set() or self._app.leaving:
                    break
                if ready:
                    try:
                        data = self._read(selector)
                    except OSError:
                        data = b""
                    if not data:
                        self._hung_up()
                        break
                    for event in parser.feed(decode(data)):
                        self.process_message(event)
                    if len(data) == 1 and data[0] in _LEAVING:
                        self._wait_until_handled()
                for event in parser.tick():
                    self.process_message(event)

    def _read(self, selector: selectors.SelectSelector) -> bytes:
        """One plain key, or a report or paste as far as it has arrived; empty if the terminal hung up."""
        if self._pasting:
            data = os.read(self.fileno, _CHUNK)
        else:
            data = os.read(self.fileno, 1)
            if (data == b"\x1b" or data >= b"\x80") and selector.select(0):
                data += os.read(self.fileno, _CHUNK)
        if b"\x1b[" in data:
            self._reported = time.monotonic()
            self._encoded_keys = self._encoded_keys or data.endswith(b"u")
            self._pasting = data.rfind(b"\x1b[200~") > data.rfind(b"\x1b[201~")
        return data

    def _wait_until_handled(self) -> None:
        """Wait until the last key is handled: if it quits, later keys belong to the shell."""
        handled = threading.Event()

        def turn(left: int) -> None:
            if left and not self._app.leaving:
                self._loop.call_soon(turn, left - 1)
            else:
                handled.set()

        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(turn, _HOPS)
            handled.wait(_GATE)
