"""What arrives while a screen is removed, such as the result of a thread, must not end the dashboard with an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textual import events

from ltxtui.app import Dashboard, Options
from ltxtui.panels.view import View
from ltxtui.screens.base import ActionScreen
from ltxtui.screens.compare import CompareScreen
from tests.ltxtui.driving import ROOMY
from tests.ltxtui.fake import messages
from tests.ltxtui.fixture import journal_file
from tests.ltxtui.sources import Archive


def run_screen(folder: Path) -> Dashboard:
    return Dashboard(Archive(messages(5)))


def compare_screen(folder: Path) -> Dashboard:
    runs = [journal_file(folder, "smooth"), journal_file(folder, "restart")]
    return Dashboard(first=lambda app: CompareScreen(runs))


def home(folder: Path) -> Dashboard:
    journal_file(folder, "smooth")
    return Dashboard(options=Options(runs_dir=folder))


@pytest.mark.parametrize("opened", [run_screen, compare_screen, home])
async def test_a_change_that_comes_while_the_screen_goes_is_not_drawn(
    opened: Callable[[Path], Dashboard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, late = opened(tmp_path), 0
    async with app.run_test(size=ROOMY) as pilot:
        await pilot.pause()
        screen = app.screen_stack[0]
        assert isinstance(screen, ActionScreen)

        def gone(view: View, event: events.Unmount) -> None:
            nonlocal late
            late += 1
            screen.show()
            screen.on_resize(events.Resize(screen.size, screen.size))

        monkeypatch.setattr(View, "on_unmount", gone, raising=False)
    assert late > 2
