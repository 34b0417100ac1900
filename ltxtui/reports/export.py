"""What leaves the dashboard: a panel's data as CSV, the screen as a picture, the command that brings it back."""

from __future__ import annotations

import csv
import math
import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from ltxtui.plot.text import clean
from recorder.format.locations import safe_name
from recorder.format.numerals import counted
from recorder.system.open_folders import FILE_MODE, make_folders

_FONT_FACE: Final = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)
_MOST_NAMES: Final = 10_000
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Table:
    """Data for CSV: names of the columns, and the rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


class CannotExport(OSError):
    """A file that could not be written; the message says why and what would do."""


def save_csv(table: Table, folder: Path, name: str) -> str:
    """Write a panel's data to a new file; returns what the screen says.

    Numbers that are not finite are empty cells. Text that a spreadsheet would take for a formula is quoted.

    Raises:
        CannotExport: if the folder cannot be written.
    """

    def write(file: IO[str]) -> None:
        writer = csv.writer(file)
        writer.writerow([_cell(column) for column in table.columns])
        writer.writerows([_cell(value) for value in row] for row in table.rows)

    path = _write_new(folder, name, ".csv", write)
    return f"{counted(len(table.rows), 'row')} in {path}"


def save_screenshot(svg: str, folder: Path, name: str = "ltxtui") -> str:
    """Write the screen as SVG; what to tell the user.

    Raises:
        CannotExport: if the folder cannot be written.
    """

    def write(file: IO[str]) -> None:
        file.write(self_contained(svg))

    return f"screen in {_write_new(folder, name, '.svg', write)}"


def self_contained(svg: str) -> str:
    """A picture of the screen that fetches nothing from anywhere: any monospace font of the viewer's will do."""
    return _FONT_FACE.sub("", svg)


def shell_line(words: Sequence[str]) -> str:
    """Words as one line to type at a shell. What is not plain text in them is left out, so that pasting it is safe."""
    return shlex.join([clean(word) for word in words])


def _write_new(folder: Path, name: str, suffix: str, write: Callable[[IO[str]], None]) -> Path:
    """Write a file that was not there before: `name.csv`, else `name-2.csv` and so on."""
    name = safe_name(name)
    try:
        make_folders(folder)
        for n in range(1, _MOST_NAMES):
            path = folder / f"{name}{'' if n == 1 else f'-{n}'}{suffix}"
            try:
                made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
                with os.fdopen(made, "w", encoding="utf-8", newline="") as file:
                    write(file)
                return path
            except FileExistsError:
                continue
    except OSError as error:
        raise CannotExport(
            f"nothing was written: {folder} cannot be written ({error.strerror or error}); set export_dir in the "
            "settings (ltxtui config --edit)"
        ) from error
    raise CannotExport(f"nothing was written: {folder} has too many files of that name")


def _cell(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    if isinstance(value, str):
        text = clean(value)
        return f"'{text}" if text.startswith(_FORMULAS) else text
    return value


def editor() -> list[str]:
    """The user's editor as the words of a command."""
    return shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
