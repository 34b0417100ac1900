"""Runs the user's command for each alert, in a thread of its own: few commands, each for a limited time, no shell."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from ltxtui.alerts.alert import Alert

MOST: Final = 32
"""Commands that one process runs at most."""
SECONDS: Final = 30.0
"""Seconds that a command may take; then it is ended. The end of the program waits as long for all of them."""


def read_command(text: str) -> tuple[str, ...]:
    """The words of a command, as a shell splits them; nothing else of a shell is done.

    Raises:
        ValueError: if it is empty, a quote is not closed, or the program is not found.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a command: {str(error).lower()}") from None
    if not words:
        raise ValueError("the command is empty")
    if shutil.which(words[0]) is None:
        raise ValueError(f"{words[0]!r} is not found, or cannot be run")
    return words


class Notifier:
    """Runs a command for one alert after the other, with the alert as JSON on its standard input.

    Its output is discarded. `problem` is called in the notifier's thread with one line, the first time that a command
    fails, takes too long or is left out.
    """

    def __init__(self, words: Sequence[str], problem: Callable[[str], None], seconds: float = SECONDS) -> None:
        self._words = list(words)
        self._problem = problem
        self._seconds = seconds
        self._queue: queue.SimpleQueue[Alert | None] = queue.SimpleQueue()
        self._sent = 0
        self._complained = False
        self._deadline = float("inf")
        self._thread: threading.Thread | None = None

    def send(self, alert: Alert) -> None:
        """Have the command run for an alert; returns at once. Notes and alerts over `MOST` are left out."""
        if alert.is_note:
            return
        if self._sent >= MOST:
            self._complain(f"--notify: {MOST} commands have been run; no further one is")
            return
        self._sent += 1
        self._queue.put(alert)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run_all, name="ltxtui-notifier", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Wait for the commands, for as long as one may take."""
        if self._thread is not None:
            self._deadline = time.monotonic() + self._seconds
            self._queue.put(None)
            self._thread.join(self._seconds + 1)

    def _run_all(self) -> None:
        while (alert := self._queue.get()) is not None:
            if time.monotonic() < self._deadline:
                self._run(alert)

    def _run(self, alert: Alert) -> None:
        given = json.dumps(alert.as_json(), allow_nan=False).encode() + b"\n"
        nowhere = subprocess.DEVNULL
        try:
            # A group of its own: a Ctrl-C for the dashboard is not for the command, and all of it can be ended.
            running = subprocess.Popen(
                self._words, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, start_new_session=True
            )
        except OSError as error:
            self._complain(f"--notify: {self._words[0]} cannot be run: {error.strerror or error}")
            return
        try:
            running.communicate(given, max(0.1, min(self._seconds, self._deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            self._complain(f"--notify: {self._words[0]} took longer than {self._seconds:g} s and was ended")
            return
        if running.returncode:
            self._complain(f"--notify: {self._words[0]} ended with status {running.returncode}")

    def _complain(self, text: str) -> None:
        if not self._complained:
            self._complained = True
            self._problem(text)
