"""Filmstrips side by side: what every run's clean sample looks like at the cursor, the same frames of each."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ltxtui.compare.deck import CompareDeck
from ltxtui.compare.member import Member
from ltxtui.panels.compare.view import CompareView
from ltxtui.panels.filmstrip import FrameGrid, chosen, layout, scaled
from ltxtui.plot import heatmap
from ltxtui.plot.line_plot import Style
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import clean, fit, number
from replay.model.run import NotARun, Preview

_ROOM: Final = 14
"""Columns that a run's name and pictures need."""


class Shot(NamedTuple):
    """The picture of a run at the cursor: its own row there, the row that the picture is of, and the picture."""

    member: Member
    row: int | None
    step: int | None
    preview: Preview | None


def shots(deck: CompareDeck) -> list[Shot]:
    """For every shown run the picture of its row under the cursor, or else the nearest one before it."""
    together = deck.together
    members = sorted(together.members, key=lambda m: m.index) if together else []
    return [_shot(deck, m) for m in members if m.shown]


def _shot(deck: CompareDeck, member: Member) -> Shot:
    row = deck.row(member)
    stage = member.run.stages[deck.stage_index] if member.run else None
    if stage is None or row is None:
        return Shot(member, row, None, None)
    here = stage.streams.get(deck.stream)
    for stream in (here, *stage.streams.values()):
        if stream is not None and stream.previews:
            step = row if row in stream.previews else max((s for s in stream.previews if s < row), default=None)
            return Shot(member, row, step, None if step is None else stream.previews[step])
    return Shot(member, row, None, None)


def grid(count: int, shape: tuple[int, int, int], width: int, height: int) -> tuple[int, FrameGrid]:
    """How many runs are side by side, and how each one's frames are laid out below its name.

    As many frames of each as can be, then as large as can be; else one below the other, so that the same frame of
    all runs is in one column.

    Args:
        count: runs.
        shape: frames, rows and columns of the pictures.
        width, height: cells of text for all of them.
    """
    best: tuple[tuple[int, int, int], int, FrameGrid] | None = None
    for across in range(1, count + 1):
        down = -(-count // across)
        wide, high = width // across - 1, height // down - 1
        if high < 1 or (wide < _ROOM and across > 1):
            continue
        plan = layout(*shape, max(1, wide), high)
        rank = min(shape[0], plan.across * plan.down), plan.width, -across
        if best is None or rank > best[0]:
            best = rank, across, plan
    if best is None:  # not all fit: those that do
        return max(1, width // _ROOM), layout(*shape, _ROOM - 1, max(1, height - 1))
    return best[1:]


class ComparePictures(CompareView):
    """One strip per shown run. Runs have colours of their own, so the same hue in two runs need not mean the same."""

    def __init__(self, deck: CompareDeck, style: Style, *, id: str | None = None) -> None:
        super().__init__(deck, style, id=id)
        self._drawn: object = None
        self._kept: list[TextRow] = []

    def rows(self, width: int, height: int) -> list[TextRow]:
        found = shots(self.compare)
        colours = 0 if self.ascii else self.colours
        # Pictures are cached by their visible content: a grown run without a new picture changes nothing.
        key = (width, height, colours, self.drawing, self.compare.pinned, self.compare.cursor,
               tuple((s.member.index, s.row, s.step, id(s.preview)) for s in found))  # fmt: skip
        if key != self._drawn:
            self._kept, self._drawn = self._all(found, width, height, colours), key
        return self._kept

    def _all(self, found: list[Shot], width: int, height: int, colours: int) -> list[TextRow]:
        head = self.heading(width - 1, "Pictures", "x0 of each run at the cursor").widened(width)
        shapes = [s.preview.shape[:3] for s in found if s.preview]
        if not shapes:
            said = "no pictures were recorded" if found else "no run is shown"
            return [head, self.row(width).add("  ").add(said, "dim").filled()]
        shape = max(n for n, _, _ in shapes), max(r for _, r, _ in shapes), max(c for _, _, c in shapes)
        across, plan = grid(len(found), shape, width, height - 1)
        rows = [head]
        for first in range(0, len(found), across):
            strips = [self._strip_of(shot, plan, width // across, colours) for shot in found[first : first + across]]
            for parts in zip(*strips, strict=True):
                row = self.row(width)
                for part in parts:
                    row.spans.extend(part.spans)
                    row.used += part.used
                rows.append(row.filled())
        blank = [self.row(width).filled() for _ in range(height - len(rows))]
        return [*rows, *blank][: max(1, height)]

    def _strip_of(self, shot: Shot, plan: FrameGrid, width: int, colours: int) -> list[TextRow]:
        """A run's name and frames in `1 + down · lines` rows of a width."""
        lines = -(-plan.height // 2)
        head = self.row(width).add(f"{shot.member.letter} ", shot.member.role)
        if shot.row is None:
            head.add("has no row here", "dim")
        else:
            head.add(f"step {shot.row}", "label").add(self._level(shot), "dim")
        pixels = self._pixels(shot, head)
        rows = [head.filled()]
        frames = chosen(len(pixels), min(len(pixels), plan.across * plan.down)) if len(pixels) else []
        for place in range(0, plan.across * plan.down, plan.across):
            here = frames[place : place + plan.across]
            if plan.labelled:
                row = self.row(width)
                for n in here:
                    name = str(shot.preview.frames[n]) if shot.preview else ""
                    row.add(f"{fit(name, plan.width):<{plan.width + 1}}", "dim")
                rows.append(row.filled())
            pictures = [scaled(pixels[n], plan.height, plan.width) for n in here]
            # Fewer shades need fewer escape codes on a slow connection; the difference is not visible.
            pictures = [p if colours < 256 else (p & 0xF8 | p >> 5).astype(np.uint8) for p in pictures]
            for line in range(lines):
                row = self.row(width)
                for picture in pictures:
                    heatmap.picture(picture, colours, row, line)
                    row.put(" " * min(1, row.room))
                rows.append(row.filled())
        return rows

    def _level(self, shot: Shot) -> str:
        member, deck = shot.member, self.compare
        stream = member.run.stages[deck.stage_index].streams.get(deck.stream) if member.run else None
        if stream is None or shot.row is None or "sigma" not in stream.metrics or stream.metrics["sigma"].shape:
            return ""
        return f" σ {number(float(stream.series('sigma')[shot.row]))}"

    def _pixels(self, shot: Shot, head: TextRow) -> NDArray[np.uint8]:
        nothing = np.empty((0, 1, 1, 3), np.uint8)
        if shot.preview is None:
            if shot.row is not None:
                head.add(" no picture", "dim")
            return nothing
        if shot.step != shot.row:
            head.add(f" (picture of step {shot.step})", "alert")
        try:
            return shot.preview.pixels()
        except (NotARun, OSError) as error:
            head.add(f" cannot be read: {clean(error, 60)}", "alert")
            return nothing
