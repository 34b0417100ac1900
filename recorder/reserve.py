"""Reserves what a run needs for itself: a name, the archive's path with its journal, and a socket."""

from __future__ import annotations

import contextlib
import errno
import logging
import random
import time
from collections.abc import Callable
from pathlib import Path

from recorder.format import locations
from recorder.journal.journal import Journal
from recorder.journal.server import Command, Server
from recorder.system.open_folders import make_folders

logger = logging.getLogger(__name__)

_COLOURS = (
    "amber",
    "azure",
    "coral",
    "ivory",
    "jade",
    "lilac",
    "mint",
    "olive",
    "pearl",
    "plum",
    "rose",
    "ruby",
    "teal",
)
_THINGS = (
    "arch",
    "cone",
    "cube",
    "disc",
    "dome",
    "fern",
    "kite",
    "leaf",
    "mast",
    "moon",
    "reef",
    "ring",
    "star",
    "wave",
)


def run_name(name: str | None, now: float) -> str:
    """`20261122-143015-red-disc`: when the run began, then the given name or two random words.

    A name in which no letter or digit is left by `locations.reduced_name` is replaced by two words, with a warning.
    """
    label = locations.reduced_name(name) if name else ""
    if not label:
        label = f"{random.choice(_COLOURS)}-{random.choice(_THINGS)}"
        if name:
            logger.warning("the name %r has no letter or digit that a file name can have; %s is used", name, label)
    return f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{label}"


def claim(runs_dir: Path, name: str) -> tuple[Path, Journal]:
    """A new path for the archive, and its journal, locked.

    Raises:
        OSError: if the folder cannot be made or written to; FileExistsError if a thousand runs have the name.
    """
    make_folders(runs_dir)
    for attempt in range(1, 1000):
        path = runs_dir / f"{name if attempt == 1 else f'{name}-{attempt}'}{locations.ARCHIVE_SUFFIX}"
        if locations.archive_in_place(path).exists():
            continue
        with contextlib.suppress(FileExistsError):
            journal = Journal(locations.journal_of(path))
            if not locations.archive_in_place(path).exists():
                return path, journal
            # Another run of that name has come and ended since the first look.
            journal.release(remove=True)
            journal.close()
    raise FileExistsError(f"{runs_dir} has a thousand runs named {name}")


def make_server(journal: Journal, name: str, command: Command, report: Callable[[str], None]) -> Server:
    """A server on the first free socket path. A socket that exists, in use or stale, is not touched.

    Raises:
        OSError: if no socket can be made there.
        RuntimeError: if no thread can be started.
    """
    directory = locations.make_runtime_directory()
    for attempt in range(1, 1000):
        path = locations.socket_of(directory, name if attempt == 1 else f"{name}-{attempt}")
        try:
            return Server(journal, path, command, report)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise FileExistsError(f"{directory} has a thousand sockets named {name}")
