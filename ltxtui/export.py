"""What leaves the dashboard: a panel's data as CSV, the screen as a picture, the command that brings it back."""

from __future__ import annotations

import csv
import math
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final

from ltxtui.panels.panel import Table
from ltxtui.text import clean
from recorder.folders import FILE_MODE, make_folders
from recorder.locations import safe_name

_CONVERTERS: Final = ("rsvg-convert", "inkscape", "magick")
_CONVERT_SECONDS: Final = 60.0
_MOST_NAMES: Final = 10_000
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")


class CannotExport(OSError):
    """A file that could not be written; the message says why and what would do."""


def save_csv(table: Table, folder: Path, name: str) -> str:
    """Write a panel's data beside whatever is there already; what to tell the user.

    Numbers that are not finite are empty cells. Text that a spreadsheet would take for a formula is quoted.

    Raises:
        CannotExport: if the folder cannot be written.
    """

    def write(file: IO[str]) -> None:
        writer = csv.writer(file)
        writer.writerow([_cell(column) for column in table.columns])
        writer.writerows([_cell(value) for value in row] for row in table.rows)

    path = _write_new(folder, name, ".csv", write)
    return f"{len(table.rows)} rows in {path}"


def save_screenshot(svg: str, folder: Path, name: str = "ltxtui") -> str:
    """Write the screen as SVG, and as PNG too where a converter is installed; what to tell the user.

    Raises:
        CannotExport: if the folder cannot be written.
    """

    def write(file: IO[str]) -> None:
        file.write(svg)

    path = _write_new(folder, name, ".svg", write)
    picture = path.with_suffix(".png")
    command = _converter(path, picture)
    if command is None:
        return f"screen in {path}; for PNG too install rsvg-convert (librsvg)"
    if picture.exists():
        return f"screen in {path}; {picture.name} exists already and was left as it is"
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_CONVERT_SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return f"screen in {path}; {command[0]} could not make a PNG of it"
    return f"screen in {path} and {picture.name}"


def shell_line(words: Sequence[str]) -> str:
    """Words as one line to type at a shell. What is no plain text in them is left out, so that pasting it is safe."""
    return shlex.join([clean(word) for word in words])


def _converter(svg: Path, png: Path) -> list[str] | None:
    found = next((name for name in _CONVERTERS if shutil.which(name)), None)
    if found == "rsvg-convert":
        return [found, "--output", str(png), str(svg)]
    if found == "inkscape":
        return [found, "--export-type=png", f"--export-filename={png}", str(svg)]
    return None if found is None else [found, str(svg), str(png)]


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
