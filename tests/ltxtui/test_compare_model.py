"""Runs side by side without a screen: lined up, compared with any of them, jumped through, read in the background."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ltxtui.compare import lineup
from ltxtui.compare.deck import CompareDeck
from ltxtui.compare.loading import Loader
from ltxtui.compare.member import Member, members
from ltxtui.compare.statements import difference_text, setting, table_rows, value_text
from ltxtui.panels.compare.chart import plot_of, shock_flags
from ltxtui.panels.compare.pictures import grid
from ltxtui.panels.compare.table import notes
from ltxtui.plot import line_letters
from ltxtui.plot.line_plot import Style, draw
from ltxtui.plot.model import Curve, Plot
from replay.comparison import run_differences
from replay.comparison.alignment import nearest_rows
from replay.model.run import Run
from replay.sources.open import Liveness
from tests.ltxtui.fake import messages
from tests.ltxtui.fixture import fixture_messages, live_fixture
from tests.ltxtui.sources import Archive, Live
from tests.replay.test_compare import SMOOTH, SPIKE, event, made, rows
from tests.waiting import PATIENCE_SECONDS


def fed(some: Sequence[dict[str, Any]]) -> Run:
    run = Run()
    for message in some:
        run.feed(message)
    return run


def deck_of(*runs: Run, **options: Any) -> CompareDeck:
    deck = CompareDeck(members(list(runs)), **options)
    deck.changed()
    return deck


def values(number: float, steps: Sequence[float] = SMOOTH, **more: Any) -> Run:
    """A run whose `value` is a number plus its step."""
    return made({"sigma": steps, "value": number + np.arange(len(steps))}, **more)


def test_every_run_is_drawn_and_as_differences_every_one_but_the_reference() -> None:
    deck = deck_of(values(0), values(10), values(30), metrics=["value"])
    assert deck.shown[0] == "value" and deck.points == len(SMOOTH)
    drawn = deck.values("value")
    assert sorted(drawn) == [0, 1, 2]
    assert_array_equal(drawn[1], 10 + np.arange(len(SMOOTH)))
    deck.toggle_residuals()
    found = deck.values("value")
    assert sorted(found) == [1, 2]
    assert (found[1] == 10).all() and (found[2] == 30).all()
    deck.selected = 2
    deck.pin_selected()
    assert deck.reference.letter == "C"
    found = deck.values("value")
    assert sorted(found) == [0, 1] and (found[0] == -30).all() and (found[1] == -20).all()
    deck.pin_selected()  # it is the reference already: on to the next
    assert deck.reference.letter == "A" and deck.selected == 0


def test_letters_stay_with_their_runs_whatever_is_pinned_or_hidden() -> None:
    deck = deck_of(values(0), values(10), values(30), metrics=["value"])
    deck.pin(1)
    deck.toggle(0)
    assert [(c.letter, float(c.values[0])) for c in plot_of(deck, "value").curves] == [("B", 10), ("C", 30)]
    deck.toggle(1)
    deck.toggle(2)  # the last one that is shown stays
    assert [m.letter for m in deck.drawn] == ["C"]
    deck.toggle(0)
    assert [m.letter for m in deck.drawn] == ["A", "C"]
    deck.toggle(7)  # there is none


def test_runs_of_different_lengths_and_where_the_cursor_is_opened() -> None:
    deck = deck_of(values(0), values(0, SPIKE), metrics=["value"])
    assert deck.points == len(SPIKE) and deck.cursor == len(SMOOTH) - 1, "the last point that both have"
    deck.last()
    assert deck.row(deck.members[0]) is None and deck.row(deck.members[1]) == len(SPIKE) - 1
    assert np.isnan(deck.values("value")[0][-1])
    deck.move(-100)
    assert deck.cursor == 0 and not deck.follow
    deck.move(1000)
    assert deck.cursor == len(SPIKE) - 1


@pytest.mark.parametrize(
    ("wanted", "row"),
    [(1.0, 0), (0.95, 0), (0.9, 3), (0.85, 3), (0.72, 3), (0.6, 4), (0.31, 5), (0.2, 5), (0.1, -1), (1.2, -1)],
)
def test_at_a_level_the_row_nearest_to_it_on_the_last_way_down_is_meant(wanted: float, row: int) -> None:
    levels = np.array([1.0, 0.8, 0.7, 0.9, 0.5, 0.2])
    assert nearest_rows(levels, np.array([wanted])).tolist() == [row]


def test_by_noise_level_the_points_are_those_of_the_reference() -> None:
    deck = deck_of(values(0), values(0, SPIKE), align="sigma", metrics=["value"])
    together = deck.together
    assert together is not None
    assert_allclose(together.comparison.axis, SMOOTH, rtol=1e-6)
    assert "sigma" not in deck.metrics, "what they are lined up by is the same by itself"
    for point, level in enumerate(SMOOTH):
        row = together.row(deck.members[1], point)
        assert row is not None and SPIKE[row] == pytest.approx(level, abs=0.25)


def test_the_cursor_stays_with_the_row_when_the_axis_changes() -> None:
    first = made({"sigma": [0.9, 0.8], "value": [0, 1]}, {"sigma": SMOOTH, "value": np.arange(len(SMOOTH))})
    deck = deck_of(first, first, stage=1)
    deck.move_to(2)
    row = deck.row(deck.members[0])
    for _ in range(4):
        deck.next_align()
        assert deck.row(deck.members[0]) == row == 2
    assert deck.align == "step" and deck.cursor == 2


def test_jumps_go_to_where_runs_part_in_any_stage_and_round_again() -> None:
    def stages(early: float, late: float) -> list[dict[str, Any]]:
        one, two = np.arange(6.0), np.arange(6.0)
        one[2:] += early
        two[4:] += late
        return [{"sigma": SMOOTH, "value": one}, {"sigma": SMOOTH, "value": two}]

    deck = deck_of(made(*stages(0, 0)), made(*stages(1, 0)), made(*stages(0, 1)), made(*stages(0, 0)))
    deck.first()
    seen = []
    for _ in range(3):
        deck.jump()
        seen.append((deck.stage_index, deck.row(deck.members[0])))
    assert seen == [(0, 2), (1, 4), (0, 2)]
    assert deck.said == "B first differs from A in stage 0, step 2, video: value is 3, not 2"
    deck.jump(-1)
    assert (deck.stage_index, deck.row(deck.members[0])) == (1, 4) and deck.said.startswith("C first")
    deck.toggle(2)  # a hidden run is not jumped to
    deck.jump()
    assert deck.stage_index == 0
    assert deck.divergence(deck.members[3]) is None
    deck.pin(3)
    assert deck.divergence(deck.members[0]) is None and deck.divergence(deck.members[1]) is not None


def test_a_jump_to_a_row_that_only_one_has_and_one_to_nowhere() -> None:
    deck = deck_of(values(0), made({"sigma": [*SMOOTH, 0.05], "value": np.arange(7)}))
    deck.jump()
    assert deck.row(deck.members[1]) == 6 and deck.said.endswith("only one has it")
    same = deck_of(values(0), values(0))
    same.jump()
    assert same.said == "no run differs from the reference in any row so far"


def test_a_tolerance_lets_small_differences_be() -> None:
    near = deck_of(values(1.0), values(1.0001), tolerance=1e-3)
    assert near.divergence(near.members[1]) is None
    exact = deck_of(values(1.0), values(1.0001))
    assert exact.divergence(exact.members[1]) is not None


def test_stages_and_streams_that_not_all_have() -> None:
    two = made(rows(SMOOTH), rows(SMOOTH))
    deck = deck_of(values(0), two, two)
    deck.next_stage()
    assert [m.letter for m in deck.comparable] == ["B", "C"] and deck.reference.letter == "B"
    assert deck.pinned == 0, "A is the reference again where it is there"
    assert deck.together is not None
    deck.next_stage()
    assert deck.reference.letter == "A"
    one = deck_of(values(0), two)
    one.next_stage()
    assert one.together is None and one.why == "only B has video in stage 1: nothing to compare it with"
    one.toggle_residuals()
    one.jump()
    one.move(1)
    assert one.points == 0 and one.cursor == 0 and one.values("value") == {}


def test_streams_clips_and_pages() -> None:
    runs = [fed(list(messages(5, batch=2))) for _ in range(2)]
    deck = deck_of(*runs)
    assert deck.streams == ("video", "audio") and deck.stream == "video" and deck.items == 2
    mean = deck.values("velocity_rms")[0].copy()
    deck.next_item()
    assert deck.item == 0 and (deck.values("velocity_rms")[0] < mean).all()
    deck.next_item()
    deck.next_item()
    assert deck.item is None
    deck.next_stream()
    assert deck.stream == "audio" and (deck.values("velocity_rms")[0] > mean).all()
    assert deck.shown[:2] == ("sigma", "snr_measured_db") and len(deck.shown) == deck.per_page == 4
    pages = deck.pages
    seen: list[str] = []
    for _ in range(pages):
        seen += deck.shown
        deck.turn_page(1)
    assert deck.page == 0 and tuple(seen) == deck.metrics and len(set(seen)) == len(seen)
    deck.turn_page(1)
    first = deck.shown[0]
    deck.set_per_page(2)
    assert deck.shown[0] == first


def test_nothing_is_lined_up_twice_while_only_the_cursor_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    deck = deck_of(values(0), values(1))
    calls = []
    monkeypatch.setattr(lineup, "lined_up", lambda *a: calls.append(a))
    deck.first()
    deck.move(3)
    deck.toggle_residuals()
    assert deck.values("value") is not None and deck.shown and deck.pages and not calls
    deck.members[0].run.version += 1  # type: ignore[union-attr]
    deck.changed()
    assert len(calls) == 1


def test_runs_that_grow_are_followed_or_left_alone() -> None:
    left = list(messages(8, streams=("video",)))
    begun = [Run(), Run()]
    deck = CompareDeck([Member(i, run=run, liveness=Liveness.LIVE) for i, run in enumerate(begun)])
    deck.changed()
    assert deck.together is None and deck.why == "no run has reached stage 0"
    for n, message in enumerate(left):
        for run in begun:
            run.feed(message)
        deck.changed()
        if n == 6:
            assert deck.points > 0 and deck.cursor == deck.points - 1
            deck.move(-1)
            held = deck.cursor
    assert deck.points == 8 and deck.cursor == held and not deck.follow
    deck.last()
    assert deck.follow and deck.cursor == 7
    assert deck.divergence(deck.members[1]) is None


def test_a_difference_is_found_as_soon_as_it_is_there_and_not_looked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = list(messages(6, streams=("video",))), list(messages(6, streams=("video",), nan_at=3))
    runs = [fed([m for m in one if m["t"] != "end"][:5]), fed([m for m in other if m["t"] != "end"][:5])]
    deck = CompareDeck([Member(i, run=run, liveness=Liveness.LIVE) for i, run in enumerate(runs)])
    assert deck.divergence(deck.members[1]) is None
    for message in one[5:]:
        runs[0].feed(message)
    for message in other[5:]:
        runs[1].feed(message)
    found = deck.divergence(deck.members[1])
    assert found is not None and found.step == 3
    monkeypatch.setattr(run_differences, "divergences", None)
    runs[0].version += 1
    assert deck.divergence(deck.members[1]) is found


def test_no_steps_at_all() -> None:
    deck = deck_of(made({"sigma": []}), made({"sigma": []}))
    for do in (deck.jump, deck.first, deck.last, deck.next_align, deck.toggle_residuals, deck.next_stage):
        do()
    assert deck.points == 0 and plot_of(deck, deck.shown[0] if deck.shown else "value").empty == "no steps"
    assert deck.table()[1] == []


def test_fairness_and_summaries_in_words_and_numbers() -> None:
    deck = deck_of(values(0), made(rows(SPIKE), seed=1, shocks=["σ 0.6 up to 0.95"]), values(0))
    assert deck.unfair(deck.members[0]) == [] == deck.unfair(deck.members[2])
    assert [setting(m) for m in deck.unfair(deck.members[1])] == ["model evaluations 8, not 6", "seed 1, not 0"]
    said = [text for _, text, _ in notes(deck)]
    assert "B and A are not a fair pair:" in said
    assert any(s.startswith("  model evaluations 8, not 6 (give both as many") for s in said)
    assert "C and A are a fair pair" in said and "B shock: σ 0.6 up to 0.95" in said
    assert deck.together is not None
    table = dict(table_rows(deck.together.comparison))
    assert_array_equal(table["model evaluations"], [6, 8, 6])
    assert_array_equal(table["shocks"], [0, 1, 0])
    assert_array_equal(table["drift index"][[0, 2]], [np.nan, np.nan])
    assert [value_text(v) for v in (3.0, 0.25, float("nan"))] == ["3", "0.2500", "–"]
    assert [difference_text(v) for v in (2.0, -0.5, 0.0, float("nan"))] == ["+2", "−0.5000", "0", "–"]
    deck.pin(1)
    assert [setting(m) for m in deck.unfair(deck.members[0])] == ["model evaluations 6, not 8", "seed 0, not 1"]


def test_shocks_are_letters_on_the_axis() -> None:
    deck = deck_of(fed(fixture_messages("smooth")), fed(fixture_messages("restart")))
    flags = shock_flags(deck)
    assert flags and all((f.letter, f.role, f.line) == ("B", "run2", True) for f in flags)
    shocked = [e["step"] for e in fixture_messages("restart") if e.get("kind") == "shock" and e["stage"] == 0]
    assert [f.step for f in flags] == shocked
    deck.toggle(1)
    assert shock_flags(deck) == []


def test_curves_as_a_table_and_the_command_that_shows_the_same() -> None:
    deck = deck_of(values(0), values(10), metrics=["value"])
    deck.set_per_page(1)
    columns, found = deck.table()
    assert columns == ["step", "value A", "value B"] and found[2] == [2.0, 2.0, 12.0]
    deck.toggle_residuals()
    assert deck.table()[0] == ["step", "value B-A"] and deck.table()[1][2] == [2.0, 10.0]
    paths = [Member(0, path=Path("a b.zarr"), run=values(0)), Member(1, path=Path("c.zarr"), run=values(1))]
    other = CompareDeck(paths)
    other.pin(1)
    other.line_up("snr")
    assert other.command() == ["ltxtui", "compare", "--tui", "c.zarr", "a b.zarr", "--align", "snr"]


def test_two_to_eight_runs() -> None:
    run = values(0)
    assert [m.letter for m in members([run] * 8)] == list("ABCDEFGH")
    for count in (0, 1, 9):
        with pytest.raises(ValueError, match="2 to 8 runs"):
            members([run] * count)


# -- what is drawn


@pytest.mark.parametrize("style", list(Style))
@pytest.mark.parametrize("width", [46, 60, 120])
def test_eight_equal_lines_can_still_be_told_apart(style: Style, width: int) -> None:
    curves = [Curve(x, np.linspace(0, 1, 30), symbol=x, letter=x, paint=f"run{n}") for n, x in enumerate("ABCDEFGH")]
    rows_ = draw(Plot(curves, 30), width, 12, style)
    drawn = "".join(row.text[7 : width - 8] for row in rows_[:-1])
    assert set("ABCDEFGH") <= set(drawn)
    for letter, role in ((c.letter, c.role) for c in curves):
        assert all(role == s.role for row in rows_[:-1] for s in row.spans[2:] if s.text.strip() == letter)


def test_letters_stand_on_their_lines_and_never_in_a_gap() -> None:
    broken = np.array([0.0, 1, np.nan, np.nan, 4, 5])
    columns = np.arange(6) * 10
    found = list(line_letters.places([("A", broken), ("", broken), ("B", np.full(6, np.nan))], columns, 51, round))
    assert found and {index for index, _, _ in found} == {0}
    for _, column, row in found:
        assert column <= 10 or column >= 40
        assert row == round(column / 10)
    assert list(line_letters.places([], columns, 51, round)) == []


@pytest.mark.parametrize("count", range(1, 9))
@pytest.mark.parametrize("size", [(30, 5), (64, 20), (80, 19), (200, 50)])
def test_pictures_of_all_runs_fit(count: int, size: tuple[int, int]) -> None:
    across, plan = grid(count, (9, 10, 12), *size)
    down = -(-count // across)
    assert across >= 1 and plan.across * (plan.width + 1) - 1 <= max(size[0] // across, 13)
    lines = 1 + plan.down * (-(-plan.height // 2) + plan.labelled)
    assert down * lines <= size[1] or size[1] < 2 * down


# -- reading


async def test_runs_are_read_in_the_background_and_what_cannot_be_read_says_so() -> None:
    told: list[int] = []
    sources = {"a": Archive(messages(4)), "b": Archive([{"t": "header", "format": "other"}]), "c": Archive(messages(3))}

    def opener(path: Path) -> Any:
        if path.name == "d":
            raise FileNotFoundError(2, "No such file", "d")
        assert threading.current_thread() is not threading.main_thread()
        return sources[path.name]

    found = [Member(i, path=Path(name)) for i, name in enumerate("abcd")]
    assert all(m.loading and m.status == "opening" for m in found)
    await Loader(found, lambda: told.append(1), opener).run()
    assert [m.status for m in found] == ["complete", "unreadable", "complete", "unreadable"]
    assert "not a run" in found[1].problem and "No such file" in found[3].problem
    assert [m.run.steps if m.run else None for m in found] == [4, None, 3, None] and told
    assert sources["a"].closed and sources["b"].closed
    deck = CompareDeck(found)
    deck.changed()
    assert deck.points == 4 and [m.letter for m in deck.drawn] == ["A", "C"]


async def test_a_live_run_is_followed_to_its_end() -> None:
    source, go_on = live_fixture("restart")
    go_on(2)
    member = Member(0, path=Path("x"))
    loading = asyncio.ensure_future(Loader([member], lambda: None, lambda path: source).run())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while member.run is None or member.run.steps < 2:
            await asyncio.sleep(0.01)
    assert member.live and member.status == "live" and member.run is not None
    go_on(99)
    source.liveness = Liveness.FINISHED
    await asyncio.wait_for(loading, PATIENCE_SECONDS)
    assert member.status == "complete" and not member.live and member.run.steps == 18 and source.closed


async def test_leaving_while_a_run_is_read_closes_it() -> None:
    going, go = threading.Event(), threading.Event()

    class Slow(Live):
        def poll(self) -> list[Any]:
            going.set()
            assert go.wait(PATIENCE_SECONDS)
            return []

    source = Slow()
    loading = asyncio.ensure_future(Loader([Member(0, path=Path("x"))], lambda: None, lambda path: source).run())
    await asyncio.to_thread(going.wait, PATIENCE_SECONDS)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    go.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not source.closed:
            await asyncio.sleep(0.01)


def test_an_event_without_sense_is_no_shock() -> None:
    run = values(0)
    run.feed({**event(0, "shock", "odd"), "step": "x"})
    assert shock_flags(deck_of(run, values(1))) == []


def test_one_reference_is_named_everywhere_when_the_pinned_run_lacks_the_stage() -> None:
    short, long = made(rows(SMOOTH)), made(rows(SMOOTH), rows(SMOOTH))
    deck = deck_of(short, long, made(rows(SMOOTH), rows(SPIKE)), stage=1)
    assert deck.reference.letter == "B" and deck.pinned == 0
    assert deck.together is not None and deck.together.reference is deck.reference
    assert deck.divergence(deck.reference) is None and deck.unfair(deck.reference) == []
    parting = deck.divergence(deck.members[2])
    assert parting is not None and parting.stage == 1
    assert [m.what for m in deck.unfair(deck.members[2])] == ["model evaluations"]
    said = [text for _, text, _ in notes(deck)]
    assert "C and B are not a fair pair:" in said and not any("B and A" in text for text in said)


def test_the_screen_opens_on_the_stage_that_differs_unless_one_was_asked_for() -> None:
    late = {**rows(SMOOTH), "value": np.arange(6) + 1.0}
    runs = made(rows(SMOOTH), rows(SMOOTH)), made(rows(SMOOTH), late)
    assert deck_of(*runs).stage_index == 1
    assert deck_of(*runs, stage=0).stage_index == 0
