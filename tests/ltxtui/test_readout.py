"""The readout table, and the mark and lanes of charts, driven by their keys."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ltxtui.app import Dashboard, Options
from ltxtui.panels.chart_view import ChartView
from ltxtui.panels.readout import PANELS, ReadoutView, main_lines, readings, table
from ltxtui.plot.line_plot import Style
from ltxtui.viewmodel.deck import Deck
from replay.model.run import Run
from replay.sources.open import Liveness
from tests.ltxtui.driving import ROOMY, loaded, shown
from tests.ltxtui.fake import messages
from tests.ltxtui.sources import Archive


def replay(steps: int = 10) -> Deck:
    deck = Deck(Run(), Liveness.FINISHED)
    for message in messages(steps):
        deck.run.feed(message)
    deck.changed(Liveness.FINISHED)
    return deck


def test_readings_are_the_value_and_its_differences() -> None:
    deck = replay()
    deck.move_to(6)
    deck.mark_step = 2
    found = {r.line.metric: r for r in readings(deck, main_lines())}
    rms = deck.series("velocity_rms")
    assert rms is not None
    wanted = (rms[6], rms[6] - rms[5], rms[6] - rms[2])
    assert np.allclose((found["velocity_rms"].value, found["velocity_rms"].before, found["velocity_rms"].mark), wanted)
    deck.first()
    first = {r.line.metric: r for r in readings(deck, main_lines())}["velocity_rms"]
    assert math.isnan(first.before) and first.mark == pytest.approx(float(rms[0] - rms[2]))
    deck.mark_step = None
    assert all(math.isnan(r.mark) for r in readings(deck, main_lines()))
    deck.lanes = "both"
    assert list(dict.fromkeys(r.stream for r in readings(deck, main_lines()))) == ["video", "audio"]
    assert readings(Deck(Run(), Liveness.LIVE), main_lines()) == []


def test_the_table_for_csv_has_every_main_metric() -> None:
    deck = replay()
    made = table(deck)
    assert [row[1] for row in made.rows] == [line.metric for line in main_lines()]
    assert all(len(row) == len(made.columns) for row in made.rows)
    assert [panel.id for panel in PANELS] == ["readout"]


@pytest.mark.parametrize("style", list(Style))
@pytest.mark.parametrize(("width", "height"), [(24, 5), (40, 12), (90, 30)])
async def test_readout_fits_and_reads_what_the_charts_show(style: Style, width: int, height: int) -> None:
    app = Dashboard(Archive(messages(10)), Options(drawing=style))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        deck = app.screen.query_one(ChartView).deck
        deck.mark_step = 2
        view = ReadoutView(deck, style)
        await app.screen.mount(view)
        rows = view.rows(width, height)
        assert len(rows) <= height and all(row.used == width for row in rows)
        text = "\n".join(row.text for row in rows)
        assert "mark 2" in text or width < 40
        if style is Style.ASCII:
            assert text.isascii()
        charts = {line.metric for chart in app.screen.query(ChartView) if chart.display for line in chart.chart.lines}
        assert {line.metric for line in view._lines()} == charts


async def test_a_chart_gives_the_difference_to_the_mark_and_lanes_name_their_stream() -> None:
    app = Dashboard(Archive(messages(30, nan_at=20)))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        assert "Δ" not in shown(pilot, "#sigma")
        await pilot.press("8", "home", "r", "right", "right")
        assert "Δ-" in shown(pilot, "#sigma") and "M" in shown(pilot, "#sigma").splitlines()[-1]
        await pilot.press("right_square_bracket")
        assert "cursor 20" in shown(pilot, "#header") and shown(pilot, "#sigma").splitlines()[-1].split()[-1] == "step"
        await pilot.press("u")
        assert shown(pilot, "#sigma").splitlines()[-1].rstrip().endswith("σ")
        before = shown(pilot, "#velocity")
        await pilot.press("up", "up")
        zoomed = shown(pilot, "#velocity")
        assert zoomed != before
        await pilot.press("H")
        assert shown(pilot, "#velocity") != zoomed
        await pilot.press("equals_sign")
        assert shown(pilot, "#velocity") == before
        await pilot.press("o")
        assert " log" in shown(pilot, "#energy") and " log" not in shown(pilot, "#sigma")
        await pilot.press("v", "v")
        await pilot.pause()
        assert "video" in shown(pilot, "#velocity").splitlines()[0]
        lanes = [chart for chart in app.screen.query(ChartView) if chart.display and chart.chart.id == "velocity"]
        assert [chart.stream_name for chart in lanes] == ["video", "audio"]
