"""Heat maps of frames over steps, of two runs side by side: the reference, the other, and their difference."""

from __future__ import annotations

from itertools import pairwise
from textwrap import wrap
from typing import Final

import numpy as np
from numpy.typing import NDArray
from textual import events

from ltxtui.compare.aligned import AlignedRuns
from ltxtui.compare.deck import CompareDeck
from ltxtui.compare.frame_maps import FrameMap, frame_maps, pair
from ltxtui.compare.member import Member
from ltxtui.panels.compare.chart import CompareChart, PointLabels, shock_flags
from ltxtui.panels.compare.view import CompareView
from ltxtui.panels.frames import frame_labels, margin
from ltxtui.plot import heatmap, labels, scales
from ltxtui.plot.line_plot import GUTTER, Style
from ltxtui.plot.model import Plot
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import clean, significant
from ltxtui.viewmodel.frame_quantities import QUANTITIES

_ABREAST: Final = 105
"""Width in columns at which the maps are placed side by side; below it they are stacked and share one axis."""


class CompareFrames(CompareView):
    """Frame 0 on top, the points of the common axis across; a column shows the mean of its points."""

    def __init__(self, deck: CompareDeck, style: Style, *, id: str | None = None) -> None:
        super().__init__(deck, style, id=id)
        self._made: tuple[AlignedRuns, tuple[Member, Member], str] | None = None
        self._maps: list[FrameMap] = []
        self._levels: dict[tuple[int, int, int, int], NDArray[np.int64]] = {}

    def rows(self, width: int, height: int) -> list[TextRow]:
        maps = self._current()
        if not maps:
            head = self.heading(width - 1, "Frames").widened(width)
            said = clean(self.compare.why, 200) or ("waiting for the first step" if self.compare.live else "no steps")
            return [head, self.row(width).add("  ").add(said, "dim").filled()][: max(1, height)]
        if width < _ABREAST:
            parts = [self._map(n, width, rows) for n, rows in enumerate(_shares(height - 1, len(maps)))]
            rows = [*(row for part in parts for row in part), self._axis(width)]
            return rows[: max(1, height)]
        across = _shares(width, len(maps))
        columns = [[*self._map(n, wide, height - 1), self._axis(wide)] for n, wide in enumerate(across)]
        rows = []
        for pieces in zip(*columns, strict=True):
            row = self.row(width)
            for piece in pieces:
                row.spans.extend(piece.spans)
                row.used += piece.used
            rows.append(row.filled())
        return rows[: max(1, height)]

    def _current(self) -> list[FrameMap]:
        """The three maps; computed again when runs, alignment, pair or quantity have changed."""
        deck = self.compare
        together, members = deck.together, pair(deck)
        if together is None or members is None or not together.points:
            return []
        made = self._made
        if made is None or made[0] is not together or made[1:] != (members, deck.frame_quantity):
            self._made, self._levels = (together, members, deck.frame_quantity), {}
            self._maps = frame_maps(together, *members, QUANTITIES[deck.frame_quantity])
        return self._maps

    def _map(self, n: int, width: int, height: int) -> list[TextRow]:
        """One map without its axis in `height` rows."""
        shown = self._maps[n]
        head = self.row(width - 1)
        for place, member in enumerate(shown.members):
            head.add("−" if place else "").add(member.letter, member.role)
        head.add(f" {QUANTITIES[self.compare.frame_quantity].name} ", "title")
        if shown.why:
            said = [self.row(width).add("  ").add(line, "dim").filled() for line in wrap(shown.why, max(8, width - 4))]
            above = [self.row(width).filled() for _ in range(max(0, (height - 1 - len(said)) // 2))]
            rows = [head.widened(width), *above, *said]
            return [*rows, *(self.row(width).filled() for _ in range(height - len(rows)))][:height]
        colours = 0 if self.ascii else self.colours
        low, high = (significant(end) for end in shown.ends)
        heatmap.scale(head, low.replace("-", "−"), high, colours, signed=shown.signed)
        if head.fits("  y: latent frame"):
            head.add("  y: latent frame", "dim")
        wide, lines = _wide(width), max(1, height - 1)
        levels = self._levels_of(n, wide, lines, heatmap.palette(colours, signed=shown.signed).levels)
        named, cursor = frame_labels(list(shown.numbers), lines), self._cursor(wide)
        rows = [head.widened(width)]
        for line in range(lines):
            row = margin(self.row(width), named.get(line, ""), ascii_only=self.ascii)
            above, below = levels[2 * line].tolist(), levels[2 * line + 1].tolist()
            heatmap.draw(above, below, colours, row, cursor, signed=shown.signed)
            rows.append(row.filled())
        return rows[:height]

    def _levels_of(self, n: int, wide: int, lines: int, count: int) -> NDArray[np.int64]:
        """Levels of a map [two per line, columns], frame 0 first; kept while only the cursor moves."""
        key = n, wide, lines, count
        if key not in self._levels:
            shown = self._maps[n]
            columns = self._plot().on.columns(wide)
            means = heatmap.by_column(shown.values, columns, wide)
            self._levels[key] = heatmap.levels(heatmap.fold(means, 2 * lines).T, *shown.ends, count)
        return self._levels[key]

    def _plot(self) -> Plot:
        """The common axis with the cursor and the shocks."""
        deck = self.compare
        return Plot([], deck.points, cursor=deck.cursor, labels=PointLabels(deck), flags=shock_flags(deck))

    def _cursor(self, wide: int) -> int:
        return scales.column(self.compare.cursor, self.compare.points, wide)

    def _axis(self, width: int) -> TextRow:
        return labels.axis(self._plot(), _wide(width), width - 1, self.drawing).widened(width)

    def on_click(self, event: events.Click) -> None:
        maps, width = self._current(), self.size.width
        if not maps or not event.y:
            return
        place, across = event.x, [width]
        if width >= _ABREAST:
            across = _shares(width, len(maps))
        while place >= across[0] and len(across) > 1:
            place -= across.pop(0)
        point = scales.step_at(place - GUTTER, self.compare.points, _wide(across[0]))
        self.post_message(CompareChart.PointPicked(point))


def _wide(width: int) -> int:
    """Columns for the points in a map of a width, of which one stays free between neighbours."""
    return max(1, width - 1 - GUTTER)


def _shares(total: int, parts: int) -> list[int]:
    """A length in nearly equal parts."""
    cuts = [total * n // parts for n in range(parts + 1)]
    return [end - start for start, end in pairwise(cuts)]
