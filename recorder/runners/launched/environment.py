"""The environment of a recorded command: the start-up hook comes first on PYTHONPATH."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from recorder.runners.launched.notes import NOTES
from recorder.runners.launched.options import OPTIONS, LaunchOptions

START: Final = Path(__file__).parent / "start"
"""The folder of the start-up hook. Nothing else is in it, since every Python of the command can import from it."""


def environment(given: Mapping[str, str], options: LaunchOptions, notes: Path) -> dict[str, str]:
    """A command's environment: what is given, and how it is recorded. A hook of another `ltxtui run` is replaced."""
    before = given.get("PYTHONPATH", "").removeprefix(str(START)).removeprefix(os.pathsep)
    path = f"{START}{os.pathsep}{before}" if before else str(START)  # an empty part would be the working directory
    return {**given, "PYTHONPATH": path, OPTIONS: options.as_text(), NOTES: str(notes)}
