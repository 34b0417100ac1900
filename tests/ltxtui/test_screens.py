"""Text and colours of every screen, at every size and in every theme.

After an intended change: pytest -m '' tests/ltxtui/test_screens.py --snapshot-update. For each screen and size, the
folder `screens` contains the text, the text without colours where it differs, and the paint: the style of every cell in
each theme. test_pictures.py compares pictures.
"""

from __future__ import annotations

import string
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.style import Style as RichStyle
from textual.pilot import Pilot
from textual.widgets import Input

from ltxtui.app import Dashboard, Options
from ltxtui.panels import header, view
from ltxtui.plot.line_plot import Style
from ltxtui.screens import home_views
from ltxtui.screens.compare import CompareScreen, compare_screen
from ltxtui.screens.home import Home
from ltxtui.screens.run import RunScreen
from ltxtui.themes import DARK, LIGHT, SAFE
from ltxtui.viewmodel.feed import Feed
from recorder.format import protocol
from replay import baseline_store
from replay.model.pulse import Stall
from tests.ltxtui import fake
from tests.ltxtui.driving import dashboard, loaded, resized, settled, strips_of, until
from tests.ltxtui.fixture import fixture_messages, journal_file, open_fixture, open_fixture_run
from tests.ltxtui.sources import Archive, Live
from tests.ltxtui.test_usual import baselines

KEPT = Path(__file__).parent / "screens"
SIZES = ((80, 24), (120, 40), (200, 60))
STATE_SIZES = SIZES[:2]
DAMAGE = "stage_0/video/sigma: chunk 0 is not what was written; all of it: ltxtui runs check runs/x.zarr"
ROOMY = "120x40"
"""The size at which the colour-blind-safe theme is checked too."""
NAMES = string.ascii_letters + "αβγδεζηθικλμνξοπρστυφχψω"
"""Names of styles in a paint. Cells coloured by data, such as pictures, are in italics: other tests check data."""


@dataclass(frozen=True)
class Shot:
    """A screen: how it is opened, and the keys that are pressed before it is read."""

    make: Callable[[], Dashboard]
    ready: Callable[[Pilot[None]], Awaitable[None]]
    keys: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int], ...] = SIZES
    stall: Stall | None = None
    """Makes the run stalled."""


def replayed() -> Dashboard:
    return Dashboard(open_fixture())


def faulty() -> Dashboard:
    return Dashboard(open_fixture("faulty"))


def in_ascii() -> Dashboard:
    return Dashboard(open_fixture(), Options(drawing=Style.ASCII))


def in_blocks() -> Dashboard:
    return Dashboard(open_fixture(), Options(drawing=Style.BLOCK))


def listed() -> Dashboard:
    return Dashboard(options=Options(runs_dir=Path("runs")))


def empty() -> Dashboard:
    return Dashboard(options=Options(runs_dir=Path("none")))


def compared() -> Dashboard:
    runs = [Path(f"runs/20261122-143015-{name}.journal") for name in ("smooth", "restart")]
    return Dashboard(first=lambda app: CompareScreen(runs))


def judged() -> Dashboard:
    """Two runs side by side as a user opens them."""
    runs = [Path("runs/20261122-143015-smooth.journal"), Path("faulty/20261122-143015-faulty.journal")]
    return Dashboard(first=lambda app: compare_screen(runs, {}))


def controlled() -> Dashboard:
    """A live run in its seventh step, whose recorder accepts commands."""
    source = Live()
    some = [m for m in fixture_messages() if m["t"] != "end" and m.get("stage") != 1 and m["t"] != "system"]
    some = [m for m in some if not (isinstance(m.get("step"), int) and m["step"] > 6)]
    some = [m for m in some if m.get("kind") != "stage_end"]
    some[0] = {**some[0], "control": True}
    source.send(some)
    return Dashboard(source)


def stopped() -> Dashboard:
    """A live run that has done 8 of 12 steps."""
    source = Live()
    source.send(m for m in fake.messages(12, end=None) if not (isinstance(m.get("step"), int) and m["step"] >= 8))
    return Dashboard(source)


def broken() -> Dashboard:
    """A run whose second clip is NaN from step 9 on."""
    payload = {"items": [1], "share": [1.0]}
    some = [{**m, "stream": "video", "payload": payload} if m.get("kind") == "nan" else m
            for m in fake.messages(12, batch=2, nan_at=9)]  # fmt: skip
    return Dashboard(Archive(some))


def decoded() -> Dashboard:
    """A run whose last stage was decoded: a disc that crosses grey."""
    *some, end = fixture_messages()
    place = {"stage": 1, "stream": "video"}
    weights = [[0.3, 0.2, 0.1], [0.2, 0.4, 0.1], [0.1, 0.1, 0.5], *[[0.0] * 3] * 6, [0.2, 0.1, 0.1]]
    some.append({"t": protocol.PALETTE, **place, "recolour": [weights]})
    down, across = np.mgrid[:40, :48]
    for index in range(17):
        pixels = np.full((40, 48, 3), 120, np.uint8)
        pixels[(down - 20) ** 2 + (across - 40 + 2 * index) ** 2 < 64] = (220, 40, 30)
        frame = {"index": index, "count": 17, "frame": 4 * index, "shape": [40, 48, 3], "data": pixels.tobytes()}
        some.append({"t": protocol.DECODED, **place, **frame})
    return Dashboard(Archive([*some, end]))


def damaged() -> Dashboard:
    """A run whose archive has a damaged chunk."""
    source = Archive(fixture_messages(), note=DAMAGE)
    source.damage = DAMAGE  # type: ignore[attr-defined]
    return Dashboard(source)


def usual() -> Dashboard:
    """A run of a model with a baseline."""
    run = open_fixture_run()
    baseline_store._write("nano", baselines(run).values())
    return replayed()


async def usual_ready(pilot: Pilot[None]) -> None:
    await run_ready(pilot)
    await until(pilot, lambda: dashboard(pilot).deck.usual.version > 0)


async def run_ready(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
    await loaded(pilot)


async def stopped_ready(pilot: Pilot[None]) -> None:
    await run_ready(pilot)
    await until(pilot, lambda: dashboard(pilot).deck.visible == 8)


async def home_ready(pilot: Pilot[None]) -> None:
    home = pilot.app.screen_stack[0]
    assert isinstance(home, Home)
    there = 2 if home.command()[1].endswith("runs") else 0
    await until(pilot, lambda: len(home.model.runs) == there and home._passes > 0 and not home._reading[0])


async def compare_ready(pilot: Pilot[None]) -> None:
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, CompareScreen)
    await until(pilot, lambda: not screen.deck.loading)


SHOTS: dict[str, Shot] = {
    "run": Shot(replayed, run_ready, ("home", "right", "right", "r", "right", "right")),
    "signal": Shot(replayed, run_ready, ("8", "left")),
    "usual": Shot(usual, usual_ready, ("8", "home", "right", "right")),
    "faulty": Shot(faulty, run_ready, ("f",)),
    "findings": Shot(faulty, run_ready, ("shift+tab", "m", "down"), STATE_SIZES),
    "finding": Shot(faulty, run_ready, ("f", "i"), STATE_SIZES),
    "drift": Shot(replayed, run_ready, ("2", "left")),
    "frequency": Shot(replayed, run_ready, ("3", "left")),
    "guidance": Shot(in_blocks, run_ready, ("4", "left", "o")),
    "system": Shot(in_ascii, run_ready, ("5", "left")),
    "everything": Shot(replayed, run_ready, ("6", "left")),
    "live": Shot(controlled, run_ready, ("v", "v", "tab")),
    "home": Shot(listed, home_ready),
    "empty": Shot(empty, home_ready),
    "delete": Shot(listed, home_ready, ("space", "x")),
    "compare": Shot(compared, compare_ready, ("home", "right", "right", "right")),
    "compare-frames": Shot(compared, compare_ready, ("W", "W", "W", "home", "right", "right", "right")),
    "compare-findings": Shot(judged, compare_ready),
    "help": Shot(replayed, run_ready, ("question_mark",)),
    "palette": Shot(replayed, run_ready, ("ctrl+p",)),
    "tour": Shot(replayed, run_ready, ("f2",)),
    "shock": Shot(controlled, run_ready, ("s",)),
    "decoded": Shot(decoded, run_ready),
    "fitted": Shot(decoded, run_ready, ("2", "left"), STATE_SIZES),
    "others": Shot(replayed, run_ready, ("7", "left")),
    "stalled": Shot(stopped, stopped_ready, ("left",), STATE_SIZES, Stall(125.0, silent=False, usual=0.4)),
    "nan": Shot(broken, run_ready, ("left",), STATE_SIZES),
    "damaged": Shot(damaged, run_ready, ("left",), STATE_SIZES),
}


def described(style: RichStyle | None) -> str:
    """A style in words: its colours, and attributes such as bold."""
    if style is None:
        return "none"
    colours = [c.get_truecolor().hex if c and not c.is_default else "-" for c in (style.color, style.bgcolor)]
    done = ("bold", "dim", "italic", "underline", "reverse")
    return " ".join([*colours, *(name for name in done if getattr(style, name))])


@dataclass(frozen=True)
class Seen:
    """A screen as text, and the style of each of its cells by rows."""

    text: str
    cells: list[list[str]]

    @classmethod
    def of(cls, pilot: Pilot[None]) -> Seen:
        strips = strips_of(pilot)
        words: dict[RichStyle | None, str] = {}
        cells = []
        for strip in strips:
            row: list[str] = []
            for segment in strip:
                if segment.style not in words:
                    words[segment.style] = described(segment.style)
                row += [words[segment.style]] * segment.cell_length
            cells.append(row)
        return cls("\n".join(strip.text.rstrip() for strip in strips), cells)


def paint(themes: dict[str, Seen]) -> str:
    """The paint of a screen: a list of styles with a column per theme, and the style of every cell.

    A row is run-length encoded: `3a77b` is 3 cells of style a and 77 of style b.
    """
    legend: dict[tuple[str, ...], str] = {}
    rows = []
    for row_of_each in zip(*(seen.cells for seen in themes.values()), strict=True):
        row: list[tuple[str, int]] = []
        for styles in zip(*row_of_each, strict=True):
            name = legend.setdefault(styles, NAMES[min(len(legend), len(NAMES) - 1)])
            if row and row[-1][0] == name:
                row[-1] = name, row[-1][1] + 1
            else:
                row.append((name, 1))
        rows.append("".join(f"{count}{name}" for name, count in row))
    styles = [f"{name}  " + "   ".join(f"{s:<28}" for s in each).rstrip() for each, name in legend.items()]
    return "\n".join(["   " + "   ".join(f"{name:<28}" for name in themes).rstrip(), *styles, "", *rows])


def check(name: str, shown: str, update: bool) -> None:
    """Compare with the kept file, or write it if `update`."""
    file = KEPT / f"{name}.txt"
    if update:
        KEPT.mkdir(exist_ok=True)
        file.write_text(shown + "\n", "utf-8")
    assert shown + "\n" == file.read_text("utf-8"), (
        f"{name} differs; if intended: pytest -m '' tests/ltxtui/test_screens.py --snapshot-update"
    )


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is an hour after the runs were recorded, colours of data are italics, and no cursor blinks."""
    began = next(iter(fixture_messages()))["time"]
    later = SimpleNamespace(time=lambda: began + 3600, localtime=time.gmtime, strftime=time.strftime)
    for module in (header, home_views):
        monkeypatch.setattr(module, "time", later)
    monkeypatch.setattr(Input, "_toggle_cursor", lambda self: None)
    monkeypatch.setattr(view, "_inked", lambda style, ink: style + RichStyle(italic=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs that the list of runs shows, in its folder `runs`."""
    made = tmp_path_factory.mktemp("screens")
    (made / "runs").mkdir()
    (made / "none").mkdir()
    (made / "faulty").mkdir()
    journal_file(made / "faulty", "faulty")
    for name in ("restart", "smooth"):
        journal_file(made / "runs", name)
    return made


async def sized(pilot: Pilot[None], sizes: Sequence[tuple[int, int]]) -> AsyncIterator[str]:
    """The same screen in every size, settled."""
    for size in sizes:
        await resized(pilot, *size)
        yield f"{size[0]}x{size[1]}"


LARGE = [
    pytest.param(name, SIZES[2:], marks=pytest.mark.slow) for name, shot in SHOTS.items() if SIZES[2] in shot.sizes
]


@pytest.mark.parametrize(("name", "sizes"), [*((name, SIZES[:2]) for name in SHOTS), *LARGE])
async def test_screen(
    name: str,
    sizes: tuple[tuple[int, int], ...],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    shot, texts = SHOTS[name], {}
    sizes = tuple(size for size in shot.sizes if size in sizes)
    update = bool(request.config.getoption("update_snapshots"))
    monkeypatch.chdir(folder)
    # Not what the clock says: on a busy machine a test takes longer than a live run may be silent.
    monkeypatch.setattr(Feed, "stall", shot.stall)
    app = shot.make()
    async with app.run_test(size=SIZES[0]) as pilot:
        await shot.ready(pilot)
        await pilot.press(*shot.keys)
        async for size in sized(pilot, sizes):
            seen = {}
            for theme in (LIGHT, SAFE, DARK) if size == ROOMY else (LIGHT, DARK):
                app.theme = theme.name
                await settled(pilot)
                seen[theme.name.removeprefix("ltxtui-")] = Seen.of(pilot)
            texts[size] = seen["dark"].text
            for each in seen.values():
                assert each.text == texts[size], "themes differ in colours only"
            assert len(seen["dark"].cells) == app.size.height
            assert all(len(row) == app.size.width for row in seen["dark"].cells)
            check(f"{name}-{size}", texts[size], update)
            check(f"{name}-{size}-paint", paint(seen), update)
    monkeypatch.setenv("NO_COLOR", "1")
    async with shot.make().run_test(size=SIZES[0]) as pilot:
        await shot.ready(pilot)
        await pilot.press(*shot.keys)
        async for size in sized(pilot, sizes):
            plain = Seen.of(pilot)
            assert all(style.startswith(("- -", "none")) for row in plain.cells for style in row), "no colour at all"
            kept = f"{name}-{size}-no-colour"
            if plain.text != texts[size]:
                check(kept, plain.text, update)
            else:
                assert not (KEPT / f"{kept}.txt").exists()
