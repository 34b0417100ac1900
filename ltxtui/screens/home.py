"""The home screen: live and recorded runs in one list, to be found, opened, compared, renamed, tagged and deleted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Final

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input

from ltxtui import actions
from ltxtui.home import query
from ltxtui.home.draw import cell_text
from ltxtui.home.model import HomeModel
from ltxtui.home.naming import named, named_as
from ltxtui.home.remote import elsewhere
from ltxtui.panels.footer import FooterView
from ltxtui.plot.line_plot import Style
from ltxtui.screens.base import ActionScreen
from ltxtui.screens.confirm import Ask, Confirm
from ltxtui.screens.home_views import HomeDetails, HomeHeading, HomeTable, HomeTitle, no_runs
from ltxtui.screens.too_small import SMALLEST, TooSmall
from replay.library import edit
from replay.library.run_info import RunInfo
from replay.library.unreadable import Unreadable
from replay.library.watcher import RunWatcher
from replay.remote.fleet import FleetWatcher, HostProblem, Shelf

LOOK_SECONDS: Final = 1.0
"""Seconds between checks for new runs and the progress of live ones."""
_BUSY_SECONDS: Final = 0.02
"""Pause between passes while archives are read for the first time, so that keys are answered."""


class Home(ActionScreen):
    """The list of runs of a folder. It posts `OpenAsked` and `CompareAsked` for the app to handle."""

    CSS_PATH = "home.tcss"

    class OpenAsked(Message):
        """Request to show a run: from its socket if it is live and has one, else from its archive."""

        def __init__(self, run: RunInfo) -> None:
            super().__init__()
            self.run = run
            self.path = run.path
            self.socket = run.socket

    class CompareAsked(Message):
        """Request to compare runs: the paths of their archives, in the order in which they were marked."""

        def __init__(self, paths: Sequence[Path]) -> None:
            super().__init__()
            self.paths = list(paths)

    BINDINGS: ClassVar[list[BindingType]] = [(key, action, "") for key, action in actions.bindings("home")]
    kind = "home"

    def __init__(
        self, runs_dir: Path, style: Style, *, shelf: Shelf | None = None, keymap: actions.Keymap | None = None
    ) -> None:
        """`shelf` gives the runs; by default it watches the folder, with its cache."""
        super().__init__()
        self._list = HomeModel()
        self._list.remote = isinstance(shelf, FleetWatcher)
        self._runs_dir = runs_dir
        self._style = style
        self._shelf = shelf
        self._keymap = keymap
        self._lock = threading.Lock()
        self._wake = asyncio.Event()
        self._reading = (0, 0)
        self._work = ""
        """The work in progress on several runs."""
        self._passes = 0
        self._typed_more: str | None = None  # not filtered by yet

    @property
    def model(self) -> HomeModel:
        return self._list

    def command(self) -> list[str]:
        hosts = self._shelf.words if isinstance(self._shelf, FleetWatcher) else None
        return ["ltxtui", *(hosts or [f"--runs-dir={self._runs_dir}"])]

    def compose(self) -> ComposeResult:
        model, style = self._list, self._style
        yield HomeTitle(model, style, self._place, self._said)
        yield Input(placeholder=query.HELP, id="home-filter", select_on_focus=False)
        yield HomeHeading(model, style, id="home-heading")
        yield HomeTable(model, style, self._nothing)
        yield HomeDetails(model, style, id="home-details")
        read_only = self.dashboard.read_only
        yield FooterView(model, style, screen="home", keymap=self._keymap, read_only=read_only, id="footer")
        yield TooSmall(model, style, id="too-small")  # type: ignore[arg-type]

    def _place(self) -> str:
        return self._shelf.place if isinstance(self._shelf, FleetWatcher) else str(self._runs_dir)

    def _said(self) -> tuple[int, int, str]:
        return *self._reading, self._work

    def _nothing(self) -> list[str]:
        return no_runs(self._list, self._place(), self._reading[0] or not self._passes, self.drawing is Style.ASCII)

    def on_mount(self) -> None:
        self.run_worker(self._watch(), name="runs", exit_on_error=True)

    def on_resize(self, event: events.Resize) -> None:
        width, height = event.size
        self.set_class(width < SMALLEST[0] or height < SMALLEST[1], "-small")
        self.set_class(height >= 30, "-high")

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self._wake.set()

    async def on_unmount(self) -> None:
        await asyncio.to_thread(self._close)

    # The runs

    @property
    def _seen(self) -> bool:
        """Whether only dialogs are above it; Textual's `is_current` is true below one other screen too."""
        stack = self.app.screen_stack
        return self in stack and all(isinstance(s, ModalScreen) for s in stack[stack.index(self) + 1 :])

    async def _watch(self) -> None:
        """Passes over the folder in a thread, one after the other, while the screen is shown."""
        while True:
            self._wake.clear()
            if self._seen:
                await self._pass()
            try:
                rest = _BUSY_SECONDS if self._reading[0] else LOOK_SECONDS
                await asyncio.wait_for(self._wake.wait(), rest if self._seen else None)
            except TimeoutError:
                continue

    async def _pass(self) -> None:
        runs, unreadable, reading = await asyncio.to_thread(self._look)
        others = unreadable != self._list.unreadable or reading != self._reading
        changed = self._list.set_runs(runs) or others or not self._passes
        self._list.unreadable = unreadable
        self._passes += 1
        self._reading = reading
        if changed:
            self.show()

    def _look(self) -> tuple[list[RunInfo], list[Unreadable], tuple[int, int]]:
        with self._lock:
            if self._shelf is None:
                self._shelf = RunWatcher(self._runs_dir)
            # Recorders are queried from the second pass on, so that the list appears sooner.
            if self._passes:
                self._shelf.look_for_sockets()
            self._shelf.update()
            unreadable = self._shelf.unreadable
            files = sum(not isinstance(each, HostProblem) for each in unreadable)
            return self._shelf.runs, unreadable, (self._shelf.pending, files)

    def _close(self) -> None:
        with self._lock:
            if self._shelf is not None:
                self._shelf.close()

    # What is clicked and typed

    @on(HomeTable.Picked)
    def _picked(self, event: HomeTable.Picked) -> None:
        self._list.move_to(event.index)
        self.show()
        if event.opened:
            self.open_run()

    @on(HomeTable.Scrolled)
    def _scrolled(self, event: HomeTable.Scrolled) -> None:
        self._list.scroll(event.by)
        self.show()

    @on(HomeHeading.SortAsked)
    def _sort_asked(self, event: HomeHeading.SortAsked) -> None:
        self._list.sort_by(event.column)
        self.show()

    @on(Input.Changed, "#home-filter")
    def _typed(self, event: Input.Changed) -> None:
        # Once for all characters that have come: a pass over 50,000 runs for each would fall behind.
        if self._typed_more is None:
            self.call_later(self._filter)
        self._typed_more = event.value

    def _filter(self) -> None:
        if self._typed_more is not None:
            self._list.filter(self._typed_more)
            self._typed_more = None
            self.show()

    @on(Input.Submitted, "#home-filter")
    def _taken(self) -> None:
        self._filter()
        self._end_filter(keep=True)

    def ask_filter(self) -> None:
        self.add_class("-filtering")
        self.set_focus(self.query_one("#home-filter", Input))

    def _end_filter(self, *, keep: bool) -> None:
        box = self.query_one("#home-filter", Input)
        if not keep:
            box.value = ""
            self._typed_more = None
            self._list.filter("")
        self.set_class(keep and bool(box.value), "-filtering")
        self.set_focus(None)
        self.show()

    def close(self) -> None:
        if self.has_class("-filtering"):
            self._end_filter(keep=False)
        elif self._list.marks:
            self._list.unmark()
        else:
            super().close()

    # What is done with runs

    def open_run(self) -> None:
        if self._list.current is not None:
            self.post_message(self.OpenAsked(self._list.current))

    def compare_runs(self) -> None:
        self.post_message(self.CompareAsked([run.path for run in self._list.comparable]))

    def _elsewhere(self, runs: Sequence[RunInfo]) -> bool:
        """Whether runs are of other machines, where they are changed; says so."""
        if said := elsewhere(runs):
            self.say(cell_text(said), alert=True)
        return bool(said)

    def copy_path(self) -> None:
        run = self._list.current
        if run is None or self._elsewhere([run]):
            return
        path = str(run.path.absolute())
        if not path.isprintable():
            # Pasted into a shell, a line break in a name would be a command.
            self.say("the path has characters that cannot be pasted safely; rename the run first", alert=True)
            return
        self.app.copy_to_clipboard(path)
        self.say(f"copied: {path}")

    def ask_name(self) -> None:
        run = self._list.current
        if run is None or self._elsewhere([run]):
            return
        time, name = edit.name_part(run.path)

        def answered(said: str | None) -> None:
            if said is not None and said.strip():
                self._change([run], lambda path: edit.rename(path, said), "renaming", "renamed", named_as(said))

        known = cell_text(f"{time}{name}")
        hint = "letters, digits, . _ -"
        self.app.push_screen(Ask(f"New name of {known}", cell_text(name), hint, self.drawing), answered)

    def ask_tags(self) -> None:
        runs = self._list.chosen
        if not runs or self._elsewhere(runs):
            return

        def answered(said: str | None) -> None:
            if said is not None:
                self._change(runs, lambda path: edit.set_tags(path, edit.read_tags(said)), "tagging", "tagged")

        tags = " ".join(dict.fromkeys(cell_text(tag) for run in runs for tag in run.tags))
        hint = "separated by spaces; empty: none"
        self.app.push_screen(Ask(f"Tags of {named(runs)}", tags, hint, self.drawing), answered)

    def ask_delete(self) -> None:
        runs = self._list.chosen
        if not runs or self._elsewhere(runs):
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._change(runs, edit.delete, "deleting", "deleted")

        question = f"Delete {named(runs)} for good, with everything recorded?"
        self.app.push_screen(Confirm(question, "delete", drawing=self.drawing), answered)

    def _change(
        self,
        runs: Sequence[RunInfo],
        change: Callable[[Path], Path | None],
        doing: str,
        done: str,
        note: Callable[[Path], str] = lambda path: "",
    ) -> None:
        """Change runs in a thread; show progress and result, and read the runs again.

        `note` gives a remark for the user on a path that has changed.
        """
        loop = asyncio.get_running_loop()
        if len(runs) > 1:
            self._work = f"{doing} {len(runs)} runs"
            self.show()

        def progress(count: int) -> None:
            self._work = f"{doing} {count} of {len(runs)} runs" if count < len(runs) else ""
            self.show()

        def work() -> tuple[list[Path | None], str]:
            with self._lock:
                changed: list[Path | None] = []
                problem = ""
                for run in runs:
                    try:
                        changed.append(change(run.path))
                    except edit.CannotChange as error:
                        problem = str(error)
                        break
                    finally:
                        if self._shelf is not None:
                            self._shelf.forget(run.path)
                    if len(runs) > 1:
                        loop.call_soon_threadsafe(progress, len(changed))
                return changed, problem

        async def worked() -> None:
            changed, problem = await asyncio.to_thread(work)
            self._work = ""
            if changed:
                notes = "".join(f"; {said}" for path in changed if path is not None and (said := note(path)))
                self.say(f"{done} {named(runs[: len(changed)])}{notes}")
            if problem:
                self.say(cell_text(problem), alert=True)
            await self._pass()
            if len(changed) == 1 and changed[0] is not None and self._list.find(changed[0]):
                self.show()

        self.run_worker(worked(), name=done, exit_on_error=True)
