"""A schedule in a few cells: the level of σ from the first step to the last."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from ltxtui.plot.line_plot import Style

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_ASCII: Final = "_.-=+*%#"
# Braille dots of a column from the bottom up: left and right.
_LEFT: Final = (0x40, 0x44, 0x46, 0x47)
_RIGHT: Final = (0x80, 0xA0, 0xB0, 0xB8)


@lru_cache(maxsize=4096)
def spark(sigmas: tuple[float, ...], width: int, style: Style) -> str:
    """σ in [0, 1] over the steps, exactly `width` cells; empty cells without any."""
    if not sigmas or width <= 0:
        return " " * max(0, width)
    if style is Style.BRAILLE:
        heights = [round(3 * v) for v in _bins(sigmas, 2 * width)]
        return "".join(
            chr(0x2800 + _LEFT[left] + _RIGHT[right]) for left, right in zip(heights[::2], heights[1::2], strict=True)
        )
    signs = _BLOCKS if style is Style.BLOCK else _ASCII
    return "".join(signs[round(7 * v)] for v in _bins(sigmas, width))


def _bins(values: Sequence[float], count: int) -> list[float]:
    """The highest value of each bin, since shocks stand out upwards; a short schedule is stretched."""
    size = len(values)
    return [
        min(1.0, max(0.0, max(values[i * size // count : max(i * size // count + 1, (i + 1) * size // count)])))
        for i in range(count)
    ]
