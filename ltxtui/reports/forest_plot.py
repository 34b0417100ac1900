"""A forest plot: a line per arm with its mean difference and interval around zero, as text and as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from ltxtui.plot.text import clean, fit, to_ascii

_NAME: Final = 28
_SCALES: Final = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Effect:
    """One line: a mean with its interval; `strong` if it stands after correction, `hollow` if it is to be doubted."""

    name: str
    mean: float
    low: float
    high: float
    strong: bool = False
    hollow: bool = False


def limits(effects: Sequence[Effect]) -> tuple[float, float]:
    """What the axis shows: zero and the intervals; one that is far longer than most is cut, so that those are seen."""
    ends = sorted(max(abs(e.low), abs(e.high), abs(e.mean)) for e in effects if _drawn(e))
    if not ends or ends[-1] == 0:
        return -1.0, 1.0
    cut = min(ends[-1], max(4 * ends[len(ends) // 2], 1.5 * ends[(3 * len(ends)) // 4]))
    low = max(-cut, min([0.0, *(e.low for e in effects if _drawn(e))]))
    high = min(cut, max([0.0, *(e.high for e in effects if _drawn(e))]))
    room = 0.05 * (high - low)
    return low - room, high + room


def _drawn(effect: Effect) -> bool:
    return all(math.isfinite(v) for v in (effect.mean, effect.low, effect.high))


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers within the limits, zero among them if it is within."""
    raw = max((high - low) / most, 1e-300)  # a span near the smallest float has no logarithm
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(base * s for s in _SCALES if base * s >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) + 0.0 for i in range(first, last + 1)]


def text(effects: Sequence[Effect], title: str, width: int, *, ascii_only: bool = False) -> str:
    """The plot in `width` columns. ● stands after correction, ○ does not, ◌ is to be doubted; ‹ › are cut intervals."""
    low, high = limits(effects)
    room = max(20, width - _NAME - 1)

    def column(value: float) -> int:
        return max(0, min(room - 1, round((value - low) / (high - low) * (room - 1))))

    zero = column(0.0)
    lines = [fit(title, width)]
    for e in effects:
        cells = [" "] * room
        cells[zero] = "┊"
        if _drawn(e):
            first, last = column(e.low), column(e.high)
            cells[first : last + 1] = "─" * (last - first + 1)
            cells[first], cells[last] = "├", "┤"
            if e.low < low:
                cells[first] = "‹"
            if e.high > high:
                cells[last] = "›"
            if low <= e.mean <= high:
                cells[column(e.mean)] = "◌" if e.hollow else "●" if e.strong else "○"
        else:
            note = "no value"
            cells[zero + 2 : zero + 2 + len(note)] = note
        lines.append(f"{fit(clean(e.name), _NAME):<{_NAME}} " + "".join(cells[:room]).rstrip())
    axis, labels = ["─"] * room, [" "] * room
    for tick in ticks(low, high):
        at = column(tick)
        axis[at] = "┴"
        label = f"{tick:g}".replace("-", "−")
        start = max(0, min(room - len(label), at - len(label) // 2))
        if all(c == " " for c in labels[max(0, start - 1) : start + len(label) + 1]):
            labels[start : start + len(label)] = label
    lines += [" " * (_NAME + 1) + "".join(axis), " " * (_NAME + 1) + "".join(labels).rstrip()]
    lines.append("● stands after correction  ○ does not  ◌ off the marginal  ├─┤ 95 % interval, ‹ › cut off")
    joined = "\n".join(lines)
    if ascii_only:
        for sign, plain in zip("├┤┊┴●○◌‹›", "||:+*o?<>", strict=True):
            joined = joined.replace(sign, plain)
        joined = "\n".join(to_ascii(line) for line in joined.split("\n"))
    return joined


def svg(effects: Sequence[Effect], title: str, subtitle: str = "") -> str:
    """The same as an SVG picture, readable on light and on dark pages."""
    low, high = limits(effects)
    row, top, left, plot, right = 22, 64, 250, 520, 30
    width, bottom = left + plot + right, top + row * len(effects)
    height = bottom + 44

    def x(value: float) -> float:
        return left + (max(low, min(high, value)) - low) / (high - low) * plot

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(clean(title))}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" font-size="15" font-weight="bold" fill="#1d2126">{escape(clean(title))}</text>',
        f'<text x="12" y="44" fill="#5b6066">{escape(clean(subtitle))}</text>',
    ]
    for tick in ticks(low, high):
        colour, dash = ("#1d2126", "") if tick == 0 else ("#d5d8dc", ' stroke-dasharray="2 3"')
        parts.append(
            f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top - 8}" y2="{bottom}" stroke="{colour}"{dash}/>'
        )
        label = f"{tick:g}".replace("-", "−")
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 18}" text-anchor="middle" fill="#5b6066">{label}</text>')
    for i, e in enumerate(effects):
        y = top + row * i + row / 2 - 4
        parts.append(
            f'<text x="{left - 10}" y="{y + 4:.1f}" text-anchor="end" fill="#1d2126">{escape(clean(e.name, 60))}</text>'
        )
        if not _drawn(e):
            parts.append(f'<text x="{x(0):.1f}" y="{y + 4:.1f}" fill="#5b6066">no value</text>')
            continue
        colour = "#0064a6" if e.strong else "#77797c"
        parts.append(
            f'<line x1="{x(e.low):.1f}" x2="{x(e.high):.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" '
            'stroke-width="2"/>'
        )
        for end, beyond in ((e.low, e.low < low), (e.high, e.high > high)):
            if not beyond:
                parts.append(
                    f'<line x1="{x(end):.1f}" x2="{x(end):.1f}" y1="{y - 4:.1f}" y2="{y + 4:.1f}" stroke="{colour}" '
                    'stroke-width="2"/>'
                )
                continue
            tip = -7 if end < 0 else 7
            points = f"{x(end) + tip:.1f},{y:.1f} {x(end):.1f},{y - 5:.1f} {x(end):.1f},{y + 5:.1f}"
            parts.append(f'<polygon points="{points}" fill="{colour}"/>')
        if not low <= e.mean <= high:
            continue
        fill = "#ffffff" if e.hollow else colour
        parts.append(
            f'<circle cx="{x(e.mean):.1f}" cy="{y:.1f}" r="4.5" fill="{fill}" stroke="{colour}" stroke-width="2"/>'
        )
    legend = "blue: stands after correction; grey: does not; hollow: off the marginal; line: 95 % interval"
    parts += [f'<text x="12" y="{height - 6}" font-size="11" fill="#5b6066">{legend}</text>', "</svg>"]
    return "\n".join(parts) + "\n"
