"""The run screen: header, panels under one cursor, event line and footer, the same live and in a replay."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.geometry import Size
from textual.message import Message
from textual.timer import Timer

from ltxtui import actions
from ltxtui.alerts.alert import AlertLog
from ltxtui.panels.board import Board
from ltxtui.panels.chart_view import ChartView
from ltxtui.panels.cost import Link, link_to
from ltxtui.panels.event_line import EventLine
from ltxtui.panels.findings import FindingsView
from ltxtui.panels.footer import FooterView
from ltxtui.panels.header import HeaderView, outcome
from ltxtui.panels.steps import next_quantity
from ltxtui.plot.axis import Mode
from ltxtui.plot.text import clean
from ltxtui.screens.run_dialogs import RunDialogs
from ltxtui.screens.too_small import SMALLEST, TooSmall
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.feed import Feed
from ltxtui.viewmodel.frame_quantities import following
from ltxtui.viewmodel.layout import OTHERS, PRESETS
from ltxtui.viewmodel.usual import baselines_of
from recorder.format.numerals import counted
from replay.baseline import Baseline
from replay.model.run import Run
from replay.sources.open import Liveness, Source

_FRAME: Final = 1 / 20
"""Seconds between the pictures of a playing replay."""
_HIGH: Final = 30


@dataclass(frozen=True)
class Opening:
    """What of a run is shown first; None keeps the default."""

    preset: int = 1
    playing: bool = False
    speed: float = 1.0
    at_step: int | None = None
    playhead: int | None = None
    stage: int | None = None
    stream: str | None = None
    item: int | None = None
    axis: Mode | None = None


class RunChanged(Message):
    """The run has grown or ended. Queued messages are merged into one redraw."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunChanged)


class RunScreen(RunDialogs, inherit_bindings=False):
    """Shows the run of a source and does what the registry's keys say; closes the source when it is left."""

    kind = "run"
    BINDINGS: ClassVar[list[BindingType]] = [(key, action, "") for key, action in actions.bindings("run")]

    def __init__(self, source: Source, origin: Sequence[str], opening: Opening, clock: Callable[[], float]) -> None:
        super().__init__()
        self.source = source
        self.origin = tuple(origin)
        self.deck = Deck(Run(), source.liveness, playing=opening.playing, speed=opening.speed)
        self._feed = Feed(source, self.deck.run, self._announce)
        self._opening: Opening | None = opening
        self._clock = clock
        self._ticked = clock()
        self._alerts = AlertLog(self.deck.run)
        self._frames: Timer | None = None
        self._moving = False
        self._arrived = 0
        self._examining: Timer | None = None

    @property
    def model(self) -> Deck:
        return self.deck

    @property
    def board(self) -> Board:
        return self.query_one(Board)

    def compose(self) -> ComposeResult:
        drawing, settings = self.drawing, self.dashboard.settings
        preset = self._opening.preset if self._opening else 1
        read_only, back = self.dashboard.read_only, "back" if self.dashboard.depth > 1 else ""
        board = Board(self.deck, drawing, self.dashboard.state, preset, self._link, id="board")
        yield HeaderView(self.deck, drawing, link=self._link, pages=lambda: board.page_text, id="header")
        yield board
        yield EventLine(self.deck, drawing, id="event")
        yield FooterView(self.deck, drawing, keymap=settings.keys, back=back, read_only=read_only, id="footer")
        yield TooSmall(self.deck, drawing, id="too-small")

    def on_mount(self) -> None:
        self._frames = self.set_interval(_FRAME, self._tick, pause=True)
        self.run_worker(self._feed.run(), name="feed", exit_on_error=True)
        self._show_motion()

    async def on_unmount(self) -> None:
        await self._feed.close()

    def on_resize(self, event: events.Resize) -> None:
        width, height = event.size
        self.set_class(width < SMALLEST[0] or height < SMALLEST[1], "-small")
        self.set_class(height >= _HIGH, "-high")
        if self.made:
            self.board.fit(Size(width, height - (5 if height >= _HIGH else 4)))

    async def on_run_changed(self) -> None:
        began = time.perf_counter()
        if self._feed.arrived != self._arrived and self.made:
            self._arrived = self._feed.arrived
            self.deck.forget()
            await self.board.renew()
        self._take_change()
        self._feed.drawn(time.perf_counter() - began)

    def _take_change(self) -> None:
        self.deck.note, self.deck.stall = self._feed.note, self._feed.stall
        self.deck.fetching = self._feed.fetching
        live = self.deck.live and self.deck.total > 0
        self.deck.changed(self._feed.liveness, loading=not self._feed.read)
        if live and not self.deck.live:
            self._tell_end()
        if self.deck.findings.current or self.deck.stall is not None:
            self._alert()
        if self._opening is not None and (self._feed.read or (self.deck.live and self.deck.total)):
            opening, self._opening = self._opening, None
            self._open(opening)
        self._examine_soon()
        if self.deck.usual.wanted(self.deck.run):
            self.dashboard.in_background(lambda: baselines_of(self.deck.run), self._take_usual)
        self.show()

    def _take_usual(self, baselines: Mapping[str, Baseline]) -> None:
        self.deck.usual.take(baselines)
        self.show()

    def _examine_soon(self) -> None:
        """Look for findings after this picture, or when the next examination is due; of an ended run at once."""
        findings = self.deck.findings
        if findings.current or self._feed.fetching or (self._examining is not None and not self._feed.done):
            return
        if self._examining is not None:
            self._examining.stop()
        wait = 0.0 if self._feed.done else findings.due
        self._examining = self.set_interval(max(0.01, wait), self._examine, name="examine")  # no late one is dropped

    def _examine(self) -> None:
        if self._examining is not None:
            self._examining.stop()
        self._examining = None
        if self.deck.findings.update():
            self.show()
        self._alert()

    def _alert(self) -> None:
        """Call for attention when a run that was opened live ends, stalls or has a new finding."""
        if self.deck.opened_live:
            over = self._feed.done and self.deck.findings.current
            for alert in self._alerts.update(self.deck.findings.found, stall=self.deck.stall, over=over):
                self.dashboard.alert(alert)

    def _tell_end(self) -> None:
        """Show a notice that the run has ended, and how: the user may be looking at another screen."""
        how, role = outcome(self.deck)
        if self.deck.liveness is Liveness.UNFINISHED:
            how = "the recorder stopped without closing the run (killed?); everything written so far is kept"
        steps = counted(self.deck.total, "step")
        self.say(f"{clean(self.deck.run.name, 80)} has ended after {steps}: {how}", alert=role == "alert")

    def show(self) -> None:
        """The deck has changed: draw what differs."""
        if not self.made:
            return
        if self.is_current and self.board.outdated():
            self.board.lay_out()
        super().show()
        self._show_motion()

    def on_chart_view_step_picked(self, event: ChartView.StepPicked) -> None:
        if event.stage == self.deck.stage_index:
            self.deck.move_to(event.step)
        else:
            self.deck.go_to(event.stage, event.step)
        self.show()

    def on_findings_view_picked(self, event: FindingsView.Picked) -> None:
        findings = self.deck.findings
        if event.number == findings.selected and findings.was_chosen:
            self.deck.go_to_finding()
        findings.select(event.number)
        self.show()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, -1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, 1)

    def _wheel(self, event: events.MouseEvent, by: int) -> None:
        """The wheel moves the cursor, as it scrolls a list; with Ctrl it zooms around the cursor."""
        if not self.on_top or not self.deck.total:
            return
        if event.ctrl:
            self.deck.zoom(-by)
        else:
            self.deck.move(by)
        self.show()

    def command(self) -> list[str]:
        deck, board = self.deck, self.board
        words = ["ltxtui", *(self.origin or ("watch" if deck.live else "replay", deck.run.name))]
        words += ["--preset", board.preset.key]
        if len(deck.run.stages) > 1:
            words += ["--stage", str(deck.stage_index)]
        if len(deck.streams) > 1:
            words += ["--stream", deck.lanes]
        if deck.items > 1:
            words += ["--item", str(deck.item)]
        if deck.axis.mode != "step":
            words += ["--axis", deck.axis.mode]
        if not deck.live and deck.playhead < deck.total:
            words += ["--playhead", str(deck.playhead)]
        if not (deck.live and deck.follow):
            words += ["--at-step", str(deck.cursor)]
        return words

    def _open(self, opening: Opening) -> None:
        """Apply the opening, as far as the run has what it names."""
        deck = self.deck
        if opening.playhead is not None:
            deck.seek_to(opening.playhead)
        if opening.stream is not None:
            deck.lanes = opening.stream
        if opening.axis is not None:
            deck.set_axis(opening.axis)
        if opening.item is not None:
            deck.item = max(0, min(opening.item, deck.items - 1))
        if opening.stage is not None and opening.stage < len(deck.run.stages):
            deck.next_stage(opening.stage - deck.stage_index)
        if opening.at_step is not None:
            deck.move_to(opening.at_step)

    def _take_drawing(self) -> None:
        for board in self.query(Board):  # there is none while the screen is being made
            board.drawing = self.drawing  # panels that are opened later are drawn likewise
        super()._take_drawing()

    # Controls

    def preset(self, number: int) -> None:
        if OTHERS in PRESETS[number].panels and not self.board.others:
            self.say("the other panels show every metric of this run")
            return
        self.board.use_preset(number)

    def next_quantity(self) -> None:
        next_quantity(self.deck)

    def next_frame_quantity(self) -> None:
        self.deck.frame_quantity = following(self.deck.frame_quantity)

    def next_finding(self, by: int) -> None:
        self.deck.findings.select_next(by)
        self._go_to_finding()

    def _go_to_finding(self) -> None:
        found = self.deck.findings.chosen
        if found is not None and not self.deck.go_to_finding():
            self.say(f"{found.severity}, the whole run: {clean(found.text, 200)}")

    def enter(self) -> None:
        if self.in_findings and self.deck.findings.found:
            self._go_to_finding()
        else:
            self.maximise()

    def up_or_down(self, by: int) -> None:
        findings = self.deck.findings
        if self.in_findings and findings.found:
            findings.select(findings.selected - by)
        else:
            self.deck.zoom(by)

    def focus_panel(self, by: int) -> None:
        self.board.focus_next(by)

    def maximise(self) -> None:
        self.board.maximise(None if self.board.maximised else self.board.chosen)

    def hide_panel(self) -> None:
        if chosen := self.board.chosen:
            self.board.hide(chosen)

    def move_panel(self, by: int) -> None:
        if chosen := self.board.chosen:
            self.board.move(chosen, by)

    def turn_page(self, by: int) -> None:
        self.board.turn(by)

    def reset_panels(self) -> None:
        self.board.reset()

    def close(self) -> None:
        if self.board.maximised:
            self.maximise()
        else:
            super().close()

    # Motion

    def _link(self) -> Link:
        return link_to(self.source, self.deck)

    def _announce(self) -> None:
        self.post_message(RunChanged())

    def _tick(self) -> None:
        now = self._clock()
        moved = self.deck.tick(now - self._ticked)
        self._ticked = now
        if moved:
            self.show()

    def _show_motion(self) -> None:
        """Run the timer only while a replay plays: a still screen costs nothing."""
        if self._frames is None or self.deck.playing is self._moving:
            return
        self._moving = self.deck.playing
        if self._moving:
            self._ticked = self._clock()
            self._frames.resume()
        else:
            self._frames.pause()
