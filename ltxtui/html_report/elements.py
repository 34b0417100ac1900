"""Elements of the page: text that is safe in it, tables, figures, and the numbers that the shared cursor reads."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ltxtui.plot.text import clean
from replay.page import svg

MOST_READ = 500
"""Points of a line whose values the cursor reads; of longer lines some, evenly spaced."""


def text(value: object, limit: int = 2000) -> str:
    """Text of a run as part of the page: shown, never interpreted."""
    return html.escape(clean(value, limit))


def table(rows: Iterable[Sequence[object]], head: Sequence[object] = (), style: str = "") -> str:
    """A table of text. The first cell of each row is its header. Returns an empty string if there are no rows."""
    body = ["<tr>" + _cells(row) + "</tr>" for row in rows]
    if not body:
        return ""
    top = f"<thead><tr>{''.join(f'<th>{text(cell)}</th>' for cell in head)}</tr></thead>" if head else ""
    return f'<table class="{style}">{top}<tbody>{"".join(body)}</tbody></table>'


def _cells(row: Sequence[object]) -> str:
    first, *rest = row
    return f"<th>{text(first)}</th>" + "".join(f"<td>{text(cell)}</td>" for cell in rest)


@dataclass
class Readings:
    """What the cursor reads: of each group of charts the places of its points, of each chart the lines' values."""

    groups: list[dict[str, Any]] = field(default_factory=list)

    def group(self, x: svg.Values, rows: dict[str, svg.Values], unit: str = "step") -> Group:
        """A group of charts over one x axis; `rows` are shown next to the place of the cursor, such as σ."""
        kept = np.unique(np.linspace(0, max(0, len(x) - 1), min(len(x), MOST_READ)).round().astype(int))
        found: dict[str, Any] = {"x": _numbers(x[kept]), "charts": [], "unit": unit}
        found["rows"] = {name: _numbers(values[kept]) for name, values in rows.items()}
        self.groups.append(found)
        return Group(len(self.groups) - 1, x, kept, found["charts"])

    def as_script(self) -> str:
        """As an element of data, which no browser runs."""
        data = json.dumps(self.groups, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        return f'<script type="application/json" id="data">{data}</script>'


@dataclass
class Group:
    """Charts over one x axis."""

    index: int
    x: svg.Values
    _kept: Any
    _charts: list[list[list[float | None]]]

    def figure(self, title: str, unit: str, plot: svg.SvgPlot, about: str = "") -> str:
        """A chart with its title and the legend of its lines; a picture in place of lines has none."""
        number = len(self._charts)
        self._charts.append([_numbers(line.values[self._kept]) for line in plot.lines])
        legend = "".join(
            f'<li class="{line.style}">{text(line.label, 60)} <output></output></li>' for line in plot.lines
        )
        unit = f" <small>{text(unit, 40)}</small>" if unit and unit != "1" else ""
        return (
            f'<figure data-group="{self.index}" data-chart="{number}" title="{text(about, 1000)}">'
            f"<figcaption>{text(title, 80)}{unit}</figcaption>{svg.draw(plot)}"
            f"{f'<ul>{legend}</ul>' if legend else ''}</figure>"
        )


def _numbers(values: svg.Values) -> list[float | None]:
    return [float(f"{v:.4g}") if math.isfinite(v) else None for v in values.tolist()]


def section(title: str, inside: str, style: str = "charts") -> str:
    """A titled section; empty if nothing is inside."""
    return f'<section><h2>{text(title, 120)}</h2><div class="{style}">{inside}</div></section>' if inside else ""
