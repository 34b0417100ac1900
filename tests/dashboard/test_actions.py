"""One registry: what it says is what the keys do, and what help and footer show."""

from __future__ import annotations

from textual.binding import Binding

from ltxtui import actions
from ltxtui.deck import Deck
from ltxtui.drawing import Style
from ltxtui.panels.footer import FooterView
from ltxtui.screens.help import HelpView, keys_text
from ltxtui.screens.run import RunScreen
from recorder.words import Message
from replay.run import Run
from replay.source import Liveness
from tests.dashboard.fake import messages


def deck_of(some: list[Message], liveness: Liveness = Liveness.FINISHED) -> Deck:
    deck = Deck(Run(), liveness)
    for message in some:
        deck.run.feed(message)
    deck.changed(liveness)
    return deck


def test_keys_and_ids_are_unique() -> None:
    keys = [key for key, _ in actions.bindings()]
    assert len(keys) == len(set(keys))
    assert len(actions.BY_ID) == len(actions.ACTIONS)


def test_bindings_are_the_registry() -> None:
    bound = {(b.key, b.action) for b in Binding.make_bindings(RunScreen.BINDINGS)}
    assert bound == set(actions.bindings())
    for action in actions.ACTIONS:
        for n, key in enumerate(action.keys):
            assert (key, f"do('{action.id}', {n})") in bound


def test_help_is_the_registry() -> None:
    view = HelpView(deck_of([]), Style.BRAILLE)
    rows = [row.text for row in view.rows(300, 0)]
    lines = [row for row in rows if row.startswith("  ") and row.strip()]
    assert len(lines) == len(actions.ACTIONS)
    for action in actions.ACTIONS:
        assert any(keys_text(action) in row and action.label in row and action.description in row for row in lines)
    for width in (57, 76, 120):
        words = " ".join(" ".join(row.text for row in view.rows(width, 0)).split())
        assert all(f"{keys_text(a)} {a.label}" in words for a in actions.ACTIONS)
        assert "…" not in words.replace("0…9", "")


def test_footer_offers_what_can_be_done_now() -> None:
    replay = FooterView(deck_of(list(messages(5, batch=2, stages=2))), Style.BRAILLE).rows(200, 1)[0].text
    live = FooterView(deck_of(list(messages(5, end=None)), Liveness.LIVE), Style.BRAILLE).rows(200, 1)[0].text
    empty = FooterView(deck_of([]), Style.BRAILLE).rows(200, 1)[0].text
    assert "play/pause" in replay and "stage" in replay and "batch item" in replay
    assert "play/pause" not in live and "stage" not in live and "newest" in live
    assert "newest" not in empty
    for text in (replay, live, empty):
        assert "? help" in text and "q quit" in text


def test_footer_never_loses_help_and_quit() -> None:
    for width in range(60, 200, 7):
        row = FooterView(deck_of(list(messages(5, batch=2, stages=2))), Style.BRAILLE).rows(width, 1)[0]
        assert "? help" in row.text and "q quit" in row.text and len(row.text) == width


def test_every_action_says_what_it_is() -> None:
    for action in actions.ACTIONS:
        assert action.label and action.description.endswith(".") and action.group
        assert actions.key_name(action.keys, ascii_only=True).isascii()
