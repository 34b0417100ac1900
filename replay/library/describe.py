"""The line of one run in a list of runs, from its archive or its journal."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from recorder.format import locations
from replay.library.archive_line import from_archive
from replay.library.journal_tail import JournalTail
from replay.library.run_info import RunInfo
from replay.model import pulse
from replay.model.validation import NotARun


def describe_run(archive: Path) -> RunInfo:
    """One run's line. Raises NotARun or OSError if it cannot be read."""
    suspects: list[JournalTail] = []
    try:
        line = described(archive, suspects)
        return next(iter(looked_again(suspects)), line)
    finally:
        for tail in suspects:
            tail.close()


def described(archive: Path, suspects: list[JournalTail]) -> RunInfo:
    """One run's line; the tail of one that may be stalled is left open among the suspects, to be closed there.

    Raises:
        NotARun, OSError: if it cannot be read.
    """
    if not locations.journal_of(archive).is_file():
        return from_archive(archive)
    tail = JournalTail(archive)
    try:
        while tail.read():
            pass
        line = tail.info()
        if tail.suspect and line.live:
            suspects.append(tail)
        return line
    finally:
        if tail not in suspects:
            tail.close()


def looked_again(tails: list[JournalTail]) -> list[RunInfo]:
    """Lines of runs that may be stalled, after a second look that decides."""
    if tails:
        time.sleep(pulse.CONFIRM_SECONDS)
    found = []
    for tail in tails:
        with contextlib.suppress(NotARun, OSError):  # it has just ended; the first result is kept
            while tail.read():
                pass
            found.append(tail.info())
    return found
