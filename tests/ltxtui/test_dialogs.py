"""Bursts of keys in every dialog: none crashes, none gives its answer twice. Dialogs are found, not listed."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from textual.events import MouseDown, MouseUp, Paste
from textual.pilot import Pilot
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList

from ltxtui import screens
from ltxtui.app import Dashboard, Options
from ltxtui.plot.line_plot import Style
from ltxtui.screens.base import ActionScreen, Entry
from ltxtui.screens.compare import CompareScreen
from ltxtui.screens.confirm import Ask, Confirm
from ltxtui.screens.dialog import Dialog
from ltxtui.screens.finding import FindingScreen
from ltxtui.screens.help import HelpScreen
from ltxtui.screens.home import Home
from ltxtui.screens.palette import _MOST, Chooser
from ltxtui.screens.run import RunScreen
from ltxtui.screens.shock import ShockScreen
from ltxtui.screens.tour import TourScreen
from ltxtui.viewmodel import send_command
from replay.library import edit
from tests.ltxtui.driving import ROOMY, burst, loaded, until
from tests.ltxtui.fixture import fixture_messages, journal_file, open_fixture
from tests.ltxtui.sources import Live


def replayed(folder: Path) -> Dashboard:
    return Dashboard(open_fixture(), Options(runs_dir=folder))


def controlled(folder: Path) -> Dashboard:
    """A live run in its third step, whose recorder takes commands."""
    source = Live()
    some = [m for m in fixture_messages() if m["t"] != "end" and m.get("stage") != 1]
    some = [m for m in some if not (isinstance(m.get("step"), int) and m["step"] > 2)]
    source.send([{**some[0], "control": True}, *some[1:]])
    return Dashboard(source, Options(runs_dir=folder))


def faulty(folder: Path) -> Dashboard:
    return Dashboard(open_fixture("faulty"), Options(runs_dir=folder))


def listed(folder: Path) -> Dashboard:
    return Dashboard(options=Options(runs_dir=folder))


def compared(folder: Path) -> Dashboard:
    paths = sorted(folder.glob("*.journal"))
    return Dashboard(options=Options(runs_dir=folder), first=lambda app: CompareScreen(paths))


@dataclass(frozen=True)
class Way:
    """How a dialog is opened: on which screen, by which key, and keys that give an answer that changes something."""

    kind: type[ModalScreen[object]]
    make: Callable[[Path], Dashboard]
    key: str
    answer: tuple[str, ...] = ("enter",)
    typed: tuple[str, ...] = field(default=())


WAYS = {
    "palette": Way(Chooser, replayed, "colon"),
    "palette of runs": Way(Chooser, listed, "colon"),
    "palette of a comparison": Way(Chooser, compared, "colon"),
    "panel": Way(Chooser, replayed, "a"),
    "other run": Way(Chooser, replayed, "c"),
    "go to": Way(Ask, replayed, "percent_sign", typed=("3",)),
    "rename": Way(Ask, listed, "n", typed=("x",)),
    "tags": Way(Ask, listed, "number_sign", typed=("x",)),
    "delete": Way(Confirm, listed, "x", answer=("y",)),
    "stop": Way(Confirm, controlled, "x", answer=("y",)),
    "shock": Way(ShockScreen, controlled, "s"),
    "help": Way(HelpScreen, replayed, "question_mark", answer=("escape",)),
    "help on runs": Way(HelpScreen, listed, "question_mark", answer=("q",)),
    "tour": Way(TourScreen, compared, "f2"),
    "finding": Way(FindingScreen, faulty, "i", answer=("escape",)),
}
SMALL = (80, 24)
BURSTS = (
    ("{answer}", "{answer}"),
    ("{answer}", "escape"),
    ("escape", "escape"),
    ("escape", "{answer}"),
    ("{answer}", "{answer}", "{answer}", "{answer}", "escape", "q"),
    ("{typed}", "{answer}", "{answer}"),
    ("{key}", "{key}", "{answer}", "{key}"),
    ("{paste}", "{answer}", "{answer}"),
    ("{click}", "{click}", "{answer}"),
    ("{answer}", "ctrl+q", "ctrl+q"),
)


def all_dialogs() -> set[type[ModalScreen[object]]]:
    """All modal screens of the package, found by walking it."""
    for module in pkgutil.walk_packages(screens.__path__, "ltxtui.screens."):
        importlib.import_module(module.name)

    def below(kind: type[ModalScreen[object]]) -> set[type[ModalScreen[object]]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    return {kind for kind in below(ModalScreen) if kind.__module__.startswith("ltxtui.")} - {Dialog}


def test_every_dialog_has_the_base_that_answers_once_and_a_way_to_open_it() -> None:
    found = all_dialogs()
    assert found and all(issubclass(kind, Dialog) for kind in found)
    assert found == {way.kind for way in WAYS.values()}, "a dialog without a way to open it is not tested below"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    for name in ("restart", "smooth"):
        journal_file(folder, name)
    return folder


async def ready(pilot: Pilot[None]) -> None:
    screen = pilot.app.screen
    if isinstance(screen, RunScreen):
        await loaded(pilot)
    elif isinstance(screen, Home):
        await until(pilot, lambda: len(screen.model.runs) == 2)
    elif isinstance(screen, CompareScreen):
        await until(pilot, lambda: not screen.deck.loading)


def send(pilot: Pilot[None], word: str, way: Way) -> None:
    """One word of a burst as events, without waiting for any of them."""
    match word:
        case "{answer}":
            burst(pilot, *way.answer)
        case "{typed}":
            burst(pilot, *way.typed)
        case "{key}":
            burst(pilot, way.key)
        case "{paste}":
            pilot.app.post_message(Paste("4\n\x1b[31m%\x00"))
        case "{click}":
            x, y = pilot.app.size.width // 2, 8
            for kind in (MouseDown, MouseUp):
                event = kind(None, x, y, 0, 0, 1, False, False, False, x, y)
                pilot.app.post_message(event)
        case _:
            burst(pilot, word)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was carried out of the dialogs' answers: commands to a recorder, changes of runs."""
    told: list[str] = []

    def keeping(name: str) -> Callable[..., object]:
        def carried_out(*given: object) -> object:
            told.append(f"{name} {given[0]}")
            return None if name != "give" else "accepted"

        return carried_out

    monkeypatch.setattr(send_command, "give", keeping("give"))
    for name in ("rename", "set_tags", "delete"):
        monkeypatch.setattr(edit, name, keeping(name))
    return told


@pytest.mark.parametrize("name", WAYS)
async def test_a_burst_of_keys_ends_in_no_error_and_carries_nothing_out_twice(
    name: str, runs: Path, done: list[str]
) -> None:
    way = WAYS[name]
    for n, keys in enumerate(BURSTS):
        done.clear()
        app = way.make(runs)
        async with app.run_test(size=SMALL) as pilot:
            await ready(pilot)
            if n % 2:
                burst(pilot, way.key)
            else:
                await pilot.press(way.key)
                await until(pilot, lambda app=app: isinstance(app.screen, way.kind))
            for word in keys:
                send(pilot, word, way)
            await pilot.pause()
        assert app.return_code in (0, None), f"{keys} in {name}"
        assert len(done) == len(set(done)), f"{keys} in {name} did {done}"


async def test_an_answer_given_twice_is_heard_once() -> None:
    app = Dashboard(open_fixture())
    heard: list[str | None] = []
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        dialog = Ask("Which?", "this")
        await app.push_screen(dialog, heard.append)
        dialog.dismiss("first")
        dialog.dismiss("second")
        await pilot.pause()
        dialog.dismiss("third")
        await pilot.pause()
        assert heard == ["first"] and isinstance(app.screen, RunScreen)


async def test_a_dialog_below_another_does_not_close_that_one() -> None:
    app = Dashboard(open_fixture())
    heard: list[object] = []
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        below, above = Ask("Below?"), Confirm("Above?", "yes")
        await app.push_screen(below, heard.append)
        await app.push_screen(above, heard.append)
        below.dismiss("too early")
        await pilot.pause()
        assert app.screen is above and heard == []
        await pilot.press("n")
        below.dismiss("in time")
        await pilot.pause()
        assert heard == [False, "in time"]


async def opened_twice(pilot: Pilot[None], *keys: str) -> int:
    burst(pilot, *keys)
    for _ in range(5):
        await pilot.pause()
    return sum(isinstance(s, ActionScreen) for s in pilot.app.screen_stack)


@pytest.mark.parametrize(("keys", "deep"), [(("enter", "enter"), 2), (("space", "j", "space", "c", "c"), 2)])
async def test_two_quick_enters_on_the_list_of_runs_open_one_screen(runs: Path, keys: list[str], deep: int) -> None:
    app = Dashboard(options=Options(runs_dir=runs))
    async with app.run_test(size=ROOMY) as pilot:
        await ready(pilot)
        assert await opened_twice(pilot, *keys) == deep


async def test_two_quick_ways_back_leave_one_screen(runs: Path) -> None:
    app = Dashboard(options=Options(runs_dir=runs))
    async with app.run_test(size=ROOMY) as pilot:
        await ready(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        burst(pilot, "escape", "escape")
        await pilot.pause()
        assert isinstance(app.screen, Home) and app.is_running


async def test_quitting_twice_ends_a_demo_once() -> None:
    ended: list[str] = []
    app = Dashboard(open_fixture(), Options(on_quit=lambda: ended.append("ended")))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        burst(pilot, "ctrl+q", "q", "ctrl+c", "q")
        await pilot.pause()
    assert ended == ["ended"]


async def test_a_click_on_an_entry_that_was_typed_away_is_on_nothing() -> None:
    app = Dashboard(open_fixture())
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(app.screen, Chooser))
        for kind in (MouseDown, MouseUp):
            app.post_message(kind(None, 40, 20, 0, 0, 1, False, False, False, 40, 20))
        burst(pilot, *"zzz")
        await pilot.pause()
        assert app.is_running and app.return_code in (0, None)


async def test_of_many_entries_few_are_listed_and_typing_finds_the_others() -> None:
    dialog = Chooser([Entry(f"{n}", f"run-{n:05}", "", "") for n in range(50_000)], "type", Style.BRAILLE)
    async with Dashboard().run_test(size=(100, 40)) as pilot:
        await pilot.app.push_screen(dialog)
        await until(pilot, lambda: bool(dialog.query(OptionList)))
        found = dialog.query_one(OptionList)
        await until(pilot, lambda: found.option_count == _MOST + 1)
        assert "49,800 more" in str(found.options[-1].prompt) and found.options[-1].disabled
        dialog.query_one(Input).value = "run-49999"
        await until(pilot, lambda: [option.id for option in found.options] == ["49999"])


async def test_keys_that_come_before_a_dialog_has_its_widgets_are_on_nothing() -> None:
    from textual import events

    from ltxtui.plot.line_plot import Style
    from ltxtui.screens.palette import Chooser

    dialog = Chooser([], "type", Style.BRAILLE)
    assert not dialog.is_mounted and not dialog.children
    await dialog.on_event(events.Key("down", None))
