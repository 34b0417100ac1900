"""The dashboard: a Textual application with a stack of screens, from the list of runs to runs side by side."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from textual import events
from textual.app import SystemCommand
from textual.screen import Screen

from ltxtui import settings as user
from ltxtui.alerts.alert import Alert
from ltxtui.alerts.notifier import Notifier
from ltxtui.plot.line_plot import Style
from ltxtui.plot.roles import COMPONENTS
from ltxtui.plot.text import clean, to_ascii
from ltxtui.screens.base import ActionScreen, keyed
from ltxtui.screens.run import Opening, RunScreen
from ltxtui.state import SavedState
from ltxtui.terminal.attention import sequence
from ltxtui.terminal.endings import TerminalApp
from ltxtui.themes import THEMES, first_drawing, first_theme
from ltxtui.viewmodel.deck import Deck
from replay.model.run import Run
from replay.remote.address import RemoteHost, is_address
from replay.sources.open import Source

if TYPE_CHECKING:
    from ltxtui.home.remote import RemoteRuns
    from ltxtui.screens.home import Home

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """How a dashboard starts.

    Attributes:
        drawing: how lines are drawn; by default as the settings say, else braille, or ASCII without a UTF-8 locale.
        opening: what is shown of the run first; by default its end, with the preset of the settings.
        origin: the words of the command that shows this source again, such as `("replay", "red-disc")`.
        runs_dir: the folder of runs that the list shows.
        on_quit: called when the user quits, before the terminal is restored: a demo ends its own run here.
        clock: seconds for the pace of a replay.
        settings: the user's; by default read from their file.
        state: the remembered state; by default in the user's state file.
        first_start: whether to show the tour to users who have not seen it.
        notify: the words of the command that is run for events of live runs.
        hosts: other machines whose runs the list shows too.
        only_hosts: whether the list leaves out the runs of this machine.
        read_only: refuse every action that changes a run or writes a file, and remember nothing.
    """

    drawing: Style | None = None
    opening: Opening | None = None
    origin: Sequence[str] = ()
    runs_dir: Path = Path("runs")
    on_quit: Callable[[], None] | None = None
    clock: Callable[[], float] = time.monotonic
    settings: user.Loaded | None = None
    state: SavedState | None = None
    first_start: bool = False
    notify: Sequence[str] = ()
    hosts: Sequence[RemoteHost] = ()
    only_hosts: bool = False
    read_only: bool = False


class Dashboard(TerminalApp[None], inherit_bindings=False):
    """Shows the run that a source brings, or the list of runs, until `q`.

    Args:
        source: where the run's messages come from; closed when its screen is left. Without one the list of runs.
        options: how the dashboard starts.
        first: makes the first screen, if it is neither a run nor the list of runs.
    """

    ENABLE_COMMAND_PALETTE = False
    TITLE = "ltxtui"
    COMPONENT_CLASSES: ClassVar[set[str]] = COMPONENTS
    CSS_PATH: ClassVar[list[str | PurePath]] = [Path(__file__).parent / "screens" / "run.tcss"]

    def __init__(
        self,
        source: Source | None = None,
        options: Options | None = None,
        *,
        first: Callable[[Dashboard], ActionScreen] | None = None,
    ) -> None:
        options = options or Options()
        # Only with the terminal's own colours does NO_COLOR mean none at all; otherwise Textual turns them grey.
        # Screens have their own style sheets, but Textual reads them only where a screen is put on others.
        more = () if source is not None else (self._sheet("home"), self._sheet("compare"))
        super().__init__(css_path=[self._sheet("run"), *more], ansi_color=True if os.environ.get("NO_COLOR") else None)
        self.loaded_settings = options.settings or user.load()
        self.state = options.state or SavedState(written=not options.read_only)
        self.read_only = options.read_only
        self.drawing = options.drawing or self.settings.drawing or first_drawing()
        self.runs_dir = options.runs_dir
        self.clock = options.clock
        self._options = options
        self._source = source
        self._opening = options.opening or Opening(preset=self.settings.preset)
        self._first = first
        self._left = False
        self._remote: RemoteRuns | None = None
        self.notifier = Notifier(options.notify, self._notice) if options.notify else None
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self.settings.theme or first_theme()

    @staticmethod
    def _sheet(screen: str) -> Path:
        return Path(__file__).parent / "screens" / f"{screen}.tcss"

    @property
    def settings(self) -> user.Settings:
        return self.loaded_settings.settings

    @property
    def plain(self) -> bool:
        return self.drawing is Style.ASCII

    @property
    def deck(self) -> Deck:
        """The deck of the run that is on top. Raises LookupError if none is open."""
        for screen in reversed(self.screen_stack):
            if isinstance(screen, RunScreen):
                return screen.deck
        raise LookupError("no run is open")

    @property
    def depth(self) -> int:
        """The number of screens on the stack, dialogs not counted."""
        return sum(isinstance(screen, ActionScreen) for screen in self.screen_stack)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict(THEMES[0].variables)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        return ()

    def get_default_screen(self) -> Screen[None]:
        if self._first is not None:
            return self._first(self)
        if self._source is not None:
            return self._run_screen(self._source, self._options.origin, self._opening)
        from ltxtui.screens.home import Home

        shelf = None
        if self._options.hosts:
            from ltxtui.home.remote import RemoteRuns, shelf_of

            self._remote = RemoteRuns(self._options.hosts)
            shelf = shelf_of(self._options.hosts, None if self._options.only_hosts else self.runs_dir)
        return keyed(Home, self.settings.keys)(self.runs_dir, self.drawing, shelf=shelf, keymap=self.settings.keys)

    def on_mount(self) -> None:
        # Back from Ctrl-Z the terminal shows the shell's screen, and Textual draws only what differs from its own.
        self.app_resume_signal.subscribe(self, lambda _: self.redraw())
        if notice := self.loaded_settings.notice:
            self.notify(notice, severity="warning", markup=False, timeout=12)
        if self._options.first_start and self.settings.tour and not self.state.tour_seen:
            self.call_after_refresh(self._show_tour)

    def _show_tour(self) -> None:
        if isinstance(self.screen, ActionScreen):
            self.show_tour(self.screen)

    def redraw(self) -> None:
        """Draw every cell, whatever the terminal shows."""
        self.refresh(layout=True)

    def next_theme(self) -> None:
        names = [theme.name for theme in THEMES]
        self.theme = names[(names.index(self.theme) + 1) % len(names)]

    def notify(self, message: str, **more: Any) -> None:
        """A notice in a corner, in ASCII where the screen is; as Textual's otherwise."""
        super().notify(to_ascii(message) if self.drawing is Style.ASCII else message, **more)

    def _notice(self, text: str) -> None:
        """Show a notice from another thread."""
        with contextlib.suppress(RuntimeError):  # the app has ended
            self.call_later(self.notify, text, severity="warning", markup=False, timeout=8)

    def alert(self, alert: Alert) -> None:
        """Call for the user's attention, as the settings say, and run the command of `--notify`."""
        if alert.rings and self.settings.alerts and self._driver is not None and not self.is_headless:
            # The driver writes whole strings in their order, so that this cannot come inside a frame.
            self._driver.write(sequence(f"{alert.run}: {alert.text}", plain=self.plain))
        if self.notifier is not None:
            self.notifier.send(alert)

    # The stack of screens

    def open_run(self, source: Source, origin: Sequence[str] = (), opening: Opening | None = None) -> None:
        """Show a run on top of this screen; the source is closed when its screen is left."""
        self.push_screen(self._run_screen(source, origin, opening or Opening(preset=self.settings.preset)))

    def compare_runs(self, runs: Sequence[Path | Run]) -> None:
        """Show two to eight runs side by side, on top of this screen."""
        from ltxtui.screens.compare import compare_screen

        self.push_screen(compare_screen(runs, self.settings.keys))

    # Dialogs that every screen has

    def show_palette(self, over: ActionScreen) -> None:
        """Every action of a screen by its name; the chosen one is done on it."""
        from ltxtui.screens.palette import Chooser, entries

        def chosen(entry: str | None) -> None:
            if entry is not None:
                id, _, which = entry.partition(" ")
                over.action_do(id, int(which))

        self.push_screen(Chooser(entries(over), "What to do?", self.drawing), chosen)

    def show_help(self, over: ActionScreen) -> None:
        from ltxtui.screens.help import HelpScreen

        self.push_screen(HelpScreen(over))

    def show_tour(self, over: ActionScreen) -> None:
        from ltxtui.screens.tour import TourScreen

        self.push_screen(TourScreen(over))

    # Requests of the list of runs

    def on_key(self, event: events.Key) -> None:
        """Give a character to the text box that has the focus by now: it was sent before, by fast typing or a paste.

        A box keeps the characters that reach it, so that none of them comes here.
        """
        from textual.widgets import Input

        if event.character is not None and event.is_printable and isinstance(self.focused, Input):
            event.stop()
            event.prevent_default()
            self.focused.post_message(events.Key(event.key, event.character))

    def on_home_open_asked(self, event: Home.OpenAsked) -> None:
        if len(self.screen_stack) != 1:
            return  # asked again: a screen is already open over the list
        from replay.model.run import NotARun
        from replay.sources.open import open_path
        from replay.sources.reconnect import open_live

        words = ("replay", str(event.path)) if event.socket is None else ("watch", event.run.name)
        try:
            if event.run.host and self._remote is not None:
                source, words = self._remote.open(event.run), self._remote.words(event.run)
            else:
                source = open_path(event.path) if event.socket is None else open_live(event.socket, event.path)
        except (NotARun, OSError) as error:
            self.notify(f"cannot be opened: {clean(error)}", severity="error", markup=False, timeout=8)
        else:
            self.open_run(source, words)

    def on_home_compare_asked(self, event: Home.CompareAsked) -> None:
        if len(self.screen_stack) != 1:
            return
        remote, paths = self._remote, event.paths
        if remote is None or not any(is_address(str(path).replace(":/", "://", 1)) for path in paths):
            self.compare_runs(paths)
            return
        self.notify("fetching archives …", markup=False, timeout=4)
        self.in_background(lambda: [remote.fetched(path) for path in paths], self._compare_fetched)

    def _compare_fetched(self, paths: Sequence[Path]) -> None:
        if len(self.screen_stack) == 1:
            self.compare_runs(paths)

    def back(self) -> None:
        """To the screen below; from the first screen, quit."""
        if self.depth > 1:
            self.pop_screen()
        else:
            self.leave()

    def action_leave(self) -> None:
        self.leave()

    def leave(self) -> None:
        """End the dashboard, once. A run that is being recorded continues, unless `on_quit` ends it."""
        if self._left:
            return
        self._left = True
        if self._options.on_quit is not None:
            self._options.on_quit()
        self.exit()

    def in_background(self, work: Callable[[], T], done: Callable[[T], None]) -> None:
        """Work in a thread, then call `done` with the result; an error is shown as a notice."""

        def run() -> None:
            try:
                result = work()
            except (OSError, RuntimeError, ValueError) as error:
                self.call_later(self.notify, str(error), severity="error", markup=False, timeout=8)
            else:
                self.call_later(done, result)

        self.run_worker(run, thread=True, exit_on_error=True)

    def _run_screen(self, source: Source, origin: Sequence[str], opening: Opening) -> RunScreen:
        return keyed(RunScreen, self.settings.keys)(source, origin, opening, self.clock)
