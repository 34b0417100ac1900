"""Lines as text: broken where there are no numbers, aligned over all panels, thin where there are many points."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ltxtui import scales
from ltxtui.drawing import GUTTER, Curve, Mark, Plot, Style, columns, curve_text, draw

LINE = np.linspace(0, 1, 30)


def text(plot: Plot, width: int = 60, height: int = 12, style: Style = Style.BRAILLE) -> list[str]:
    return [row.text for row in draw(plot, width, height, style)]


def canvas(lines: list[str], width: int = 60) -> list[str]:
    return [line[GUTTER : GUTTER + columns(width)] for line in lines[:-1]]


@pytest.mark.parametrize("style", list(Style))
@pytest.mark.parametrize(("width", "height"), [(20, 3), (30, 5), (40, 10), (150, 48)])
def test_size_is_exact(style: Style, width: int, height: int) -> None:
    plot = Plot([Curve("a", LINE), Curve("b", -LINE, Mark.SECOND), Curve("c", LINE**2, Mark.THIRD)], 30, cursor=7)
    lines = text(plot, width, height, style)
    assert [len(line) for line in lines] == [width] * height


def test_line_breaks_where_there_is_no_number() -> None:
    values = LINE.copy()
    values[10:20] = np.nan
    values[5] = np.inf
    drawn = canvas(text(Plot([Curve("a", values)], 30)))
    broken = {scales.column(step, 30, columns(60)) for step in range(12, 18)}
    assert all(row[x] == " " for row in drawn for x in broken)
    assert any(row[scales.column(8, 30, columns(60))] != " " for row in drawn)


@pytest.mark.parametrize("values", [[], [np.nan] * 5, [-np.inf, np.inf], [3.0], [3.0, 3.0, 3.0], [1e-30, 1e30]])
@pytest.mark.parametrize("style", list(Style))
def test_odd_series(values: list[float], style: Style) -> None:
    assert len(text(Plot([Curve("a", np.array(values))], max(1, len(values))), style=style)) == 12


def test_ascii_is_ascii() -> None:
    curves = [Curve("σ", LINE), Curve("β", LINE**2, Mark.SECOND), Curve("plan", LINE**3, Mark.GHOST)]
    plot = Plot(curves, 30, references=[0.5], cursor=3, empty="nothing — yet")
    assert all(line.isascii() for line in text(plot, style=Style.ASCII))
    assert curve_text(curves, 60, 10, ascii_only=True).isascii()


def test_lines_differ_without_colour() -> None:
    shapes = {mark: "".join(canvas(text(Plot([Curve("a", LINE, mark)], 30)))) for mark in Mark}
    assert len(set(shapes.values())) == len(Mark)
    characters = {
        mark: set("".join(canvas(text(Plot([Curve("a", LINE, mark)], 30), style=Style.ASCII)))) for mark in Mark
    }
    assert len({frozenset(c) for c in characters.values()}) == len(Mark)


@pytest.mark.parametrize("style", list(Style))
@pytest.mark.parametrize("steps", [2, 7, 30, 500])
def test_a_step_has_the_same_column_in_every_panel(style: Style, steps: int) -> None:
    """One spike at one step: found in the column that the cursor of any panel shows, whatever the scale."""
    at = steps * 2 // 3
    for scale in (1.0, 1e5, -1e-4):
        values = np.zeros(steps)
        values[at] = scale
        drawn = canvas(text(Plot([Curve("a", values)], steps), style=style))
        row = drawn[0] if scale > 0 else drawn[-1]
        assert scales.column(at, steps, columns(60)) in [x for x, c in enumerate(row) if c != " "]
        with_cursor = draw(Plot([Curve("a", values)], steps, cursor=at), 60, 12, style)
        for line in with_cursor[:-1]:
            before = 0
            for span in line.spans:
                if span.cursor:
                    assert before == GUTTER + scales.column(at, steps, columns(60))
                before += len(span.text)


def test_the_mouse_finds_the_step_back() -> None:
    for steps in (1, 2, 30):
        for step in range(steps):
            assert scales.step_at(scales.column(step, steps, 100), steps, 100) == step
    assert scales.step_at(-5, 30, 100) == 0
    assert scales.step_at(500, 30, 100) == 29


def test_thinning_keeps_the_extremes_of_ten_thousand_points() -> None:
    values = np.random.default_rng(0).standard_normal(10_000).cumsum()
    places = np.linspace(0, 199, 10_000)
    x, y = scales.thin(places, values, 200)
    assert len(x) <= 400
    assert (y.min(), y.max()) == (values.min(), values.max())
    assert np.all(np.diff(x) >= 0)
    few = scales.thin(places[:300], values[:300], 200)
    assert len(few[0]) == 300


def test_a_moved_cursor_is_cheap() -> None:
    curves = [Curve("a", np.random.default_rng(0).standard_normal(10_000).cumsum())]
    draw(Plot(curves, 10_000, cursor=1), 150, 40, Style.BRAILLE)
    started = time.perf_counter()
    draw(Plot(curves, 10_000, cursor=5_000), 150, 40, Style.BRAILLE)
    assert time.perf_counter() - started < 0.1


def test_first_and_last_values_are_readable() -> None:
    lines = text(Plot([Curve("a", np.linspace(0.123, 0.877, 30)), Curve("b", np.full(30, 0.5), Mark.SECOND)], 30))
    assert any(line.startswith("0.1230") for line in lines)
    assert any(line.rstrip().endswith("0.8770") for line in lines)
    assert any(line.rstrip().endswith("0.5000") for line in lines)


def test_ticks_enclose_and_are_round() -> None:
    assert scales.ticks(0, 1, 6) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    for low, high in [(-40.07, 23.5), (0, 0), (5, 5), (1e-9, 2e-9), (-3, 1e6)]:
        ticks = scales.ticks(low, high, 6)
        assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 8


def test_step_axis_names_both_ends_and_the_cursor() -> None:
    axis = text(Plot([Curve("a", LINE)], 30, cursor=17))[-1].split()
    assert axis[0] == "0" and axis[-1] == "29" and "17" in axis


def test_curve_text_has_legend_and_axes() -> None:
    drawn = curve_text([Curve("measured", LINE), Curve("schedule", LINE**2, Mark.SECOND)], 72, 12)
    assert "measured" in drawn and "schedule" in drawn
    assert max(map(len, drawn.splitlines())) <= 72 and len(drawn.splitlines()) == 12
