"""Findings on the run screen: the verdict in the header, the list, the way to the place, markers, frames over steps."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from textual import _time
from textual.timer import Timer

from ltxtui.app import Dashboard, Options
from ltxtui.panels import findings, frames
from ltxtui.panels.chart_view import flags
from ltxtui.panels.findings import FindingsView
from ltxtui.plot.line_plot import Style
from ltxtui.screens.finding import FindingScreen
from ltxtui.screens.help import HelpScreen
from ltxtui.screens.run import Opening
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.findings import PERIOD, DeckFindings
from ltxtui.viewmodel.frame_quantities import QUANTITIES, limits
from recorder.findings.facts import Block
from recorder.findings.rules import RULES
from replay.model.run import Run
from replay.sources.open import Liveness
from tests.ltxtui import fake
from tests.ltxtui.driving import ROOMY, loaded, shown, until
from tests.ltxtui.fixture import FAULT_FRAME, FAULT_STEP, fixture_messages, live_fixture, open_fixture
from tests.ltxtui.sources import Archive, Live

SMALL = (80, 24)
FAULT = "latents changed between steps"


def faulty_deck() -> Deck:
    run = Run()
    for message in fixture_messages("faulty"):
        run.feed(message)
    deck = Deck(run, Liveness.FINISHED)
    deck.changed(Liveness.FINISHED)
    deck.findings.update()
    return deck


# The model


def test_a_run_is_examined_when_it_has_grown_and_not_more_often_than_the_period() -> None:
    now = [0.0]
    run = Run()
    found = DeckFindings(run, clock=lambda: now[0])
    some = fixture_messages("faulty")
    for message in some[: len(some) // 3]:
        run.feed(message)
    assert not found.known and found.due == 0
    assert found.update() and found.current and found.due == PERIOD
    assert not found.update(), "nothing has come since"
    version = found.version
    for message in some[len(some) // 3 :]:
        run.feed(message)
    now[0] = PERIOD
    assert found.due == 0 and not found.current
    assert found.update() and found.version == version + 1
    assert (found.verdict.severity, found.verdict.text) == ("warning", FAULT)


def test_what_takes_long_is_done_seldom() -> None:
    times = iter((0.0, 0.4, 1.0))
    run = Run()
    for message in fixture_messages("smooth"):
        run.feed(message)
    found = DeckFindings(run, clock=lambda: next(times))
    found.update()
    assert found.due == pytest.approx(0.4 + 0.4 * 50 - 1.0)


def test_a_rule_that_fails_is_said_and_ends_nothing() -> None:
    def broken(block: Block) -> list[object]:
        raise ZeroDivisionError("\x1b[2Jnothing to divide")

    rule = replace(RULES[0], rows=broken, stage=None, needs=())  # type: ignore[arg-type]
    run = Run()
    found = DeckFindings(run, [rule])
    for message in fixture_messages("smooth"):
        run.feed(message)
    assert found.update()
    assert "ZeroDivisionError" in found.problem and "\x1b" not in found.problem and found.found == []


def test_the_selection_stays_with_its_finding() -> None:
    deck = faulty_deck()
    found = deck.findings
    found.select(1)
    chosen = found.chosen
    assert chosen is not None and found.selected == 1
    found.found = found.found[1:]
    assert found.chosen == chosen and found.selected == 0
    found.found = []
    assert found.chosen is None and not deck.go_to_finding()
    found.select_next(1)


def test_findings_are_markers_and_jumps_stop_at_them() -> None:
    deck = faulty_deck()
    places = {(m.step, m.letter) for m in deck.markers if m.kind in ("finding", "note")}
    assert (FAULT_STEP, "F") in places
    deck.first()
    while deck.cursor != FAULT_STEP:
        before = deck.cursor
        deck.jump(1)
        assert deck.cursor > before
    assert any(f.step == FAULT_STEP and f.letter == "F" and f.role == "alert" for f in flags(deck))
    deck.seek_to(FAULT_STEP - 1)
    assert all(f.letter != "F" for f in flags(deck)), "what the playhead has not passed is not drawn"
    assert deck.findings.verdict.text == FAULT, "findings are of all rows"


def test_the_table_has_every_finding() -> None:
    deck = faulty_deck()
    made = findings.table(deck)
    assert [row[1] for row in made.rows] == [f.id for f in deck.findings.found]
    first = dict(zip(made.columns, made.rows[0], strict=True))
    assert (first["stage"], first["stream"], first["clip"], first["step"]) == (0, "video", 1, FAULT_STEP)
    assert "looked" not in str(first["text"]) and first["advice"]


# The screen


@pytest.mark.parametrize("size", [SMALL, ROOMY, (200, 60)])
async def test_the_first_screen_says_that_something_is_wrong_and_where(size: tuple[int, int]) -> None:
    app = Dashboard(open_fixture("faulty"))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot)
        assert f"warning: {FAULT}" in shown(pilot, "#header").splitlines()[0]
        listed = " ".join(shown(pilot, "#findings").split())
        assert "something changed the latents before step 6" in listed
        assert "clip 1, from step 6" in listed and "try: look at callbacks" in listed
        assert "F" in shown(pilot, "#sigma").splitlines()[-1]


async def test_with_room_every_finding_has_its_sentence() -> None:
    app = Dashboard(open_fixture("faulty"))
    async with app.run_test(size=(200, 60)) as pilot:
        await loaded(pilot)
        lines = shown(pilot, "#findings").splitlines()
        listed = " ".join(" ".join(lines).split())
        assert len(app.deck.findings.found) > 1
        for finding in app.deck.findings.found:
            assert finding.text in listed


def test_drift_is_given_with_reference_values_once_the_stage_has_ended() -> None:
    deck = faulty_deck()
    assert deck.stage is not None
    deck.stage.summary = {"video": {"content_drift": [0.9567, None], "drift_first_frame": [3.0], "motion_relative": []}}
    deck.item = 0
    assert findings.drift_text(deck, 60) == "drift 0.96 from frame 3 (clean 0.01, hard cut 0.7)"
    last = [row.text.strip() for row in FindingsView(deck, Style.ASCII).rows(70, 20) if row.text.strip()][-1]
    assert last == "drift 0.96 from frame 3 (clean 0.01, hard cut 0.7)"
    assert findings.drift_text(deck, 30) == "drift 0.96 from frame 3" and findings.drift_text(deck, 9) == ""
    deck.item = 1
    assert findings.drift_text(deck, 60) == "drift withheld: noise, a still, or values not finite"
    deck.stage.summary = {}
    assert findings.drift_text(deck, 60) == ""


async def test_a_long_error_leaves_the_name_of_the_run_on_the_screen() -> None:
    failed = [*fake.messages(12)]
    error = "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB on a device that has not that much left"
    failed[-1] = {**failed[-1], "status": "failed", "error": error}
    app = Dashboard(Archive(failed))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        first = shown(pilot, "#header").splitlines()[0]
        assert "error: failed" in first and "RuntimeError" in first and app.deck.run.name in first


async def test_a_run_whose_recorder_has_gone_says_so_as_the_list_does() -> None:
    app = Dashboard(Archive([*fake.messages(12)][:-1], Liveness.UNFINISHED))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await until(pilot, lambda: app.deck.liveness is Liveness.UNFINISHED and app.deck.findings.current)
        assert "warning: breaks off at step" in shown(pilot, "#header").splitlines()[0]
        assert "the recording breaks off" in shown(pilot, "#findings")


async def test_enter_goes_to_stage_stream_clip_and_step_and_marks_it() -> None:
    app = Dashboard(open_fixture("faulty"))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        deck = app.deck
        deck.lanes = "audio"
        await pilot.press("tab", "tab", "tab", "tab")
        assert isinstance(app.screen.focused, FindingsView)
        await pilot.press("enter")
        assert (deck.stage_index, deck.lanes, deck.item, deck.cursor) == (0, "video", 1, FAULT_STEP)
        assert deck.mark_step == FAULT_STEP and app.screen.query_one("#findings").display
        assert "Δ" in shown(pilot, "#sigma")
        count = len(deck.findings.found)
        await pilot.press("down")
        assert deck.findings.selected == min(1, count - 1) and not deck.zoomed
        await pilot.press("up", "up")
        assert deck.findings.selected == 0


async def test_a_question_mark_in_the_list_explains_the_finding_and_elsewhere_the_keys() -> None:
    app = Dashboard(open_fixture("faulty"))
    async with app.run_test(size=SMALL) as pilot:
        await loaded(pilot)
        await pilot.press("question_mark")
        assert isinstance(app.screen, HelpScreen)
        await pilot.press("escape", "shift+tab", "question_mark")
        assert isinstance(app.screen, FindingScreen)
        said = " ".join(str(app.screen._text()).split())
        assert "changed-between-steps" in said and "measured" in said and "bound" in said and "try" in said
        await pilot.press("question_mark")
        assert not isinstance(app.screen, FindingScreen)
        await pilot.press("f", "i")
        assert isinstance(app.screen, FindingScreen) and app.deck.cursor == FAULT_STEP


async def test_without_findings_the_list_says_how_many_rules_looked() -> None:
    app = Dashboard(Archive(fake.messages(12)))
    async with app.run_test(size=SMALL) as pilot:
        await loaded(pilot)
        assert "  ok  " in shown(pilot, "#header").splitlines()[0]
        text = shown(pilot, "#findings")
        assert "no findings" in text and f"{app.deck.findings.rules} rules looked at the run" in text
        await pilot.press("f")
        assert "nothing has been found" in [n.message for n in app._notifications][-1]
        await pilot.press("tab", "tab", "tab", "tab", "enter")
        assert "maximised" in shown(pilot, "#header")


@pytest.mark.parametrize("size", [SMALL, ROOMY])
async def test_nan_is_named_with_its_step(size: tuple[int, int]) -> None:
    app = Dashboard(Archive(fake.messages(12, nan_at=9)))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot)
        assert "error: NaN since step 9" in shown(pilot, "#header")
        assert "N" in shown(pilot, "#sigma").splitlines()[-1]


async def test_live_the_verdict_comes_with_the_rows_and_follows_them() -> None:
    source, go_on = live_fixture("faulty")
    app = Dashboard(source)
    async with app.run_test(size=SMALL) as pilot:
        go_on(FAULT_STEP)
        await until(pilot, lambda: app.deck.visible == FAULT_STEP and app.deck.findings.current)
        header = shown(pilot, "#header")
        assert "LIVE" in header and "  ok" in header and "no findings so far" in shown(pilot, "#findings")
        go_on(FAULT_STEP + 2)
        await until(pilot, lambda: f"warning: {FAULT}" in shown(pilot, "#header"))
        assert app.deck.follow, "findings move no cursor"


async def test_before_a_step_nothing_is_said_to_be_right() -> None:
    source = Live()
    app = Dashboard(source)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.pause()
        assert "ok" not in shown(pilot, "#header") and "no findings" not in shown(pilot, "#findings")


# Frames over steps


def test_the_faulty_frames_are_dark_from_the_faulty_step_on() -> None:
    deck = faulty_deck()
    deck.item = 1
    found = frames.frame_values(deck, QUANTITIES["identity"])
    assert found is not None
    later = found[FAULT_STEP:, FAULT_FRAME:]
    assert np.nanmax(later[0]) < 0 < np.nanmin(found[:FAULT_STEP, 1:])
    low, high = limits(found.astype(float), QUANTITIES["identity"])
    assert low <= -0.8 and high == 1.0


@pytest.mark.parametrize("lines", [3, 5, 9, 30])
@pytest.mark.parametrize("count", [1, 5, 9, 33])
def test_every_frame_has_lines_and_labels_are_apart(count: int, lines: int) -> None:
    taken = [set(frames.lines_of(n, count, lines)) for n in range(count)]
    assert set().union(*taken) == set(range(lines)) and all(taken)
    labels = frames.frame_labels(list(range(count)), lines)
    at = sorted(labels)
    assert labels[at[0]] == "0" and all(b - a > 1 for a, b in pairwise(at))


def test_limits_are_round_and_a_healthy_clip_looks_even() -> None:
    identity, motion = QUANTITIES["identity"], QUANTITIES["motion"]
    assert limits(np.array([[0.95, 1.0]]), identity) == (0.8, 1.0)
    assert limits(np.array([[-0.31, 1.0]]), identity) == pytest.approx((-0.4, 1.0))
    assert limits(np.array([[0.1, 0.83]]), motion) == pytest.approx((0.0, 0.85))
    assert limits(np.array([[np.nan]]), motion) == (0.0, 1.0) and limits(np.zeros((1, 1)), motion)[1] > 0


async def test_the_quantity_is_switched_and_audio_shows_the_frames_of_video() -> None:
    app = Dashboard(open_fixture("faulty"), Options(opening=Opening(stream="audio")))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        seen = []
        for _ in QUANTITIES:
            seen.append(shown(pilot, "#frames").split()[1])
            await pilot.press("W")
        assert seen == ["identity", "coherence", "motion", "jerk"] and app.deck.frame_quantity == "identity"


def test_a_run_without_frames_says_so() -> None:
    deck = Deck(Run(), Liveness.FINISHED)
    for message in fake.messages(4, streams=("audio",)):
        deck.run.feed(message)
    deck.changed(Liveness.FINISHED)
    rows = frames.FramesView(deck, Style.ASCII).rows(40, 9)
    assert any("not recorded" in row.text for row in rows)
    assert frames.table(deck).rows == []


async def test_a_run_is_examined_even_if_the_timer_begins_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer that runs once is dropped by Textual when its time is over before it first looks at the clock."""
    clock, late = _time.get_time, set[Timer]()

    def delayed() -> float:
        caller = sys._getframe(1).f_locals
        timer = caller.get("self")
        if isinstance(timer, Timer) and timer.name == "examine" and "start" in caller and timer not in late:
            late.add(timer)
            return clock() + 3 * timer._interval
        return clock()

    monkeypatch.setattr(_time, "get_time", delayed)
    async with Dashboard(open_fixture("faulty")).run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        assert late
