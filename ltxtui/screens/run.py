"""The run screen: header, four charts under one cursor, event line and footer, the same live and in a replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Grid
from textual.screen import Screen
from textual.timer import Timer

from ltxtui import actions
from ltxtui.deck import Deck
from ltxtui.drawing import Style
from ltxtui.panels.chart import ChartView
from ltxtui.panels.charts import CHARTS, WHITENESS
from ltxtui.panels.event_line import EventLine
from ltxtui.panels.footer import FooterView
from ltxtui.panels.header import HeaderView
from ltxtui.panels.too_small import SMALLEST, TooSmall
from ltxtui.panels.view import View
from ltxtui.screens.help import HelpScreen

_FRAME: Final = 1 / 20
"""Seconds between the pictures of a playing replay."""


def charts_across(width: int, height: int) -> int:
    """Columns of charts: side by side where that is wide enough, stacked in a narrow and high terminal."""
    if width >= 200 and height < 32:
        return 4
    return 1 if width < 110 and height >= 44 else 2


class RunScreen(Screen[None]):
    """Shows a deck and does what the registry's keys say."""

    BINDINGS: ClassVar[list[BindingType]] = [(key, action, "") for key, action in actions.bindings()]

    def __init__(self, deck: Deck, drawing: Style, clock: Callable[[], float], leave: Callable[[], None]) -> None:
        super().__init__()
        self.deck = deck
        self.drawing = drawing
        self._clock = clock
        self._leave = leave
        self._ticked = clock()
        self._frames: Timer | None = None
        self._moving = False

    def compose(self) -> ComposeResult:
        yield HeaderView(self.deck, self.drawing, id="header")
        with Grid(id="charts"):
            for chart in CHARTS:
                yield ChartView(chart, self.deck, self.drawing)
        yield EventLine(self.deck, self.drawing, id="event")
        yield FooterView(self.deck, self.drawing, id="footer")
        yield TooSmall(self.deck, self.drawing, id="too-small")

    def on_mount(self) -> None:
        self._frames = self.set_interval(_FRAME, self._tick, pause=True)
        self._show_motion()

    def on_resize(self, event: events.Resize) -> None:
        width, height = event.size
        self.set_class(width < SMALLEST[0] or height < SMALLEST[1], "-small")
        self.set_class(height >= 30, "-high")
        self.query_one("#charts", Grid).styles.grid_size_columns = charts_across(width, height)

    def show(self) -> None:
        """The deck has changed: draw what differs."""
        for view in self.query(View):
            view.changed()
        self._show_motion()

    def on_chart_view_step_picked(self, event: ChartView.StepPicked) -> None:
        self.deck.move_to(event.step)
        self.show()

    def action_do(self, id: str, which: int) -> None:
        if actions.perform(self, id, which):
            self.show()

    # Controls

    def next_drawing(self) -> None:
        styles = list(Style)
        self.drawing = styles[(styles.index(self.drawing) + 1) % len(styles)]
        for view in self.query(View):
            view.drawing = self.drawing

    def next_theme(self) -> None:
        themes = sorted(name for name in self.app.available_themes if name.startswith("ltxtui-"))
        self.app.theme = themes[(themes.index(self.app.theme) + 1) % len(themes)]

    def swap_bands(self) -> None:
        view = self.query_one("#energy", ChartView)
        view.chart = CHARTS[-1] if view.chart is WHITENESS else WHITENESS

    def toggle_help(self) -> None:
        self.app.push_screen(HelpScreen(self.deck, self.drawing, self._leave))

    def leave(self) -> None:
        self._leave()

    # Motion

    def _tick(self) -> None:
        now = self._clock()
        moved = self.deck.tick(now - self._ticked)
        self._ticked = now
        if moved:
            self.show()

    def _show_motion(self) -> None:
        """Pictures only while a replay plays: a still screen costs nothing."""
        if self._frames is None or self.deck.playing is self._moving:
            return
        self._moving = self.deck.playing
        if self._moving:
            self._ticked = self._clock()
            self._frames.resume()
        else:
            self._frames.pause()
