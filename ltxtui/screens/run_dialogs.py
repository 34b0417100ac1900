"""The run screen's dialogs and background work: go to a step, add a panel, compare, commands, CSV export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ltxtui.panels.board import Board
from ltxtui.panels.findings import FindingsView, explanation
from ltxtui.screens.base import ActionScreen, Entry
from ltxtui.viewmodel.deck import Deck
from recorder.format import locations
from recorder.format.numerals import real, whole
from recorder.format.protocol import Command
from replay.sources.open import Source

if TYPE_CHECKING:
    from recorder.shocks.spec import Shock


class RunDialogs(ActionScreen, inherit_bindings=False):
    """The dialogs of a screen over one run; their modules are imported when they are opened."""

    deck: Deck
    source: Source
    origin: tuple[str, ...]

    @property
    def board(self) -> Board:
        raise NotImplementedError

    def go_to(self) -> None:
        from ltxtui.screens.confirm import Ask

        self.app.push_screen(Ask("Go to which step?", hint="12, or 30% of the run", drawing=self.drawing), self._go_to)

    def _go_to(self, asked: str | None) -> None:
        if asked is None or not asked.strip():
            return
        text = asked.strip()
        try:
            if text.endswith("%"):
                self.deck.seek(real(text[:-1]) / 100)
            else:
                self.deck.seek_to(whole(text) + 1)
        except (ValueError, OverflowError):
            self.say(f"{text!r} is neither a step such as 12 nor a part such as 30%", alert=True)
        self.show()

    def choose_panel(self) -> None:
        from ltxtui.screens.palette import Chooser

        shown = self.board.shown
        found = [
            Entry(p.id, p.title, "shown" if p.id in shown else "", p.about(self.deck))
            for p in self.board.panels.values()
        ]
        self.app.push_screen(Chooser(found, "Which panel?", self.drawing), self._add)

    def _add(self, id: str | None) -> None:
        if id is not None:
            self.board.add(id)
            self.show()

    def explain_finding(self) -> None:
        from ltxtui.screens.finding import FindingScreen

        if (found := self.deck.findings.chosen) is not None:
            self.app.push_screen(FindingScreen(explanation(found, self.deck), self.drawing))

    def show_help(self) -> None:
        """The keys; in the list of findings, the selected finding."""
        if self.in_findings and self.deck.findings.found:
            self.explain_finding()
        else:
            super().show_help()

    @property
    def in_findings(self) -> bool:
        """Whether the list of findings has the focus."""
        return isinstance(self.focused, FindingsView)

    def compare_with(self) -> None:
        if self._is_fetching():
            return
        runs_dir, own = self.folder, self.deck.run.name

        def look() -> list[Entry]:
            from replay.library.listing import cached_runs

            found = [r for r in cached_runs(runs_dir) if r.name != own]
            return [Entry(str(r.path), r.name, r.status, r.prompt) for r in found]

        self.dashboard.in_background(look, self._choose_other)

    def _is_fetching(self) -> bool:
        """Whether values are on their way from a store, which is said then."""
        if self.deck.fetching:
            self.say("values are still being fetched; try again when they are here")
        return self.deck.fetching

    def _choose_other(self, found: list[Entry]) -> None:
        from ltxtui.screens.palette import Chooser

        if not self.on_top:
            return  # another screen was opened while the folder was read
        if found:
            self.app.push_screen(Chooser(found, "Compare with which run?", self.drawing), self._compare)
        else:
            self.say(f"{self.folder} holds no other run", alert=True)

    def _compare(self, path: str | None) -> None:
        if path is not None:
            self.dashboard.compare_runs([self.place or self.deck.run, Path(path)])

    @property
    def place(self) -> Path | None:
        """The path of the run's archive on this machine: where it was opened, else as its header says; else None."""
        if (opened := self._opened) is not None:
            return opened
        archive = locations.archive_in_place(Path(str(self.deck.run.header.get("archive", ""))))
        here = archive.is_absolute() and (archive.exists() or locations.journal_of(archive).exists())
        return archive if here else None

    @property
    def folder(self) -> Path:
        """The folder that the run is in; the dashboard's where the run is not on this machine."""
        return self.dashboard.runs_dir if self.place is None else self.place.parent

    @property
    def _opened(self) -> Path | None:
        """The archive that the command line or the list of runs named."""
        given = Path(self.origin[-1]) if len(self.origin) > 1 else Path()
        if given.suffix == locations.JOURNAL_SUFFIX:
            given = locations.archive_of(given)
        there = given.suffix == locations.ARCHIVE_SUFFIX or locations.is_packed(given)
        there = there and (given.exists() or locations.journal_of(given).exists())
        return given.absolute() if there else None

    def export_panel(self) -> None:
        if self._is_fetching():
            return
        from ltxtui.reports.export import save_csv

        panel = self.board.panels.get(self.board.chosen or "")
        if panel is None:
            return
        table, folder = panel.table(self.deck), self.dashboard.settings.export_dir
        stage = f"-stage-{self.deck.stage_index}" if len(self.deck.run.stages) > 1 else ""
        name = f"{self.deck.run.name}{stage}-{panel.id}"
        self.dashboard.in_background(lambda: save_csv(table, folder, name), self.say)

    def ask_shock(self) -> None:
        from ltxtui.screens.shock import ShockScreen

        def send(shock: Shock | None) -> None:
            if shock is not None:
                self._send("shock", shock)

        self.app.push_screen(ShockScreen(self.deck, self.drawing), send)

    def ask_stop(self) -> None:
        from ltxtui.screens.confirm import Confirm

        question = f"Stop {self.deck.run.name} after the current step? What was recorded is kept."
        ask = Confirm(question, "stop the run", drawing=self.drawing)
        self.app.push_screen(ask, lambda yes: self._send("stop") if yes else None)

    def ask_snapshot(self) -> None:
        self._send("snapshot")

    def _send(self, command: Command, shock: Shock | None = None) -> None:
        """Give a command to the recorder in a thread: its answer comes with the next step."""
        from ltxtui.viewmodel.send_command import give

        self.say(f"{command} sent; the recorder answers at the next step")
        name = self.deck.run.name
        socket = getattr(self.source, "command_socket", None) or getattr(self.source, "socket_path", None)
        self.dashboard.in_background(lambda: give(command, shock, socket, name), self.say)
