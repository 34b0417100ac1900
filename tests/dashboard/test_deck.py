"""The view model, without Textual."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ltxtui.deck import SPEEDS, Deck
from recorder.words import Message
from replay.run import Run
from replay.source import Liveness
from tests.dashboard.fake import event, messages


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
