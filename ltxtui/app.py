"""The dashboard: a Textual application over one source of a run, live or replayed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.message import Message
from textual.screen import Screen

from ltxtui.deck import Deck
from ltxtui.drawing import Style
from ltxtui.feed import Feed
from ltxtui.screens.run import RunScreen
from ltxtui.themes import THEMES, first_drawing, first_theme
from replay.run import Run
from replay.source import Source


class RunChanged(Message):
    """The run has grown or ended. A flood of them collapses into one redraw."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunChanged)


class Dashboard(App[None], inherit_bindings=False):
    """Shows the run that a source brings, until `q`.

    Args:
        source: where the run's messages come from; closed when the dashboard ends.
        drawing: how lines are drawn; by default braille, or ASCII without a UTF-8 locale.
        playing: whether a replay starts playing from its first step instead of showing everything.
        speed: of the replay; 1 is the recorded pace, infinity as fast as the screen goes.
        on_quit: called when the person quits, before the screen is given back: a demo ends its own run here.
        clock: seconds for the pace of a replay.
    """

    ENABLE_COMMAND_PALETTE = False
    TITLE = "ltxtui"
    CSS_PATH: ClassVar[list[str | PurePath]] = ["screens/run.tcss", "screens/help.tcss"]

    def __init__(
        self,
        source: Source,
        *,
        drawing: Style | None = None,
        playing: bool = False,
        speed: float = 1.0,
        on_quit: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Only with the terminal's own colours does NO_COLOR mean none at all; otherwise Textual turns them grey.
        super().__init__(ansi_color=True if os.environ.get("NO_COLOR") else None)
        self.source = source
        self.drawing = drawing or first_drawing()
        self.deck = Deck(Run(), source.liveness, playing=playing, speed=speed)
        self._feed = Feed(source, self.deck.run, self._announce)
        self._on_quit = on_quit
        self._clock = clock
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = first_theme()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict(THEMES[0].variables)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        return ()

    def get_default_screen(self) -> Screen[None]:
        return RunScreen(self.deck, self.drawing, self._clock, self.leave)

    def on_mount(self) -> None:
        self.run_worker(self._feed.run(), name="feed", exit_on_error=True)

    def on_run_changed(self) -> None:
        self.deck.note = self._feed.note
        self.deck.changed(self._feed.liveness, loading=not self._feed.done)
        screen = self.screen_stack[0]
        if isinstance(screen, RunScreen):
            screen.show()

    def leave(self) -> None:
        """End the dashboard. The recorded run goes on, unless `on_quit` ends it."""
        if self._on_quit is not None:
            self._on_quit()
        self.exit()

    async def on_unmount(self) -> None:
        await self._feed.close()

    def _announce(self) -> None:
        self.post_message(RunChanged())
