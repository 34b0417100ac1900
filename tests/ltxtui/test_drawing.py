"""Lines as text: broken where there are no numbers, aligned over all panels, thin where there are many points."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from ltxtui.plot import plotext_backend, raster, scales
from ltxtui.plot.axis import Ruler, step_ruler
from ltxtui.plot.line_plot import GUTTER, RIGHT_GUTTER, Style, columns, curve_text, draw
from ltxtui.plot.model import Curve, Flag, Mark, Plot

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
    started = time.process_time()
    draw(Plot(curves, 10_000, cursor=5_000), 150, 40, Style.BRAILLE)
    assert time.process_time() - started < 0.05


@pytest.mark.parametrize("steps", [60, 10_000])
def test_three_lines_of_a_panel_are_quick(steps: int) -> None:
    """The goal is 15 ms a panel on a machine at rest; here twice that, at best of five."""
    random = np.random.default_rng(0)
    plot = Plot([Curve("a", random.standard_normal(steps).cumsum(), mark) for mark in list(Mark)[:3]], steps, cursor=7)
    spent = []
    for _ in range(5):
        started = time.process_time()
        draw(plot, 60, 14, Style.BRAILLE)
        spent.append(time.process_time() - started)
    assert min(spent) < 0.03


def zoomed(steps: int, first: float, last: float) -> Ruler:
    whole = step_ruler(steps)
    return Ruler("step", whole.values, whole.places, first, last)


@pytest.mark.parametrize("style", list(Style))
@pytest.mark.parametrize("mark", [Mark.FIRST, Mark.SECOND, Mark.GHOST])
def test_both_engines_draw_the_same_line(style: Style, mark: Mark) -> None:
    """plotext prints, NumPy is fast: cells that one of them fills are filled, or next to it, in the other."""
    values = np.sin(np.linspace(0, 7, 60))
    values[33] = np.nan
    plot = Plot([Curve("a", values, mark)], 60)
    drawn = []
    for engine in (raster.draw_line, plotext_backend.draw_line):
        rows = canvas([row.text for row in draw(plot, 70, 16, style, engine)], 70)
        drawn.append(np.array([[c != " " for c in row] for row in rows]))
    high, wide = drawn[0].shape
    for one, other in (drawn, drawn[::-1]):
        padded = np.pad(other, 1)
        around = np.any([padded[y : y + high, x : x + wide] for y in range(3) for x in range(3)], axis=0)
        assert one.any() and not (one & ~around).any()


def test_the_y_axis_follows_the_window_and_the_line_goes_on_to_its_edges() -> None:
    values = np.linspace(0, 100, 101)
    lines = text(Plot([Curve("a", values)], 101, ruler=zoomed(101, 40, 60), cursor=45))
    assert lines[0].startswith("    60") or "60.00" in lines[0]
    assert any(line.startswith(" 40.00") for line in lines) and any(line.rstrip().endswith("60.00") for line in lines)
    drawn = canvas(lines)
    assert all(any(row[x] != " " for row in drawn) for x in range(columns(60)))
    assert lines[-1].split()[0] == "40" and "60" in lines[-1].split() and "45" in lines[-1].split()


def test_a_window_between_two_steps_shows_the_line_between_them() -> None:
    drawn = canvas(text(Plot([Curve("a", np.array([0.0, 1.0]))], 2, include=[0, 1], ruler=zoomed(2, 0.4, 0.6))))
    filled = [(y, x) for y, row in enumerate(drawn) for x, c in enumerate(row) if c != " "]
    assert {x for _, x in filled} == set(range(columns(60)))
    assert {y for y, _ in filled} < set(range(2, len(drawn) - 2))


def test_a_line_that_goes_back_is_drawn_going_back() -> None:
    """Around a restart σ has each place twice, and the values of both visits are drawn."""
    levels = np.array([1.0, 0.5, 1.0, 0.5, 0.0])
    ruler = Ruler("sigma", levels, -levels, -1.0, 0.0)
    drawn = canvas(text(Plot([Curve("a", np.array([0.0, 0.0, 1.0, 1.0, 0.5]))], 5, ruler=ruler)))
    quarter = columns(60) // 4
    assert drawn[0][quarter] != " " and drawn[-1][quarter] != " "
    beyond = columns(60) * 3 // 4
    assert [row[beyond] != " " for row in drawn].count(True) == 1


def test_thinning_and_windows_keep_breaks() -> None:
    values = np.zeros(10_000)
    values[4_000:6_000] = np.nan
    drawn = canvas(text(Plot([Curve("a", values)], 10_000)))
    filled = [any(row[x] != " " for row in drawn) for x in range(columns(60))]
    assert filled[:17] == [True] * 17 and filled[-17:] == [True] * 17 and not any(filled[20:25])
    x, y = scales.near(np.array([-9.0, -5, 3, 4, 40, 50, 8]), np.arange(7.0), 10)
    assert x.tolist() == [-5, 3, 4, 40, 50, 8] and y.tolist() == [1, 2, 3, 4, 5, 6]
    x, y = scales.near(np.array([3.0, 40, 50, 60, 8]), np.arange(5.0), 10)
    assert x[:2].tolist() == [3, 40] and np.isnan(y[2]) and x[-2:].tolist() == [60, 8]


@pytest.mark.parametrize("style", list(Style))
def test_logarithmic_axis_leaves_out_what_has_no_logarithm(style: Style) -> None:
    values = np.array([1e-3, 1e-2, 0.0, -5.0, 1.0, 10.0, 100.0])
    lines = text(Plot([Curve("a", values)], 7, include=[0.0], references=[0.0, 1.0], log=True), style=style)
    shown = "".join(lines)
    assert "0.001" in shown and "100" in shown and "nan" not in shown
    drawn = canvas(lines)
    middle = (scales.column(2, 7, columns(60)) + scales.column(3, 7, columns(60))) // 2
    assert all(row[middle] in " ┄-" for row in drawn)
    rows = [
        min(y for y, row in enumerate(drawn) if row[scales.column(n, 7, columns(60))] not in " ┄-") for n in (4, 5, 6)
    ]
    assert rows[0] - rows[1] in (rows[1] - rows[2] - 1, rows[1] - rows[2], rows[1] - rows[2] + 1)


@pytest.mark.parametrize("values", [[], [0.0, -1.0], [np.nan], [5.0], [1e-30, 1e30], [1.0, 1.1], [2.0, 2.0]])
def test_odd_series_on_a_logarithmic_axis(values: list[float]) -> None:
    assert len(text(Plot([Curve("a", np.array(values))], max(1, len(values)), log=True))) == 12


@pytest.mark.parametrize(("low", "high"), [(0.001, 1000.0), (1.0, 1.5), (3e-9, 4e7), (0.2, 0.9), (5.0, 5.0)])
def test_logarithmic_ticks_are_round_and_enclose(low: float, high: float) -> None:
    ticks = scales.log_ticks(math.log10(low), math.log10(high), 6)
    assert ticks[0] <= math.log10(low) + 1e-9 and ticks[-1] >= math.log10(high) - 1e-9 and 2 <= len(ticks) <= 9
    assert all(f"{10**tick:.3e}"[0] in "125" for tick in ticks)


def test_flags_stand_on_the_axis_and_in_the_plot_but_never_on_the_line() -> None:
    flags = [Flag(10, "S", "label"), Flag(20, "N", "alert"), Flag(25, "[", "key", line=False)]
    for style in Style:
        lines = text(Plot([Curve("a", np.zeros(30))], 30, include=[-1, 1], flags=flags, cursor=3), style=style)
        at = {flag.letter: GUTTER + scales.column(flag.step, 30, columns(60)) for flag in flags}
        assert {letter: lines[-1][x] for letter, x in at.items()} == {"S": "S", "N": "N", "[": "["}
        faint = ":" if style is Style.ASCII else "┊"
        assert [line[at["S"]] for line in lines[:-1]].count(faint) == 10
        assert all(line[at["["]] != faint for line in lines)
    outside = text(Plot([Curve("a", np.zeros(30))], 30, flags=flags, ruler=zoomed(30, 12, 18)))
    assert not set("SN[") & set(outside[-1])


def test_the_axis_is_named_and_the_cursor_is_only_drawn_in_the_window() -> None:
    levels = np.linspace(1, 0, 30)
    plot = Plot([Curve("a", LINE)], 30, ruler=Ruler("sigma", levels, -levels, -1.0, 0.0), cursor=0)
    axis = text(plot)[-1]
    assert axis.split()[0] == "1" and axis.rstrip().endswith("σ")
    hidden = Plot([Curve("a", LINE)], 30, ruler=zoomed(30, 12, 18), cursor=3)
    assert not any(span.cursor for row in draw(hidden, 60, 12, Style.BRAILLE) for span in row.spans)
    assert columns(60) == 60 - GUTTER - RIGHT_GUTTER


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


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("style", list(Style))
def test_infinite_values_in_a_plot_of_one_row_are_no_warning(style: Style) -> None:
    values = LINE.copy()
    values[5], values[6] = np.inf, -np.inf
    for height in (1, 2, 3):
        text(Plot([Curve("a", values)], 30), 60, height, style)
