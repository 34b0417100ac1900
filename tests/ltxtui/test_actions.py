"""One registry: what it says is what the keys do, and what help, footer, palette and README show."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.binding import Binding

from ltxtui import actions
from ltxtui.actions import keys_text, markdown
from ltxtui.actions.keys import key_name, read_key
from ltxtui.app import Dashboard
from ltxtui.home.model import HomeModel
from ltxtui.panels.footer import FooterView
from ltxtui.plot.line_plot import Style
from ltxtui.screens.base import ActionScreen, Entry, keyed
from ltxtui.screens.compare import CompareScreen
from ltxtui.screens.help import HelpView
from ltxtui.screens.home import Home
from ltxtui.screens.palette import entries, score
from ltxtui.screens.run import RunScreen
from ltxtui.viewmodel.deck import Deck
from recorder.format.protocol import Message
from replay.model.run import Run
from replay.sources.open import Liveness
from tests.ltxtui.driving import ROOMY, loaded
from tests.ltxtui.fake import messages
from tests.ltxtui.sources import Archive

SCREENS = ("home", "run", "compare")
README = Path(__file__).parents[2] / "README.md"


def deck_of(some: list[Message], liveness: Liveness = Liveness.FINISHED) -> Deck:
    deck = Deck(Run(), liveness)
    for message in some:
        deck.run.feed(message)
    deck.changed(liveness)
    return deck


@pytest.mark.parametrize("screen", SCREENS)
def test_keys_and_ids_are_unique(screen: str) -> None:
    keys = [key for key, _ in actions.bindings(screen)]
    assert sorted(keys) == sorted(set(keys))
    assert len(actions.BY_ID) == len(actions.ACTIONS)


def test_bindings_are_the_registry() -> None:
    bound = {(b.key, b.action) for b in Binding.make_bindings(RunScreen.BINDINGS)}
    assert bound == set(actions.bindings("run"))
    for action in actions.of_screen("run"):
        for n, key in enumerate(action.keys):
            assert (key, f"do('{action.id}', {n})") in bound


async def test_palette_and_help_are_the_bindings() -> None:
    """Every key that is bound has its line in the palette and in the help, and these have no others."""
    app = Dashboard(Archive(messages(5)))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        screen = app.screen
        assert isinstance(screen, RunScreen)
        bound = {binding.binding.action for binding in screen.active_bindings.values()}
        listed = {entry.id: entry for entry in entries(screen)}
        shown = "\n".join(row.text for row in HelpView(screen.model, Style.BRAILLE).rows(300, 0))
        for action in actions.of_screen("run"):
            for n, label, keys in actions.places(action):
                assert f"do('{action.id}', {n})" in bound
                entry = listed.pop(f"{action.id} {n}")
                assert (entry.label, entry.keys, entry.description) == (label, keys, action.description) and keys
            bound -= {f"do('{action.id}', {n})" for n in range(max(1, len(action.keys)))}
            assert f"  {keys_text(action)} " in shown and action.label in shown
        assert not listed and not bound


@pytest.mark.parametrize("screen", [Home, RunScreen, CompareScreen], ids=lambda s: s.kind)
def test_every_screen_binds_lists_explains_and_documents_the_same(screen: type[ActionScreen]) -> None:
    """Keys that are bound, the palette, the help and README's rows of a screen: the same actions with the same keys."""
    kind, anything = screen.kind, _Anything()
    bound: dict[str, set[str]] = {}
    for binding in Binding.make_bindings(screen.BINDINGS):
        bound.setdefault(binding.action, set()).add(key_name((binding.key,)))
    stub: Any = SimpleNamespace(
        kind=kind, model=anything, dashboard=SimpleNamespace(settings=SimpleNamespace(keys={}), read_only=False)
    )
    listed = {f"do('{e.id.split()[0]}', {e.id.split()[1]})": set(e.keys.split()) for e in entries(stub)}
    single = {action for action in bound if action not in listed}
    assert all(action.rpartition(", ")[0] + ", 0)" in listed for action in single), "its other keys are on one line"
    assert {action: keys for action, keys in bound.items() if action in listed} == listed
    explained = "\n".join(row.text for row in HelpView(anything, Style.BRAILLE, screen=kind).rows(300, 0))
    written = in_readme().splitlines()[2:]
    rows = [row for row in written if row.split("|")[1].strip() in (kind, "all")]
    for action in actions.of_screen(kind):
        assert any(f"'{action.id}'" in done for done in bound)
        assert f"  {keys_text(action)} " in explained and action.label in explained
        assert sum(f"| {action.label} |" in row for row in rows) >= 1
    assert len(rows) == len(actions.of_screen(kind))


@pytest.mark.parametrize("screen", SCREENS)
def test_help_has_every_action(screen: str) -> None:
    deck = deck_of([]) if screen == "run" else _Anything()
    view = HelpView(deck, Style.BRAILLE, screen=screen)
    rows = [row.text for row in view.rows(300, 0)]
    lines = [row for row in rows if row.startswith("  ") and row.strip()]
    listed = actions.of_screen(screen)
    assert len(lines) == len(listed)
    for action in listed:
        assert any(keys_text(action) in row and action.label in row and action.description in row for row in lines)
    for width in (57, 76, 120):
        words = " ".join(" ".join(row.text for row in view.rows(width, 0)).split())
        assert all(f"{keys_text(a)} {a.label}" in words for a in listed)


def in_readme() -> str:
    """The table that README holds between the marks."""
    return README.read_text("utf-8").partition(markdown.START)[2].partition(markdown.END)[0].strip()


def test_readme_has_the_same_keys() -> None:
    assert in_readme() == markdown.table(), "run: python -m ltxtui.actions README.md"


def test_the_table_has_every_action_once() -> None:
    rows = markdown.table().splitlines()[2:]
    assert len(rows) == len(actions.ACTIONS)
    for row, action in zip(rows, actions.ACTIONS, strict=True):
        assert row.count("|") - row.count("\\|") == 4 and action.label in row.replace("\\|", "|")
    old = f"a\n{markdown.START}\nold\n{markdown.END}\nb\n"
    assert markdown.written_into(old) == f"a\n{markdown.START}\n\n{markdown.table()}\n\n{markdown.END}\nb\n"
    with pytest.raises(ValueError, match="are missing"):
        markdown.written_into("no marks")


def test_footer_offers_what_can_be_done_now() -> None:
    replay = FooterView(deck_of(list(messages(5, batch=2, stages=2))), Style.BRAILLE).rows(300, 1)[0].text
    live = FooterView(deck_of(list(messages(5, end=None)), Liveness.LIVE), Style.BRAILLE).rows(300, 1)[0].text
    empty = FooterView(deck_of([]), Style.BRAILLE).rows(300, 1)[0].text
    assert "play/pause" in replay and "stage" in replay and "batch item" in replay
    assert "play/pause" not in live and "stage" not in live and "newest" in live
    assert "newest" not in empty
    for text in (replay, live, empty):
        assert ": actions" in text and "? help" in text and "q quit" in text and "shock" not in text


def test_footer_offers_control_only_where_the_recorder_takes_it() -> None:
    some = list(messages(5, end=None))
    some[0] = {**some[0], "control": True}
    live = deck_of(some, Liveness.LIVE)
    assert "s shock" in FooterView(live, Style.BRAILLE).rows(300, 1)[0].text
    assert not actions.why_not("shock", live)
    assert "--allow-control" in actions.why_not("shock", deck_of(some))


def test_an_empty_list_is_not_called_live() -> None:
    for id in ("open", "rename", "tag", "delete"):
        assert actions.why_not(id, HomeModel()) == "the list is empty"


def test_footer_never_loses_help_and_quit() -> None:
    for width in range(60, 200, 7):
        row = FooterView(deck_of(list(messages(5, batch=2, stages=2))), Style.BRAILLE).rows(width, 1)[0]
        assert "? help" in row.text and "q quit" in row.text and len(row.text) == width


def test_every_action_says_what_it_is() -> None:
    for action in actions.ACTIONS:
        assert action.label and action.description.endswith(".") and action.group and action.keys
        assert set(action.screens) <= set(SCREENS) and action.screens
        assert actions.key_name(action.keys, ascii_only=True).isascii()
        assert len(action.keys) == max(1, len(action.each)), f"{action.id} has several keys; `each` says what they do"
        assert all(read_key(key) == key for key in (*action.keys, *action.also)), "a settings file can name them"


class _Anything:
    """A model that has every attribute; each is falsy and can be compared and called."""

    def __getattr__(self, name: str) -> _Anything:
        return self

    def __call__(self, *args: object) -> _Anything:
        return self

    def __bool__(self) -> bool:
        return False

    def __len__(self) -> int:
        return 0

    def __gt__(self, other: object) -> bool:
        return False

    __lt__ = __ge__ = __le__ = __gt__


def test_a_keymap_replaces_keys_and_takes_them_from_others() -> None:
    keymap = {"theme": ("T",), "drawing": ("t", "D"), "cursor": ("h", "l"), "export": ()}
    bound = dict(actions.bindings("run", keymap))
    assert bound["T"] == "do('theme', 0)" and bound["t"] == bound["D"] == "do('drawing', 0)"
    assert bound["h"] == "do('cursor', 0)" and bound["l"] == "do('cursor', 1)"
    assert "d" not in bound and "left" not in bound and "e" not in bound
    assert bound["delete"] == "do('hide', 0)"  # it lost its h only
    keys = [key for key, _ in actions.bindings("run", keymap)]
    assert len(keys) == len(set(keys))
    made = {(b.key, b.action) for b in Binding.make_bindings(keyed(RunScreen, keymap).BINDINGS)}
    assert made == set(actions.bindings("run", keymap))
    assert "h/l" not in keys_text(actions.BY_ID["cursor"]) and keys_text(actions.BY_ID["cursor"], keymap) == "hl"


@pytest.mark.parametrize(
    ("written", "key"),
    [("x", "x"), ("X", "X"), ("?", "question_mark"), ("Ctrl+P", "ctrl+p"), ("PgUp", "pageup"), ("shift+Left",
     "shift+left"), ("space", "space"), (" ", "space"), ("+", "plus"), ("F5", "f5"), ("-", "minus"), ("<",
     "less_than_sign"), ("↑", "up"), ("Esc", "escape"), ("é", "é")],
)  # fmt: skip
def test_keys_are_read_as_people_write_them(written: str, key: str) -> None:
    assert read_key(written) == key


@pytest.mark.parametrize("written", ["", "nokey", "ctrl+", "hyper+x", "\x1b", "ctrl+shift"])
def test_what_is_no_key_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not a key"):
        read_key(written)


def test_key_names() -> None:
    assert key_name(("left", "right")) == "←→" and key_name(("ctrl+p",)) == "Ctrl+P"
    assert key_name(tuple("1234")) == "1…4" and key_name(("pageup", "pagedown")) == "PgUp/PgDn"


def test_what_was_typed_finds_what_is_meant() -> None:
    def best(typed: str) -> str:
        listed = [
            Entry(a.id, label, keys, a.description) for a in actions.of_screen("run") for _, label, keys in
            actions.places(a)
        ]  # fmt: skip
        return max(listed, key=lambda e: -1.0 if (s := score(typed, e)) is None else s).id

    assert best("play") == "play" and best("screensh") == "screenshot" and best("csv") == "export"
    assert best("panel hide") == "hide" and best("snap") == "snapshot" and best("tour") == "tour"
    assert score("zzz", Entry("x", "Play or pause", "space", "Plays.")) is None
    able, unable = Entry("x", "Stop", "x", "Ends."), Entry("x", "Stop", "x", "Ends.", "the run is over")
    assert (score("stop", able) or 0) > (score("stop", unable) or 0)
