"""A plot of very many steps is thinned before it is drawn, and the picture is the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ltxtui.plot import downsample, line_plot
from ltxtui.plot.axis import Ruler, step_ruler
from ltxtui.plot.line_plot import GUTTER, Style, columns, draw
from ltxtui.plot.model import Curve, Flag, Mark, Plot
from ltxtui.plot.raster import RESOLUTION

STEPS = 9000
RNG = np.random.default_rng(3)
WALK = np.cumsum(RNG.standard_normal(STEPS)).astype(np.float32)


def with_gaps() -> np.ndarray:
    values = WALK.copy()
    values[:7] = np.nan
    values[2000:2600] = np.nan
    values[[4000, 4001]] = np.inf, -np.inf
    values[-3:] = np.nan
    return values


def falling(low: float, high: float) -> Ruler:
    """σ from 1 to 0 with a restart in the middle, so that a stretch of the axis is passed twice."""
    sigma = np.concatenate([np.linspace(1, 0.5, STEPS // 2), np.linspace(0.6, 0, STEPS - STEPS // 2)])
    return Ruler("sigma", sigma, -sigma, low, high)


def rulers() -> dict[str, Ruler]:
    return {
        "steps": step_ruler(STEPS),
        "window": replace(step_ruler(STEPS), low=1500.0, high=7100.0),
        "edge": replace(step_ruler(STEPS), low=0.0, high=4000.5),
        "restart": falling(-1.0, 0.0),
        "restart in a window": falling(-0.58, -0.52),
    }


@pytest.mark.parametrize("name", rulers())
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("style", list(Style))
def test_the_picture_is_the_same(name: str, log: bool, style: Style, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = np.exp(WALK / 30) if log else WALK
    curves = [Curve("walk", walk), Curve("other", walk[::-1].copy(), Mark.SECOND)]
    flags = [Flag(10, "S"), Flag(4500, "C"), Flag(4510, "N"), Flag(STEPS - 1, "E", line=False)]
    plot = Plot(curves, STEPS, (0.0,), (1.0,), cursor=4321, ruler=rulers()[name], flags=flags, log=log)
    wide = columns(100)
    assert downsample.thinned(plot, wide, RESOLUTION[style][0]) is not plot
    ours = draw(plot, 100, 20, style)
    monkeypatch.setattr(line_plot, "thinned", lambda plot, wide, across: plot)
    assert [row.text for row in ours] == [row.text for row in draw(plot, 100, 20, style)]
    assert [row.spans for row in ours] == [row.spans for row in draw(plot, 100, 20, style)]


def test_gaps_stay_gaps_and_first_and_last_values_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a column that has values and none, the line may go another way; which columns have dots is the same."""
    curves = [
        Curve("gaps", with_gaps()),
        Curve("short", WALK[:3100], Mark.THIRD),
        Curve("planned", WALK[:5], Mark.GHOST),
    ]
    for curve in curves:
        plot = Plot([curve], STEPS, ruler=step_ruler(STEPS))
        ours = [row.text for row in draw(plot, 100, 20, Style.BRAILLE)]
        with monkeypatch.context() as patched:
            patched.setattr(line_plot, "thinned", lambda plot, wide, across: plot)
            theirs = [row.text for row in draw(plot, 100, 20, Style.BRAILLE)]
        end = GUTTER + columns(100)
        assert [t[:GUTTER] + t[end:] for t in ours] == [t[:GUTTER] + t[end:] for t in theirs]
        drawn, expected = (
            [any(t[x] != " " for t in lines[:-1]) for x in range(GUTTER, end)] for lines in (ours, theirs)
        )
        if curve.mark is Mark.FIRST:
            assert drawn == expected and not all(drawn)


def test_few_steps_named_steps_and_wild_axes_are_left_alone() -> None:
    few = Plot([Curve("a", WALK[:100])], 100, ruler=step_ruler(100))
    named = Plot([Curve("a", WALK)], STEPS, labels=["x"] * STEPS, ruler=step_ruler(STEPS))
    wild = Plot([Curve("a", WALK)], STEPS, ruler=Ruler("sigma", RNG.random(STEPS), RNG.random(STEPS), 0.0, 1.0))
    for plot in (few, named, wild):
        assert downsample.thinned(plot, 60, 2) is plot
    long = Plot([Curve("a", WALK)], STEPS, ruler=step_ruler(STEPS))
    assert len(downsample.thinned(long, 60, 2).curves[0].values) <= 4 * 122


def test_curves_without_any_number() -> None:
    for values in (np.full(STEPS, np.nan, np.float32), WALK[:0], WALK[:1]):
        assert len(draw(Plot([Curve("a", values)], STEPS, ruler=step_ruler(STEPS)), 60, 10, Style.BRAILLE)) == 10
