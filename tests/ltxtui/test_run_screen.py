"""Panels of the run screen, the palette, the stack of screens, and commands to a live recorder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual._compositor import Compositor
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from ltxtui.app import Dashboard, Options
from ltxtui.panels.board import Board
from ltxtui.panels.registry import PANELS
from ltxtui.screens.compare import CompareScreen
from ltxtui.screens.confirm import Ask, Confirm
from ltxtui.screens.help import HelpScreen
from ltxtui.screens.home import Home
from ltxtui.screens.palette import Chooser
from ltxtui.screens.run import Opening, RunScreen
from ltxtui.screens.shock import PreviewView, ShockScreen, plan_of, preview
from ltxtui.state import SavedState
from recorder.format.framing import encode
from recorder.format.protocol import Message
from recorder.journal.journal import Journal
from recorder.journal.server import Server
from recorder.shocks.plan import Plan
from replay.library.watcher import RunWatcher
from replay.model import pulse
from replay.sources.open import ArchiveSource
from replay.sources.reconnect import ReconnectingSource
from tests import recorded
from tests.ltxtui.conftest import painted
from tests.ltxtui.driving import ROOMY, loaded, resized, shown, until
from tests.ltxtui.fixture import fixture_messages, journal_file, live_fixture, open_fixture, open_fixture_run
from tests.waiting import PATIENCE_SECONDS


def board(app: Dashboard) -> Board:
    return next(s for s in reversed(app.screen_stack) if isinstance(s, RunScreen)).board


def with_signal() -> Dashboard:
    """The fixture with four charts on the screen."""
    return Dashboard(open_fixture(), Options(opening=Opening(preset=8)))


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()


async def test_presets_show_their_panels() -> None:
    app = Dashboard(open_fixture())
    async with app.run_test(size=(200, 60)) as pilot:
        await loaded(pilot)
        for key, first, titles in (
            ("2", "drift", ("Drift", "Filmstrip", "Readout")),
            ("3", "energy", ("Noise energy", "whiteness", "Waterfall", "Spectrum")),
            ("4", "guidance", ("Guidance", "Events")),
            ("5", "system", ("System", "Cost")),
            ("8", "sigma", ("noise level", "SNR")),
            ("1", "sigma", ("noise level", "Frames", "Filmstrip", "Findings")),
        ):
            await press(pilot, key)
            assert board(app).on_page[0] == first
            text = "\n".join(shown(pilot, f"#{id}") for id in board(app).on_page)
            assert all(title in text for title in titles)
        await press(pilot, "6")
        assert board(app).on_page == [panel.id for panel in PANELS] and board(app).pages == 1


async def test_panels_are_maximised_hidden_shown_moved_and_remembered() -> None:
    app = with_signal()
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await press(pilot, "tab", "tab", "m")
        assert board(app).on_page == ["snr"] and "maximised" in shown(pilot, "#header")
        assert app.screen.query_one("#snr").size == board(app).size
        await press(pilot, "tab")
        assert board(app).on_page == ["velocity"], "the next panel, still maximised"
        await press(pilot, "shift+tab", "escape")
        assert len(board(app).on_page) == 4
        await press(pilot, "greater_than_sign")
        assert board(app).shown == ("sigma", "velocity", "snr", "energy") and board(app).chosen == "snr"
        await press(pilot, "h")
        assert board(app).shown == ("sigma", "velocity", "energy")
        await press(pilot, "a")
        assert isinstance(app.screen, Chooser)
        await press(pilot, *"filmstr", "enter")
        assert board(app).shown == ("sigma", "velocity", "energy", "filmstrip") and board(app).chosen == "filmstrip"
    again = with_signal()
    async with again.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        assert board(again).shown == ("sigma", "velocity", "energy", "filmstrip")
        await resized(pilot, 80, 24)
        assert board(again).shown == ("sigma", "snr", "velocity", "energy"), "another size has its own"
        await resized(pilot, *ROOMY)
        await press(pilot, "0")
        assert board(again).shown == ("sigma", "snr", "velocity", "energy")
    assert SavedState().arrangement("wide-high", "8") is None


async def test_the_last_panel_stays() -> None:
    app = with_signal()
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await press(pilot, "h", "h", "h", "h", "h")
        assert len(board(app).on_page) == 1 and board(app).on_page == ["energy"]


async def test_what_does_not_fit_is_on_pages() -> None:
    app = Dashboard(open_fixture())
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        await press(pilot, "6")
        assert "page 1 of 4" in shown(pilot, "#header")
        seen = set(board(app).on_page)
        for page in (2, 3, 4):
            await press(pilot, "right_parenthesis")
            assert f"page {page} of 4" in shown(pilot, "#header")
            seen |= set(board(app).on_page)
        assert seen == {panel.id for panel in PANELS}
        await press(pilot, "right_parenthesis", "tab")
        for _ in PANELS:
            await press(pilot, "tab")
        assert board(app).page == 0 and board(app).chosen == board(app).on_page[0], "tab goes over all pages and round"


async def test_hidden_panels_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from ltxtui.panels.chart_view import ChartView

    drawn: list[str] = []
    rows = ChartView.rows

    def counted(self: ChartView, width: int, height: int) -> Any:
        drawn.append(str(self.id))
        return rows(self, width, height)

    monkeypatch.setattr(ChartView, "rows", counted)
    app = with_signal()
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await press(pilot, "2", "8")
        drawn.clear()
        await press(pilot, "left")
        assert set(drawn) == {"sigma", "snr", "velocity", "energy"}
        drawn.clear()
        await press(pilot, "m", "left")
        drawn.clear()
        await press(pilot, "left")
        assert drawn == ["sigma"]


async def test_both_streams_as_lanes_under_one_cursor() -> None:
    app = with_signal()
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await press(pilot, "v", "v")
        assert app.deck.lanes == "both" and "video + audio" in shown(pilot, "#header")
        views = list(board(app).query("#snr"))
        assert len(views) == 2 and views[0].region.x == views[1].region.x
        assert views[0].region.bottom == views[1].region.y and views[0].size.width == views[1].size.width
        texts = ["\n".join(view.render_line(y).text for y in range(view.size.height)) for view in views]
        assert "video" in texts[0] and "audio" in texts[1]
        await press(pilot, "v")
        assert [view.display for view in views] == [True, False] and views[0].size.height > 14


async def test_the_palette_finds_and_does() -> None:
    app = Dashboard(open_fixture())
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await press(pilot, "ctrl+p", *"guidance", "enter")
        assert board(app).preset.name == "guidance"
        await press(pilot, "colon", *"shock")
        options = app.screen.query_one(OptionList)
        shock = options.get_option("shock 0")
        assert shock.disabled and "--allow-control" in str(shock.prompt)
        await press(pilot, "enter")
        assert not isinstance(app.screen, ShockScreen)
        await press(pilot, "escape")
        await press(pilot, "colon", *"help", "enter")
        assert isinstance(app.screen, HelpScreen)
        await press(pilot, "q")
        assert isinstance(app.screen, RunScreen) and app.is_running


async def test_going_to_a_step() -> None:
    app = Dashboard(open_fixture())
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await press(pilot, "percent_sign", "6", "enter")
        assert (app.deck.playhead, app.deck.cursor) == (7, 6)
        await press(pilot, "percent_sign", *"5x", "enter")
        assert app.deck.playhead == 7 and any("neither a step" in str(n.message) for n in app._notifications)
        await press(pilot, "percent_sign")
        assert isinstance(app.screen, Ask)
        await press(pilot, "escape")
        assert app.deck.playhead == 7


async def test_titles_tell_what_panels_show() -> None:
    app = with_signal()
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        view = app.screen.query_one("#snr")
        await pilot.hover("#snr", offset=(2, 0))
        await pilot.pause()
        assert view.tooltip is not None and "log10" in str(view.tooltip)
        await pilot.hover("#snr", offset=(2, 5))
        await pilot.pause()
        assert view.tooltip is None


async def test_a_live_fixture_grows_and_is_looked_back_at() -> None:
    source, go_on = live_fixture()
    app = Dashboard(source)
    async with app.run_test(size=ROOMY) as pilot:
        go_on(4)
        await until(pilot, lambda: app.deck.visible == 4)
        assert "LIVE" in shown(pilot, "#header") and "connected" in shown(pilot, "#header")
        await press(pilot, "left", "left")
        go_on(8)
        await until(pilot, lambda: app.deck.visible == 8)
        assert app.deck.cursor == 1 and "down" in shown(pilot, "#sigma")
        await press(pilot, "end")
        assert app.deck.cursor == 7
        go_on(99)
        await until(pilot, lambda: len(app.deck.run.stages) == 2 and app.deck.visible == 5)


async def test_back_from_the_shell_every_cell_is_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compositor, "render_update", painted)
    app = Dashboard(open_fixture())
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        drawn: list[str] = []
        display = app._display

        def noted(screen: Any, renderable: Any) -> None:
            drawn.append(type(renderable).__name__)
            display(screen, renderable)

        monkeypatch.setattr(app, "_display", noted)
        await press(pilot, "left")
        assert "LayoutUpdate" not in drawn, "a moved cursor draws what differs"
        app.app_resume_signal.publish(app)
        await until(pilot, lambda: "LayoutUpdate" in drawn)
        drawn.clear()
        await press(pilot, "ctrl+l")
        await until(pilot, lambda: "LayoutUpdate" in drawn)


# The stack of screens


async def test_home_run_compare_and_back(tmp_path: Path) -> None:
    for name in ("restart", "smooth"):
        journal_file(tmp_path, name)
    app = Dashboard(options=Options(runs_dir=tmp_path))
    async with app.run_test(size=ROOMY) as pilot:
        home = app.screen
        assert isinstance(home, Home)
        await until(pilot, lambda: len(home.model.shown) == 2)
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        await loaded(pilot)
        screen = app.screen
        assert "q back" in screen.query_one("#footer").render_line(0).text
        await press(pilot, "q")
        await until(pilot, lambda: app.screen is home)
        await press(pilot, "space", "space", "c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen))
        await press(pilot, "escape")
        await until(pilot, lambda: app.screen is home)
        assert app.is_running
        await press(pilot, "q")
    assert app.return_code == 0


async def test_a_run_is_compared_with_another_from_its_screen(tmp_path: Path) -> None:
    path = journal_file(tmp_path, "smooth")
    app = Dashboard(open_fixture(), Options(runs_dir=tmp_path))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await press(pilot, "c")
        await until(pilot, lambda: isinstance(app.screen, Chooser))
        await press(pilot, *"smooth", "enter")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen) and not app.screen.deck.loading)
        compared = app.screen
        assert isinstance(compared, CompareScreen) and len(compared.deck.members) == 2
        assert "q back" in compared.query_one("#footer").render_line(0).text
        assert compared.query_one("#header").size.height < 5, "its own style sheet is in force"
        await press(pilot, "q")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        path.unlink()
        await press(pilot, "c")
        await until(pilot, lambda: "holds no other run" in said(app))


async def test_a_run_is_compared_with_those_of_its_own_folder(tmp_path: Path) -> None:
    path = recorded.archive(tmp_path / "own", "20261122-143015-here")
    recorded.archive(tmp_path / "own", "20261122-143016-beside")
    recorded.archive(tmp_path / "other", "20261122-143017-elsewhere")
    app = Dashboard(ArchiveSource(path), Options(origin=("replay", str(path)), runs_dir=tmp_path / "other"))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await press(pilot, "c")
        await until(pilot, lambda: isinstance(app.screen, Chooser))
        listed = app.screen.query_one(OptionList)
        named = " ".join(str(listed.get_option_at_index(n).prompt) for n in range(listed.option_count))
        assert "beside" in named and "elsewhere" not in named and "here" not in named.replace("elsewhere", "")


async def test_home_has_its_style_and_the_users_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "keys.toml"
    config.write_text('[keys]\nback = "Q"\n')
    monkeypatch.setenv("LTXTUI_CONFIG", str(config))
    journal_file(tmp_path)
    app = Dashboard(options=Options(runs_dir=tmp_path))
    async with app.run_test(size=ROOMY) as pilot:
        home = app.screen
        assert isinstance(home, Home)
        await until(pilot, lambda: len(home.model.shown) == 1)
        assert "Q quit" in shown(pilot, "#footer") and home.query_one("#home-heading").size.height == 1


async def test_a_run_that_cannot_be_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = journal_file(tmp_path)
    app = Dashboard(options=Options(runs_dir=tmp_path))
    async with app.run_test(size=ROOMY) as pilot:
        home = app.screen
        assert isinstance(home, Home)
        await until(pilot, lambda: len(home.model.shown) == 1)
        # The list would leave the run out before Enter is handled, on a busy machine.
        monkeypatch.setattr(RunWatcher, "update", lambda shelf: None)
        path.unlink()
        await press(pilot, "enter")
        await until(pilot, lambda: any("cannot be opened" in str(n.message) for n in app._notifications))
        assert app.screen is home


# Control


class Recorder:
    """A live run whose recorder takes commands: a real journal and server, and answers as a recorder gives them."""

    def __init__(self, folder: Path) -> None:
        self.messages = fixture_messages()
        self.messages[0] = {**self.messages[0], "control": True, "archive": str(folder / "run.zarr")}
        self.journal = Journal(folder / "run.journal")
        self.heard: list[Message] = []
        self.server = Server(self.journal, folder / "run.sock", self.command)
        self.send(9)

    def send(self, rows: int) -> None:
        """The run up to a number of rows of its first stream."""
        seen = 0
        for message in self.messages:
            seen += message["t"] == "step" and message["stream"] == "video"
            if seen > rows:
                break
            self.journal.append(encode(message))
        self.server.notify()

    def command(self, message: Message) -> bool:
        self.heard.append(message)
        accepted = message["command"] != "snapshot"
        payload = {"id": message["id"], "command": message["command"], "accepted": accepted, "reason": "no disk"}
        event = {"t": "event", "time": time.time(), "stage": 0, "step": 8, "stream": None, "kind": "control"}
        text = f"{message['command']}: {'done' if accepted else 'no disk'} \x1b[31m[b]x"
        self.journal.append(encode({**event, "text": text, "payload": payload}))
        self.server.notify()
        return True

    def close(self) -> None:
        self.journal.release(remove=True)
        self.server.close()
        self.server.join(PATIENCE_SECONDS)


@pytest.fixture
def recorder(runtime_dir: Path) -> Iterator[Recorder]:
    made = Recorder(runtime_dir)
    yield made
    made.close()


def said(app: Dashboard) -> str:
    return "\n".join(str(n.message) for n in app._notifications)


async def test_shock_stop_and_snapshot_are_sent_and_answered(recorder: Recorder) -> None:
    app = Dashboard(ReconnectingSource(recorder.server.path))
    async with app.run_test(size=ROOMY) as pilot:
        await until(pilot, lambda: app.deck.visible == 9)
        assert "s shock" in shown(pilot, "#footer")
        await press(pilot, "s")
        assert isinstance(app.screen, ShockScreen)
        view = app.screen.query_one(PreviewView)
        assert "with the shock" in view.render_line(0).text
        field = app.screen.query_one(Input)
        field.value = "renoise:at=0.5,db=6"
        await press(pilot, "enter")
        assert isinstance(app.screen, ShockScreen), "a place is refused"
        field.value = "restart:db=4"
        await press(pilot, "enter")
        await until(pilot, lambda: "shock: done [b]x" in said(app))
        assert recorder.heard[0]["shock"]["kind"] == "restart" and recorder.heard[0]["shock"]["strength_db"] == 4
        await press(pilot, "x")
        assert isinstance(app.screen, Confirm)
        await press(pilot, "enter")
        assert isinstance(app.screen, RunScreen) and len(recorder.heard) == 1, "Enter alone stops nothing"
        await press(pilot, "x", "y")
        await until(pilot, lambda: "stop: done" in said(app))
        await press(pilot, "k")
        await until(pilot, lambda: "refused: snapshot: no disk" in said(app))
        assert [m["command"] for m in recorder.heard] == ["shock", "stop", "snapshot"]


async def test_without_control_nothing_is_asked() -> None:
    source, go_on = live_fixture()
    app = Dashboard(source)
    async with app.run_test(size=ROOMY) as pilot:
        go_on(4)
        await until(pilot, lambda: app.deck.visible == 4)
        await press(pilot, "s", "x", "x", "k")
        assert isinstance(app.screen, RunScreen) and "shock" not in shown(pilot, "#footer")
        assert said(app) == "needs a live run with --allow-control", "said once, however often a key is pressed"


def test_a_preview_says_what_will_happen() -> None:
    levels = tuple(float(np.float32(level)) for level in (1.0, 0.9, 0.8, 0.6, 0.4, 0.2))  # as schedulers hold them
    planned = Plan(levels, levels)
    found = preview("restart:db=6", planned, 1)
    assert found.shock is not None and "restart" in found.said and len(found.after) == 6
    assert found.after[:2] == levels[:2] and found.after[2] > 0.8 and found.down == pytest.approx(0.8)
    assert found.position == 2 and found.after[-1] < 0.8
    renoised = preview("renoise:db=6", planned, 1)
    assert tuple(renoised.after) == planned.sigmas and renoised.down < 0.8
    for text, why in (("nonsense", "nonsense"), ("restart:sigma=0.5,db=3", "remove at="), ("", "")):
        refused = preview(text, planned, 1)
        assert refused.shock is None and why in refused.said and refused.said
    late = preview("restart:db=6", planned, 5)
    assert late.shock is None and "cannot act" in late.said
    assert preview("restart:db=6", Plan((), ()), 0).shock is None


def test_what_is_planned_is_read_from_the_run() -> None:
    run = open_fixture_run()
    made = plan_of(run.stages[0], run.events)
    assert made.sigmas == run.stages[0].sigmas and len(made.native) == 12
    (action,) = made.actions
    assert (action.position, action.step, round(action.strength_db)) == (3, 3, 6)
    assert "another shock" in preview("renoise:db=3", made, 2).said
    assert preview("renoise:db=3", made, 6).shock is not None
    run.stages[0].metadata["shocks"] = {"actions": [{"odd": 1}, 3]}
    assert plan_of(run.stages[0], [{"kind": "shock", "stage": 0, "payload": {}}]).actions == ()


async def test_a_lost_connection_is_said_and_comes_back(recorder: Recorder, runtime_dir: Path) -> None:
    from tests.replay.test_reconnect import Wire

    wire = Wire(runtime_dir / "near.sock", recorder.server.path)
    source = ReconnectingSource(wire.near, runtime_dir / "elsewhere.zarr", retry=(0.0, 0.05))
    app = Dashboard(source)
    async with app.run_test(size=ROOMY) as pilot:
        await until(pilot, lambda: app.deck.visible == 9)
        wire.cut()
        await until(pilot, lambda: "reconnecting" in shown(pilot, "#header"))
        assert "connection lost" in shown(pilot, "#event") and app.deck.live
        await press(pilot, "left")
        assert app.deck.cursor == 7
        wire.lay()
        await until(pilot, lambda: "connected" in shown(pilot, "#header"))
        assert app.deck.visible == 9 and "connection lost" not in shown(pilot, "#event")


async def test_a_silent_recorder_is_stalled_in_the_header_until_it_goes_on(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "SILENT_SECONDS", 0.3)
    app = Dashboard(ReconnectingSource(recorder.server.path))
    async with app.run_test(size=ROOMY) as pilot:
        await until(pilot, lambda: app.deck.visible == 9)
        recorder.journal.append(encode({"t": "system", "time": 1.0, "values": {}}))
        recorder.server.notify()
        await until(pilot, lambda: "STALLED" in shown(pilot, "#header"))
        header = shown(pilot, "#header")
        assert "LIVE" not in header and "no sign of its recorder" in header and "since " in header
        assert "s left" not in header and app.deck.live
        monkeypatch.setattr(pulse, "SILENT_SECONDS", 1e6)
        recorder.journal.append(encode({"t": "system", "time": 2.0, "values": {}}))
        recorder.server.notify()
        await until(pilot, lambda: "● LIVE" in shown(pilot, "#header"))


async def test_panels_opened_after_a_change_of_drawing_are_drawn_likewise() -> None:
    app = Dashboard(open_fixture())
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await press(pilot, "d", "d", "3")
        assert all(shown(pilot, f"#{id}").isascii() for id in board(app).on_page), "new panels are in ASCII too"
