"""The axis that all panels share: steps to columns and back, on every axis, in every window."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltxtui.plot import scales
from ltxtui.plot.axis import MODES, Mode, Ruler, step_ruler
from ltxtui.plot.axis_values import placed
from ltxtui.viewmodel.deck import Deck
from recorder.format.protocol import Message
from replay.model.run import Run
from replay.sources.open import Liveness
from tests.ltxtui.fake import messages

WIDTHS = st.integers(1, 200)
LEVELS = st.lists(st.floats(0.01, 1.0, allow_nan=False), min_size=1, max_size=60)
RESTART = [1.0, 0.9, 0.8, 0.6, 0.9, 0.8, 0.6, 0.3]


def deck_of(some: list[Message], liveness: Liveness = Liveness.FINISHED) -> Deck:
    deck = Deck(Run(), liveness)
    for message in some:
        deck.run.feed(message)
    deck.changed(liveness)
    return deck


def leveled(levels: list[float]) -> Deck:
    """A deck whose run was planned and recorded at given noise levels."""
    some = list(messages(len(levels), streams=("video",)))
    for message in some:
        if message["t"] == "stage":
            message["sigmas"] = levels
        elif message["t"] == "step":
            data = np.frombuffer(message["data"], "<f4").copy()
            data[0] = levels[message["step"]]
            message["data"] = data.tobytes()
    return deck_of(some)


def on(levels: list[float], low: float = 0.0, high: float = 1.0) -> Ruler:
    """A σ axis, with a window from and to a part of all."""
    values = np.array(levels)
    places = placed(values, falls=True)
    first, last = places.min(), places.max()
    span = (last - first) or 1.0
    return Ruler("sigma", values, places, first + low * span, first + high * span)


@given(LEVELS, WIDTHS)
def test_columns_are_in_the_order_of_the_places(levels: list[float], width: int) -> None:
    ruler = on(levels)
    columns = ruler.columns(width)
    assert columns.min() >= 0 and columns.max() <= width - 1
    order = np.argsort(ruler.places, kind="stable")
    assert np.all(np.diff(columns[order]) >= 0)


@given(LEVELS, WIDTHS, st.data())
def test_the_step_of_a_column_is_the_nearest_and_the_cursor_finds_itself(
    levels: list[float], width: int, data: st.DataObject
) -> None:
    ruler = on(levels)
    columns = ruler.columns(width)
    cursor = data.draw(st.integers(0, len(levels) - 1))
    column = data.draw(st.integers(-5, width + 5))
    found = ruler.step_at(column, width, cursor)
    assert abs(columns[found] - column) == np.abs(columns - column).min()
    alone = np.flatnonzero(columns == columns[cursor])
    back = ruler.step_at(int(columns[cursor]), width, cursor)
    assert columns[back] == columns[cursor]
    if len(alone) == 1:
        assert back == cursor


@given(LEVELS, WIDTHS, st.floats(0, 0.9), st.floats(0.05, 1))
def test_a_window_hides_what_is_outside_and_only_that(levels: list[float], width: int, low: float, part: float) -> None:
    high = min(1.0, low + part)
    ruler = on(levels, low, high)
    columns = ruler.columns(width)
    inside = (ruler.places >= ruler.low) & (ruler.places <= ruler.high)
    assert np.all(columns[inside] >= 0) and np.all(columns[inside] <= width - 1)
    outside = (ruler.places < ruler.low - 1e-6) | (ruler.places > ruler.high + 1e-6)
    assert np.all(columns[outside] == -1)
    if inside.any():
        assert columns[ruler.step_at(width // 2, width, 0)] >= 0


@given(st.integers(1, 400), WIDTHS)
def test_numbered_steps_lie_where_scales_says(steps: int, width: int) -> None:
    columns = step_ruler(steps).columns(width)
    assert columns.tolist() == [scales.column(step, steps, width) for step in range(steps)]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(MODES),
    st.lists(st.tuples(st.sampled_from(["zoom", "pan", "move"]), st.integers(-3, 3)), max_size=12),
    st.integers(2, 30),
)
def test_windows_stay_on_the_axis_and_can_be_left(mode: Mode, acts: list[tuple[str, int]], steps: int) -> None:
    deck = deck_of(list(messages(steps, streams=("video",))))
    deck.set_axis(mode)
    whole = deck.ruler
    for name, by in acts:
        getattr(deck, name)(by)
        ruler = deck.ruler
        slack = 1e-9 * (whole.high - whole.low)
        assert whole.low - slack <= ruler.low < ruler.high <= whole.high + slack
        if name == "move":
            assert deck.columns(50)[deck.cursor] >= 0
    deck.zoom_reset()
    assert not deck.zoomed and (deck.ruler.low, deck.ruler.high) == (whole.low, whole.high)


@pytest.mark.parametrize("mode", MODES)
def test_zoom_keeps_the_cursor_in_its_column_and_undoes_itself(mode: Mode) -> None:
    deck = deck_of(list(messages(100)))
    deck.set_axis(mode)
    deck.move_to(40)
    at, whole = deck.ruler.at(81)[40], deck.ruler
    deck.zoom(2)
    assert deck.ruler.at(81)[40] == pytest.approx(at)
    assert deck.ruler.high - deck.ruler.low == pytest.approx((whole.high - whole.low) / 4)
    deck.zoom(-2)
    assert not deck.zoomed
    deck.zoom(100)
    assert deck.zoomed and np.count_nonzero(deck.columns(80) >= 0) >= 1
    deck.zoom(-100)
    assert not deck.zoomed


def test_another_axis_shows_the_same_steps() -> None:
    deck = deck_of(list(messages(100)))
    deck.move_to(40)
    deck.zoom(3)
    shown = np.flatnonzero(deck.columns(80) >= 0).tolist()
    for mode in MODES[1:]:
        deck.set_axis(mode)
        assert np.flatnonzero(deck.columns(80) >= 0).tolist() == shown, mode
    deck.next_axis()
    assert deck.axis.mode == "step" and np.flatnonzero(deck.columns(80) >= 0).tolist() == shown


def test_sigma_runs_from_high_to_low_and_a_restart_goes_back() -> None:
    deck = leveled(RESTART)
    deck.set_axis("sigma")
    columns = deck.columns(71)
    assert columns.tolist() == [0, 10, 20, 40, 10, 20, 40, 70]
    # The same places were passed twice: the visit nearest to the cursor is meant.
    for cursor, found in ((0, [1, 2, 3]), (2, [1, 2, 3]), (3, [4, 2, 3]), (5, [4, 5, 6]), (7, [4, 5, 6])):
        deck.move_to(cursor)
        assert [deck.step_at(c, 71) for c in (10, 20, 40)] == found
    assert deck.ruler.text(3) == "0.6"


def test_snr_begins_at_minus_infinity_left_of_all_others() -> None:
    deck = leveled([1.0, 0.9, 0.5, 0.1])
    deck.set_axis("snr")
    columns = deck.columns(101)
    assert columns[0] == 0 and np.all(np.diff(columns) > 0) and columns[-1] == 100
    assert deck.ruler.text(0) == "-∞" and float(deck.ruler.text(2)) == 0
    assert float(deck.ruler.text(3)) == pytest.approx(20 * math.log10(9), abs=0.05)


def test_seconds_count_from_the_start_of_the_stage_and_steps_to_come_are_expected_at_the_pace() -> None:
    some = list(messages(10, pace=2.0, streams=("video",)))
    live = [m for m in some if m.get("step", 0) in (None, *range(5)) and m["t"] != "end" and m.get("kind") is None]
    deck = deck_of(live, Liveness.LIVE)
    deck.set_axis("seconds")
    assert deck.visible == 5
    assert deck.ruler.values.tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]


def test_a_pause_is_as_long_as_it_was() -> None:
    some = list(messages(5, pace=1.0, streams=("video",)))
    for message in some:
        if message["t"] == "step" and message["step"] >= 3:
            message["time"] += 96.0
    deck = deck_of(some)
    deck.set_axis("seconds")
    assert deck.columns(101).tolist() == [0, 1, 2, 99, 100]


def test_guidance_passes_are_not_evaluations() -> None:
    deck = deck_of(list(messages(4, streams=("video",))))
    assert deck.stage is not None and "guidance_gap_cfg" in deck.stage.streams["video"].metrics
    deck.set_axis("evaluations")
    assert deck.ruler.values.tolist() == [1, 2, 3, 4]


def test_a_run_that_counts_its_evaluations_is_shown_by_them_and_steps_to_come_take_as_many_as_the_last() -> None:
    some = [m for m in messages(4, streams=("video",)) if m["t"] != "end" and m.get("step") in (None, 0, 1)]
    for message in some:
        if message["t"] == "stream":
            before = itertools.takewhile(lambda m: m["name"] != "evaluations", message["metrics"])
            column = sum(int(np.prod(m["shape"])) for m in before)
        if message["t"] == "step":
            row = np.frombuffer(message["data"], "<f4").copy()
            row[column] = 1 + message["step"]
            message["data"] = row.tobytes()
    deck = deck_of(some, Liveness.LIVE)
    deck.set_axis("evaluations")
    assert deck.ruler.values.tolist() == [1, 3, 5, 7]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("width", [1, 2, 20, 120])
def test_both_ends_are_named_first_and_all_labels_are_on_the_axis(mode: Mode, width: int) -> None:
    deck = leveled(RESTART)
    deck.set_axis(mode)
    ticks, columns = deck.ruler.ticks(width), deck.columns(width)
    assert all(0 <= column < width for column, _ in ticks)
    first, last = int(np.argmin(deck.ruler.places)), int(np.argmax(deck.ruler.places))
    assert ticks[:2] == [(columns[first], deck.ruler.text(first)), (columns[last], deck.ruler.text(last))]


def test_a_window_belongs_to_its_stage() -> None:
    deck = deck_of(list(messages(30, stages=2)))
    deck.zoom(2)
    deck.next_stage()
    assert deck.stage_index == 0 and not deck.zoomed
    deck.next_stage()
    assert deck.zoomed


def test_without_steps_there_is_no_column() -> None:
    deck = Deck(Run(), Liveness.LIVE)
    deck.zoom(1)
    deck.pan(1)
    deck.next_axis()
    assert deck.columns(80).size == 0 and deck.step_at(3, 80) == 0 and deck.ruler.ticks(80) == []


def test_axis_of_many_steps_is_kept_until_the_run_grows() -> None:
    deck = deck_of(list(messages(30)))
    ruler = deck.ruler
    deck.move_to(1)
    assert deck.ruler is ruler
    deck.zoom(0.5)
    assert deck.ruler is not ruler and deck.ruler is deck.ruler


def test_columns_of_a_hundred_thousand_steps_are_quick() -> None:
    ruler = step_ruler(100_000)
    began = time.process_time()
    ruler.columns(150)
    ruler.step_at(70, 150, 5)
    assert time.process_time() - began < 0.05
