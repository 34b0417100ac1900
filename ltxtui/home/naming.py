"""How runs are named in what the list of runs says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ltxtui.home.draw import cell_text
from recorder.format.numerals import counted
from replay.library import edit
from replay.library.run_info import RunInfo


def named_as(asked: str) -> Callable[[Path], str]:
    """A note for a renamed run: its name, where that differs from the one that was asked for."""

    def note(path: Path) -> str:
        _, name = edit.name_part(path)
        if name == asked.strip():
            return ""
        return cell_text(f"named {name}: names hold letters, digits and . _ - only, at most 80")

    return note


def named(runs: Sequence[RunInfo]) -> str:
    """The name of one run, or how many there are."""
    return cell_text(runs[0].name) if len(runs) == 1 else counted(len(runs), "run")
