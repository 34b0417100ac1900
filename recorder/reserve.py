"""What a run claims when it begins: a name, an archive's path with its journal, a socket; nobody else has the same."""

from __future__ import annotations

import contextlib
import errno
import random
import time
from collections.abc import Callable
from pathlib import Path

from recorder.format import locations
from recorder.journal.journal import Journal
from recorder.journal.server import Command, Server
from recorder.system.open_folders import make_folders

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
    """`20261122-143015-red-disc`: when it began, then the given name or two random words."""
    words_ = locations.safe_name(name) if name else f"{random.choice(_COLOURS)}-{random.choice(_THINGS)}"
    return f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{words_}"


def claim(runs_dir: Path, name: str) -> tuple[Path, Journal]:
    """A path for the archive that nobody else has, and its journal, locked."""
    make_folders(runs_dir)
    for attempt in range(1, 1000):
        path = runs_dir / f"{name if attempt == 1 else f'{name}-{attempt}'}{locations.ARCHIVE_SUFFIX}"
        if path.exists():
            continue
        with contextlib.suppress(FileExistsError):
            journal = Journal(locations.journal_of(path))
            if not path.exists():
                return path, journal
            # Another run of that name has come and ended since the first look.
            journal.release(remove=True)
            journal.close()
    raise FileExistsError(f"{runs_dir} has a thousand runs named {name}")


def make_server(journal: Journal, name: str, command: Command, report: Callable[[str], None]) -> Server:
    """A server on the first socket path that is free; one that is taken, alive or stale, is left alone."""
    directory = locations.make_runtime_directory()
    for attempt in range(1, 1000):
        path = locations.socket_of(directory, name if attempt == 1 else f"{name}-{attempt}")
        try:
            return Server(journal, path, command, report)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise FileExistsError(f"{directory} has a thousand sockets named {name}")
