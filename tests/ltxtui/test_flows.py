"""The dashboard driven by its keys and its mouse."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import socket

import numpy as np
import pytest
from textual.color import Color
from textual.theme import Theme

from ltxtui.app import Dashboard, Options
from ltxtui.panels.chart_view import ChartView
from ltxtui.plot.line_plot import GUTTER, Style, columns
from ltxtui.plot.roles import ROLES
from ltxtui.plot.scales import column
from ltxtui.screens.help import HelpScreen
from ltxtui.screens.run import Opening, RunScreen
from ltxtui.themes import THEMES, first_drawing, first_theme
from ltxtui.viewmodel.feed import REST, Feed
from ltxtui.viewmodel.layout import across
from recorder.format.protocol import Message
from replay.model.run import Run
from replay.sources.open import Liveness
from tests.ltxtui.driving import ROOMY, loaded, resized, settled, shown, until
from tests.ltxtui.fake import messages
from tests.ltxtui.sources import Archive, Live


async def test_replay_shows_the_run_and_reads_it_out() -> None:
    app = Dashboard(Archive(messages(30, prompt="a red [bold]ball[/]")))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        header = shown(pilot, "#header")
        assert "REPLAY" in header and "complete" in header and "red-disc" in header
        assert "nano" in header and "stage 0" in header and "video" in header and "step 30/30" in header
        assert "a red [bold]ball[/]" in header
        assert "σ 0.0819" in shown(pilot, "#sigma")
        assert "stage 0 ended" in shown(pilot, "#event")
        await pilot.press("8", "home")
        assert "σ 1.000" in shown(pilot, "#sigma") and "schedule -∞" in shown(pilot, "#snr")
        assert "cosine –" in shown(pilot, "#velocity") and "low 0.06" in shown(pilot, "#energy")
        await pilot.press("right", "right")
        assert "cursor 2" in shown(pilot, "#header")
        await pilot.press("v")
        assert "audio" in shown(pilot, "#header")


async def test_live_grows_is_looked_back_at_and_caught_up_with() -> None:
    source, some = Live(), list(messages(10))
    app = Dashboard(source)
    async with app.run_test(size=ROOMY) as pilot:
        await pilot.pause()
        assert "waiting" in shown(pilot, "#header")
        source.send(some[:3])
        await until(pilot, lambda: app.deck.steps == 10)
        assert "waiting for the first step" in shown(pilot, "#sigma") and "LIVE" in shown(pilot, "#header")
        source.send(some[3:13])
        await until(pilot, lambda: app.deck.visible == 4)
        assert "step 4/10" in shown(pilot, "#header") and "left" in shown(pilot, "#header")
        assert "following" in shown(pilot, "#header")
        await pilot.press("left", "left")
        source.send(some[13:17])
        await until(pilot, lambda: app.deck.visible == 6)
        assert "cursor 1 held" in shown(pilot, "#header")
        await pilot.press("space", "comma", "percent_sign")
        assert app.deck.visible == 6
        await pilot.press("end")
        assert "cursor 5 following" in shown(pilot, "#header")
        source.send(some[17:])
        source.liveness = Liveness.FINISHED
        await until(pilot, lambda: not app.deck.live)
        assert "ENDED" in shown(pilot, "#header") and "complete" in shown(pilot, "#header")
        assert [n.message for n in app._notifications][-1].endswith("has ended after 10 steps: complete")
        await pilot.press("percent_sign", *"30%", "enter")
        assert "REPLAY" in shown(pilot, "#header") and app.deck.visible == 3
    assert source.closed


async def test_a_run_whose_recorder_is_gone() -> None:
    source = Live()
    app = Dashboard(source)
    async with app.run_test(size=ROOMY) as pilot:
        source.send(list(messages(10, end=None))[:12])
        await until(pilot, lambda: app.deck.visible > 0)
        source.note, source.liveness = "the recording ends in the middle of a message", Liveness.UNFINISHED
        await until(pilot, lambda: not app.deck.live)
        assert "unfinished" in shown(pilot, "#header")
        assert "the recorder stopped without closing the run" in [n.message for n in app._notifications][-1]
        assert "middle of a message" in shown(pilot, "#event")


async def test_a_note_that_changes_between_polls_is_told() -> None:
    source, notes = Live(), list[str]()
    feed = Feed(source, Run(), lambda: notes.append(feed.note))
    task = asyncio.create_task(feed.run())
    for said in ("lost 0 s ago", "lost 1 s ago", "lost 2 s ago"):
        source.note = said
        async with asyncio.timeout(60):
            while said not in notes:
                await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_pictures_that_take_long_are_made_more_rarely_and_the_last_one_comes() -> None:
    source, some, pictures = Live(), list(messages(10)), list[tuple[float, int]]()
    loop = asyncio.get_running_loop()
    run = Run()

    def drawn() -> None:
        pictures.append((loop.time(), run.steps))
        feed.drawn(0.2)

    feed = Feed(source, run, drawn)
    task = asyncio.create_task(feed.run())
    for message in some[:-1]:
        source.send([message])
        await asyncio.sleep(0.05)
    async with asyncio.timeout(60):
        while not pictures or pictures[-1][1] < 10:
            await asyncio.sleep(0.01)
    gaps = [after[0] - before[0] for before, after in itertools.pairwise(pictures)]
    assert gaps and min(gaps) >= REST * 0.2 - 0.01
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_failed_run_says_why() -> None:
    app = Dashboard(Archive(messages(5, end="failed", error="CUDA out of\nmemory \x1b[31m")))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        assert "failed: CUDA out of memory" in shown(pilot, "#header")


async def test_messages_that_are_no_run_do_not_end_the_dashboard() -> None:
    broken = [*list(messages(5))[:8], {"t": "step", "stage": 7, "stream": "video", "step": 0, "time": 0.0, "data": b""}]
    app = Dashboard(Archive(broken))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        assert "reading stopped" in shown(pilot, "#event")
        assert app.deck.visible > 0 and app.is_running


async def test_replay_plays_on_a_clock_of_its_own() -> None:
    now = 0.0
    options = Options(opening=Opening(playing=True, speed=2.0), clock=lambda: now)
    app = Dashboard(Archive(messages(20, pace=1.0)), options)
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await pilot.pause(0.1)
        assert app.deck.visible == 1 and "2×" in shown(pilot, "#header")
        now = 0.8
        await until(pilot, lambda: app.deck.visible == 2)
        await pilot.press("plus")
        now += 0.7
        await until(pilot, lambda: app.deck.visible == 5)
        await pilot.press("space", "comma")
        assert (app.deck.visible, app.deck.playing) == (4, False)
        await pilot.press("full_stop", "full_stop", "percent_sign", "5", "0", "percent_sign", "enter")
        assert app.deck.visible == 10
        await pilot.press("shift+right", "percent_sign", "1", "7", "enter", "shift+left")
        assert app.deck.visible == 16
        app.deck.speed = math.inf
        await pilot.press("space")
        await until(pilot, lambda: app.deck.visible == 20)
        assert not app.deck.playing


async def test_the_mouse_sets_the_cursor() -> None:
    app = Dashboard(Archive(messages(30)))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await pilot.press("8")
        chart = app.screen.query_one("#velocity", ChartView)
        await pilot.click("#velocity", offset=(GUTTER + column(11, 30, columns(chart.size.width - 1)), 6))
        assert app.deck.cursor == 11


async def test_help_opens_shows_every_group_and_closes() -> None:
    app = Dashboard(Archive(messages(5)))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        for opening, closing in (("question_mark", "question_mark"), ("f1", "escape"), ("f1", "q")):
            await pilot.press(opening)
            assert isinstance(app.screen, HelpScreen)
            await pilot.press(closing)
            assert isinstance(app.screen, RunScreen)


@pytest.mark.parametrize(("key", "in_help"), [("q", False), ("ctrl+c", False), ("ctrl+q", True)])
async def test_quit(key: str, in_help: bool) -> None:
    ended: list[bool] = []
    source = Archive(messages(3))
    app = Dashboard(source, Options(on_quit=lambda: ended.append(True)))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        await pilot.press(*(["f1"] if in_help else []), key)
        await pilot.pause()
    assert ended == [True] and source.closed and app.return_code == 0


async def test_a_too_small_terminal_says_what_it_needs_and_recovers() -> None:
    app = Dashboard(Archive(messages(5)))
    async with app.run_test(size=(59, 20)) as pilot:
        await loaded(pilot)
        assert "60×15 needed" in shown(pilot, "#too-small") and "59×20 now" in shown(pilot, "#too-small")
        await resized(pilot, 60, 15)
        assert not app.screen.query_one("#too-small").display and app.screen.query_one("#sigma").size.height >= 5
        await resized(pilot, 3, 2)
        assert app.is_running


async def test_layout_fills_the_terminal() -> None:
    app = Dashboard(Archive(messages(30, batch=2, stages=2)), Options(opening=Opening(preset=8)))
    async with app.run_test(size=(60, 15)) as pilot:
        await loaded(pilot)
        for size in ((60, 15), (80, 24), (80, 50), (200, 20), (300, 100)):
            await resized(pilot, *size)
            fills(app, size)


def fills(app: Dashboard, size: tuple[int, int]) -> None:
    regions = [chart.region for chart in app.screen.query(ChartView)]
    columns_used = across(4, size[0], size[1] - (5 if size[1] >= 30 else 4))
    assert len({r.x for r in regions}) == columns_used and len({r.y for r in regions}) == 4 // columns_used
    assert max(r.right for r in regions) == size[0] and max(r.bottom for r in regions) == size[1] - 2
    for chart in app.screen.query(ChartView):
        lines = [chart.render_line(y).text for y in range(chart.size.height)]
        assert all(len(line) == chart.size.width for line in lines)
        assert "…" not in lines[0] + lines[1]


async def test_ascii_leaves_nothing_else_on_the_screen() -> None:
    hostile = "σ “prompt” 広い \u202e\x1b[2J"
    app = Dashboard(
        Archive(messages(10, prompt=hostile, name="é…", nan_at=9), note="— torn"), Options(drawing=Style.ASCII)
    )
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        for keys in ((), ("6",), ("home",), ("question_mark",)):
            await pilot.press(*keys)
            drawn = "".join(s.text for row in app.screen._compositor.render_strips() for s in row)
            assert drawn.isascii()


async def test_drawing_and_theme_switch() -> None:
    app = Dashboard(Archive(messages(10)))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        seen = {shown(pilot, "#sigma")}
        for _ in range(2):
            await pilot.press("d")
            seen.add(shown(pilot, "#sigma"))
        assert len(seen) == 3
        before = app.theme
        await pilot.press("t")
        assert app.theme != before


async def test_a_flood_is_one_redraw_and_a_still_screen_none() -> None:
    source = Live()
    app = Dashboard(source)
    drawn = 0
    async with app.run_test(size=(80, 24)) as pilot:
        screen = app.screen
        assert isinstance(screen, RunScreen)
        show = screen.show

        def counted() -> None:
            nonlocal drawn
            drawn += 1
            show()

        screen.show = counted  # type: ignore[method-assign]
        source.send(messages(500))
        await until(pilot, lambda: app.deck.visible == 500 and app.deck.findings.current)
        assert drawn < 50
        before = drawn
        await asyncio.sleep(0.5)
        assert drawn == before


@pytest.mark.parametrize("theme", THEMES, ids=lambda t: t.name)
async def test_sixteen_colours_keep_lines_apart(theme: object) -> None:
    from rich.color import ColorSystem

    app = Dashboard(Archive(messages(5)))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        app.theme = theme.name  # type: ignore[attr-defined]
        await settled(pilot)
        chart = app.screen.query_one("#sigma", ChartView)
        styles = {role: chart.style_of(role) for role in ROLES}
        ground = chart.rich_style.bgcolor
        assert ground is not None
        sixteen = {r: s.color.downgrade(ColorSystem.STANDARD).number for r, s in styles.items() if s.color}
        assert len({sixteen["s1"], sixteen["s2"], sixteen["s3"], ground.downgrade(ColorSystem.STANDARD).number}) == 4
        assert ground.downgrade(ColorSystem.STANDARD).number not in {sixteen[r] for r in ("dim", "tick", "label")}
        for role in ("s1", "s2", "s3", "dim", "alert"):
            colour = styles[role].color
            assert colour is not None
            assert _contrast(Color.from_rich_color(colour), Color.from_rich_color(ground)) >= 4.5


def _contrast(one: Color, other: Color) -> float:
    def luminance(colour: Color) -> float:
        channels = [c / 255 for c in colour.rgb]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


# Linear RGB as the colour-blind see it (Machado, Oliveira and Fernandes 2009, full severity).
_VISION = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
    "any": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
}


def _lab(name: str, vision: str) -> np.ndarray:
    rgb = np.array(Color.parse(name).rgb) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(_VISION[vision]) @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ seen / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", _VISION)
@pytest.mark.parametrize("theme", THEMES, ids=lambda t: t.name)
def test_lines_differ_for_every_kind_of_colour_vision(theme: Theme, vision: str) -> None:
    lines = [_lab(theme.variables[f"line-{n}"], vision) for n in (1, 2, 3)]
    apart = min(float(np.linalg.norm(a - b)) for n, a in enumerate(lines) for b in lines[n + 1 :])
    assert apart > (40 if theme.name == "ltxtui-safe" else 12), f"{apart:.0f}"


def test_surroundings_choose_theme_and_drawing() -> None:
    assert first_theme({"COLORFGBG": "0;15"}) == "ltxtui-light"
    assert first_theme({}) == "ltxtui-dark"
    assert first_drawing({"LANG": "de_DE.UTF-8"}) is Style.BRAILLE
    assert first_drawing({"LANG": "de_DE.UTF-8", "LC_ALL": "C"}) is Style.ASCII
    assert first_drawing({"LC_ALL": "en_US.utf8"}) is Style.BRAILLE
    assert first_drawing({"LANG": "en_US.ISO-8859-1"}) is Style.ASCII
    assert first_drawing({"LANG": "C.UTF-8", "TERM": "linux"}) is Style.ASCII


async def test_a_descriptor_wakes_the_dashboard_and_silence_costs_nothing() -> None:
    ours, theirs = socket.socketpair()
    polls = 0

    class Wire(Live):
        def fileno(self) -> int | None:
            return ours.fileno()

        def poll(self) -> list[Message]:
            nonlocal polls
            polls += 1
            ours.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                ours.recv(4096)
            return super().poll()

    with ours, theirs:
        source, some = Wire(), list(messages(10))
        app = Dashboard(source)
        async with app.run_test(size=(80, 24)) as pilot:
            source.send(some[:6])
            await until(pilot, lambda: app.deck.steps == 10)
            await asyncio.sleep(0.3)
            before = polls
            await asyncio.sleep(0.5)
            assert polls == before
            source.send(some[6:12])
            theirs.send(b"x")
            await until(pilot, lambda: app.deck.visible > 0)
            assert polls <= before + 2


async def test_messages_with_wrong_types_inside_do_no_harm() -> None:
    some = list(messages(5))
    some[0]["metadata"] = 7
    some[1]["metadata"] = {"prompt": {"a": [1]}, "model": ["x"]}
    some[1]["tile"] = "\x1b[2J"
    for declared in (m for m in some if m["t"] == "stream"):
        for metric in declared["metrics"]:
            if metric["name"] == "velocity_rms":
                metric["shape"], metric["dims"] = [1, 1], ["step", "batch"]
    some[-1:] = [
        {"t": "event", "kind": ["odd"], "stage": "x", "step": 1.5, "time": None, "stream": 3, "text": None},
        {"t": "event", "kind": "warning"},
        {"t": "end", "status": 5, "error": {"b": 1}},
    ]
    app = Dashboard(Archive(some))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        assert app.deck.visible == 5 and app.deck.series("velocity_rms") is None
        await pilot.press("home", "v", "b", "end")
        assert app.is_running and "red-disc" in shown(pilot, "#header")
