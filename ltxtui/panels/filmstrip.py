"""The filmstrip: small pictures of the predicted clean sample at the cursor, as half blocks in colour.

At the last step they are those of the decoded clip, if it was decoded.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ltxtui.panels.panel import Panel
from ltxtui.panels.view import View
from ltxtui.plot import heatmap
from ltxtui.plot.film import FilmGrid, film_layout, resized
from ltxtui.plot.line_plot import Style
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import clean
from ltxtui.reports.export import Table
from ltxtui.viewmodel.deck import Deck
from replay.model.run import NotARun, Preview, StreamData

_ID: Final = "filmstrip"
FALSE: Final = "false colours"
_LABELLED: Final = 4
"""Least lines of text of a picture for a line with its frame's number above it."""
_LARGEST: Final = 16


class FrameGrid(NamedTuple):
    """How pictures are laid out: how many side by side and above each other, and the size of each in pixels."""

    across: int
    down: int
    width: int
    height: int
    """Even, since a text row is two pixels high."""
    labelled: bool


def layout(frames: int, rows: int, columns: int, width: int, lines: int) -> FrameGrid:
    """As many frames as fit at their own size, then all of them enlarged by the largest integer factors that fit.

    Args:
        frames: how many there are.
        rows, columns: pixels of one.
        width, lines: cells of text; a cell is one pixel wide and two high, so that pixels are about square.

    If no frame fits at its own size, a single reduced one is shown.
    """
    best: tuple[int, int, int, FrameGrid] | None = None
    for scale in range(_LARGEST, 0, -1):
        wide, high = columns * scale, rows * scale
        text = -(-high // 2)
        for labelled in (True, False):
            if labelled and text < _LABELLED:
                continue
            across = min(frames, (width + 1) // (wide + 1))
            down = min(-(-frames // max(1, across)), lines // (text + labelled))
            if across < 1 or down < 1:
                continue
            across = -(-min(frames, across * down) // down)
            rank = (min(frames, across * down), scale, int(labelled))
            if best is None or rank > best[:3]:
                best = (*rank, FrameGrid(across, down, wide, high, labelled))
    if best is not None:
        return best[3]
    factor = min(width / columns, 2 * lines / rows)
    return FrameGrid(1, 1, max(1, int(columns * factor)), max(1, int(rows * factor)), False)


def chosen(frames: int, count: int) -> list[int]:
    """`count` of the frames, evenly spaced with both ends; of one, the middle."""
    if count == 1:
        return [(frames - 1) // 2]
    return [round(i * (frames - 1) / (count - 1)) for i in range(count)]


def scaled(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A picture [rows, columns, 3] in another size: every pixel is the nearest one of the picture."""
    rows = (np.arange(height) + 0.5) * pixels.shape[0] / height
    columns = (np.arange(width) + 0.5) * pixels.shape[1] / width
    return np.asarray(pixels[rows.astype(np.intp)[:, None], columns.astype(np.intp)[None, :]])


def preview_at(deck: Deck) -> tuple[int, Preview] | None:
    """The cursor's picture, or else the nearest one before it, and its step; of any stream that has pictures."""
    stage = deck.stage
    if stage is None or not deck.visible:
        return None
    streams = [s for s in (deck.stream, *stage.streams.values()) if s is not None and s.previews]
    if not streams:
        return None
    return _at_or_before(streams[0], deck.cursor)


def _at_or_before(stream: StreamData, step: int) -> tuple[int, Preview] | None:
    found = stream.previews.get(step)
    if found is not None:
        return step, found
    before = max((s for s in stream.previews if s < step), default=None)
    return None if before is None else (before, stream.previews[before])


def decoded_at(deck: Deck) -> StreamData | None:
    """The stream whose clip was decoded, if the cursor is at the last step of its stage and all of the clip is here."""
    stage = deck.stage
    if stage is None or not deck.visible or deck.cursor < stage.steps - 1:
        return None
    for stream in stage.streams.values():
        first = next(iter(stream.decoded.values()), None)
        if first is not None and len(stream.decoded) == first.count:
            return stream
    return None


class FilmstripView(View):
    """Follows the cursor. The title says whether colours are true, false, or those of the decoded clip."""

    def __init__(self, deck: Deck, style: Style, *, id: str = _ID) -> None:
        super().__init__(deck, style, id=id, classes="chart")
        self._drawn: tuple[object, ...] = ()
        self._kept: list[TextRow] = []

    def rows(self, width: int, height: int) -> list[TextRow]:
        deck = self.deck
        colours = 0 if self.ascii else self.colours
        if (clip := decoded_at(deck)) is not None:
            drawn: tuple[object, ...] = (
                *(width, height, colours, self.drawing),
                *("decoded", id(clip.decoded), deck.item),
            )
            if drawn != self._drawn:
                self._kept, self._drawn = self._draw_decoded(clip, width, height, colours), drawn
            return self._kept
        found = preview_at(deck)
        if found is None:
            return self._draw(None, width, height, colours)
        drawn = (width, height, colours, self.drawing, found[0], id(found[1]), deck.cursor, deck.item)
        if drawn != self._drawn:
            self._kept = self._draw(found, width, height, colours)
            self._drawn = drawn
        return self._kept

    def _draw(self, found: tuple[int, Preview] | None, width: int, height: int, colours: int) -> list[TextRow]:
        head = self.row(width - 1).add("Filmstrip", "title").add(" ")
        if found is None:
            return self._nothing(head, width, height, self._why())
        step, preview = found
        try:
            pixels = preview.pixels()
        except (NotARun, OSError) as error:
            return self._nothing(head, width, height, f"the picture of step {step} cannot be read: {clean(error, 80)}")
        late = step != self.deck.cursor
        head.add(f"x0 at step {step}", "alert" if late else "label")
        if late:
            head.add(f" (step {self.deck.cursor} has none)", "alert")
        if self.deck.item:
            head.add(" of batch item 0", "alert")
        head.add(f" · {preview.colours}", "label" if preview.colours != FALSE else "dim")
        return self._strips(
            head, [str(n) for n in preview.frames], list(pixels), "latent frames", width, height, colours
        )

    def _draw_decoded(self, clip: StreamData, width: int, height: int, colours: int) -> list[TextRow]:
        head = self.row(width - 1).add("Filmstrip", "title").add(" ").add("decoded", "label")
        if self.deck.item:
            head.add(" of batch item 0", "alert")
        try:
            pictures = [(str(frame.frame), frame.preview.pixels()[0]) for frame in clip.decoded.values()]
        except (NotARun, OSError) as error:
            return self._nothing(head, width, height, f"the decoded clip cannot be read: {clean(error, 80)}")
        names = [name for name, _ in pictures]
        return self._strips(head, names, [p for _, p in pictures], "pixel frames", width, height, colours)

    def _strips(
        self,
        head: TextRow,
        names: list[str],
        pictures: list[NDArray[np.uint8]],
        unit: str,
        width: int,
        height: int,
        colours: int,
    ) -> list[TextRow]:
        """Below the heading the pictures, as many as fit, each below its name; all of one size."""
        rows, columns = pictures[0].shape[:2]
        plan = film_layout(len(pictures), rows, columns, width - 1, max(1, height - 1))
        shown = chosen(len(pictures), min(len(pictures), plan.across * plan.down))
        said = f" · {unit}" if plan.labelled else f" · frames {' '.join(names[n] for n in shown)}"
        if head.fits(said):
            head.add(said, "dim")
        found = [head.filled()]
        for first in range(0, len(shown), plan.across):
            here = shown[first : first + plan.across]
            found += self._strip_of([(names[n], pictures[n]) for n in here], plan, width, colours)
        found += [self.row(width).filled() for _ in range(height - len(found))]
        return found[: max(1, height)]

    def _strip_of(
        self, named: list[tuple[str, NDArray[np.uint8]]], plan: FilmGrid, width: int, colours: int
    ) -> list[TextRow]:
        """Pictures side by side, the names of their frames above them where there is room."""
        rows = []
        if plan.labelled:
            row = self.row(width)
            for name, _ in named:
                row.add(f"{name:<{plan.width}} "[: plan.width + 1], "dim")
            rows.append(row.filled())
        pictures = [resized(pixels, plan.height, plan.width) for _, pixels in named]
        # Fewer shades need fewer escape codes on a slow connection; the difference is not visible.
        pictures = [p if colours < 256 else (p & np.uint8(0xF8)) | (p >> np.uint8(5)) for p in pictures]
        for line in range(-(-plan.height // 2)):
            row = self.row(width)
            for picture in pictures:
                heatmap.picture(picture, colours, row, line)
                row.put(" " * min(1, row.room))
            rows.append(row.filled())
        return rows

    def _why(self) -> str:
        stage = self.deck.stage
        if stage is None or not self.deck.visible:
            return self.deck.nothing
        if any(s.previews for s in stage.streams.values()):
            return "no picture up to this step"
        return "no pictures were recorded" if stage.ended or not self.deck.live else "no picture has come yet"

    def _nothing(self, head: TextRow, width: int, height: int, text: str) -> list[TextRow]:
        rows = [head.filled(), *(self.row(width).filled() for _ in range(max(0, (height - 2) // 2)))]
        return [*rows, self.row(width).add("  ").add(text, "dim").filled()][: max(1, height)]


def table(deck: Deck) -> Table:
    """One row per pixel of the pictures shown: step, latent frame, row, column, red, green, blue."""
    names = ["step", "latent_frame", "row", "column", "red", "green", "blue"]
    found = preview_at(deck)
    if found is None:
        return Table(names, [])
    step, preview = found
    pixels = preview.pixels()
    places = np.argwhere(np.ones(pixels.shape[:3], bool))
    rows = [
        [step, preview.frames[frame], row, column, *rgb]
        for (frame, row, column), rgb in zip(places.tolist(), pixels.reshape(-1, 3).tolist(), strict=True)
    ]
    return Table(names, rows)


ABOUT: Final = (
    "The predicted clean sample x0 of single latent frames at the cursor's step. Its colours are true if a clip of the "
    "model was decoded in this or an earlier run: a linear map from latents to colours is fitted to it. Otherwise they "
    "are three principal components of the latent channels, the strongest one as brightness: cells that are alike look "
    "alike, and hues are not those of the video. At the last step the decoded clip itself is shown, if it was decoded."
)

PANELS: Final = (
    Panel(
        _ID,
        "Filmstrip",
        lambda deck: ABOUT,
        lambda deck, style: FilmstripView(deck, style),
        table,
    ),
)
