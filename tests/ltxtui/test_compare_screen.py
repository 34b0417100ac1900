"""The compare screen driven by its keys and its mouse, on real runs of the nano model."""

from __future__ import annotations

import csv
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from textual.color import Color
from textual.pilot import Pilot

from ltxtui import actions
from ltxtui.app import Dashboard, Options
from ltxtui.cli import cli, common
from ltxtui.compare.deck import FACES
from ltxtui.panels.compare.chart import CompareChart
from ltxtui.panels.compare.view import CompareView
from ltxtui.panels.view import View
from ltxtui.plot.line_plot import GUTTER, Style, columns
from ltxtui.plot.roles import RUN_ROLES
from ltxtui.plot.scales import column
from ltxtui.screens.compare import CompareScreen, compare_screen, room_for
from ltxtui.screens.run import RunScreen
from ltxtui.themes import THEMES
from replay.model.run import Run
from replay.sources.open import Liveness
from tests.ltxtui.driving import ROOMY, resized, settled, until
from tests.ltxtui.fake import messages
from tests.ltxtui.fixture import journal_file, live_fixture
from tests.ltxtui.sources import Archive
from tests.replay.test_compare import SMOOTH, made, rows


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A smooth run, one with a restart, and the restart without its end."""
    folder = tmp_path_factory.mktemp("runs")
    other = tmp_path_factory.mktemp("other")
    return [
        journal_file(folder, "smooth"),
        journal_file(folder, "restart"),
        journal_file(other, "restart", without_end=True),
    ]


def opened(runs: Sequence[Path | Run], **options: Any) -> Dashboard:
    style = options.pop("drawing", None)
    return Dashboard(options=Options(drawing=style), first=lambda app: CompareScreen(runs, **options))


def screen_of(pilot: Pilot[None]) -> CompareScreen:
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, CompareScreen)
    return screen


async def read(pilot: Pilot[None]) -> CompareScreen:
    screen = screen_of(pilot)
    await until(pilot, lambda: not screen.deck.loading)
    return screen


def text(pilot: Pilot[None], selector: str) -> str:
    view = screen_of(pilot).query_one(selector, View)
    return "\n".join(view.render_line(y).text for y in range(view.size.height))


def whole(pilot: Pilot[None]) -> str:
    return "\n".join("".join(s.text for s in strip) for strip in pilot.app.screen._compositor.render_strips())


async def test_runs_are_shown_with_what_keeps_them_apart(recorded: list[Path]) -> None:
    async with opened(recorded).run_test(size=ROOMY) as pilot:
        await read(pilot)
        listed = text(pilot, "#runs").splitlines()
        assert "A*" in listed[1] and "20261122-143015-smooth" in listed[1] and "reference" in listed[1]
        assert "complete" in listed[2] and "18/18" in listed[2] and "no: model evaluations 18" in listed[2]
        assert "unfinished" in listed[3] and "stage 0 step 2" in listed[3]
        assert "3 runs by step" in text(pilot, "#header") and "stage 0 of 0–1 · video" in text(pilot, "#header")
        charts = [c for c in screen_of(pilot).query(CompareChart) if c.display]
        assert [c.metric for c in charts] == ["sigma", "snr_measured_db", "velocity_rms", "low_frequency_wander"]
        for chart in charts:
            drawn = text(pilot, f"#{chart.id}")
            assert {"A", "B", "C"} <= set(drawn)
        await pilot.press("home")
        assert "A 1.000  B 1.000  C 1.000" in text(pilot, "#chart-0")


async def test_aligned_pinned_hidden_and_as_differences(recorded: list[Path]) -> None:
    async with opened(recorded).run_test(size=ROOMY) as pilot:
        screen = await read(pilot)
        for name in ("by σ", "by SNR", "by evaluations", "by step"):
            await pilot.press("a")
            assert name in text(pilot, "#header")
        await pilot.press("A", "A", "A")
        assert "by σ" in text(pilot, "#header") and "σ 0.1000" in text(pilot, "#header")
        assert "SNR measured" in text(pilot, "#chart-0"), "σ itself is the axis now"
        await pilot.press("a", "a", "a", "r")
        assert "minus A" in text(pilot, "#header") and "σ −A" in text(pilot, "#chart-0")
        assert "A " not in text(pilot, "#chart-0").splitlines()[1]
        await pilot.press("down", "down", "p")
        assert "minus C" in text(pilot, "#header") and "C*" in text(pilot, "#runs")
        assert "B 0" in text(pilot, "#chart-0"), "C is B without its end"
        await pilot.press("1", "2")
        assert "no run besides the reference C is shown" in text(pilot, "#chart-0")
        assert "hidden" in text(pilot, "#runs")
        await pilot.press("1", "2", "r", "space")
        assert [m.letter for m in screen.deck.drawn] == ["A", "B"]
        await pilot.press("up", "up", "up", "down", "p")
        assert screen.deck.selected == 0 and screen.deck.pinned == 0


async def test_a_key_goes_to_where_the_runs_part(recorded: list[Path]) -> None:
    async with opened(recorded).run_test(size=ROOMY) as pilot:
        screen = await read(pilot)
        await pilot.press("home", "j")
        assert (screen.deck.stage_index, screen.deck.cursor) == (0, 2)
        assert "B first differs from A in stage 0, step 2, video" in text(pilot, "#header")
        await pilot.press("right_curly_bracket")
        assert "stage 1 of 0–1" in text(pilot, "#header") and screen.deck.cursor == 3
        await pilot.press("j")
        assert (screen.deck.stage_index, screen.deck.cursor) == (0, 2), "there is one only"
        await pilot.press("v")
        assert "audio" in text(pilot, "#header")
        await pilot.press("left", "left", "left", "right", "shift+right")
        assert screen.deck.cursor == 11


async def test_pages_table_and_pictures_on_a_small_screen(recorded: list[Path]) -> None:
    async with opened(recorded).run_test(size=(80, 24)) as pilot:
        screen = await read(pilot)
        assert sum(c.display for c in screen.query(CompareChart)) == 2
        assert not screen.query_one("#side").display
        before = text(pilot, "#chart-0")
        await pilot.press("pagedown")
        assert "velocity RMS" in text(pilot, "#chart-0") and "metrics 2/" in text(pilot, "#header")
        await pilot.press("pageup")
        assert text(pilot, "#chart-0") == before
        await pilot.press("tab")
        table = text(pilot, "#table")
        assert "drift index" in table and "B−A" in table and "more rows: PgDn" in table
        assert not screen.query_one("#charts").display and not screen.query_one("#pictures").display
        await pilot.press("pagedown")
        table = text(pilot, "#table")
        assert "B and A are not a fair pair" in table and "C first differs from A" in table
        assert "drift index" not in table
        await pilot.press("pagedown", "pagedown", "pageup")
        assert "drift index" in text(pilot, "#table")
        await pilot.press("tab", "home", "right")
        assert "A step 1 σ 0.9" in text(pilot, "#pictures") and "B step 1 σ" in text(pilot, "#pictures")
        assert text(pilot, "#pictures").count("▀") > 100
        await pilot.press("escape")
        assert screen.query_one("#charts").display


async def test_a_large_screen_has_six_charts_table_and_pictures(recorded: list[Path]) -> None:
    async with opened(recorded).run_test(size=(200, 60)) as pilot:
        screen = await read(pilot)
        assert sum(c.display for c in screen.query(CompareChart)) == 6
        await pilot.press("home")
        assert "drift index" in text(pilot, "#table") and "C step 0" in text(pilot, "#pictures")


async def test_layout_fills_the_terminal(recorded: list[Path]) -> None:
    sizes = ((60, 15), (100, 30), (160, 40), (300, 100))
    async with opened([*recorded, *recorded, *recorded[:2]]).run_test(size=sizes[0]) as pilot:
        screen = await read(pilot)
        await pilot.press("j")
        for size in [size for size in sizes for _ in FACES]:
            await resized(pilot, *size)
            assert len(whole(pilot).splitlines()) == size[1]
            for view in screen.query(CompareView):
                if view.display and view.region:
                    assert view.region.right <= size[0] and view.region.bottom <= size[1]
                    found = view.rows(*view.size)
                    assert len(found) <= max(view.size.height, 1)
                    assert all(row.used == view.size.width for row in found)
            charts = [c.region for c in screen.query(CompareChart) if c.display and c.region]
            assert all(c.width >= 40 and c.height >= 6 for c in charts)
            await pilot.press("tab")


async def test_resizing_keeps_what_is_looked_at_and_too_small_says_so(recorded: list[Path]) -> None:
    async with opened(recorded).run_test(size=(200, 60)) as pilot:
        screen = await read(pilot)
        await pilot.press("pagedown")
        first = screen.deck.shown[0]
        for size in ((80, 24), (59, 20), (120, 40), (3, 2), (80, 24)):
            await resized(pilot, *size)
            assert screen.query_one("#too-small").display is (size in ((59, 20), (3, 2)))
        assert first in screen.deck.shown


def test_room_for_charts() -> None:
    assert room_for(80, 19) == (1, 2) and room_for(120, 34) == (2, 2) and room_for(120, 53) == (2, 3)
    assert room_for(60, 10) == (1, 1) and room_for(10, 2) == (1, 1)
    for width in range(60, 301, 7):
        for height in range(8, 101, 3):
            across, down = room_for(width, height)
            assert 1 <= across * down <= 6 and width // across >= 40


async def test_the_mouse_sets_the_cursor_and_chooses_a_run(recorded: list[Path]) -> None:
    async with opened(recorded).run_test(size=ROOMY) as pilot:
        screen = await read(pilot)
        chart = screen.query_one("#chart-1", CompareChart)
        at = GUTTER + column(4, screen.deck.points, columns(chart.size.width - 1))
        await pilot.click("#chart-1", offset=(at, 6))
        assert screen.deck.cursor == 4
        await pilot.click("#runs", offset=(10, 2))
        assert screen.deck.selected == 1
        await pilot.hover("#chart-1", offset=(3, 0))
        assert "power" in str(chart.tooltip) or "SNR" in str(chart.tooltip) or chart.about in str(chart.tooltip)
        await resized(pilot, 80, 24)
        await pilot.click("#runs", offset=(79, 0))
        assert screen.deck.selected == 2


async def test_one_run_is_live_and_grows_under_the_cursor() -> None:
    source, go_on = live_fixture("restart")
    go_on(4)
    other = Archive(list(messages(0, stages=0)))
    assert other is not None
    done, all_of_it = live_fixture("smooth")
    all_of_it(99)
    done.liveness = Liveness.FINISHED
    sources = {"live": source, "done": done}
    app = opened([Path("done"), Path("live")], opener=lambda path: sources[path.name])
    async with app.run_test(size=ROOMY) as pilot:
        screen = await read(pilot)
        await until(pilot, lambda: "live" in text(pilot, "#runs"))
        assert "4/" in text(pilot, "#runs") and "LIVE" in text(pilot, "#header")
        await pilot.press("home", "right")
        go_on(7)
        await until(pilot, lambda: " 7/" in text(pilot, "#runs"))
        assert screen.deck.cursor == 1 and "held" in text(pilot, "#header")
        await pilot.press("r")
        go_on(99)
        source.liveness = Liveness.FINISHED
        await until(pilot, lambda: not screen.deck.live)
        assert "18/18" in text(pilot, "#runs") and "COMPARE" in text(pilot, "#header")
    assert source.closed and done.closed


async def test_reading_does_not_hold_up_the_keys(recorded: list[Path]) -> None:
    go = threading.Event()

    class Slow(Archive):
        def poll(self) -> list[Any]:
            assert go.wait(60)
            return super().poll()

    some = list(messages(5))
    app = opened([Path(f"{n}") for n in range(8)], opener=lambda path: Slow(some))
    async with app.run_test(size=ROOMY) as pilot:
        await pilot.pause()
        assert "opening 8 of 8" in text(pilot, "#header")
        await pilot.press("down", "a", "r", "j", "tab", "tab", "tab", "pagedown", "left", "p", "space", "e", "v")
        assert screen_of(pilot).deck.selected == 1 and "by σ" in text(pilot, "#header")
        go.set()
        await read(pilot)
        assert "opening" not in text(pilot, "#header") and "H" in text(pilot, "#runs")


async def test_what_cannot_be_read_is_said_and_the_rest_compared(recorded: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.journal"
    broken.write_bytes(b"\x00" * 64)
    async with opened([broken, *recorded[:2], tmp_path / "none.zarr"]).run_test(size=ROOMY) as pilot:
        screen = await read(pilot)
        listed = text(pilot, "#runs")
        assert listed.count("unreadable") == 2 and "cannot be read" in listed
        assert screen.deck.points > 0 and screen.deck.reference.letter == "B"
        await pilot.press("enter")
        await pilot.pause()
        assert pilot.app.screen is screen, "it says that it cannot be opened"
    async with opened([broken, broken]).run_test(size=ROOMY) as pilot:
        await read(pilot)
        assert "no run can be read" in text(pilot, "#header")


HOSTILE = "\x1b[2J\x1b]0;title\x07[bold]“広い”\u202e\u0300\u0300\u0300\u0300\nnext " + "x" * 10_000


@pytest.mark.parametrize(("style", "size"), [(Style.BRAILLE, (80, 24)), (Style.ASCII, (160, 40))])
async def test_names_and_words_of_runs_are_shown_and_never_obeyed(style: Style, size: tuple[int, int]) -> None:
    nasty = made(rows(SMOOTH), prompt=HOSTILE, shocks=[HOSTILE], arguments={HOSTILE: HOSTILE}, seed=HOSTILE)
    nasty.header["run"] = HOSTILE
    stream = nasty.stages[0].streams["video"]
    info = stream.metrics["value"]
    stream.metrics["value"] = type(info)("value", HOSTILE, info.dims, info.shape, HOSTILE, HOSTILE, info.columns)
    app = opened([nasty, made(rows(SMOOTH)), nasty], drawing=style, metrics=["value"])
    async with app.run_test(size=size) as pilot:
        for key in ("home", "tab", "tab", "down", "tab", "r"):
            await pilot.press(key)
            drawn = whole(pilot)
            assert not any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c == "\u202e" for c in drawn)
            assert len(drawn.splitlines()) == size[1]
            assert style is not Style.ASCII or drawn.isascii()


async def test_runs_without_steps_and_without_stages() -> None:
    for runs in ([made({"sigma": []}), made({"sigma": []})], [made(end=None), made(rows(SMOOTH))]):
        async with opened(runs).run_test(size=(80, 24)) as pilot:
            await pilot.press("j", "a", "r", "end", "left", "tab", "tab", "tab", "pagedown", "p", "e")
            assert pilot.app.is_running and "stage 0" in text(pilot, "#header")


async def test_a_run_is_opened_alone_and_left_again(recorded: list[Path]) -> None:
    async with opened(recorded).run_test(size=ROOMY) as pilot:
        await read(pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        alone = pilot.app.screen
        assert isinstance(alone, RunScreen)
        await until(pilot, lambda: alone.deck.run.name.endswith("restart"))
        await pilot.press("q")
        await until(pilot, lambda: isinstance(pilot.app.screen, CompareScreen))
        assert pilot.app.is_running


async def test_curves_are_written_as_csv(recorded: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened(recorded).run_test(size=ROOMY) as pilot:
        screen = await read(pilot)
        await pilot.press("r", "e")
        await until(pilot, lambda: bool(list(tmp_path.glob("compare*.csv"))))
        await pilot.app.workers.wait_for_complete([w for w in pilot.app.workers if w.name != "loader"])
        with next(tmp_path.glob("compare*.csv")).open() as file:
            found = list(csv.reader(file))
        assert found[0][:3] == ["step", "sigma B-A", "sigma C-A"] and len(found) == screen.deck.points + 1
        assert screen.command()[:3] == ["ltxtui", "compare", "--tui"]


def test_every_action_has_its_key_here() -> None:
    keys = [key for key, _ in actions.bindings("compare")]
    assert len(keys) == len(set(keys))
    assert {a.id for a in actions.of_screen("compare") if a.group == "Compare"} >= {
        "compare-align", "compare-residuals", "compare-pin", "compare-toggle", "compare-jump", "compare-face",
    }  # fmt: skip
    made_screen = compare_screen([made(rows(SMOOTH))] * 2, {"compare-align": ("x", "X")})
    assert made_screen.deck.align == "step" and isinstance(made_screen, CompareScreen)


async def test_the_users_own_keys(recorded: list[Path]) -> None:
    runs = [made(rows(SMOOTH)), made(rows(SMOOTH))]
    app = Dashboard(first=lambda app: compare_screen(runs, {"compare-residuals": ("x",)}))
    async with app.run_test(size=ROOMY) as pilot:
        await pilot.press("r")
        assert "values" in text(pilot, "#header")
        await pilot.press("x")
        assert "minus A" in text(pilot, "#header")


@pytest.mark.parametrize("theme", THEMES, ids=lambda t: t.name)
async def test_eight_colours_can_be_read_and_differ(theme: Any) -> None:
    async with opened([made(rows(SMOOTH))] * 8).run_test(size=ROOMY) as pilot:
        pilot.app.theme = theme.name
        await settled(pilot)
        chart = screen_of(pilot).query_one("#chart-0", CompareChart)
        ground = chart.rich_style.bgcolor
        assert ground is not None
        colours = [chart.style_of(role).color for role in RUN_ROLES]
        assert len({str(c) for c in colours}) == 8
        for colour in colours:
            assert colour is not None
            assert Color.from_rich_color(colour).get_contrast_text(0) is not None
            assert _contrast(Color.from_rich_color(colour), Color.from_rich_color(ground)) >= 4.5


def _contrast(one: Color, other: Color) -> float:
    def luminance(colour: Color) -> float:
        channels = [c / 255 for c in colour.rgb]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


# -- the command


def run_cli(*arguments: object) -> Any:
    return CliRunner().invoke(cli, ["compare", "--tui", *map(str, arguments)])


def test_the_command_opens_the_screen_with_what_was_asked(
    recorded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[CompareScreen] = []

    def run(self: Dashboard, **options: Any) -> None:
        screen = self.get_default_screen()
        assert isinstance(screen, CompareScreen)
        seen.append(screen)

    monkeypatch.setattr(common, "has_terminal", lambda: True)
    monkeypatch.setattr(Dashboard, "run", run)
    done = run_cli(*recorded, "--align", "snr", "--stage", 1, "--stream", "audio", "--metric", "std", "--item", 0)
    assert done.exit_code == 0, done.output
    deck = seen[0].deck
    assert [m.path for m in deck.members] == recorded
    assert (deck.align, deck.stage_index, deck.stream_wanted, deck.item) == ("snr", 1, "audio", 0)


def test_the_command_says_what_is_wrong(recorded: list[Path], tmp_path: Path) -> None:
    assert "needs a terminal" in run_cli(*recorded).output
    assert "cannot be combined with --json" in run_cli(*recorded, "--json").output
    assert "does not exist" in run_cli(recorded[0], tmp_path / "none.zarr").output
    assert "give 2 to 8 runs" in run_cli(recorded[0]).output
