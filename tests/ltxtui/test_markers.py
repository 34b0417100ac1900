"""What happened where, and the way from one to the next."""

from __future__ import annotations

from ltxtui.panels.chart_view import flags
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.markers import KINDS, Marker, legend, markers, neighbour
from recorder.format.protocol import Message
from replay.model.run import Run
from replay.sources.open import Liveness
from tests.ltxtui.fake import START, event, messages


def eventful(stages: int = 2, *more: Message) -> Deck:
    """Two stages of 10 steps: a shock at 3, a NaN at 6 in the first; a critical phase at 2, a warning in the second."""
    deck = Deck(Run(), Liveness.FINISHED)
    for message in messages(10, stages=stages, streams=("video",)):
        if message["t"] != "end":
            deck.run.feed(message)
    for message in (
        event(0, 3, "shock", "restart: σ .4 to .9"),
        event(0, 6, "nan", "12 values"),
        *([event(1, 2, "critical", "0 dB")] if stages > 1 else []),
        event(None, None, "warning", "slow disk", START + 1.55),
        *more,
    ):
        deck.run.feed(message)
    deck.changed(Liveness.FINISHED)
    return deck


def test_every_event_that_matters_is_a_marker_in_the_order_of_the_run() -> None:
    deck = eventful(2, event(1, 7, "control", "stop"), event(0, 1, "unknown", "x"), event(0, 9, "stage_end", "x"))
    assert [(m.stage, m.step, m.kind) for m in deck.markers] == [
        (0, 0, "stage"), (0, 3, "shock"), (0, 6, "nan"), (1, 0, "stage"), (1, 2, "critical"), (1, 6, "warning"),
        (1, 7, "control"),
    ]  # fmt: skip
    assert [m.letter for m in deck.markers] == list(">SN>C!X")
    assert len({letter for letter, _ in KINDS.values()}) == len(KINDS)


def test_events_without_a_place_are_put_by_their_time() -> None:
    run = Run()
    for message in messages(5, streams=("video",), pace=1.0):
        run.feed(message)
    run.events.clear()
    for text, moment in (("before", START - 1), ("first", START), ("between", START + 2.5), ("after", START + 99)):
        run.feed(event(None, None, "warning", text, moment))
    # A run refuses these; markers do not lean on it.
    run.events.append({**event(0, None, "error", "no time"), "time": None})
    run.events.append({**event(None, None, "error", "nowhere"), "time": None})
    assert [(m.step, m.text) for m in markers(run)] == [(0, "first"), (0, "no time"), (3, "between"), (4, "after")]


def test_hostile_events_are_harmless() -> None:
    run = Run()
    for message in messages(5, streams=("video",)):
        run.feed(message)
    run.events.clear()
    run.events.append({**event(0, 1, "nan", "\x1b[2Jgone\nnext"), "kind": ["nan"]})
    run.feed(event(0, 1, "nan", "\x1b[2Jgone\nnext"))
    run.events.append(event(99, -3, "warning", "odd"))
    assert markers(run) == [Marker(0, 0, "warning", "odd"), Marker(0, 1, "nan", "gone next")]


def test_neighbours() -> None:
    places = [(0, 0), (0, 3), (0, 3), (1, 2)]
    assert [neighbour(places, (0, 0), 1), neighbour(places, (0, 3), 1), neighbour(places, (1, 2), 1)] == [
        (0, 3), (1, 2), None,
    ]  # fmt: skip
    assert [neighbour(places, (1, 9), -1), neighbour(places, (0, 3), -1), neighbour(places, (0, 0), -1)] == [
        (1, 2), (0, 0), None,
    ]  # fmt: skip


def test_jump_goes_there_and_back_over_stages() -> None:
    deck = eventful()
    assert (deck.stage_index, deck.cursor) == (1, 9)
    back = []
    for _ in range(8):
        deck.jump(-1)
        back.append((deck.stage_index, deck.cursor))
    assert back == [(1, 6), (1, 2), (1, 0), (0, 6), (0, 3), (0, 0), (0, 0), (0, 0)]
    assert not deck.follow and deck.playhead == deck.total
    forth = []
    for _ in range(6):
        deck.jump(1)
        forth.append((deck.stage_index, deck.cursor))
    assert forth == [(0, 3), (0, 6), (1, 0), (1, 2), (1, 6), (1, 6)]


def test_in_a_replay_the_playhead_comes_along() -> None:
    deck = eventful()
    deck.seek_to(2)
    assert [m.kind for m in deck.markers_shown] == ["stage"]
    deck.jump(1)
    assert (deck.playhead, deck.cursor, deck.follow, deck.playing) == (4, 3, True, False)
    deck.jump(1)
    deck.jump(1)
    assert (deck.playhead, deck.stage_index, deck.cursor) == (11, 1, 0)
    deck.jump(-1)
    assert (deck.playhead, deck.stage_index, deck.cursor) == (11, 0, 6)


def test_live_a_jump_holds_the_cursor_and_an_event_of_a_step_to_come_is_no_trap() -> None:
    deck = Deck(Run(), Liveness.LIVE)
    for message in messages(10, streams=("video",), end=None):
        if message.get("step", 0) in (None, *range(6)) and message.get("kind") != "stage_end":
            deck.run.feed(message)
    deck.run.feed(event(0, 2, "shock", "restart"))
    deck.run.feed(event(0, 6, "control", "shock at the next step"))
    deck.changed(Liveness.LIVE)
    assert (deck.visible, deck.cursor) == (6, 5)
    deck.jump(-1)
    assert (deck.cursor, deck.follow) == (2, False)
    deck.jump(1)
    assert (deck.cursor, deck.follow) == (5, True)
    deck.jump(1)
    assert deck.cursor == 5


def test_charts_flag_what_is_visible_the_mark_and_the_loop() -> None:
    deck = eventful()
    deck.next_stage()
    deck.move_to(4)
    deck.toggle_mark()
    deck.mark_loop()
    assert [(f.step, f.letter) for f in flags(deck)] == [(4, "M"), (4, "["), (6, "N"), (3, "S")]
    deck.move_to(8)
    deck.mark_loop()
    assert [(f.step, f.letter, f.line) for f in flags(deck)[:3]] == [(4, "M", True), (4, "[", False), (8, "]", False)]
    deck.seek_to(5)
    assert [f.letter for f in flags(deck)] == ["M", "[", "]", "S"]
    deck.next_stage()
    deck.last()
    assert [(f.step, f.letter) for f in flags(deck)] == [(6, "!"), (2, "C")]


def test_where_there_is_room_for_one_letter_it_is_the_shocks() -> None:
    deck = eventful(1, event(0, 3, "critical", "0 dB"))
    assert [f.letter for f in flags(deck) if f.step == 3] == ["S", "C"]


def test_the_letters_on_the_axis_are_told_beside_the_event() -> None:
    shown = [Marker(0, 0, "stage", ""), Marker(0, 3, "finding", ""), Marker(0, 2, "nan", ""), Marker(0, 4, "nan", "")]
    assert legend(shown) == "N NaN · F finding" and legend(shown[:1]) == "" == legend([])
