"""The cells of a plot: a character and a role each, and how a row of them becomes text."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ltxtui.plot import raster
from ltxtui.plot.raster import Dots, Style
from ltxtui.plot.rows import TextRow

_FAINT: Final = ("", "ref", "band")
"""Roles that the cursor's line may be drawn over."""


SHADE: Final = {Style.BRAILLE: "░", Style.BLOCK: "░", Style.ASCII: ","}
"""What a range is shaded with."""


class Canvas:
    """Cells with a character and a role each; lines that meet in a cell share its dots."""

    def __init__(self, wide: int, rows: int, style: Style) -> None:
        self._style = style
        self._dots = np.zeros((rows, wide), np.uint8)
        self._beneath = np.full((rows, wide), ord(" "), np.uint32)
        self._above = np.zeros((rows, wide), np.uint32)
        self._roles = np.zeros((rows, wide), np.uint8)
        self._names = [""]

    def shade(self, inside: NDArray[np.bool_], role: str) -> None:
        """Shade the cells [rows, columns] that are inside."""
        self._beneath[inside], self._roles[inside] = ord(SHADE[self._style]), self._role(role)

    def across(self, y: int, role: str) -> None:
        self._beneath[y], self._roles[y] = ord("-" if self._style is Style.ASCII else "┄"), self._role(role)

    def down(self, x: int, role: str) -> None:
        self._beneath[:, x], self._roles[:, x] = ord(":" if self._style is Style.ASCII else "┊"), self._role(role)

    def line(self, dots: Dots, symbol: str, role: str) -> None:
        on = dots > 0
        self._dots |= dots
        self._roles[on] = self._role(role)
        if self._style is Style.ASCII:
            self._beneath[on] = ord(symbol)

    def letter(self, x: int, y: int, letter: str, role: str) -> None:
        self._above[y, x], self._roles[y, x] = ord(letter), self._role(role)

    def rows(self) -> list[tuple[str, list[tuple[int, str]]]]:
        """Each row's text, and where in it which role begins."""
        codes = raster.characters(self._dots, self._style, self._beneath)
        codes = np.where(self._above > 0, self._above, codes).astype("<u4")
        found = []
        for line, roles in zip(codes, self._roles, strict=True):
            starts = np.flatnonzero(np.diff(roles, prepend=255))
            named = [(x, self._names[role]) for x, role in zip(starts.tolist(), roles[starts].tolist(), strict=True)]
            found.append((line.tobytes().decode("utf-32-le"), named))
        return found

    def _role(self, role: str) -> int:
        if role not in self._names:
            self._names.append(role)
        return self._names.index(role)


def add_cells(row: TextRow, text: str, roles: list[tuple[int, str]], cursor: int, line: str) -> None:
    """The canvas as spans of one role each; the cursor's column is a separate span."""
    ends = [x for x, _ in roles[1:]] + [len(text)]
    for (start, role), end in zip(roles, ends, strict=True):
        if start <= cursor < end:
            if start < cursor:
                row.put(text[start:cursor], role)
            row.put(line if role in _FAINT else text[cursor], role or "cursor", cursor=True)
            start = cursor + 1
        if start < end:
            row.put(text[start:end], role)
