"""Heat maps and pictures as text: values to levels to half blocks in colour, or to characters where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ltxtui.plot.rows import Colour, Ink, TextRow

Floats = NDArray[np.float64]
Levels = NDArray[np.int64]

MISSING: Final = -1
"""The level of a missing value."""
CHARACTERS: Final = ".:-=+*#%@"
"""From low to high, for terminals without colours."""
SIGNED: Final = "=-.+#"
"""The same on both sides of zero: far below, below, zero, above, far above."""
_FEW: Final[tuple[Colour, ...]] = ((0, 0, 170), (85, 85, 85), (170, 170, 170), (255, 255, 85))
_COLD: Final[Colour] = (0, 34, 86)
_WARM: Final[Colour] = (254, 232, 56)
_MANY: Final = 32
_FEW_SIGNED: Final[tuple[Colour, ...]] = ((85, 255, 255), (0, 0, 170), (0, 0, 0), (170, 85, 0), (255, 255, 85))
_SOME_SIGNED: Final[tuple[Colour, ...]] = (
    (135, 215, 255), (95, 175, 215), (0, 135, 175), (0, 95, 135), (48, 48, 48),
    (135, 95, 0), (175, 135, 0), (215, 175, 0), (255, 215, 0),
)  # fmt: skip
"""Of the palette of 256: colours between grey and the ends would be nearest to greys on both sides."""
_BELOW: Final[Colour] = (92, 190, 255)
_ZERO: Final[Colour] = (44, 44, 44)
_ABOVE: Final[Colour] = (255, 186, 60)

# Linear RGB to cone responses, and their cube roots to lightness, green–red and blue–yellow: OKLab, Ottosson 2020.
_CONES: Final = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929],
     [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
_OPPONENT: Final = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468],
     [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip
_CUBE: Final = (0, 95, 135, 175, 215, 255)
_PALETTE: Final = np.array(
    [*(c for c in product(_CUBE, repeat=3) if len(set(c)) > 1), *([8 + 10 * n] * 3 for n in range(24))], np.int64
)
"""The colours of a 256-colour terminal without the first sixteen, which users change; its greys once."""
_APART: Final = 0.02


class HeatColours(NamedTuple):
    """What the levels of a heat map look like, from low to high."""

    inks: tuple[Colour, ...]
    """Empty for a terminal without colours."""
    characters: str

    @property
    def levels(self) -> int:
        """How many levels there are."""
        return len(self.inks) or len(self.characters)


@lru_cache
def palette(colours: int, *, signed: bool = False) -> HeatColours:
    """The levels for a terminal of `colours` colours; `signed` is for values on both sides of zero, of odd count."""
    return HeatColours(diverging(colours), SIGNED) if signed else HeatColours(ramp(colours), CHARACTERS)


@lru_cache
def ramp(colours: int) -> tuple[Colour, ...]:
    """Colours from low to high for a terminal of `colours` colours; empty for one without.

    A straight line from dark blue to yellow in a perceptually uniform space: lightness only grows, and red and
    green carry no information, so that it also reads with colour blindness and in grey. Sixteen colours have four
    of their own in that order.
    """
    if colours < 16:
        return ()
    return _FEW if colours < 256 else _line(_COLD, _WARM, colours, _MANY)


@lru_cache
def diverging(colours: int) -> tuple[Colour, ...]:
    """Colours from below to above zero, of odd count; empty for a terminal without.

    The middle is dark grey. Below it is blue, above it is orange, and both become lighter away from zero, so that
    all kinds of colour vision distinguish the sides.
    """
    if colours < 16:
        return ()
    if colours <= 256:
        return _FEW_SIGNED if colours < 256 else _SOME_SIGNED
    below, above = (_line(_ZERO, end, colours, _MANY // 2 + 1) for end in (_BELOW, _ABOVE))
    return (*below[:0:-1], *above)


def _line(first: Colour, last: Colour, colours: int, count: int) -> tuple[Colour, ...]:
    """`count` colours on a straight line between two, lightness growing; fewer where a terminal has 256."""
    ends = _oklab(np.array([first, last]))
    line = np.linspace(ends[0], ends[1], count)
    if colours == 256:
        nearest = ((line[:, None] - _oklab(_PALETTE)) ** 2).sum(axis=2).argmin(axis=1)
        found = [_PALETTE[n] for n in dict.fromkeys(nearest.tolist())]
        brightest = np.maximum.accumulate([-1.0, *luminance(np.array(found))])[:-1]
        found = [c for c, before in zip(found, brightest, strict=True) if luminance(c) > before + _APART]
    else:
        light = np.clip((line @ np.linalg.inv(_OPPONENT).T) ** 3 @ np.linalg.inv(_CONES).T, 0, 1)
        found = list(np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255)
    return tuple((round(r), round(g), round(b)) for r, g, b in np.array(found).tolist())


def _oklab(colours: NDArray[np.generic]) -> Floats:
    """Lightness, green–red and blue–yellow of colours [n, 3] of 0 to 255, perceptually uniform."""
    return np.asarray(np.cbrt(_linear(np.asarray(colours, np.float64) / 255) @ _CONES.T) @ _OPPONENT.T)


def _linear(shown: Floats) -> Floats:
    """Light of sRGB values from 0 to 1."""
    return np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)


def luminance(colours: NDArray[np.integer] | Floats) -> Floats:
    """Perceived brightness, 0 to 1, of colours [..., 3] of 0 to 255: the weighted light on an even scale."""
    return np.asarray(np.cbrt(_linear(np.asarray(colours, np.float64) / 255) @ np.array([0.2126, 0.7152, 0.0722])))


def levels(values: Floats, low: float, high: float, count: int) -> Levels:
    """Values as levels 0 to count−1 between low and high, what lies beyond at the ends; `MISSING` for NaN."""
    with np.errstate(invalid="ignore"):
        part = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
    found = np.full(values.shape, MISSING, np.int64)
    there = ~np.isnan(values)
    found[there] = np.minimum((part[there] * count).astype(np.int64), count - 1)
    return found


def mean_of_groups(values: Floats, groups: NDArray[np.integer], count: int) -> Floats:
    """Mean of the rows [n, k] of each group 0 to count−1: [count, k]; groups that are negative belong to none.

    NaN and infinite values are left out. Where a group has nothing else, −inf stays what it is; an empty group is NaN.
    """
    inside = groups >= 0
    if not inside.all():
        values, groups = values[inside], groups[inside]
    if len(groups) and (np.diff(groups) < 0).any():
        order = np.argsort(groups, kind="stable")
        values, groups = values[order], groups[order]
    found = np.full((count, values.shape[1]), np.nan)
    if not len(groups):
        return found
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    finite = np.isfinite(values)
    sums = np.add.reduceat(np.where(finite, values, 0.0), starts, axis=0)
    counts = np.add.reduceat(finite.astype(np.float64), starts, axis=0)
    with np.errstate(invalid="ignore"):
        means = sums / counts
    lowest = np.logical_or.reduceat(np.isneginf(values), starts, axis=0)
    found[groups[starts]] = np.where((counts == 0) & lowest, -np.inf, means)
    return found


def spread(columns: NDArray[np.integer], width: int) -> Levels:
    """For every text column the one whose step it shows: its own, or the nearest one that has a step.

    `columns` are those of all steps, −1 for none. A column half as far from a step as its neighbours are shows it, so
    that a live run's last step does not fill the rest of the axis. `MISSING` where no step is near.
    """
    own = np.unique(columns[columns >= 0])
    found = np.full(width, MISSING, np.int64)
    if not own.size:
        return found
    between = (own[1:] + own[:-1] + 1) // 2
    starts = np.concatenate(([own[0] - (own[1] - own[0]) // 2 if own.size > 1 else own[0]], between))
    stops = np.concatenate((between, [own[-1] + (own[-1] - own[-2]) // 2 + 1 if own.size > 1 else own[-1] + 1]))
    for place, start, stop in zip(own.tolist(), starts.tolist(), stops.tolist(), strict=True):
        found[max(0, start) : max(0, stop)] = place
    return found


def by_column(values: Floats, columns: NDArray[np.integer], width: int) -> Floats:
    """Values of steps [n, k] as a map over the text columns [width, k]: means where several steps share a column.

    `columns` may be longer than `values`: what is planned but not yet there takes its place and is NaN.
    """
    known = min(len(values), len(columns))
    means = mean_of_groups(values[:known], columns[:known], width)
    nearest = spread(columns, width)
    return np.where((nearest != MISSING)[:, None], means[nearest], np.nan)


def fold(values: Floats, rows: int) -> Floats:
    """The last axis, bins from low to high, as `rows` rows from the bottom up: repeated, or averaged where too many."""
    bins = values.shape[-1]
    if bins <= rows:
        return values[..., np.arange(rows) * bins // rows]
    return mean_of_groups(values.T, np.arange(bins) * rows // bins, rows).T


def draw(
    upper: Sequence[int],
    lower: Sequence[int],
    colours: int,
    row: TextRow,
    cursor: int | None = None,
    *,
    signed: bool = False,
) -> None:
    """Add one text row of a heat map: two levels per cell in colour, else one character for the mean of both.

    The levels count along the `palette`. The cursor's column is a line on the mean of both colours.
    """
    shown = palette(colours, signed=signed)
    start, length = 0, len(upper)
    for x in range(1, length + 1):
        same = x < length and upper[x] == upper[start] and lower[x] == lower[start]
        if same and cursor not in (x, start):
            continue
        _cells(row, upper[start], lower[start], x - start, shown, cursor == start)
        start = x


def _cells(row: TextRow, above: int, below: int, count: int, shown: HeatColours, cursor: bool) -> None:
    """Cells of the same two levels."""
    inks, characters = shown
    here = [level for level in (above, below) if level != MISSING]
    middle = round(sum(here) / len(here)) if here else MISSING
    if cursor and (not here or not inks):
        # Without a colour behind it, the line would hide the level: the character itself is then shown reversed.
        row.put("|" if not here else characters[middle], "here" if here else "cursor", cursor=True)
    elif not here:
        row.put(" " * count)
    elif not inks:
        row.put(characters[middle] * count)
    elif cursor:
        row.put("│", ink=Ink(_readable_on(inks[middle]), inks[middle]))
    elif above == below:
        row.put(" " * count, ink=Ink(None, inks[above]))
    elif above == MISSING:
        row.put("▄" * count, ink=Ink(inks[below], None))
    elif below == MISSING:
        row.put("▀" * count, ink=Ink(inks[above], None))
    else:
        row.put("▀" * count, ink=Ink(inks[above], inks[below]))


@lru_cache(maxsize=256)
def _readable_on(back: Colour) -> Colour:
    return (0, 0, 0) if luminance(np.array(back)) > 0.55 else (255, 255, 255)


def scale(row: TextRow, low: str, high: str, colours: int, *, signed: bool = False) -> TextRow:
    """Add the colour scale: its ends, and between them as many cells as there is room for."""
    shown, cells = palette(colours, signed=signed), 9 if signed else 8
    taken = [round(i * (shown.levels - 1) / (cells - 1)) for i in range(cells)]
    if not row.fits(f"{low} {' ' * cells} {high}"):
        return row
    row.add(f"{low} ", "label")
    for level in taken:
        if shown.inks:
            row.put(" ", ink=Ink(None, shown.inks[level]))
        else:
            row.put(shown.characters[level])
    return row.add(f" {high}", "label")


def picture(pixels: NDArray[np.uint8], colours: int, row: TextRow, line: int) -> None:
    """Add one text row of a picture [rows, columns, 3]: pixel rows 2·line and 2·line + 1 as half blocks.

    Without colours, their mean brightness as a character.
    """
    pair = pixels[2 * line : 2 * line + 2]
    if colours < 16:
        ranks = levels(luminance(pair).mean(axis=0), 0, 1, len(CHARACTERS))
        row.put("".join(CHARACTERS[rank] for rank in ranks.tolist()))
        return
    above, below = pair[0].tolist(), pair[1].tolist() if len(pair) > 1 else None
    start, width = 0, len(above)
    for x in range(1, width + 1):
        if x < width and above[x] == above[start] and (below is None or below[x] == below[start]):
            continue
        top = tuple(above[start])
        bottom = None if below is None else tuple(below[start])
        if top == bottom:
            row.put(" " * (x - start), ink=Ink(None, top))
        else:
            row.put("▀" * (x - start), ink=Ink(top, bottom))
        start = x
