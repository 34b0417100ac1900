"""The axis over the whole run: the steps of all stages one behind the other, in every chart and under the cursor."""

from __future__ import annotations

import numpy as np

from ltxtui.app import Dashboard
from ltxtui.panels.chart_plots import run_plot
from ltxtui.panels.chart_specs import CHARTS
from ltxtui.panels.chart_view import run_flags
from ltxtui.panels.header import progress, selection
from ltxtui.plot.line_plot import GUTTER, columns
from ltxtui.viewmodel.deck import Deck
from replay.model.run import Run
from replay.sources.open import Liveness
from tests.ltxtui.driving import ROOMY, loaded, shown
from tests.ltxtui.fake import messages
from tests.ltxtui.sources import Archive

SIGMA = next(chart for chart in CHARTS if chart.id == "sigma")


def deck_of(stages: int, steps: int = 10, live: bool = False, keep: int | None = None) -> Deck:
    run = Run()
    told = list(messages(steps, stages=stages, end=None if live else "complete"))
    for message in told[:keep]:
        run.feed(message)
    deck = Deck(run, Liveness.LIVE if live else Liveness.FINISHED)
    deck.changed(deck.liveness)
    return deck


def test_lines_go_through_all_stages() -> None:
    deck = deck_of(3)
    deck.set_axis("run")
    plot = run_plot(SIGMA, deck)
    line = plot.curves[0].values
    assert plot.steps == len(line) == 30 and plot.cursor == 29
    for stage in deck.run.stages:
        np.testing.assert_array_equal(line[10 * stage.index :][:10], stage.streams["video"].series("sigma"))
    wide = 60
    assert list(deck.run_ruler.columns(wide)[[0, 29]]) == [0, wide - 1]
    # The panels of the selected stage lie at its place on the same axis.
    assert list(deck.columns(wide)) == list(deck.run_ruler.columns(wide)[20:])
    assert [f.step for f in run_flags(deck) if f.letter == ">"] == [0, 10, 20]


def test_the_cursor_goes_from_stage_to_stage() -> None:
    deck = deck_of(3)
    deck.set_axis("run")
    deck.move(-10)
    assert (deck.stage_index, deck.cursor) == (1, 9)
    deck.move(-12)
    assert (deck.stage_index, deck.cursor) == (0, 7)
    deck.move(-99)
    assert (deck.stage_index, deck.cursor) == (0, 0)
    deck.move(25)
    assert (deck.stage_index, deck.cursor) == (2, 5)
    assert deck.place_at(0, 60) == (0, 0) and deck.place_at(59, 60) == (2, 9)
    deck.set_axis("step")
    deck.move(-9)
    assert (deck.stage_index, deck.cursor) == (2, 0), "elsewhere a cursor stays in its stage"


def test_all_stages_share_one_window() -> None:
    deck = deck_of(2)
    deck.set_axis("run")
    deck.zoom(1)
    window = deck.ruler.low, deck.ruler.high
    assert window[1] - window[0] < 19
    deck.next_stage(-1)
    assert deck.zoomed and deck.ruler.high - deck.ruler.low == window[1] - window[0]
    assert deck.ruler.inside[deck.cursor], "the window comes along"
    deck.zoom_reset()
    assert (deck.ruler.low, deck.ruler.high) == (0, 19)


def test_what_lies_behind_the_playhead_is_hidden() -> None:
    deck = deck_of(3)
    deck.set_axis("run")
    deck.seek_to(14)
    line = run_plot(SIGMA, deck).curves[0].values
    assert np.isfinite(line[:14]).all() and np.isnan(line[14:]).all()
    deck.seek_to(25)
    assert np.isfinite(run_plot(SIGMA, deck).curves[0].values[:25]).all()


def test_one_stage_has_no_axis_over_the_run() -> None:
    deck, modes = deck_of(1), set()
    for _ in range(8):
        deck.next_axis()
        modes.add(deck.axis.mode)
    assert "run" not in modes and len(modes) == 5


def test_a_recipe_has_the_axis_before_its_second_stage_begins() -> None:
    asked = {"user": {"request": {"stages": [{}, {"noise": 0.9}]}}}
    run = Run()
    for message in list(messages(10, stages=2))[:14]:
        run.feed({**message, "metadata": {**message["metadata"], **asked}} if message["t"] == "header" else message)
    deck = Deck(run, Liveness.LIVE)
    deck.changed(deck.liveness)
    assert len(run.stages) == 1
    seen = set()
    for _ in range(8):
        deck.next_axis()
        seen.add(deck.axis.mode)
    assert "run" in seen


def test_scrolled_back_the_header_says_where_the_run_is() -> None:
    deck = deck_of(2, live=True)
    assert not any("run at" in part.texts[0] for part in progress(deck))
    deck.move(-4)
    assert ("run at stage 1 step 9",) in [part.texts for part in progress(deck)]
    deck.next_stage(-1)
    assert ("run at stage 1 step 9",) in [part.texts for part in progress(deck)]
    assert selection(deck).startswith("stage 0 of 0–1")


async def test_keys_and_clicks_on_the_axis_over_the_run() -> None:
    app = Dashboard(Archive(messages(10, stages=2)))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await pilot.press("U")
        assert app.deck.axis.mode == "run"
        chart = app.screen.query_one("#sigma")
        await pilot.click("#sigma", offset=(GUTTER, 5))
        assert (app.deck.stage_index, app.deck.cursor) == (0, 0)
        await pilot.click("#sigma", offset=(GUTTER + columns(chart.size.width - 1) - 1, 5))
        assert (app.deck.stage_index, app.deck.cursor) == (1, 9)
        assert " run " in shown(pilot, "#sigma")
        assert app.screen.command()[-2:] == ["--at-step", "9"] and "run" in app.screen.command()
