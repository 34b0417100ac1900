"""The layout of panels on a screen of any size: presets, columns and rows, pages. Pure numbers, no Textual."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

NARROWEST: Final = 24
LOWEST: Final = 5
"""The smallest panel: a title, a plot of three rows and its axis."""
_EASY: Final = 7
"""The height that a panel gets at least where the screen is not tiny; what does not fit then goes to another page."""
_SHAPE: Final = 4.0
"""Width to height that curves are read best at, in cells."""


OTHERS: Final = "others"
"""Stands in a preset for the panels of all metrics of a run that no other panel shows."""


@dataclass(frozen=True)
class Preset:
    """Panels for one question."""

    key: str
    name: str
    panels: tuple[str, ...]


PRESETS: Final[tuple[Preset, ...]] = (
    Preset("1", "overview", ("sigma", "frames", "filmstrip", "findings")),
    Preset("2", "drift", ("drift", "x0_change", "filmstrip", "readout")),
    Preset("3", "frequency", ("energy", "whiteness", "waterfall", "spectrum")),
    Preset("4", "guidance", ("guidance", "sigma", "velocity", "events")),
    Preset("5", "system", ("system", "cost", "events", "readout")),
    Preset("6", "everything", ()),
    Preset("7", "other metrics", (OTHERS,)),
    Preset("8", "signal", ("sigma", "snr", "velocity", "energy")),
)
"""An empty list of panels is all that every run has."""


@dataclass(frozen=True)
class Place:
    """Where a panel is, in cells from the upper left of the body."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Arrangement:
    """One page of panels: the place of each, and how many pages there are."""

    places: dict[str, Place]
    page: int
    pages: int


def arrange(
    panels: Sequence[str], width: int, height: int, *, page: int = 0, tall: frozenset[str] = frozenset()
) -> Arrangement:
    """Panels in their order, row by row, in the columns that give them the best shape.

    Args:
        panels: what is to be shown.
        width, height: available cells.
        page: which page, if they do not fit on one; taken modulo the number of pages.
        tall: panels that need twice the least height, since they have two lanes.

    The places of a page never overlap and fill the whole body.
    """
    if not panels or width < 1 or height < 1:
        return Arrangement({}, 0, 1)
    least = (2 if tall & set(panels) else 1) * (_EASY if height >= 2 * _EASY else LOWEST)
    room = max(1, width // NARROWEST) * max(1, height // least)
    pages = math.ceil(len(panels) / room)
    each = math.ceil(len(panels) / pages)
    pages = math.ceil(len(panels) / each)
    page %= pages
    here = panels[page * each : (page + 1) * each]
    return Arrangement(_grid(here, width, height, least), page, pages)


def across(count: int, width: int, height: int, least: int = LOWEST) -> int:
    """How many columns suit a number of panels."""
    most = max(1, min(count, width // NARROWEST))
    fitting = [c for c in range(1, most + 1) if height // math.ceil(count / c) >= least] or [most]

    def misshape(columns: int) -> float:
        rows = math.ceil(count / columns)
        empty = rows * columns - count
        return abs(math.log(width / columns / max(1.0, height / rows) / _SHAPE)) + 0.15 * empty

    return min(fitting, key=misshape)


def _grid(panels: Sequence[str], width: int, height: int, least: int) -> dict[str, Place]:
    columns = across(len(panels), width, height, least)
    rows = math.ceil(len(panels) / columns)
    places = {}
    at = 0
    for row in range(rows):
        # Rows of nearly equal length: a single panel in the last row would be as wide as the screen.
        count = math.ceil((len(panels) - at) / (rows - row))
        top, bottom = _cut(height, rows, row), _cut(height, rows, row + 1)
        for n, panel in enumerate(panels[at : at + count]):
            left, right = _cut(width, count, n), _cut(width, count, n + 1)
            places[panel] = Place(left, top, right - left, bottom - top)
        at += count
    return places


def _cut(length: int, parts: int, n: int) -> int:
    """Where the n-th of equal parts begins; spare cells go to the later ones."""
    return length * n // parts


def size_class(width: int, height: int) -> str:
    """The class of terminal sizes that shares a remembered arrangement."""
    wide = "narrow" if width < 100 else "wide" if width < 180 else "widest"
    return f"{wide}-{'low' if height < 32 else 'high'}"
