"""Pictures of the dashboard; after a wanted change: pytest tests/ltxtui --snapshot-update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from ltxtui.app import Dashboard, Options
from ltxtui.plot.line_plot import Style
from recorder.format.protocol import Message
from tests.ltxtui.driving import dashboard, loaded, until
from tests.ltxtui.fake import messages
from tests.ltxtui.sources import Archive, Live

Snap = Callable[..., bool]
SIZES = [(80, 24), (120, 40)]


def pressing(*keys: str) -> Callable[[Pilot[None]], Any]:
    async def run(pilot: Pilot[None]) -> None:
        await loaded(pilot)
        await pilot.press(*keys)
        await pilot.pause()

    return run


@pytest.mark.parametrize("size", SIZES)
def test_replay(snap_compare: Snap, size: tuple[int, int]) -> None:
    assert snap_compare(Dashboard(Archive(messages(30))), terminal_size=size, run_before=pressing("left", "left"))


@pytest.mark.parametrize("size", SIZES)
def test_live(snap_compare: Snap, size: tuple[int, int]) -> None:
    source = Live()
    source.send(live_messages(12))

    async def run(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: dashboard(pilot).deck.visible == 12)

    assert snap_compare(Dashboard(source), terminal_size=size, run_before=run)


def test_ascii(snap_compare: Snap) -> None:
    app = Dashboard(Archive(messages(30)), Options(drawing=Style.ASCII))
    assert snap_compare(app, terminal_size=(80, 24), run_before=pressing("home"))


def test_light_blocks(snap_compare: Snap) -> None:
    app = Dashboard(Archive(messages(30, batch=2, stages=2)))
    assert snap_compare(app, terminal_size=(120, 40), run_before=pressing("d", "t", "w", "left"))


def test_no_colour(snap_compare: Snap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = Dashboard(Archive(messages(30)))
    assert snap_compare(app, terminal_size=(80, 24), run_before=pressing("left"))


def test_help(snap_compare: Snap) -> None:
    app = Dashboard(Archive(messages(30)))
    assert snap_compare(app, terminal_size=(120, 40), run_before=pressing("question_mark"))


def test_too_small(snap_compare: Snap) -> None:
    assert snap_compare(Dashboard(Archive(messages(5))), terminal_size=(50, 12), run_before=pressing())


def live_messages(upto: int) -> list[Message]:
    """The run so far after a number of steps."""
    return [
        m for m in messages(30) if m["t"] in ("header", "stage", "stream") or m.get("step", 99) in (None, *range(upto))
    ]
