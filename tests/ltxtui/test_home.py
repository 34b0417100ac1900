"""The home screen driven by keys and mouse, on real runs in a folder."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path, PurePath
from typing import Any, ClassVar

import pytest
from textual import on
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from benchmarks import many_runs
from ltxtui import actions
from ltxtui import app as app_module
from ltxtui.app import Dashboard, Options
from ltxtui.panels.view import View
from ltxtui.plot.line_plot import Style
from ltxtui.screens import home as module
from ltxtui.screens.confirm import Ask, Confirm
from ltxtui.screens.home import Home
from recorder.format import locations
from replay.library import folder_watch, listing, watcher
from replay.library.watcher import RunWatcher
from tests import recorded
from tests.ltxtui import driving, fake
from tests.ltxtui.driving import resized
from tests.ltxtui.test_home_model import HOSTILE


class Listener(Dashboard):
    """Keeps what the home screen asks for."""

    CSS_PATH: ClassVar[list[str | PurePath]] = [Path(app_module.__file__).parent / path for path in Dashboard.CSS_PATH]

    def __init__(self, runs: Path, style: Style) -> None:
        super().__init__(options=Options(drawing=style), first=lambda app: Home(runs, style))
        self.opened: list[Path] = []
        self.compared: list[list[Path]] = []
        self.copied: list[str] = []
        self.said: list[str] = []

    def copy_to_clipboard(self, text: str) -> None:
        self.copied.append(text)

    def notify(self, message: str, **more: object) -> None:  # type: ignore[override]
        assert more.get("markup") is False
        self.said.append(message)

    @on(Home.OpenAsked)
    def keep_opened(self, event: Home.OpenAsked) -> None:
        event.stop().prevent_default()
        self.opened.append(event.socket or event.path)

    @on(Home.CompareAsked)
    def keep_compared(self, event: Home.CompareAsked) -> None:
        event.stop().prevent_default()
        self.compared.append(event.paths)


class Driver:
    """Keys in, text out."""

    def __init__(self, app: Listener, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def home(self) -> Home:
        found = self.app.screen_stack[0]
        assert isinstance(found, Home)
        return found

    async def keys(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, condition: Callable[[], bool]) -> None:
        await driving.until(self.pilot, condition)

    def text(self, selector: str = "#home-table") -> str:
        view = self.home.query_one(selector, View)
        return "\n".join(view.render_line(y).text for y in range(view.size.height))

    @property
    def names(self) -> list[str]:
        return [run.name for run in self.home.model.shown]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.25)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    for n, prompt in enumerate(("a red ball", "a green box", "the blue sea")):
        recorded.archive(folder, f"20261122-14301{n}-run-{n}", prompt=prompt, shocks=n, at=fake.START + n)
    return folder


@asynccontextmanager
async def shown(
    runs: Path, size: tuple[int, int] = (120, 40), style: Style = Style.BRAILLE, count: int | None = None
) -> AsyncIterator[Driver]:
    app = Listener(runs, style)
    async with app.run_test(size=size) as pilot:
        driver = Driver(app, pilot)
        expected = len(list(runs.glob("*.zarr"))) if count is None else count
        await driver.until(lambda: len(driver.home.model.runs) == expected)
        yield driver


async def test_runs_are_listed_and_one_is_opened(runs: Path) -> None:
    async with shown(runs, size=(160, 40)) as d:
        assert d.names == [f"20261122-14301{n}-run-{n}" for n in (2, 1, 0)]
        text = d.text()
        assert "the blue sea" in text and "complete" in text and "nano" in text
        assert "3 runs" in d.text("#home-title") and "DRIFT" in d.text("#home-heading")
        await d.keys("down", "enter")
        assert d.app.opened == [runs / "20261122-143011-run-1.zarr"]
        assert "a green box" in d.text("#home-details")


async def test_every_action_of_home_has_a_key_that_works_there(runs: Path) -> None:
    async with shown(runs) as d:
        offered = {a.id for a in actions.of_screen("home") if a.available(d.home.model)}
        assert {"open", "mark", "filter", "sort", "rename", "tag", "delete", "path"} <= offered
        assert "compare" not in offered and "unmark" not in offered
        await d.keys("space", "space")
        offered = {a.id for a in actions.of_screen("home") if a.available(d.home.model)}
        assert {"compare", "unmark"} <= offered
        assert "c compare" in d.text("#footer") and "Enter open" in d.text("#footer")


async def test_filter_as_you_type(runs: Path) -> None:
    async with shown(runs) as d:
        await d.keys("slash", *"green")
        assert d.names == ["20261122-143011-run-1"] and "1 shown of 3" in d.text("#home-title")
        await d.keys("enter", "enter")
        assert [p.stem for p in d.app.opened] == d.names, "Enter ends typing, the next opens"
        await d.keys("slash", "backspace", "down")
        assert d.names == ["20261122-143011-run-1"]
        await d.keys("escape")
        assert len(d.names) == 3 and not d.home.query_one(Input).display
        await d.keys("slash", *"shocks>0", "down")
        assert len(d.names) == 2 and d.home.model.cursor == 1, "arrows move while typing"
        await d.keys("q", "enter")
        assert d.names == [], "a letter is text while typing"
        assert "None of 3 runs" in d.text()
        await d.keys("escape")
        assert len(d.names) == 3 and d.app.is_running


async def test_what_is_typed_right_behind_the_filters_key_belongs_to_the_filter(runs: Path) -> None:
    """A slow line or a busy list delivers all keys at once; none of them is taken for a command."""
    async with shown(runs) as d:
        driving.burst(d.pilot, "slash", *"green")
        await d.until(lambda: d.names == ["20261122-143011-run-1"])
        assert d.home.query_one(Input).value == "green" and d.app.screen is d.home
        await d.keys("enter", "s")
        assert d.home.model.sort.id == "size" and d.home.query_one(Input).value == "green", "a command again"


async def test_sort_by_key_and_by_mouse(runs: Path) -> None:
    async with shown(runs) as d:
        assert "AGO▼" in d.text("#home-heading")
        await d.keys("r")
        assert d.names[0].endswith("run-0") and "AGO▲" in d.text("#home-heading")
        heading = d.text("#home-heading").splitlines()[0]
        await d.pilot.click("#home-heading", offset=(heading.index("SHOCKS"), 0))
        assert [n[-1] for n in d.names] == ["2", "1", "0"] and "SHOCKS▼" in d.text("#home-heading")
        await d.keys("s", "S", "S")
        assert d.home.model.sort.id == "sigma"


async def test_mark_and_compare(runs: Path) -> None:
    async with shown(runs) as d:
        await d.keys("c")
        assert d.app.compared == []
        await d.keys("space", "down", "space")
        assert "2 marked" in d.text("#home-title") and d.text().count("●") == 2
        await d.keys("c")
        assert [[p.stem[-1] for p in paths] for paths in d.app.compared] == [["2", "0"]]
        await d.keys("escape")
        assert not d.home.model.marks and d.app.is_running


async def test_mouse_chooses_opens_and_scrolls(runs: Path) -> None:
    async with shown(runs) as d:
        await d.pilot.click("#home-table", offset=(10, 1))
        assert d.home.model.cursor == 1 and d.app.opened == []
        await d.pilot.click("#home-table", offset=(10, 2), times=2)
        await d.pilot.pause()
        assert d.app.opened == [runs / "20261122-143010-run-0.zarr"]
        await d.pilot.click("#home-table", offset=(10, 20))
        assert d.home.model.cursor == 2, "below the last run there is nothing to choose"


async def test_rename(runs: Path) -> None:
    async with shown(runs) as d:
        await d.keys("down", "n")
        asked = d.app.screen
        assert isinstance(asked, Ask) and asked.query_one(Input).value == "run-1"
        asked.query_one(Input).value = "../../blue box"
        await d.keys("enter")
        await d.until(lambda: "20261122-143011-blue-box" in d.names)
        assert len(d.names) == 3 and not (runs / "20261122-143011-run-1.zarr").exists()
        assert d.home.model.current is not None and d.home.model.current.name.endswith("blue-box")
        await d.keys("n")
        d.app.screen.query_one(Input).value = "/"
        await d.keys("enter")
        await d.until(lambda: any("letter or a digit" in said for said in d.app.said))
        assert sorted(p.name for p in runs.parent.iterdir() if p.is_dir()) == ["runs"]


async def test_tag_one_and_several(runs: Path) -> None:
    async with shown(runs, size=(160, 40)) as d:
        assert "TAGS" not in d.text("#home-heading")
        await d.keys("space", "space", "number_sign")
        d.app.screen.query_one(Input).value = "good, σ-study"
        await d.keys("enter")
        await d.until(lambda: sum(bool(r.tags) for r in d.home.model.runs) == 2)
        assert "#good" in d.text() and "TAGS" in d.text("#home-heading")
        assert listing.describe_run(runs / "20261122-143012-run-2.zarr").tags == ("good", "σ-study")
        await d.keys("u", "slash", *"#good", "enter")
        assert len(d.names) == 2
        await d.keys("number_sign")
        assert d.app.screen.query_one(Input).value == "good σ-study"
        d.app.screen.query_one(Input).value = ""
        await d.keys("enter")
        await d.until(lambda: len(d.names) == 1)


async def test_a_run_that_cannot_be_tagged_is_told(runs: Path) -> None:
    file = runs / "20261122-143012-run-2.zarr" / "zarr.json"
    file.write_text(file.read_text()[:-1])
    async with shown(runs) as d:
        await d.keys("number_sign")
        d.app.screen.query_one(Input).value = "good"
        await d.keys("enter")
        await d.until(lambda: any("damaged metadata" in said for said in d.app.said))
        assert len(d.names) == 3 and d.app.is_running


async def test_delete_asks_first(runs: Path) -> None:
    async with shown(runs) as d:
        for refusal in ("n", "escape", "enter"):
            await d.keys("x")
            assert isinstance(d.app.screen, Confirm)
            await d.keys(refusal)
        await d.pilot.pause(0.1)
        assert len(list(runs.iterdir())) == 3
        await d.keys("down", "space", "space", "delete", "y")
        await d.until(lambda: len(d.names) == 1)
        assert [p.stem[-1] for p in runs.iterdir()] == ["2"] and not d.home.model.marks


async def test_a_live_run_progresses_and_is_left_alone(runs: Path) -> None:
    live = recorded.Recording(runs, "20261122-143000-live-one")
    messages = list(fake.messages(10, end=None, streams=("video",)))
    live.write(messages[:8])
    async with shown(runs, count=4) as d:
        assert d.names[0] == "20261122-143000-live-one" and "1 live" in d.text("#home-title")
        assert "live 40%" in d.text().splitlines()[0]
        live.write(messages[8:])
        await d.until(lambda: "live 100%" in d.text().splitlines()[0])
        offered = {a.id for a in actions.of_screen("home") if a.available(d.home.model)}
        assert not {"rename", "tag", "delete"} & offered and "open" in offered
        await d.keys("x", "n", "number_sign")
        assert d.app.screen is d.home
        live.die()
        await d.until(lambda: not d.home.model.live)
        assert "unfinished" in d.text() and d.names[-1] == "20261122-143000-live-one"
        assert locations.journal_of(live.path).exists()


async def test_a_run_that_turns_live_in_a_question_is_not_deleted(runs: Path) -> None:
    live = recorded.Recording(runs, "20261122-143099-x")
    live.write(fake.messages(5, end=None))
    async with shown(runs, count=4) as d:
        current = d.home.model.current
        assert current is not None and current.live
        d.home.ask_delete()
        await d.keys("y")
        await d.until(lambda: any("being recorded" in said for said in d.app.said))
        assert locations.journal_of(live.path).exists()
        live.die()


async def test_new_runs_appear_and_the_cursor_stays(runs: Path) -> None:
    async with shown(runs) as d:
        await d.keys("down")
        recorded.archive(runs, "20261122-143020-new", at=fake.START + 9)
        await d.until(lambda: len(d.names) == 4)
        assert d.names[0].endswith("new") and d.home.model.cursor == 2
        assert "▸" in d.text().splitlines()[2]


async def test_copy_path(runs: Path) -> None:
    async with shown(runs) as d:
        await d.keys("Y")
        path = str(runs / "20261122-143012-run-2.zarr")
        assert d.app.copied == [path] and path in d.app.said[-1]
        odd = runs / "z\nrm -rf x\x1b[31m.zarr"
        (runs / "20261122-143012-run-2.zarr").rename(odd)
        await d.until(lambda: d.home.model.current is not None and d.home.model.current.path == odd)
        await d.keys("Y")
        assert d.app.copied == [path] and "safely" in d.app.said[-1]
        await d.keys("n")
        assert d.app.screen.query_one(Input).value.isprintable()


@pytest.mark.parametrize("style", [Style.BRAILLE, Style.ASCII])
async def test_sizes_and_hostile_text(runs: Path, style: Style) -> None:
    recorded.archive(runs, "20261122-150000-" + "x" * 60, prompt=HOSTILE.replace("\ud800", ""), at=fake.START + 99)
    async with shown(runs, size=(60, 15), style=style) as d:
        for size in ((60, 15), (80, 24), (300, 100)):
            await resized(d.pilot, *size)
            for selector in ("#home-title", "#home-heading", "#home-table", "#home-details", "#footer"):
                for line in d.text(selector).splitlines():
                    assert line.isprintable() and (line.isascii() or style is not Style.ASCII), ascii(line)
            assert "run-2" in d.text() and "markup" in d.text("#home-details")
            assert "open" in d.text("#footer") and "quit" in d.text("#footer")


async def test_too_small_says_so(runs: Path) -> None:
    async with shown(runs, size=(50, 12)) as d:
        assert "Terminal too small" in d.text("#too-small") and not d.home.query_one("#home-table").display
        await resized(d.pilot, 80, 24)
        assert "run-2" in d.text()


async def test_an_empty_folder_says_what_to_do_and_fills_by_itself(tmp_path: Path) -> None:
    async with shown(tmp_path / "none", count=0) as d:
        await d.until(lambda: "ltxtui demo" in d.text())
        await d.keys("enter", "space", "c", "x", "n", "Y", "down", "end", "asterisk")
        recorded.archive(tmp_path / "none", "first")
        await d.until(lambda: d.names == ["first"])


async def test_a_cold_list_answers_keys_while_it_fills(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Semaphore(1)
    describe = listing.describe_run

    def slowly(path: Path) -> listing.RunInfo:
        gate.acquire()
        return describe(path)

    monkeypatch.setattr(watcher, "describe_run", slowly)
    monkeypatch.setattr(RunWatcher.update, "__defaults__", (0.0,))
    app = Listener(runs, Style.BRAILLE)
    async with app.run_test(size=(120, 40)) as pilot:
        d = Driver(app, pilot)
        await d.until(lambda: len(d.names) >= 1)
        assert d.names[0].endswith("run-2"), "the newest first"
        await d.keys("space")
        assert len(d.home.model.marks) == 1, "keys are answered while a read hangs"
        for _ in range(5):
            gate.release()
        await d.until(lambda: len(d.names) == 3)
        assert len(d.home.model.marks) == 1


async def test_keys_are_answered_while_the_disk_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing the folder, and every look at an archive, take long: neither is done where keys are answered."""
    (tmp_path / "runs").mkdir()
    many_runs.make(tmp_path / "runs", 24)
    stamp_in, names_in = watcher.stamp_in, folder_watch.names_in
    threads: set[str] = set()
    gate = threading.Semaphore(0)

    def slow_stamp(*asked: Any) -> Any:
        threads.add(threading.current_thread().name)
        gate.acquire(timeout=30)
        return stamp_in(*asked)

    def slow_names(folder: Path) -> dict[str, bool]:
        threads.add(threading.current_thread().name)
        gate.acquire(timeout=30)
        return names_in(folder)

    monkeypatch.setattr(watcher, "stamp_in", slow_stamp)
    monkeypatch.setattr(folder_watch, "names_in", slow_names)
    monkeypatch.setattr(RunWatcher.update, "__defaults__", (0.0,))
    app = Listener(tmp_path / "runs", Style.BRAILLE)
    async with app.run_test(size=(120, 40)) as pilot:
        d = Driver(app, pilot)
        try:
            await d.keys("down", "slash", *"run", "escape")
            assert d.names == [] and "Reading" in d.text(), "the folder is still being listed"
            gate.release(15)
            await d.until(lambda: len(d.names) >= 5)
            assert d.names[0] == many_runs.name_of(23)
            await d.keys("down", "down", "space", "s", "S")
            assert d.home.model.cursor == 3 and len(d.home.model.marks) == 1 and len(d.names) < 24
            assert d.home._reading[0] > 0 and threading.main_thread().name not in threads
        finally:
            gate.release(1000)
        await d.until(lambda: len(d.names) == 24)


async def test_a_covered_list_does_not_look(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[float] = []
    update = RunWatcher.update
    monkeypatch.setattr(RunWatcher, "update", lambda self, *more: passes.append(0.0) or update(self, *more))
    async with shown(runs) as d:
        await d.app.push_screen(Screen())
        await d.pilot.pause(0.2)
        count = len(passes)
        await d.pilot.pause(0.3)
        assert len(passes) == count
        d.app.pop_screen()
        await d.until(lambda: len(passes) > count)


async def test_leaving_saves_the_cache(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shown(runs) as d:
        await d.keys("down")
    read: list[Path] = []
    monkeypatch.setattr(watcher, "describe_run", lambda path: read.append(path))
    async with shown(runs) as d:
        assert len(d.names) == 3 and read == []


async def test_deleting_many_runs_is_said_at_once_and_as_it_goes_on(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, delete = threading.Semaphore(0), module.edit.delete

    def slowly(path: Path) -> None:
        gate.acquire(timeout=20)
        delete(path)

    monkeypatch.setattr(module.edit, "delete", slowly)
    async with shown(runs) as d:
        await d.keys("asterisk", "x", "y")
        await d.until(lambda: "deleting 3 runs" in d.text("#home-title"))
        gate.release()
        await d.until(lambda: "deleting 1 of 3 runs" in d.text("#home-title"))
        gate.release()
        gate.release()
        await d.until(lambda: d.names == [] and "of 3 runs …" not in d.text("#home-title"))


async def test_what_cannot_be_read_is_listed_below_the_runs(runs: Path) -> None:
    (recorded.archive(runs, "lost") / "zarr.json").unlink()
    async with shown(runs, count=3) as d:
        await d.until(lambda: "1 unreadable" in d.text("#home-title"))
        assert "lost its root document" in d.text() and "runs check" in d.text()
