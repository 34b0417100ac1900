"""The driver of a dashboard in a browser: Textual's, which speaks to the program that serves it over pipes."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from textual.drivers.web_driver import WebDriver


class Web(WebDriver):
    """Textual's driver for browsers, with these differences.

    A program that serves it and ends, however it ends, ends the app. What is written is written whole.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self._terminal_app = app
        self._write = self._write_whole  # type: ignore[assignment]

    def write(self, data: str) -> None:
        if self._terminal_app.plain and not data.isascii():
            from ltxtui.plot.text import ascii_cells

            data = ascii_cells(data)
        super().write(data)

    def _write_whole(self, data: bytes) -> int:
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self.fileno, left) :]
        except OSError:
            self._hang_up()
        return len(data)

    def run_input_thread(self) -> None:
        super().run_input_thread()
        self._hang_up()

    def _hang_up(self) -> None:
        loop = self._terminal_app._loop
        if loop is not None and not self.exit_event.is_set():
            self.exit_event.set()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._terminal_app.hung_up)
