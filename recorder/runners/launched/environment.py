"""The environment of a recorded command: the start-up hook comes first on PYTHONPATH."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import py_compile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from recorder.runners.launched.notes import NOTES
from recorder.runners.launched.options import OPTIONS, LaunchOptions

START: Final = Path(__file__).parent / "start"
"""The folder of the start-up hook. Nothing else is in it, since every Python of the command can import from it."""


def compile_hook() -> None:
    """Write the byte code of the start-up hook, if that is possible: a command may be told to write none."""
    with contextlib.suppress(OSError, py_compile.PyCompileError):
        cached = Path(importlib.util.cache_from_source(str(START / "sitecustomize.py")))
        if not cached.exists():
            py_compile.compile(str(START / "sitecustomize.py"), doraise=True)


def environment(given: Mapping[str, str], options: LaunchOptions, notes: Path) -> dict[str, str]:
    """A command's environment: what is given, and how it is recorded. A hook of another `ltxtui run` is replaced."""
    before = given.get("PYTHONPATH", "").removeprefix(str(START)).removeprefix(os.pathsep)
    path = f"{START}{os.pathsep}{before}" if before else str(START)  # an empty part would be the working directory
    return {**given, "PYTHONPATH": path, OPTIONS: options.as_text(), NOTES: str(notes)}
