"""Every screen at every size in every kind of colours, as text.

After a wanted change: pytest tests/dashboard/test_screens.py --snapshot-update. The texts are kept in the folder
screens. Colours are tested beside them: themes say the same words, each in colours of its own; NO_COLOR has none.
test_pictures.py has pictures.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.strip import Strip

from ltxtui.app import Dashboard
from ltxtui.screens.compare import CompareScreen
from ltxtui.screens.home import Home
from ltxtui.screens.run import RunScreen
from tests.dashboard.driving import loaded, until
from tests.dashboard.fixture import fixture_messages, journal_file, open_fixture
from tests.dashboard.sources import Live

KEPT = Path(__file__).parent / "screens"
SIZES = [(80, 24), (120, 40), (200, 60)]


@dataclass(frozen=True)
class Shot:
    """A screen: how it is opened and what is pressed before it is looked at."""

    make: Callable[[Path], Dashboard]
    ready: Callable[[Pilot[None]], Awaitable[None]]
    keys: tuple[str, ...] = ()


def replayed(folder: Path) -> Dashboard:
    return Dashboard(open_fixture())


def listed(folder: Path) -> Dashboard:
    for name in ("restart", "smooth"):
        journal_file(folder, name)
    return Dashboard(runs_dir=folder)


def compared(folder: Path) -> Dashboard:
    runs: list[Any] = [journal_file(folder, name) for name in ("smooth", "restart")]
    return Dashboard(first=lambda app: CompareScreen(runs))


def controlled(folder: Path) -> Dashboard:
    """A live run in its seventh step, whose recorder takes commands."""
    source = Live()
    some = [m for m in fixture_messages() if m["t"] != "end" and m.get("stage") != 1 and m["t"] != "system"]
    some = [m for m in some if not (isinstance(m.get("step"), int) and m["step"] > 6)]
    some = [m for m in some if m.get("kind") != "stage_end"]
    some[0] = {**some[0], "control": True}
    source.send(some)
    return Dashboard(source)


async def run_ready(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
    await loaded(pilot)


async def home_ready(pilot: Pilot[None]) -> None:
    home = pilot.app.screen_stack[0]
    assert isinstance(home, Home)
    await until(pilot, lambda: text_of(pilot).count("20261122-1430") >= 2)


async def compare_ready(pilot: Pilot[None]) -> None:
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, CompareScreen)
    await until(pilot, lambda: not screen.deck.loading)


SHOTS: dict[str, Shot] = {
    "run": Shot(replayed, run_ready, ("home", "right", "right", "r", "right", "right")),
    "drift": Shot(replayed, run_ready, ("2", "left")),
    "frequency": Shot(replayed, run_ready, ("3", "left")),
    "everything": Shot(replayed, run_ready, ("6", "left")),
    "home": Shot(listed, home_ready),
    "compare": Shot(compared, compare_ready, ("home", "right", "right", "right")),
    "help": Shot(replayed, run_ready, ("question_mark",)),
    "palette": Shot(replayed, run_ready, ("ctrl+p",)),
    "tour": Shot(replayed, run_ready, ("f2",)),
    "shock": Shot(controlled, run_ready, ("s",)),
    "stop": Shot(controlled, run_ready, ("x",)),
}


def strips_of(pilot: Pilot[None]) -> list[Strip]:
    """What is on the screen; Textual has no public way to ask for it as text."""
    return pilot.app.screen._compositor.render_strips()


def text_of(pilot: Pilot[None]) -> str:
    return "\n".join(strip.text.rstrip() for strip in strips_of(pilot))


async def settled(pilot: Pilot[None]) -> None:
    """Wait until nothing on the screen changes any more."""
    before, same = "", 0
    for _ in range(200):
        await pilot.pause(0.02)
        same = same + 1 if text_of(pilot) == before else 0
        before = text_of(pilot)
        if same >= 3:
            return
    raise AssertionError("the screen never came to rest")


def colours_of(pilot: Pilot[None]) -> set[Any]:
    """Every colour that some cell has."""
    found = set()
    for strip in strips_of(pilot):
        for segment in strip:
            if segment.style is not None:
                found |= {segment.style.color, segment.style.bgcolor}
    return {c for c in found if c is not None and not c.is_default}


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour after the runs were recorded, and nobody needs to see the tour."""
    began = next(iter(fixture_messages()))["time"]
    monkeypatch.setattr("ltxtui.screens.home_views.time", SimpleNamespace(time=lambda: began + 3600))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("name", SHOTS)
async def test_screen(
    name: str, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    shot, seen = SHOTS[name], {}
    monkeypatch.chdir(tmp_path)
    folder = Path("runs")  # the home screen shows it
    for environment in ("colours", "none"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with monkeypatch.context() as patch:
            if environment == "none":
                patch.setenv("NO_COLOR", "1")
            async with shot.make(folder).run_test(size=size) as pilot:
                await shot.ready(pilot)
                await pilot.press(*shot.keys)
                for theme in ("dark", "light") if environment == "colours" else ("none",):
                    if theme == "light":
                        pilot.app.theme = "ltxtui-light"
                    await settled(pilot)
                    seen[theme] = (text_of(pilot), colours_of(pilot))
    text = seen["dark"][0]
    rows = text.split("\n")
    assert len(rows) == size[1]
    assert seen["light"][0] == text
    assert seen["dark"][1] and seen["light"][1] and seen["dark"][1] != seen["light"][1]
    assert not seen["none"][1], "NO_COLOR means none at all"
    kept = KEPT / f"{name}-{size[0]}x{size[1]}.txt"
    for colours, shown in (("", text), ("-no-colour", seen["none"][0])):
        file = kept.with_stem(kept.stem + colours)
        if shown == text and colours:
            assert not file.exists()
            continue
        if request.config.getoption("update_snapshots"):
            KEPT.mkdir(exist_ok=True)
            file.write_text(shown + "\n", "utf-8")
        assert shown + "\n" == file.read_text("utf-8"), (
            "wanted? then: pytest tests/dashboard/test_screens.py --snapshot-update"
        )
