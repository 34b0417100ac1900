"""A machine that stops the process now and then takes nothing from the dashboard."""

from __future__ import annotations

import time

import pytest
from textual import _time

from ltxtui.app import Dashboard
from tests.ltxtui.driving import loaded, resized
from tests.ltxtui.fixture import open_fixture


async def test_a_change_of_size_is_seen_though_the_process_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Textual's timer looks at the clock twice before it waits; more time passes between than it is to wait."""
    app = Dashboard(open_fixture())
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        stopped = 0.0

        def late() -> float:
            nonlocal stopped
            stopped += 0.02
            return time.monotonic() + stopped

        monkeypatch.setattr(_time, "get_time", late)
        await resized(pilot, 100, 30)
        await resized(pilot, 120, 36)
        assert app.screen.size == (120, 36)
