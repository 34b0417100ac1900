"""The mouse does what people expect of it: the wheel, titles of panels, keys in the footer."""

from __future__ import annotations

from typing import Any

from textual import events
from textual.pilot import Pilot

from ltxtui.app import Dashboard
from ltxtui.panels.board import Board
from ltxtui.panels.footer import FooterView
from ltxtui.screens.compare import CompareScreen
from ltxtui.screens.help import HelpScreen, HelpView
from ltxtui.screens.palette import Chooser
from tests.ltxtui.driving import ROOMY, loaded, shown, until
from tests.ltxtui.fake import messages
from tests.ltxtui.fixture import open_fixture_run
from tests.ltxtui.sources import Archive


async def wheel(pilot: Pilot[Any], at: str, down: bool, *, ctrl: bool = False) -> None:
    """One notch of the wheel over a widget."""
    kind = events.MouseScrollDown if down else events.MouseScrollUp
    await pilot._post_mouse_events([kind], at, offset=(3, 1), control=ctrl)
    await pilot.pause()


async def test_the_wheel_moves_the_cursor_and_zooms() -> None:
    app = Dashboard(Archive(messages(30)))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        assert app.deck.cursor == 29
        await wheel(pilot, "#sigma", down=False)
        await wheel(pilot, "#filmstrip", down=False)
        assert app.deck.cursor == 27 and not app.deck.zoomed
        await wheel(pilot, "#sigma", down=True)
        assert app.deck.cursor == 28
        await wheel(pilot, "#sigma", down=False, ctrl=True)
        assert app.deck.cursor == 28 and app.deck.zoomed
        await wheel(pilot, "#sigma", down=True, ctrl=True)
        assert not app.deck.zoomed


async def test_a_title_is_clicked_to_choose_and_twice_to_maximise() -> None:
    app = Dashboard(Archive(messages(30)))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        board = app.screen.query_one(Board)
        second = board.on_page[1]
        await pilot.click(f"#{second}", offset=(20, 0))
        assert board.chosen == second and board.maximised is None
        assert app.deck.cursor == 29, "the plot is below the title"
        await pilot.click(f"#{second}", offset=(20, 0), times=2)
        assert board.maximised == second
        await pilot.click(f"#{second}", offset=(20, 0), times=2)
        assert board.maximised is None
        await pilot.click(f"#{second}", offset=(20, 4), times=2)
        assert board.maximised is None and app.deck.cursor < 29


async def test_keys_in_the_footer_are_clicked() -> None:
    app = Dashboard(Archive(messages(30)))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        footer = app.screen.query_one(FooterView)

        async def click(text: str, plus: int = 0) -> None:
            await pilot.click("#footer", offset=(shown(pilot, "#footer").index(text) + plus, 0))
            await pilot.pause()

        await click("←→ step")
        assert app.deck.cursor == 28
        await click("←→ step", 1)
        assert app.deck.cursor == 29
        await pilot.click("#footer", offset=(footer.size.width - 1, 0))
        await click("? help", 3)
        assert isinstance(app.screen, HelpScreen) and "the wheel moves the cursor" in "\n".join(
            row.text for row in app.screen.query_one(HelpView).rows(120, 9)
        )
        await pilot.press("escape")
        await click(": actions", 2)
        assert isinstance(app.screen, Chooser)
        await pilot.press("escape")
        await click("q quit")
    assert app.return_code == 0


async def test_the_wheel_over_runs_side_by_side() -> None:
    app = Dashboard(Archive(messages(30)))
    async with app.run_test(size=(200, 60)) as pilot:
        await loaded(pilot)
        app.compare_runs([open_fixture_run(), open_fixture_run()])
        await until(pilot, lambda: isinstance(app.screen, CompareScreen) and app.screen.deck.points > 0)
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        deck = screen.deck
        before = deck.cursor
        await wheel(pilot, "#chart-0", down=False)
        assert deck.cursor == before - 1 and deck.selected == 0
        await wheel(pilot, "#runs", down=True)
        assert deck.selected == 1 and deck.cursor == before - 1


async def test_the_wheel_where_the_terminal_was_before_it_shrank() -> None:
    """An event that is on its way while the size changes may lie outside."""
    runs = [open_fixture_run("smooth"), open_fixture_run("restart")]
    app = Dashboard(first=lambda app: CompareScreen(runs))
    async with app.run_test(size=ROOMY) as pilot:
        await until(pilot, lambda: isinstance(app.screen, CompareScreen) and app.screen.deck.members != [])
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        before = screen.deck.cursor
        x, y = ROOMY[0] + 3, 2
        screen.post_message(events.MouseScrollUp(None, x, y, 0, 0, 0, False, False, False, x, y))
        await pilot.pause()
        assert screen.deck.cursor == before and app.is_running
