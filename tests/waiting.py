"""Waiting for a condition, however busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import psutil

Found = TypeVar("Found")

PATIENCE_SECONDS = 120.0
"""Long enough for a process that imports torch alongside many others. Only a failing test waits this long."""


def until(condition: Callable[[], Found], seconds: float = PATIENCE_SECONDS) -> Found:
    """Wait until a condition is true and return what it gave; a test that waits in vain fails."""
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, "the condition never held"
        time.sleep(0.005)
    return found


def suspend(process: psutil.Process) -> None:
    """Stop a process, and wait until it has stopped."""
    process.suspend()
    until(lambda: process.status() == psutil.STATUS_STOPPED)
