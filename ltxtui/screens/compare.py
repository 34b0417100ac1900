"""The compare screen: up to eight runs under one cursor, read in the background, live ones followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Grid
from textual.content import Content
from textual.errors import NoWidget
from textual.message import Message

from ltxtui import actions
from ltxtui.compare.deck import CompareDeck, Face
from ltxtui.compare.loading import Loader, Opener
from ltxtui.compare.member import members
from ltxtui.panels.compare.chart import CompareChart
from ltxtui.panels.compare.findings import CompareFindings
from ltxtui.panels.compare.frames import CompareFrames
from ltxtui.panels.compare.header import CompareHeader
from ltxtui.panels.compare.pictures import ComparePictures
from ltxtui.panels.compare.runs import CompareRuns
from ltxtui.panels.compare.table import CompareTable
from ltxtui.panels.footer import FooterView
from ltxtui.reports.export import Table
from ltxtui.screens.base import ActionScreen, keyed
from ltxtui.screens.too_small import SMALLEST, TooSmall
from ltxtui.viewmodel.usual import baselines_of
from replay.baseline import Baseline
from replay.comparison.alignment import Align
from replay.model.run import NotARun, Run
from replay.sources.open import open_path

_WIDE: Final = (160, 40)
"""From this size on summary and pictures are shown next to the charts."""
_MOST_CHARTS: Final = 6
_LEAST_WIDTH: Final = 46
_LEAST_HEIGHT: Final = 7
_GOOD_HEIGHT: Final = 12
_SIDE: Final = (64, 96)


def room_for(width: int, height: int) -> tuple[int, int]:
    """Columns and rows of charts that an area has room for: at most six charts, none too small to read."""
    across = max(1, min(width // _LEAST_WIDTH, 3 if height < 3 * _GOOD_HEIGHT else 2))
    high = _GOOD_HEIGHT if height >= 2 * _GOOD_HEIGHT else _LEAST_HEIGHT
    down = max(1, min(height // high, _MOST_CHARTS // across))
    return across, down


class RunsChanged(Message):
    """A run was read, has grown or has ended. Queued messages are merged into one redraw."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunsChanged)


class CompareScreen(ActionScreen, inherit_bindings=False):
    """Shows runs side by side and does what the registry's keys say."""

    CSS_PATH = "compare.tcss"
    kind = "compare"
    BINDINGS: ClassVar[list[BindingType]] = [(key, action, "") for key, action in actions.bindings("compare")]

    def __init__(
        self,
        runs: Sequence[Path | Run],
        *,
        align: Align = "step",
        stage: int | None = None,
        stream: str = "",
        item: int | None = None,
        metrics: Sequence[str] = (),
        tolerance: float = 0.0,
        opener: Opener = open_path,
        face: Face = "charts",
    ) -> None:
        """Two to eight runs: paths of archives or journals, read in the background, or runs in memory.

        `metrics` are shown before the others; `tolerance` is the relative difference up to which rows are the same;
        `opener` gives the source of a path; `face` is what fills the screen at first.

        Raises:
            ValueError: if there are fewer or more.
        """
        super().__init__()
        self.deck = CompareDeck(
            members(list(runs)), align=align, stage=stage, stream=stream, metrics=metrics, tolerance=tolerance
        )
        self.deck.item = item
        self.deck.face = self._first_face = face
        self._loader = Loader(self.deck.members, self._announce, opener)

    @property
    def model(self) -> CompareDeck:
        return self.deck

    def compose(self) -> ComposeResult:
        deck, drawing = self.deck, self.drawing
        back = "back" if self.dashboard.depth > 1 else ""
        yield CompareHeader(deck, drawing, id="header")
        yield CompareRuns(deck, drawing, id="runs")
        with Container(id="body"):
            yield CompareFindings(deck, drawing, id="findings")
            with Grid(id="charts"):
                for place in range(_MOST_CHARTS):
                    yield CompareChart(place, deck, drawing)
            with Container(id="side"):
                yield CompareTable(deck, drawing, id="table")
                yield ComparePictures(deck, drawing, id="pictures")
            yield CompareFrames(deck, drawing, id="frames")
        keymap, read_only = self.dashboard.settings.keys, self.dashboard.read_only
        yield FooterView(deck, drawing, screen="compare", keymap=keymap, back=back, read_only=read_only, id="footer")
        yield TooSmall(deck, drawing, id="too-small")  # type: ignore[arg-type]

    def _announce(self) -> None:
        self.post_message(RunsChanged())

    def on_mount(self) -> None:
        self.run_worker(self._loader.run(), name="loader", exit_on_error=True)

    def on_resize(self, event: events.Resize) -> None:
        self.lay_out()

    def on_runs_changed(self) -> None:
        self.deck.changed()
        reference = self.deck.reference.run
        if reference is not None and not self.deck.loading and self.deck.usual.wanted(reference):
            self.dashboard.in_background(lambda: baselines_of(reference), self._take_usual)
        self.show()

    def _take_usual(self, baselines: Mapping[str, Baseline]) -> None:
        self.deck.usual.take(baselines)
        self.show()

    def on_compare_chart_point_picked(self, event: CompareChart.PointPicked) -> None:
        self.deck.move_to(event.point)
        self.show()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, -1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, 1)

    def _wheel(self, event: events.MouseEvent, by: int) -> None:
        """The wheel scrolls the list of runs and the pages of the table; elsewhere it moves the cursor."""
        if not self.on_top:
            return
        try:
            under = self.app.get_widget_at(event.screen_x, event.screen_y)[0]
        except NoWidget:  # the terminal has become smaller since
            return
        if isinstance(under, CompareRuns):
            self.deck.select(by)
        elif isinstance(under, CompareTable | CompareFindings):
            self.deck.scrolled = max(0, self.deck.scrolled + by)
        else:
            self.deck.move(by)
        self.show()

    def show(self) -> None:
        if self.is_current:
            self.lay_out()
        super().show()

    def lay_out(self) -> None:
        """As many charts as there is room for, and what the size or the user has chosen next to them."""
        if not self.made:
            return
        width, height = self.app.size
        deck = self.deck
        self.set_class(width < SMALLEST[0] or height < SMALLEST[1], "-small")
        wide = width >= _WIDE[0] and height >= _WIDE[1]
        runs = len(deck.members) + 1 if height >= 30 else 2
        self.query_one("#runs").styles.height = runs
        self.set_class(wide and deck.face == "charts", "-wide")
        self.set_class(deck.face == "findings", "-findings")
        self.set_class(deck.face == "table", "-table")
        self.set_class(deck.face == "pictures", "-pictures")
        self.set_class(deck.face == "frames", "-frames")
        side = max(_SIDE[0], min(_SIDE[1], width * 2 // 5)) if wide else 0
        self.query_one("#side").styles.width = side if wide and deck.face == "charts" else "1fr"
        if wide and deck.face == "charts":
            # The pictures get the rest of the height, and at least half.
            table = self.query_one(CompareTable)
            table.styles.height = min(table.needed(side), (height - runs - 3) // 2)
        else:
            self.query_one(CompareTable).styles.height = "1fr"
        across, down = room_for(width - side, height - runs - 3)
        deck.set_per_page(across * down)
        used = len(deck.shown) or 1
        grid = self.query_one("#charts", Grid)
        grid.styles.grid_size_columns = min(across, used)
        for chart in self.query(CompareChart):
            chart.display = chart.place < used

    def command(self) -> list[str]:
        return self.deck.command()

    def on_compare_runs_run_picked(self, event: CompareRuns.RunPicked) -> None:
        self.deck.selected = event.index
        self.show()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Show a metric's description as a tooltip while the mouse is on its title."""
        view = event.widget
        if isinstance(view, CompareChart):
            about = Content(view.about) if view.about and event.screen_y == view.region.y else None
            if view.tooltip != about:
                view.tooltip = about

    # Controls

    def open_selected(self) -> None:
        """Show the selected run alone, on top of this screen."""
        path = self.deck.members[self.deck.selected].path
        if path is None:
            self.say("this run is in memory only", alert=True)
            return
        try:
            source = open_path(path)
        except (NotARun, OSError) as error:
            self.say(f"cannot be opened: {error}", alert=True)
            return
        self.dashboard.open_run(source, ("replay", str(path)))

    def export(self) -> None:
        from ltxtui.reports.export import save_csv

        columns, rows = self.deck.table()
        table, folder = Table(columns, rows), self.dashboard.settings.export_dir
        names = "-".join(m.letter for m in self.deck.drawn)
        name = f"compare-{names}-stage-{self.deck.stage_index}"
        self.dashboard.in_background(lambda: save_csv(table, folder, name), self.say)

    def close(self) -> None:
        if self.deck.face != self._first_face:
            self.deck.face = self._first_face
            self.show()
        else:
            super().close()


def compare_screen(runs: Sequence[Path | Run], keymap: actions.Keymap, **options: Any) -> CompareScreen:
    """The screen with the user's keys, its findings first; options as for CompareScreen, and ValueError as there."""
    options = {"face": "findings", **options}
    return cast("type[CompareScreen]", keyed(CompareScreen, keymap))(runs, **options)
