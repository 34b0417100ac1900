"""A shocked run on the dashboard: the spike in σ, how far down it went, and the event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltxtui.app import Dashboard
from ltxtui.deck import Deck
from ltxtui.panels.charts import CHARTS, plot
from recorder import Shock, record
from recorder.guidance import UNGUIDED
from replay.source import Liveness, load, open_path
from tests.conftest import nano_call
from tests.dashboard.driving import ROOMY, loaded, shown


@pytest.fixture(scope="module")
def archive(nano_pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from recorder.nano import components

    nano_pipe.scheduler = components.scheduler()
    shocks = [Shock("restart", at=0.8, to=0.97, seed=1)]
    with record(nano_pipe, shocks=shocks, runs_dir=tmp_path_factory.mktemp("runs")) as run:
        nano_pipe(**nano_call(8, **UNGUIDED))
    return run.path


def test_a_restart_is_a_spike_in_the_curve(archive: Path) -> None:
    run = load(archive)
    deck = Deck(run, Liveness.FINISHED)
    deck.changed(Liveness.FINISHED)
    chart = plot(CHARTS[0], deck)
    sigma = next(c.values for c in chart.curves if c.label == "σ")
    up = int(np.argmax(np.diff(sigma))) + 1
    assert sigma[up] == pytest.approx(0.97) and sigma[up] - sigma[up - 1] > 0.1 and sigma[up] > sigma[up + 1]
    assert np.sum(np.diff(sigma) > 0) == 1
    down = next(c.values for c in chart.curves if c.label == "down")
    assert np.flatnonzero(np.isfinite(down)).tolist() == [up - 1]
    assert down[up - 1] == pytest.approx(sigma[up + 1])
    planned = next(c.values for c in chart.curves if c.label == "planned")
    assert np.array_equal(np.float32(planned), np.float32(sigma))


async def test_the_event_is_told(archive: Path) -> None:
    app = Dashboard(open_path(archive))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        assert "down" in shown(pilot, "#sigma")
        await pilot.press("home")
        seen = []
        for _ in range(9):
            seen.append(shown(pilot, "#event"))
            await pilot.press("right")
        assert any("restart: σ" in text and "0.97" in text for text in seen)
