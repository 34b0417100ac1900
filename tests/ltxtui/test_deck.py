"""The view model, without Textual."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltxtui.panels.cost import Health, Link
from ltxtui.panels.header import HeaderView
from ltxtui.plot.line_plot import Style
from ltxtui.viewmodel.deck import SPEEDS, Deck
from ltxtui.viewmodel.playback import Playback
from recorder.format.protocol import Message
from replay.model.run import Run
from replay.sources.open import Liveness
from tests.ltxtui.fake import event, messages


def replay(playing: bool = False, **made: object) -> Deck:
    deck = Deck(Run(), Liveness.FINISHED, playing=playing)
    feed(deck, messages(**made))  # type: ignore[arg-type]
    deck.changed(Liveness.FINISHED)
    return deck


def feed(deck: Deck, some: object) -> None:
    for message in some:  # type: ignore[attr-defined]
        deck.run.feed(message)


def rows(some: list[Message], upto: int) -> list[Message]:
    """What a live viewer has seen when `upto` steps of every stream are done."""
    return [
        m
        for m in some
        if m["t"] != "end" and m.get("kind") != "stage_end" and m.get("step", -1) in (None, *range(-1, upto))
    ]


def test_replay_opens_with_everything_and_the_cursor_at_the_end() -> None:
    deck = replay(steps=30)
    assert (deck.visible, deck.steps, deck.cursor, deck.follow, deck.live) == (30, 30, 29, True, False)


def test_cursor_stays_on_steps() -> None:
    deck = replay(steps=5)
    deck.move(-2)
    assert (deck.cursor, deck.follow) == (2, False)
    deck.move(-9)
    assert deck.cursor == 0
    deck.move_to(99)
    assert (deck.cursor, deck.follow) == (4, True)
    deck.first()
    assert (deck.cursor, deck.follow) == (0, False)
    deck.last()
    assert (deck.cursor, deck.follow) == (4, True)


def test_live_cursor_follows_until_it_is_moved_and_end_catches_up() -> None:
    deck, some = Deck(Run(), Liveness.LIVE), list(messages(10))
    feed(deck, rows(some, 4))
    deck.changed(Liveness.LIVE)
    assert (deck.live, deck.cursor, deck.visible) == (True, 3, 4)
    deck.move(-1)
    feed(deck, rows(some, 7)[len(rows(some, 4)) :])
    deck.changed(Liveness.LIVE)
    assert (deck.cursor, deck.visible, deck.follow) == (2, 7, False)
    deck.last()
    assert (deck.cursor, deck.follow) == (6, True)
    deck.move(1)
    assert deck.cursor == 6


def test_a_live_run_that_ends_stays_and_can_be_played() -> None:
    deck, some = Deck(Run(), Liveness.LIVE), list(messages(10))
    feed(deck, some[:8])
    deck.changed(Liveness.LIVE)
    assert not deck.replaying
    feed(deck, some[8:])
    deck.changed(Liveness.UNFINISHED)
    assert (deck.live, deck.opened_live, deck.visible, deck.replaying) == (False, True, 10, True)


def test_whether_a_run_is_live_is_known_after_the_first_poll() -> None:
    deck = Deck(Run(), Liveness.LIVE, playing=True)
    feed(deck, messages(10))
    deck.changed(Liveness.FINISHED)
    assert (deck.live, deck.opened_live, deck.playing, deck.visible) == (False, False, True, 1)


def test_playhead_hides_what_lies_behind_it() -> None:
    deck = replay(steps=10)
    deck.seek(0.5)
    assert (deck.visible, deck.cursor, deck.follow) == (5, 4, True)
    assert len(deck.series("sigma")) == 5  # type: ignore[arg-type]
    deck.step(1)
    assert deck.visible == 6
    deck.seek_by(-0.1)
    assert deck.visible == 5
    deck.seek(0)
    assert deck.visible == 1
    deck.move(1)
    assert (deck.visible, deck.cursor) == (2, 1)


def test_playing_goes_at_the_recorded_pace_times_speed_and_stops_at_the_end() -> None:
    deck = replay(playing=True, steps=10, pace=0.5)
    assert (deck.visible, deck.playing) == (1, True)
    assert not deck.tick(0.4)
    assert deck.tick(0.2) and deck.visible == 2
    deck.change_speed(1)
    assert deck.speed == 2
    assert deck.tick(0.5) and deck.visible == 4
    deck.speed = math.inf
    while deck.playing:
        deck.tick(0.05)
    assert (deck.visible, deck.playing) == (10, False)
    deck.toggle()
    assert (deck.visible, deck.playing) == (1, True)


def test_playing_waits_until_all_is_loaded() -> None:
    deck = Deck(Run(), Liveness.FINISHED, playing=True)
    feed(deck, list(messages(10))[:12])
    deck.changed(Liveness.FINISHED, loading=True)
    assert not deck.tick(1.0) and deck.playing
    feed(deck, list(messages(10))[12:])
    deck.changed(Liveness.FINISHED)
    assert deck.tick(1.0)


def test_a_moved_cursor_stays_while_a_replay_plays() -> None:
    deck = replay(playing=True, steps=10, pace=0.1)
    deck.tick(0.5)
    deck.move(-3)
    at = deck.cursor
    deck.tick(0.2)
    assert deck.cursor == at and deck.visible > at + 3


@pytest.mark.parametrize("by", [-100, 100])
def test_speed_has_ends(by: int) -> None:
    deck = replay(steps=3)
    deck.change_speed(by)
    assert deck.speed == SPEEDS[0 if by < 0 else -1]


def test_stages_come_into_view_with_the_playhead() -> None:
    deck = replay(steps=10, stages=2)
    assert (deck.stage_index, deck.cursor) == (1, 9)
    deck.next_stage(-1)
    assert (deck.stage_index, deck.visible, deck.follow) == (0, 10, False)
    deck.seek(0.3)
    assert (deck.stage_index, deck.visible) == (0, 6)
    deck.next_stage()
    assert deck.stage_index == 0
    deck.seek(0.75)
    assert (deck.stage_index, deck.visible) == (1, 5)


def test_streams_and_batch_items() -> None:
    deck = replay(steps=5, batch=2)
    video = deck.series("velocity_rms")
    deck.next_item()
    assert deck.item == 1
    assert np.allclose(deck.series("velocity_rms"), 1.1 * video)  # type: ignore[arg-type, operator]
    deck.next_item()
    deck.next_stream()
    assert deck.stream is not None and deck.stream.name == "audio"
    assert np.allclose(deck.series("velocity_rms"), 2 * video)  # type: ignore[arg-type, operator]
    assert deck.series("frame_identity") is None


def test_event_is_the_latest_at_the_cursor() -> None:
    deck = replay(steps=10, nan_at=4)
    assert deck.event is not None and deck.event["kind"] == "stage_end"
    deck.move_to(5)
    assert deck.event["kind"] == "nan"
    deck.move_to(3)
    assert deck.event["kind"] == "stage_start"
    deck.run.feed(event(None, None, "degraded", "disk full", deck.time or 0))
    assert deck.event["kind"] == "degraded"


def test_time() -> None:
    deck, some = Deck(Run(), Liveness.LIVE), list(messages(10, pace=2.0))
    feed(deck, rows(some, 1))
    deck.changed(Liveness.LIVE)
    assert math.isnan(deck.seconds_per_step)
    feed(deck, rows(some, 4)[len(rows(some, 1)) :])
    deck.changed(Liveness.LIVE)
    assert deck.seconds_per_step == pytest.approx(2)
    assert deck.seconds_left == pytest.approx(12)


def test_nothing_there_yet() -> None:
    deck = Deck(Run(), Liveness.LIVE)
    for act in (deck.first, deck.last, deck.toggle, deck.next_stage, deck.next_stream, deck.next_item):
        act()
    deck.move(1)
    deck.seek(0.5)
    assert (deck.cursor, deck.visible, deck.steps, deck.event, deck.time) == (0, 0, 0, None, None)


def test_a_planned_stage_without_rows_has_its_axis() -> None:
    deck = Deck(Run(), Liveness.LIVE)
    feed(deck, list(messages(12))[:2])
    deck.changed(Liveness.LIVE)
    assert (deck.steps, deck.visible, deck.stream) == (12, 0, None)


def test_as_it_happened_takes_the_time_that_each_step_took() -> None:
    some = list(messages(steps=5, pace=1.0, streams=("video",)))
    for message in some:
        if message["t"] == "step" and message["step"] >= 3:
            message["time"] += 8.0
    deck = Deck(Run(), Liveness.FINISHED, playing=True)
    feed(deck, some)
    deck.changed(Liveness.FINISHED)
    deck.speed = 4.0
    deck.toggle_pace()
    assert deck.as_recorded and deck.speed == 1
    seen = []
    for _ in range(24):
        deck.tick(0.5)
        seen.append(deck.visible)
    # Steps at 0, 1, 2, then a pause to 11, then 12 s.
    assert seen == [1] + [2] * 2 + [3] * 18 + [4] * 2 + [5]
    assert not deck.playing
    deck.toggle_pace()
    deck.toggle()
    deck.tick(1.0)
    assert deck.visible == 2


def test_a_stall_is_no_jump() -> None:
    for recorded in (False, True):
        playback = Playback(True, 1.0, recorded)
        assert playback.advance(1, 3600.0, 0.1, np.arange(100) * 0.1) == 11


def test_a_loop_is_marked_played_again_and_again_and_ended() -> None:
    deck = replay(steps=10, stages=2, pace=1.0)
    deck.go_to(0, 8)
    deck.mark_loop()
    assert (deck.loop_from, deck.loop) == (8, None)
    deck.go_to(1, 2)
    deck.mark_loop()
    assert (deck.loop_from, deck.loop) == (None, (8, 12))
    deck.toggle()
    assert deck.playhead == 9 and deck.playing
    seen = []
    for _ in range(7):
        deck.tick(1.0)
        seen.append((deck.stage_index, deck.cursor))
    assert seen == [(0, 9), (1, 0), (1, 1), (1, 2), (0, 8), (0, 9), (1, 0)] and deck.playing
    deck.mark_loop()
    assert deck.loop is None
    for _ in range(20):
        deck.tick(1.0)
    assert (deck.playhead, deck.playing) == (20, False)


def test_the_ends_of_a_loop_may_be_marked_in_any_order_and_only_in_a_replay() -> None:
    deck = replay(steps=10)
    deck.mark_loop()
    deck.first()
    deck.mark_loop()
    assert deck.loop == (0, 9)
    live = Deck(Run(), Liveness.LIVE)
    feed(live, rows(list(messages(10)), 4))
    live.changed(Liveness.LIVE)
    live.mark_loop()
    assert live.loop_from is None


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 31), st.integers(0, 100), st.booleans())
def test_a_loop_is_arithmetic_modulo_its_length(
    one: int, other: int, start: int, steps: int, as_recorded: bool
) -> None:
    first, last = min(one, other), max(one, other)
    start = min(start, last + 1)
    playback = Playback(True, 1.0, as_recorded, (first, last))
    playhead = start
    for _ in range(steps):
        playhead = playback.advance(playhead, 1.0, 1.0, np.arange(31.0))
    wanted = start + steps
    if wanted > last + 1:
        wanted = first + 1 + (wanted - first - 1) % (last - first + 1)
    assert playhead == wanted


def test_at_full_speed_a_loop_goes_on() -> None:
    playback = Playback(True, math.inf, loop=(10, 19))
    playhead = 11
    for _ in range(50):
        playhead = playback.advance(playhead, 0.05, 0.1, np.arange(100.0))
        assert 11 <= playhead <= 20


def test_clocks_that_stood_still_or_went_back_hold_nothing_up() -> None:
    some = list(messages(steps=6, pace=1.0, streams=("video",)))
    for message in some:
        if message["t"] == "step":
            message["time"] = {2: math.nan, 3: message["time"] - 30, 4: message["time"] - 4}.get(
                message["step"], message["time"]
            )
    deck = Deck(Run(), Liveness.FINISHED, playing=True)
    feed(deck, some)
    deck.changed(Liveness.FINISHED)
    deck.toggle_pace()
    seen = []
    for _ in range(5):
        deck.tick(1.0)
        seen.append(deck.visible)
    assert seen == [5, 5, 5, 5, 6]


def test_reference_mark_is_set_moved_cleared_and_kept_per_stage() -> None:
    deck = replay(steps=10, stages=2)
    assert deck.mark_step is None
    deck.toggle_mark()
    assert deck.mark_step == 9
    deck.move(-3)
    deck.toggle_mark()
    assert deck.mark_step == 6
    deck.next_stage()
    assert deck.mark_step is None
    deck.toggle_mark()
    deck.next_stage()
    assert deck.mark_step == 6
    deck.move_to(6)
    deck.toggle_mark()
    assert deck.mark_step is None
    deck.mark_step = 99
    assert deck.mark_step is None
    empty = Deck(Run(), Liveness.LIVE)
    empty.toggle_mark()
    assert empty.mark_step is None


def test_lanes() -> None:
    deck = replay(steps=5)
    seen = []
    for _ in range(4):
        seen.append((deck.lanes, deck.lane_streams))
        deck.next_lanes()
    assert seen == [
        ("video", ("video",)), ("audio", ("audio",)), ("both", ("video", "audio")), ("video", ("video",)),
    ]  # fmt: skip
    video, audio = deck.series("velocity_rms", "video"), deck.series("velocity_rms", "audio")
    assert np.allclose(audio, 2 * video)  # type: ignore[operator, arg-type]
    assert deck.series("velocity_rms", "smell") is None
    deck.lanes = "both"
    assert deck.series("velocity_rms") is not None and deck.lanes == "both"
    deck.next_stream()
    assert deck.lanes == "video"
    alone = replay(steps=5, streams=("video",))
    alone.next_lanes()
    alone.lanes = "both"
    assert alone.lanes == "video"


def test_live_cursor_and_window_stay_while_the_run_goes_on_and_end_catches_up() -> None:
    deck, some = Deck(Run(), Liveness.LIVE), list(messages(60, streams=("video",)))

    def until(upto: int) -> None:
        while deck.visible < upto:
            deck.run.feed(some.pop(0))
            deck.changed(Liveness.LIVE)

    until(20)
    deck.set_axis("seconds")
    deck.move(-8)
    deck.zoom(2)
    window, columns = deck.axis.window(0), deck.columns(80)[:20].tolist()
    until(40)
    assert (deck.cursor, deck.follow) == (11, False)
    assert deck.axis.window(0) == window and deck.columns(80)[:20].tolist() == columns
    deck.last()
    assert (deck.cursor, deck.follow) == (39, True) and deck.columns(80)[39] >= 0
    until(55)
    assert deck.cursor == 54 and deck.columns(80)[54] >= 0
    deck.pan(-100)
    assert not deck.follow and deck.columns(80)[54] == -1
    until(58)
    assert deck.cursor == 54 and deck.columns(80)[0] == 0


def test_seeking_in_a_hundred_thousand_steps_is_quick() -> None:
    deck = Deck(Run(), Liveness.FINISHED)
    some = list(messages(4, streams=("video",), end=None))
    for message in some[:4]:
        deck.run.feed(message)
    row = np.frombuffer(next(m["data"] for m in some if m["t"] == "step"), "<f4")[None]
    stream = deck.run.stages[0].streams["video"]
    stream.append(0, np.arange(100_000.0), np.broadcast_to(row, (100_000, row.shape[1])))
    deck.changed(Liveness.FINISHED)
    deck.columns(120)
    slowest = 0.0
    for act in (lambda: deck.seek(0.3), lambda: deck.seek_by(0.1), lambda: deck.step(1), deck.toggle_mark):
        began = time.process_time()
        act()
        deck.columns(120)
        slowest = max(slowest, time.process_time() - began)
    assert deck.visible == 40_001 and slowest < 0.05


def test_what_is_being_opened_is_neither_empty_nor_unfinished() -> None:
    deck = Deck(Run(), Liveness.UNFINISHED)
    header = HeaderView(deck, Style.BRAILLE)
    text = "\n".join(row.text for row in header.rows(80, 2))
    assert "READING" in text and "opening" in text and "unfinished" not in text and "no steps" not in text
    assert deck.nothing == "reading …"
    deck.changed(Liveness.UNFINISHED)
    text = "\n".join(row.text for row in header.rows(80, 2))
    assert "unfinished" in text and "no steps recorded" in text and deck.nothing == "no steps"
    assert Deck(Run(), Liveness.LIVE).nothing == "waiting for the first step"


def test_the_status_bar_finds_room_for_what_watching_costs() -> None:
    deck = Deck(Run(), Liveness.LIVE)
    for message in messages(30, end=None, prompt="a red ball moving left"):
        deck.run.feed(message)
    for stream in deck.run.stages[0].streams.values():
        stream.data[:, stream.metrics["recorder_seconds"].columns] = 0.0036
    deck.changed(Liveness.LIVE)
    for width in (80, 120, 200):
        rows = HeaderView(deck, Style.BRAILLE, link=lambda: Link(Health.LIVE, 3000)).rows(width, 2)
        text = "\n".join(row.text for row in rows)
        assert "connected" in text and "3.0 kB behind" in text and "ms/step" in text, width
        assert all(row.used == width for row in rows) and "video" in rows[0].text
