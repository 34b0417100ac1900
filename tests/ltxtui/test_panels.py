"""The panels of the run view on a real run, on made-up ones with known values, and on what is missing or hostile."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual.app import App, ComposeResult

import ltxtui.screens
from ltxtui.panels import (
    chart_plots,
    chart_specs,
    chart_view,
    cost,
    events,
    filmstrip,
    findings,
    frames,
    spectrum,
    steps,
    system,
    waterfall,
)
from ltxtui.panels.panel import Panel
from ltxtui.panels.registry import PANELS
from ltxtui.panels.view import View
from ltxtui.plot import heatmap
from ltxtui.plot.film import film_layout, resized
from ltxtui.plot.line_plot import GUTTER, Style
from ltxtui.plot.roles import COMPONENTS
from ltxtui.plot.rows import Ink
from ltxtui.reports.export import Table
from ltxtui.themes import THEMES
from ltxtui.viewmodel.deck import Deck
from recorder.format import protocol
from recorder.format.declarations import METRICS
from recorder.format.protocol import Message
from replay.model import memory_limits
from replay.model import run as run_module
from replay.model.run import Run
from replay.sources.open import Liveness
from tests.ltxtui import fake
from tests.ltxtui.fixture import fixture_messages

OWN = (*chart_view.PANELS, *waterfall.PANELS, *spectrum.PANELS, *frames.PANELS, *filmstrip.PANELS, *findings.PANELS,
       *events.PANELS, *system.PANELS, *cost.PANELS)  # fmt: skip
BY_ID = {panel.id: panel for panel in OWN}
TRUE = 1 << 24


def deck_of(messages: Iterable[Message], liveness: Liveness = Liveness.FINISHED) -> Deck:
    run = Run()
    for message in messages:
        run.feed(message)
    deck = Deck(run, liveness)
    deck.changed(liveness)
    return deck


@pytest.fixture(scope="module")
def recorded() -> list[Message]:
    return fixture_messages()


@pytest.fixture
def real(recorded: list[Message]) -> Deck:
    return deck_of(recorded)


class Alone(App[None]):
    """Nothing but some panels, with the colours of the dashboard."""

    COMPONENT_CLASSES = COMPONENTS
    CSS_PATH = str(Path(ltxtui.screens.__file__).parent / "run.tcss")

    def __init__(self, views: list[View], size: tuple[int, int]) -> None:
        super().__init__()
        self._views = views
        self.colours = TRUE
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = THEMES[0].name
        for view in views:
            view.styles.width, view.styles.height = size

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict(THEMES[0].variables)

    def compose(self) -> ComposeResult:
        yield from self._views


@asynccontextmanager
async def shown(
    deck: Deck, *ids: str, size: tuple[int, int] = (80, 12), style: Style = Style.BRAILLE, colours: int = TRUE
) -> AsyncIterator[list[View]]:
    """Panels as on a terminal of that many colours."""
    views = [BY_ID[id].make(deck, style) for id in ids]
    app = Alone(views, size)
    with pytest.MonkeyPatch.context() as patched:
        app.colours = colours
        patched.setattr(View, "colours", property(lambda view: app.colours))
        async with app.run_test(size=(size[0] + 2, len(views) * size[1] + 2)) as pilot:
            await pilot.pause()
            yield views


def text(view: View) -> str:
    return "\n".join(view.render_line(y).text for y in range(view.size.height))


def with_spectrum(values: np.ndarray, metric: str = "spectrum_x0") -> Deck:
    """A made-up run whose spectrum is known: [steps, 6 bins]."""
    deck = deck_of(fake.messages(len(values)))
    stream = deck.run.stages[0].streams["video"]
    stream.data[:, stream.metrics[metric].columns] = values
    return deck


def preview(step: int, pixels: np.ndarray) -> Message:
    return {
        "t": protocol.PREVIEW, "stage": 0, "stream": "video", "step": step, "shape": list(pixels.shape),
        "frames": list(range(1, 1 + len(pixels))), "fit": 1, "data": pixels.astype(np.uint8).tobytes(),
    }  # fmt: skip


# All of them


def test_every_panel_is_offered_once_and_says_what_it_tells(real: Deck) -> None:
    assert [p.id for p in PANELS if p.id in BY_ID] == [p.id for p in PANELS if p.id != "readout"]
    assert set(BY_ID) <= {p.id for p in PANELS}
    for panel in OWN:
        about = panel.about(real)
        assert panel.title and len(about) > 30 and "\x1b" not in about


@pytest.mark.parametrize("size", [(20, 5), (60, 9), (120, 24)])
async def test_every_panel_fills_its_place_and_is_never_blank(real: Deck, size: tuple[int, int]) -> None:
    real.move_to(2)
    async with shown(real, *BY_ID, size=size) as views:
        app = views[0].app
        assert isinstance(app, Alone)
        for style, colours in ((s, c) for s in (Style.BRAILLE, Style.ASCII) for c in (TRUE, 0)):
            app.colours = colours
            for view in views:
                view.drawing, view._rows = style, None
                rows = view.rows(*size)
                assert len(rows) <= size[1] and all(row.used <= size[0] for row in rows), view.id
                drawn = text(view)
                assert drawn.strip() and (style is not Style.ASCII or drawn.isascii()), view.id
                inked = [s.ink for row in rows for s in row.spans if s.ink is not None]
                assert not inked or (colours and style is not Style.ASCII), view.id


NOTHING: dict[str, Callable[[], Iterable[Message]]] = {
    "no message": lambda: (),
    "a header": lambda: list(fake.messages(3))[:1],
    "a stage": lambda: list(fake.messages(3))[:3],
    "streams": lambda: list(fake.messages(3))[:5],
}


@pytest.mark.parametrize("what", NOTHING)
@pytest.mark.parametrize("liveness", [Liveness.LIVE, Liveness.FINISHED])
async def test_a_run_that_has_not_begun_is_said_to_be_so(what: str, liveness: Liveness) -> None:
    deck = deck_of(NOTHING[what](), liveness)
    async with shown(deck, *BY_ID, size=(50, 6)) as views:
        for view in views:
            lines = [line for line in text(view).splitlines()[1:] if line.strip(" │┤0123456789.-step")]
            assert lines, view.id
    for panel in OWN:
        table = panel.table(deck)
        assert table.columns and (panel.id == "events" or not table.rows)


@pytest.mark.parametrize("panel", OWN, ids=lambda p: p.id)
def test_tables_are_rectangular_and_end_at_the_playhead(panel: Panel, real: Deck) -> None:
    real.go_to(0, 5)
    real.seek_to(6)
    table = panel.table(real)
    # This run has no findings; their table is looked at with a run that has.
    assert (table.rows or panel.id == "findings") and all(len(row) == len(table.columns) for row in table.rows)
    assert len(set(table.columns)) == len(table.columns)
    if table.columns[0] == "step" and panel.id != "filmstrip":
        assert [row[0] for row in table.rows] == list(range(6))


def column(table: Table, name: str) -> list[Any]:
    at = list(table.columns).index(name)
    return [row[at] for row in table.rows]


# Charts


def test_a_chart_of_frames_says_what_it_takes_over_which_frames() -> None:
    deck = deck_of(fake.messages(3))
    stream = deck.run.stages[0].streams["video"]
    frames = np.array([9.0, 1, 0.9, 0.8, np.nan, 0.7, 0.6, 0.5, -np.inf])  # what is not finite is left out
    stream.data[1, stream.metrics["frame_identity"].columns] = frames
    stream.data[2, stream.metrics["frame_identity"].columns] = np.nan
    lines = {line.over: line for line in chart_specs.CHARTS[5].lines if line.metric == "frame_identity"}
    mean, least = (chart_plots.values(lines[over], deck) for over in ("mean", "min"))
    assert mean is not None and least is not None
    assert mean[1] == pytest.approx(0.7) and least[1] == pytest.approx(0.5), "frames 0 and 1 have no say"
    assert math.isnan(mean[2]) and math.isnan(least[2])
    about = BY_ID["drift"].about(deck)
    assert "mean over the latent frames 2…" in about and "min over the latent frames 2…" in about
    assert column(chart_plots.table(chart_specs.CHARTS[5], deck), "frame_identity_min")[1] == pytest.approx(0.5)


def test_frame_metrics_of_another_shape_are_not_recorded() -> None:
    declared = list(fake.messages(2))
    for message in declared:
        if message["t"] == protocol.STREAM:
            for metric in message["metrics"]:
                if metric["name"].startswith("frame_"):
                    metric["dims"] = ["step", "batch", "flavour"]
    shown = chart_plots.plot(chart_specs.CHARTS[5], deck_of(declared))
    assert not shown.curves and shown.empty == "not recorded for video"
    assert chart_plots.plot(chart_specs.CHARTS[5], deck_of(declared), "audio").empty == "not recorded for audio"


@pytest.mark.parametrize(("lacking", "empty"), [(("cfg", "stg", "modality"), "not run"), (("stg",), "")])
async def test_guidance_that_was_not_run_is_said_to_be_so(lacking: tuple[str, ...], empty: str) -> None:
    deck = deck_of(fake.messages(4, streams=("video",)))
    stream = deck.run.stages[0].streams["video"]
    for name in lacking:
        stream.data[:, stream.metrics[f"guidance_gap_{name}"].columns] = np.nan
    guidance = next(c for c in chart_specs.CHARTS if c.id == "guidance")
    drawn = chart_plots.plot(guidance, deck)
    assert drawn.empty == empty
    assert {c.label for c in drawn.curves} == {
        f"{name} not run" if name in lacking else name for name in ("cfg", "stg", "modality")
    }
    async with shown(deck, "guidance") as (view,):
        assert "not run" in text(view)


def test_lanes_have_values_of_their_own() -> None:
    deck = deck_of(fake.messages(3))
    velocity = next(c for c in chart_specs.CHARTS if c.id == "velocity")
    video, audio = (chart_plots.plot(velocity, deck, name).curves[0].values for name in ("video", "audio"))
    np.testing.assert_allclose(audio, 2 * video)


def test_every_line_is_described_by_its_declaration(real: Deck) -> None:
    nothing = deck_of(())  # without a run this version's table is what is known
    declared = {name: info for s in real.run.stages for t in s.streams.values() for name, info in t.metrics.items()}
    for chart in chart_specs.CHARTS:
        for line in chart.lines:
            assert METRICS[line.metric].description in BY_ID[chart.id].about(nothing)
            assert declared[line.metric].description in BY_ID[chart.id].about(real)


# Waterfall and spectrum


async def test_a_known_spectrum_becomes_known_cells() -> None:
    # Bin b holds 10^b at every step: six levels of 10 dB, the loudest on top.
    deck = with_spectrum(np.tile(10.0 ** np.arange(6), (4, 1)))
    ramp = heatmap.ramp(TRUE)
    async with shown(deck, "waterfall", size=(60, 5)) as (view,):
        rows = view.rows(60, 5)
        assert "0" in rows[0].text and "50 dB" in rows[0].text
        backs = [next(s.ink for s in row.spans if s.ink is not None and s.text[0] in "▀ ") for row in rows[1:4]]
        level = [min(31, int(b / 5 * 32)) for b in range(6)]
        assert backs == [Ink(ramp[level[b + 1]], ramp[level[b]]) for b in (4, 2, 0)]
    async with shown(deck, "waterfall", size=(60, 8), style=Style.ASCII) as (view,):
        cells = [row.text[GUTTER] for row in view.rows(60, 8)[1:7]]
        assert cells == [heatmap.CHARACTERS[min(8, int(b / 5 * 9))] for b in (5, 4, 3, 2, 1, 0)]


async def test_columns_follow_the_axis_and_mark_the_cursor() -> None:
    powers = np.geomspace(1, 1e5, 11)
    deck = with_spectrum(powers[:, None] * np.ones(6))
    expected = heatmap.levels(10 * np.log10(powers.astype(np.float32)), 0, 50, len(heatmap.CHARACTERS))
    async with shown(deck, "waterfall", size=(60, 5), colours=0) as (view,):
        wide = view.plot_width(60)  # type: ignore[attr-defined]
        for steps in (range(10), range(4, 7)):
            row = view.rows(60, 5)[2].text[GUTTER : GUTTER + wide]
            for step in steps:
                at = int(deck.columns(wide)[step])
                assert row[at] == heatmap.CHARACTERS[expected[step]]
            deck.move_to(5)
            deck.zoom(1.5)
        assert deck.zoomed
        marked = next(s for s in view.rows(60, 5)[2].spans if s.cursor)
        assert marked.role == "here" and marked.text == heatmap.CHARACTERS[expected[5]]


async def test_rows_to_come_stay_empty_and_missing_values_too() -> None:
    values = np.ones((10, 6))
    values[2] = np.nan
    values[3] = 0.0
    values[4, 1] = 1e3
    deck = with_spectrum(values)
    deck.seek_to(6)
    async with shown(deck, "waterfall", size=(60, 5), colours=0) as (view,):
        wide = view.plot_width(60)  # type: ignore[attr-defined]
        columns, row = deck.columns(wide), view.rows(60, 5)[3].text[GUTTER:]
        assert row[columns[2]] == " " and not row[columns[6] :].strip()
        assert row[columns[3]] == heatmap.CHARACTERS[0], "no power at all is the least there is"


async def test_the_quantity_changes_for_waterfall_and_spectrum(real: Deck) -> None:
    async with shown(real, "waterfall", "spectrum") as views:
        for name in ("x0", "noise", "velocity", "SNR", "x0"):
            assert all(v.rows(*v.size)[0].text.split()[1] == name for v in views)
            for id in ("spectrum", "waterfall"):
                assert steps.QUANTITIES[real.quantity].metric in BY_ID[id].table(real).columns[1]
            steps.next_quantity(real)


async def test_new_rows_are_added_to_what_was_drawn() -> None:
    feed = list(fake.messages(8, streams=("video",)))
    deck = deck_of(feed[:-6], Liveness.LIVE)
    async with shown(deck, "waterfall", colours=0) as (view,):
        before = view.rows(80, 12)[2].text
        for message in feed[-6:]:
            deck.run.feed(message)
        deck.changed(Liveness.LIVE)
        grown = view.rows(80, 12)[2].text
        assert len(grown.rstrip()) > len(before.rstrip())
    async with shown(deck, "waterfall", colours=0) as (fresh,):
        assert fresh.rows(80, 12)[2].text == grown


async def test_the_spectrum_is_the_cursors_beside_the_one_before_or_the_mark() -> None:
    values = np.tile(10.0 ** np.arange(6), (4, 1)) * np.array([1, 10, 100, 1000.0])[:, None]
    deck = with_spectrum(values)
    deck.move_to(2)
    table = BY_ID["spectrum"].table(deck)
    assert column(table, "spectrum_x0_db at step 2") == pytest.approx([20, 30, 40, 50, 60, 70])
    assert column(table, "spectrum_x0_db at step 1") == pytest.approx([10, 20, 30, 40, 50, 60])
    async with shown(deck, "spectrum") as (view,):
        assert "step 2" in text(view) and "step 1" in text(view) and "70" in text(view)
        deck.mark_step = 0
        view.changed()
        assert "mark 0" in text(view) and "step 1" not in text(view)
        deck.move_to(0)
        deck.mark_step = None
        view.changed()
        assert "step 0" in text(view) and "step 1" not in text(view)


async def test_a_spectrum_without_any_finite_value_says_so() -> None:
    deck = with_spectrum(np.full((3, 6), -np.inf), "snr_spectrum_db")
    deck.quantity = "snr"
    async with shown(deck, "waterfall", "spectrum") as (heat_map, line):
        assert "no finite value at step 2" in text(line)
        assert "SNR" in text(heat_map)


async def test_a_click_names_the_step_under_the_mouse(real: Deck) -> None:
    picked: list[int] = []

    class Clicked(Alone):
        def on_chart_view_step_picked(self, event: Any) -> None:
            picked.append(event.step)

    real.go_to(0, 0)
    view = BY_ID["waterfall"].make(real, Style.BRAILLE)
    async with Clicked([view], (80, 10)).run_test(size=(82, 12)) as pilot:
        wide = view.plot_width(80)  # type: ignore[attr-defined]
        at = int(real.columns(wide)[7])
        await pilot.click(view, offset=(GUTTER + at, 4))
    assert picked == [7]


# Filmstrip


@pytest.mark.parametrize(
    ("frames", "cells", "size", "expected"),
    [
        (9, (10, 12), (79, 12), (5, 2, 12, 10, True)),  # all nine in two strips
        (9, (10, 12), (25, 5), (2, 1, 12, 10, False)),  # two fit
        (9, (10, 12), (200, 40), (5, 2, 36, 30, True)),  # larger, since there is room
        (9, (10, 12), (10, 3), (1, 1, 7, 6, False)),  # one, made smaller
        (1, (2, 2), (8, 4), (1, 1, 8, 8, True)),
    ],
)  # fmt: skip
def test_pictures_are_laid_out_whole_and_as_many_as_fit(
    frames: int, cells: tuple[int, int], size: tuple[int, int], expected: tuple[int, int, int, int, bool]
) -> None:
    made = filmstrip.layout(frames, *cells, *size)
    assert made[:4] == expected[:4]
    assert made.across * (made.width + 1) - 1 <= size[0]
    assert made.down * (-(-made.height // 2) + made.labelled) <= size[1]


def test_frames_are_chosen_evenly_with_both_ends() -> None:
    assert filmstrip.chosen(9, 3) == [0, 4, 8] and filmstrip.chosen(9, 9) == list(range(9))
    assert filmstrip.chosen(9, 1) == [4] and filmstrip.chosen(1, 1) == [0]


async def test_a_known_picture_becomes_known_half_blocks() -> None:
    pixels = np.zeros((1, 2, 2, 3))
    pixels[0, 0, 0], pixels[0, 1, 0], pixels[0, :, 1] = (255, 0, 0), (0, 0, 255), (0, 255, 0)
    deck = deck_of([*fake.messages(3), preview(0, pixels)])
    deck.move_to(0)
    async with shown(deck, "filmstrip", size=(20, 2)) as (view,):
        # One line of text: two pixels high, as wide.
        inks = [(s.text, s.ink) for s in view.rows(20, 2)[1].spans if s.ink is not None]
        assert inks == [("▀", Ink((255, 0, 0), (0, 0, 255))), (" ", Ink(None, (0, 255, 0)))]
    async with shown(deck, "filmstrip", size=(60, 6), style=Style.ASCII) as (view,):
        # Four lines below the frame's number: eight pixels high. Red is darker than green, blue darker than both; the
        # last line is blue alone.
        number, *cells = [line.split()[0] for line in text(view).splitlines()[1:]]
        assert number == "1" and len(cells) == 4 and all(len(line) == 8 for line in cells)
        ranks = [[heatmap.CHARACTERS.index(c) for c in (line[0], line[-1])] for line in (cells[0], cells[-1])]
        assert ranks[0][0] > ranks[1][0] and ranks[0][1] == ranks[1][1] > ranks[0][0]


@pytest.mark.parametrize(
    ("frames", "cells", "size", "expected"),
    [
        (9, (10, 12), (79, 12), (5, 2, 12, 10)),  # all nine in two rows
        (9, (10, 12), (57, 17), (3, 2, 17, 14)),  # six, as high as two rows can be
        (33, (86, 128), (118, 10), (4, 1, 27, 18)),  # four of a decoded clip
        (5, (4, 5), (200, 12), (5, 1, 28, 22)),  # five small ones, larger
        (9, (10, 12), (10, 3), (1, 1, 5, 4)),
        (1, (2, 2), (19, 1), (1, 1, 2, 2)),
    ],
)  # fmt: skip
def test_films_fill_the_room_with_numbers_above_each_row(
    frames: int, cells: tuple[int, int], size: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    made = film_layout(frames, *cells, *size)
    assert made[:4] == expected and made.labelled is (size[1] > 1)
    assert made.across * (made.width + 1) - 1 <= size[0]
    assert made.down * (made.height // 2 + made.labelled) <= size[1]


def test_a_picture_in_another_size_keeps_its_colours_in_their_places() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, 3:] = (200, 100, 50)
    for size in ((2, 3), (8, 12), (5, 7), (1, 2), (96, 192)):
        found = resized(pixels, *size)
        assert found.shape == (*size, 3) and not found[:, 0].any() and (found[:, -1] == (200, 100, 50)).all()
    np.testing.assert_array_equal(resized(pixels, 4, 6), pixels)


async def test_the_title_says_what_the_colours_are_and_the_film_ends_with_the_decoded_clip() -> None:
    grey, green = np.full((2, 4, 4, 3), 128.0), np.zeros((6, 8, 3), np.uint8)
    green[..., 1] = 200
    weights = [[0.0] * 3 for _ in range(9)] + [[1.0, 0.0, 0.0]]
    place = {"stage": 0, "stream": "video"}
    messages = [*fake.messages(6), *(preview(step, grey) for step in range(6))]
    deck = deck_of(messages)
    async with shown(deck, "filmstrip", size=(60, 8)) as (view,):
        deck.move_to(5)
        view.changed()
        assert "x0 at step 5 · false colours" in text(view)
        deck.run.feed({"t": protocol.PALETTE, **place, "recolour": [weights]})
        view.changed()
        assert "x0 at step 5 · true colours (fitted)" in text(view)
        assert {s.ink for row in view.rows(60, 8) for s in row.spans if s.ink} == {Ink(None, (255, 0, 0))}
        for index in range(2):
            assert "decoded" not in text(view)  # the clip is not complete
            frame = {"index": index, "count": 2, "frame": 8 * index, "shape": list(green.shape)}
            deck.run.feed({"t": protocol.DECODED, **place, **frame, "data": green.tobytes()})
            view.changed()
        first, numbers = text(view).splitlines()[:2]
        assert "Filmstrip decoded · pixel frames" in first and numbers.split() == ["0", "8"]
        assert {s.ink for row in view.rows(60, 8) for s in row.spans if s.ink} == {Ink(None, (0, 206, 0))}
        deck.move_to(4)
        view.changed()
        assert "x0 at step 4 · true colours (fitted)" in text(view)
    fitted = deck_of([*fake.messages(2), {**preview(1, grey), "colours": protocol.FITTED_COLOURS}])
    async with shown(fitted, "filmstrip", size=(60, 8)) as (view,):
        assert "true colours (fitted)" in text(view)


async def test_the_filmstrip_follows_the_cursor_and_says_where_it_lags() -> None:
    deck = deck_of([*fake.messages(6), preview(1, np.zeros((2, 4, 4, 3))), preview(4, np.full((2, 4, 4, 3), 255.0))])
    async with shown(deck, "filmstrip", size=(60, 6), colours=0) as (view,):
        for cursor, said, character in ((4, "step 4", "@"), (3, "step 1 (step 3 has none)", "."), (1, "step 1", ".")):
            deck.move_to(cursor)
            view.changed()
            assert said in text(view) and character * 4 in text(view)
            assert ("has none" in text(view)) is (cursor == 3)
        deck.move_to(0)
        view.changed()
        assert "no picture up to this step" in text(view)
    assert {row[0] for row in BY_ID["filmstrip"].table(deck).rows} == set()


async def test_audio_has_the_pictures_of_its_stage_and_other_items_are_told(recorded: list[Message]) -> None:
    deck = deck_of(recorded)
    deck.lanes = "audio"
    async with shown(deck, "filmstrip") as (view,):
        assert f"x0 at step {deck.cursor}" in text(view)
    batch = deck_of([*fake.messages(2, batch=2), preview(1, np.zeros((2, 4, 4, 3)))])
    batch.next_item()
    async with shown(batch, "filmstrip") as (view,):
        assert "of batch item 0" in text(view)


async def test_a_damaged_picture_is_said_to_be_one() -> None:
    def broken() -> bytes:
        raise OSError("chunk 3 is \x1b[31mgone")

    deck = deck_of([*fake.messages(2), {**preview(1, np.zeros((1, 2, 2, 3))), "data": broken}])
    async with shown(deck, "filmstrip", size=(80, 6)) as (view,):
        assert "cannot be read" in text(view) and "\x1b" not in text(view)


# System


def sample(time: float, **values: object) -> Message:
    return {"t": protocol.SYSTEM, "time": time, "values": values}


async def test_a_step_has_the_last_sample_at_or_before_it() -> None:
    samples = [sample(fake.START + t, gpu_utilisation=u) for t, u in ((0.05, 10.0), (0.1, 20.0), (0.25, 30.0))]
    deck = deck_of([*fake.messages(5, pace=0.1), *samples])  # steps at 0, .1, .2, .3, .4
    table = BY_ID["system"].table(deck)
    assert column(table, "gpu_utilisation_%")[1:] == [20, 20, 30, 30]
    assert math.isnan(column(table, "gpu_utilisation_%")[0])
    async with shown(deck, "system") as (view,):
        assert "30 %" in text(view) and "GPU" in text(view) and "no GPU" not in text(view)
        deck.move_to(1)
        view.changed()
        assert "20 %" in text(view)


async def test_a_run_on_a_cpu_shows_what_there_is(real: Deck) -> None:
    async with shown(real, "system") as (view,):
        drawn = text(view)
        assert "no GPU recorded" in drawn and "CPU" in drawn and "MiB" in drawn and "step" in drawn
    async with shown(deck_of(fake.messages(3)), "system") as (view,):
        assert "no samples of the machine" in text(view)


async def test_samples_that_come_late_out_of_order_or_broken_do_no_harm() -> None:
    bad = [
        sample(fake.START + 9, gpu_power=1.0),
        sample(fake.START, gpu_power=300.0),
        {"t": protocol.SYSTEM, "time": "soon", "values": {"gpu_power": 5.0}},
        {"t": protocol.SYSTEM, "time": fake.START + 0.1, "values": None},
        sample(fake.START + 0.2, gpu_power="\x1b[2J", process_cpu=math.inf),
    ]
    deck = deck_of(fake.messages(4))
    deck.run.system.extend(bad)  # the run itself refuses most of them
    watts = column(BY_ID["system"].table(deck), "gpu_power_W")
    assert watts[0] == 300 and math.isnan(watts[1]) and math.isnan(watts[3])
    async with shown(deck, "system") as (view,):
        assert "power" in text(view) and "\x1b" not in text(view)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [(85.0, "%", "85 %"), (5e10, "bytes", "46.6GiB"), (1536.0, "bytes", "2KiB"), (0.0123, "s", "12.3 ms"),
     (64.0, "°C", "64 °C"), (1980.0, "MHz", "1.98GHz"), (700.0, "MHz", "700 MHz"),
     (1040 * 2**20, "bytes", "1.02GiB"), (math.nan, "W", "–")],
)  # fmt: skip
def test_values_have_units_in_seven_characters(value: float, unit: str, expected: str) -> None:
    assert system.with_unit(value, unit) == expected and len(expected) <= 7


# Events


def test_the_latest_event_is_the_decks(real: Deck) -> None:
    for stage, count in ((0, 13), (1, 4)):
        for step in range(count):
            real.go_to(stage, step)
            assert real.event is _latest(real), (stage, step)


def _latest(deck: Deck) -> Message | None:
    """The latest event at the cursor by a walk over all of them."""
    found: tuple[bool, float, int] | None = None
    reached = -1.0
    for place, event in enumerate(deck.run.events):
        stage, step, time = event.get("stage"), event.get("step"), event.get("time")
        if isinstance(stage, int) and stage != deck.stage_index:
            before, key = stage < deck.stage_index, (False, 0.0, place)
        elif isinstance(stage, int) and isinstance(step, int):
            reached = max(reached, step)
            before, key = step <= deck.cursor, (True, float(step), place)
        else:
            before, key = deck.time is None or time is None or time <= deck.time, (True, reached, place)
        if before and (found is None or key > found):
            found = key
    return None if found is None else deck.run.events[found[2]]


def test_an_event_of_an_early_step_that_was_written_late_hides_no_later_one() -> None:
    """The largest peak of a stage is known when the stage has ended."""
    late = fake.event(0, 4, "critical", "largest peak of the stage")
    deck = deck_of([*fake.messages(20, end=None), fake.event(0, 9, "shock", "kick"), late])
    said = {}
    for step in (3, 4, 8, 9, 18):
        deck.move_to(step)
        said[step] = deck.event and deck.event["text"]
    assert said == {3: "stage 0 began: 20 steps", 4: late["text"], 8: late["text"], 9: "kick", 18: "kick"}


async def test_the_list_scrolls_with_the_cursor_and_marks_the_latest() -> None:
    more = [fake.event(0, n, "shock", f"kick {n}") for n in range(1, 40)]
    deck = deck_of([*fake.messages(40, end=None), *more])
    async with shown(deck, "events", size=(60, 9)) as (view,):
        for step in (1, 20, 39):
            deck.move_to(step)
            view.changed()
            marked = [line for line in text(view).splitlines() if line.startswith("►")]
            assert len(marked) == 1 and f"kick {step}" in marked[0]
    assert len(BY_ID["events"].table(deck).rows) == len(deck.run.events)


async def test_events_that_were_given_up_are_counted_and_the_others_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thinned between two pictures, and as long as before at the second one."""
    monkeypatch.setattr(memory_limits, "EVENT_BYTES", 40_000)
    deck = deck_of([*fake.messages(40, end=None), fake.event(0, 3, "shock", "kick 3")], Liveness.LIVE)
    run = deck.run
    assert deck.event is _latest(deck)
    before = run.events
    count = len(before)
    while run.events is before or len(run.events) < count:
        run.feed(fake.event(0, 30, "warning", "noise"))
    deck.changed(Liveness.LIVE)
    for step in (3, 30, 39):
        deck.move_to(step)
        assert deck.event is _latest(deck), step
    async with shown(deck, "events", size=(70, 9)) as (view,):
        assert f"({run.dropped['events']:,} more not kept)" in text(view)


def test_samples_that_were_thinned_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "MAX_SAMPLES", 16)
    run, samples = Run(), system.Samples()
    run.feed(next(iter(fake.messages(1))))
    for n in range(200):
        run.feed({"t": protocol.SYSTEM, "time": float(n), "values": {"process_cpu": float(n)}})
        if n % 7 == 0:
            found = samples.at(np.array([float(n)]), run.system)[0, system._KEYS.index("process_cpu")]
            assert found == max(m["time"] for m in run.system if m["time"] <= n)
    samples.at(np.array([0.0]), run.system)
    assert len(run.system) == len(samples._times) <= 16


HOSTILE = "[bold]x[/]\x1b[2J\x1b]0;t\x07\u202e\u0300\u0300\u0300\u0300 漢字 " + "y" * 10_000 + "\nline"


async def test_hostile_events_are_harmless_text() -> None:
    bad: list[Message] = [
        {**fake.event(0, 1, "shock", HOSTILE), "stream": HOSTILE},
        {**fake.event(0, None, HOSTILE, HOSTILE), "stage": HOSTILE, "time": "never"},
        {"t": protocol.EVENT, "kind": "warning", "time": math.nan, "step": 1 << 70, "stage": -5},
    ]
    deck = deck_of([*fake.messages(3), *bad])
    async with shown(deck, "events", size=(70, 12)) as (view,):
        drawn = text(view)
        assert "[bold]x[/]" in drawn and "\x1b" not in drawn and "\u202e" not in drawn
        assert all(row.used == 70 for row in view.rows(70, 12)[1:])
    for row in BY_ID["events"].table(deck).rows:
        assert not any(isinstance(cell, str) and ("\n" in cell or "\x1b" in cell) for cell in row)


async def test_ten_thousand_events_do_not_slow_the_list_down() -> None:
    deck = deck_of([*fake.messages(5, end=None), *(fake.event(0, 2, "warning", "again") for _ in range(10_000))])
    async with shown(deck, "events", size=(60, 8)) as (view,):
        deck.move_to(1)
        view.changed()
        assert len([line for line in text(view).splitlines() if line.startswith("►")]) == 1


# Cost


def test_the_recorders_cost_is_that_of_all_streams() -> None:
    deck = deck_of(fake.messages(8))
    for name, seconds in (("video", 0.004), ("audio", 0.001)):
        stream = deck.run.stages[0].streams[name]
        stream.data[:, stream.metrics["recorder_seconds"].columns] = seconds
        stream.data[0, stream.metrics["recorder_seconds"].columns] = 3.0  # the first step starts things up
        stream.data[:, stream.metrics["step_seconds"].columns] = 0.25
    found = cost.cost(deck)
    assert found is not None and found.seconds == pytest.approx(0.005) and found.share == pytest.approx(0.02)


async def test_the_status_row_says_cost_lag_and_connection() -> None:
    deck = deck_of(fake.messages(8, end=None), Liveness.LIVE)
    for name in deck.streams:
        stream = deck.run.stages[0].streams[name]
        stream.data[:, stream.metrics["recorder_seconds"].columns] = 0.002
        stream.data[:, stream.metrics["step_seconds"].columns] = 0.1
    now = fake.START + 0.7 + 1.5
    link = cost.Link(cost.Health.LIVE, 4321)
    view = cost.CostView(deck, Style.BRAILLE, id="status", link=lambda: link, clock=lambda: now)
    async with Alone([view], (100, 1)).run_test(size=(100, 4)) as pilot:
        await pilot.pause()
        assert "● live" in text(view) and "recorder 4 ms/step, 4.00%" in text(view)
        assert "newest row 1.5 s old, 4 kB behind" in text(view)
        now += 60
        link = cost.Link(cost.Health.RECONNECTING)
        view.changed()
        assert "! reconnecting" in text(view) and "1 m" in text(view)
        assert any(s.role == "alert" and "newest" in s.text for s in view.rows(100, 1)[0].spans)
        narrow = view.rows(16, 1)[0].text
        assert "reconnecting" in narrow, "the connection comes first"


async def test_the_age_grows_by_itself_while_live_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_TICK", 0.01)
    for liveness in (Liveness.LIVE, Liveness.FINISHED):
        deck = deck_of(fake.messages(3, end=None), liveness)
        asked: list[float] = []

        def clock(asked: list[float] = asked) -> float:
            asked.append(0)
            return fake.START + len(asked)

        view = cost.CostView(deck, Style.BRAILLE, clock=clock)
        async with Alone([view], (80, 1)).run_test(size=(80, 3)) as pilot:
            await pilot.pause(0.2)
            assert (len(asked) > 2) is (liveness is Liveness.LIVE)
            view.display = False
            await pilot.pause()
            before = len(asked)
            await pilot.pause(0.1)
            assert len(asked) == before, "hidden it costs nothing"


@pytest.mark.parametrize(
    ("liveness", "said"),
    [(Liveness.FINISHED, "ended"), (Liveness.UNFINISHED, "recorder lost"), (Liveness.LIVE, "live")],
)
def test_the_deck_knows_whether_rows_can_still_come(liveness: Liveness, said: str) -> None:
    assert cost.link_of(deck_of(fake.messages(2, end=None), liveness)).health.value == said


def test_clocks_that_differ_give_no_negative_age() -> None:
    deck = deck_of(fake.messages(2, end=None), Liveness.LIVE)
    assert cost.age(deck, fake.START - 100) == 0 and cost.age(deck_of([], Liveness.LIVE), 0.0) is None


# Drawing


async def test_only_what_differs_is_drawn_anew(real: Deck, monkeypatch: pytest.MonkeyPatch) -> None:
    real.go_to(0, 3)
    async with shown(real, "waterfall", size=(80, 10)) as (view,):
        text(view)
        regions: list[Any] = []
        monkeypatch.setattr(view, "refresh", lambda *found, **_: regions.extend(found))
        view.changed()
        assert not regions
        real.move_to(4)
        view.changed()
        wide = view.plot_width(80)  # type: ignore[attr-defined]
        columns = real.columns(wide)
        heat_rows = [r for r in regions if 0 < r.y < 9]
        assert heat_rows and all(r.x >= GUTTER + columns[3] - 40 for r in heat_rows)
        assert max(r.width for r in heat_rows) < wide, "a moved cursor does not send the whole row"


async def test_no_colour_is_no_colour(real: Deck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    views = [BY_ID[id].make(real, Style.BRAILLE) for id in ("waterfall", "filmstrip")]
    async with Alone(views, (80, 10)).run_test(size=(82, 22)) as pilot:
        await pilot.pause()
        assert all(view.colours == 0 for view in views)
        assert all("▀" not in text(view) for view in views)


@pytest.mark.parametrize(
    ("term", "truecolor", "expected"),
    [("xterm-256color", "", 256), ("xterm", "", 16), ("xterm", "truecolor", TRUE), ("dumb", "", 0)],
)
async def test_the_terminal_decides_how_many_colours(
    real: Deck, monkeypatch: pytest.MonkeyPatch, term: str, truecolor: str, expected: int
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLORTERM", truecolor)
    view = BY_ID["waterfall"].make(real, Style.BRAILLE)
    async with Alone([view], (60, 8)).run_test(size=(62, 10)):
        assert view.colours == expected
