"""Unexpected errors: the details are written to a file, and one line reports the error and the file."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Final

from ltxtui.plot.text import clean
from recorder.format.version import VERSION

_KEPT: Final = 20
"""Number of files that are kept; older ones are removed."""
_PATTERN: Final = "error-*.txt"


def report(error: BaseException) -> str:
    """Write the details of an error to a file and return the line for the user, which names the file."""
    cause = getattr(error, "error", None) if type(error).__name__ == "WorkerFailed" else None
    error = cause if isinstance(cause, BaseException) else error
    said = clean(error, 200)
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    path = _written(_details(error))
    where = f"details are in {path}" if path is not None else "its details could not be written"
    return f"ltxtui: unexpected error: {what}; {where}"


def _details(error: BaseException) -> str:
    from importlib.metadata import PackageNotFoundError, version

    lines = [time.strftime("%Y-%m-%d %H:%M:%S %z")]
    lines.append(f"ltxtui {VERSION}")
    for package in ("textual", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            lines.append(f"{package} {version(package)}")
    size = shutil.get_terminal_size()
    lines += [
        f"Python {platform.python_version()} on {platform.platform()}",
        f"command: {' '.join(map(clean, sys.argv))}",
        f"terminal: {clean(os.environ.get('TERM', ''))}, {size.columns}x{size.lines}",
        "",
        # Without the values of variables, which include prompts.
        *(line.rstrip("\n") for line in traceback.format_exception(error)),
    ]
    return "\n".join(lines) + "\n"


def _written(text: str) -> Path | None:
    """The file of the text: in the folder of the state, or else of temporary files; None if neither is writable."""
    from ltxtui.state import state_path

    kept = state_path()
    name = f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in (None if kept is None else kept.parent, Path(tempfile.gettempdir())):
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / name
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            return path  # a second error within the same second follows from the first
        except OSError:
            continue
        _tidy(folder)
        return path
    return None


def _tidy(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for old in sorted(folder.glob(_PATTERN))[:-_KEPT]:
            old.unlink(missing_ok=True)
