"""A shocked run on the dashboard: the spike in σ, how far down it went, and the event."""

from __future__ import annotations

import numpy as np
import pytest

from ltxtui.app import Dashboard
from ltxtui.panels.chart_plots import plot
from ltxtui.panels.chart_specs import CHARTS
from ltxtui.viewmodel.deck import Deck
from replay.sources.open import Liveness
from tests.ltxtui.driving import ROOMY, loaded, shown
from tests.ltxtui.fixture import open_fixture, open_fixture_run


def test_a_restart_is_a_spike_in_the_curve() -> None:
    deck = Deck(open_fixture_run(), Liveness.FINISHED)
    deck.changed(Liveness.FINISHED)
    deck.next_stage()
    assert deck.stage_index == 0
    chart = plot(CHARTS[0], deck)
    sigma = next(c.values for c in chart.curves if c.label == "σ")
    up = int(np.argmax(np.diff(sigma))) + 1
    assert sigma[up] == pytest.approx(0.9331, abs=1e-4) and sigma[up - 1] < sigma[up] > sigma[up + 1]
    assert np.sum(np.diff(sigma) > 0) == 1
    down = next(c.values for c in chart.curves if c.label == "down")
    assert np.flatnonzero(np.isfinite(down)).tolist() == [up - 1]
    assert down[up - 1] == pytest.approx(sigma[up + 1])
    planned = next(c.values for c in chart.curves if c.label == "planned")
    assert np.array_equal(np.float32(planned), np.float32(sigma))


async def test_the_event_is_told() -> None:
    app = Dashboard(open_fixture())
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await pilot.press("left_curly_bracket")
        assert "down" in shown(pilot, "#sigma")
        await pilot.press("home")
        seen = []
        for _ in range(9):
            seen.append(shown(pilot, "#event"))
            await pilot.press("right")
        assert any("restart: σ" in text and "0.9331" in text for text in seen)
