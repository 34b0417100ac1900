"""The usual range behind the curves: where it is drawn, what it never hides, and when there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ltxtui.app import Dashboard, Options
from ltxtui.compare.deck import CompareDeck
from ltxtui.compare.member import members
from ltxtui.panels.chart_plots import plot, run_plot
from ltxtui.panels.chart_specs import CHARTS
from ltxtui.panels.compare.chart import plot_of
from ltxtui.plot import shading
from ltxtui.plot.axis import step_ruler
from ltxtui.plot.canvas import SHADE
from ltxtui.plot.line_plot import GUTTER, Style, columns, draw
from ltxtui.plot.model import Curve, Plot, Shade
from ltxtui.screens.compare import CompareScreen
from ltxtui.viewmodel.deck import Deck
from replay import baseline_store
from replay.baseline import FEWEST, Baseline, curves_of, size_of
from replay.model.run import Run
from replay.sources.open import Liveness
from tests.ltxtui.driving import ROOMY, loaded, shown, until
from tests.ltxtui.fixture import journal_file, open_fixture, open_fixture_run

VELOCITY = next(chart for chart in CHARTS if chart.id == "velocity")


def baselines(run: Run, *, model: str = "nano", other: str = "", spread: float = 0.1) -> dict[str, Baseline]:
    """Five good runs around a run, from 1 − `spread` to 1 + `spread` times its values, by size."""
    found = {}
    for stream in run.stages[0].streams.values():
        factors = np.linspace(1 - spread, 1 + spread, FEWEST)
        curves = {
            f"run {n}": [{m: f * v for m, v in each.items()} for each in curves_of(stream)]
            for n, f in enumerate(factors)
        }
        size = other or size_of(stream)
        found[size] = Baseline(model, size, curves)
    return found


@pytest.fixture(scope="module")
def run() -> Run:
    return open_fixture_run()


@pytest.fixture
def deck(run: Run) -> Deck:
    made = Deck(run, Liveness.FINISHED)
    made.changed(Liveness.FINISHED)
    made.stage_index, made.follow = 0, False
    return made


@pytest.fixture
def kept(run: Run) -> Iterator[None]:
    """The baselines of the run in the data directory."""
    baseline_store._write("nano", baselines(run).values())
    yield
    baseline_store.clear()


def test_a_chart_has_the_range_of_each_of_its_lines_around_a_run_like_those(run: Run, deck: Deck) -> None:
    assert not plot(VELOCITY, deck).bands
    deck.usual.take(baselines(run))
    drawn = plot(VELOCITY, deck)
    assert len(drawn.bands) == 2 and drawn.bands[0].low.shape == (deck.steps,)
    down = deck.series("sigma")
    assert down is not None
    falling = np.append(True, np.diff(np.minimum.accumulate(down)) < 0)
    for curve, band in zip(drawn.curves, drawn.bands, strict=True):
        known = np.isfinite(band.low) & (curve.values > 0) & falling
        assert known.sum() > 5
        assert (band.low <= band.high).all(where=np.isfinite(band.low))


def test_levels_that_are_planned_have_their_range_before_they_are_reached(run: Run, deck: Deck) -> None:
    deck.usual.take(baselines(run))
    whole = plot(VELOCITY, deck).bands[0]
    deck.seek_to(3)
    part = plot(VELOCITY, deck)
    assert len(part.curves[0].values) == 3 and len(part.bands[0].low) == deck.steps
    assert np.isfinite(part.bands[0].low).sum() >= np.isfinite(whole.low).sum() - 1


def test_every_stage_has_its_ranges_on_the_axis_over_the_whole_run(run: Run, deck: Deck) -> None:
    deck.usual.take(baselines(run))
    drawn = run_plot(VELOCITY, deck)
    assert len(drawn.bands) == 2 * len(run.stages)
    where = [np.flatnonzero(np.isfinite(band.low)) for band in drawn.bands[::2]]
    assert where[0].max() < deck.before(1) <= where[1].min()


def test_another_size_and_few_curves_have_no_range(run: Run, deck: Deck) -> None:
    deck.usual.take(baselines(run, other="video 3×2×2"))
    assert not plot(VELOCITY, deck).bands
    few = {size: replace(b, runs=dict(list(b.runs.items())[1:])) for size, b in baselines(run).items()}
    deck.usual.take(few)
    assert not plot(VELOCITY, deck).bands


def rows(shape: Plot, style: Style, width: int = 60, height: int = 12) -> list[str]:
    return [row.text for row in draw(shape, width, height, style)]


@pytest.mark.parametrize("style", Style)
def test_a_range_is_shaded_behind_the_line_and_hides_nothing_of_it(style: Style) -> None:
    line = Curve("a", np.linspace(0.0, 1.0, 30))
    bare = Plot([line], 30, include=(-0.5, 1.5))
    band = Shade(np.linspace(-0.4, 0.6, 30), np.linspace(0.4, 1.4, 30))
    before, after = rows(bare, style), rows(replace(bare, bands=[band]), style)
    shade = SHADE[style]
    assert not any(shade in line for line in before)
    assert sum(line.count(shade) for line in after) > 100
    assert [line.replace(shade, " ") for line in after] == before, "only what was blank is shaded"


def test_the_axis_shows_the_whole_range_and_a_range_ends_where_it_is_known() -> None:
    band = Shade(np.full(30, 5.0), np.array([6.0] * 15 + [np.nan] * 15))
    drawn = rows(Plot([Curve("a", np.zeros(30))], 30, bands=[band]), Style.ASCII)
    shaded = [line for line in drawn if "," in line]
    assert shaded and all(line.rindex(",") - GUTTER <= columns(60) // 2 for line in shaded)
    assert drawn[0].lstrip().startswith("6"), "the upper end of the axis"


def test_columns_between_steps_are_filled_and_many_steps_take_the_ends_of_columns() -> None:
    ((low, high),) = shading.by_column([Shade(np.array([0.0, 1.0]), np.array([1.0, 3.0]))], step_ruler(2), 11)
    assert_allclose(low, np.linspace(0, 1, 11))
    assert_allclose(high, np.linspace(1, 3, 11))
    count = 5000
    straight = np.linspace(0, 1, count)
    ((low, _),) = shading.by_column([Shade(straight, straight + 1)], step_ruler(count), 40)
    assert_allclose(low, np.linspace(0, 1, 40), atol=1 / 40)
    nothing = np.full(2, np.nan)
    assert shading.by_column([Shade(nothing, nothing)], step_ruler(2), 11) == []


def test_cells_of_a_range() -> None:
    found = shading.cells(np.array([0.0, 0.5, np.nan, np.nan]), np.array([1.0, 0.5, 0.25, np.nan]), 5)
    assert_array_equal(found.sum(axis=0), [5, 1, 2, 0])
    assert found[2, 1] and found[3:, 2].all()


@pytest.mark.parametrize("drawing", [Style.BRAILLE, Style.ASCII])
async def test_the_run_screen_reads_the_baseline_of_its_model(kept: None, drawing: Style) -> None:
    app = Dashboard(open_fixture(), Options(drawing=drawing))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await until(pilot, lambda: app.deck.usual.version > 0)
        await pilot.press("8", "home")
        assert f"{SHADE[drawing]} usual" in shown(pilot, "#velocity") and SHADE[drawing] * 5 in shown(
            pilot, "#velocity"
        )
        assert "usual" not in shown(pilot, "#sigma"), "a schedule is what was asked"


async def test_a_baseline_of_another_model_is_not_shown(run: Run) -> None:
    baseline_store._write("other", baselines(run, model="other").values())
    app = Dashboard(open_fixture())
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await pilot.press("8")
        await until(pilot, lambda: not app.deck.usual.wanted(app.deck.run))
        await pilot.pause(0.1)
        assert app.deck.usual.version == 0 and SHADE[Style.BRAILLE] not in shown(pilot, "#velocity")


async def test_a_file_that_is_not_a_baseline_is_said(run: Run) -> None:
    path = baseline_store.path_of("nano")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[]")
    app = Dashboard(open_fixture())
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await until(pilot, lambda: any("not a baseline" in n.message for n in app._notifications))


def compared(*runs: Run) -> CompareDeck:
    deck = CompareDeck(members(list(runs)), metrics=["velocity_rms"])
    deck.changed()
    return deck


def test_runs_side_by_side_of_one_model_and_size_have_the_range_and_their_differences_none(run: Run) -> None:
    deck = compared(run, open_fixture_run("smooth"))
    assert not plot_of(deck, "velocity_rms").bands
    deck.usual.take(baselines(run))
    (band,) = plot_of(deck, "velocity_rms").bands
    assert band.low.shape == (deck.points,) and np.isfinite(band.low).sum() > 5
    assert not plot_of(deck, "sigma").bands
    deck.toggle_residuals()
    assert not plot_of(deck, "velocity_rms").bands


def test_runs_side_by_side_of_other_sizes_or_another_model_have_no_range(run: Run) -> None:
    deck = compared(run, open_fixture_run("faulty"))
    deck.usual.take(baselines(run))
    assert not plot_of(deck, "velocity_rms").bands
    deck = compared(run, open_fixture_run("smooth"))
    deck.usual.take(baselines(run, model="other"))
    assert not plot_of(deck, "velocity_rms").bands


async def test_the_compare_screen_reads_the_baseline_of_the_reference(kept: None, tmp_path: Path) -> None:
    runs = [journal_file(tmp_path, name) for name in ("restart", "smooth")]
    app = Dashboard(first=lambda app: CompareScreen(runs, metrics=["velocity_rms"]))
    async with app.run_test(size=ROOMY) as pilot:
        screen = app.screen_stack[0]
        assert isinstance(screen, CompareScreen)
        await until(pilot, lambda: screen.deck.usual.version > 0)
        assert SHADE[Style.BRAILLE] * 3 in shown(pilot, "#chart-0")
