"""Drift never stands alone: which way is better and what known clips have is said wherever it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ltxtui.app import Dashboard
from ltxtui.cli import cli
from ltxtui.compare.deck import CompareDeck
from ltxtui.compare.member import members
from ltxtui.home import draw
from ltxtui.home.model import HomeModel
from ltxtui.panels.compare.table import CompareTable
from ltxtui.plot.line_plot import Style
from ltxtui.reports import compare_text
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.drift import drift_forms
from recorder.format.declarations import drift_hint
from recorder.format.framing import encode
from recorder.format.protocol import Message
from replay.comparison.compare import compare
from replay.library.run_info import RunInfo
from replay.model.run import Run
from replay.sources.open import Liveness
from tests.ltxtui import fake
from tests.ltxtui.driving import ROOMY, loaded, shown
from tests.ltxtui.sources import Archive

DRIFTS = {"content_drift": [0.012, 0.98], "drift_first_frame": [None, 5.0], "motion_relative": [0.61, 0.5]}


def ended(drifts: dict[str, list[float | None]] | None = None, *, steps: int = 12) -> list[Message]:
    """A run of two clips whose stage ended with a summary."""
    found = list(fake.messages(steps, batch=2))
    summary = {"video": DRIFTS if drifts is None else drifts}
    return [{**m, "payload": {"summary": summary}} if m.get("kind") == "stage_end" else m for m in found]


def deck_of(some: list[Message]) -> Deck:
    run = Run()
    for message in some:
        run.feed(message)
    deck = Deck(run, Liveness.FINISHED)
    deck.changed(Liveness.FINISHED)
    return deck


def test_the_hint_says_which_way_is_better_and_what_known_clips_have() -> None:
    assert drift_hint() == "lower is steadier; drawn clips have clean 0.01, hard cut 0.7, identity swapped 0.98"
    assert drift_hint(short=True) == "lower is steadier; clean 0.01, cut 0.7"


def test_the_words_of_a_clip_get_shorter_and_keep_its_value() -> None:
    deck = deck_of(ended())
    forms = drift_forms(deck)
    assert forms[0] == f"drift 0.0120 · motion 0.6100 ({drift_hint()})" and forms[-1] == "drift 0.0120"
    assert [len(form) for form in forms] == sorted((len(form) for form in forms), reverse=True)
    deck.next_item()
    assert drift_forms(deck)[2] == f"drift 0.9800 from frame 5 ({drift_hint(short=True)})"


@pytest.mark.parametrize("drifts", [{}, {"drift_index": [0.1, 0.1]}])
def test_a_run_without_drift_says_nothing(drifts: dict[str, list[float | None]]) -> None:
    assert drift_forms(deck_of(ended(drifts))) == ()


def test_a_clip_that_cannot_be_judged_says_so_and_steps_to_come_give_nothing_away() -> None:
    assert drift_forms(deck_of(ended({"content_drift": [None, 0.3]}))) == ("no drift: nothing to judge",)
    deck = deck_of(ended())
    deck.seek_to(5)
    assert drift_forms(deck) == ()


async def test_it_is_in_the_titles_of_frames_and_drift() -> None:
    app = Dashboard(Archive(ended()))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await pilot.press("2")
        assert "drift 0.0120" in shown(pilot, "#drift") and "lower is steadier" in shown(pilot, "#drift")
        app.deck.frame_quantity = "motion"
        await pilot.press("1")
        assert "drift 0.0120 (clean 0.01)" in shown(pilot, "#frames")


def info(drift: float | None) -> RunInfo:
    counts = {"stages": 1, "steps": 12, "planned": 12, "bytes": 0}
    return RunInfo("a", Path("runs/a.zarr"), 0.0, seconds=1.0, status="complete", prompt="", drift=drift, **counts)


@pytest.mark.parametrize(("drift", "there"), [(0.5, True), (None, False)])
@pytest.mark.parametrize("width", [80, 120])
def test_the_list_of_runs_has_one_line_below_it(drift: float | None, there: bool, width: int) -> None:
    model = HomeModel()
    model.set_runs([info(drift)])
    rule = draw.details(model, width, 5, ascii_only=False)[0]
    assert rule.used == width and ("lower is steadier" in rule.text) is there


def test_the_printed_list_has_it_below_the_table(tmp_path: Path) -> None:
    (tmp_path / "20261122-143015-red-disc.journal").write_bytes(b"".join(encode(m) for m in ended()))
    printed = CliRunner().invoke(cli, ["runs", "--runs-dir", str(tmp_path)], catch_exceptions=False).stdout
    assert printed.splitlines()[-1] == f"DRIFT: {drift_hint()}"


@pytest.mark.parametrize("width", [46, 80, 120])
def test_the_tables_of_runs_side_by_side_have_it(width: int) -> None:
    runs = [deck_of(ended()).run, deck_of(ended()).run]
    deck = CompareDeck(members(runs))
    deck.changed()
    drawn = " ".join(row.text for row in CompareTable(deck, Style.ASCII).rows(width, 40))
    assert f"drift: {drift_hint()}" in " ".join(drawn.split())
    assert f"drift: {drift_hint()}" in compare_text.tables(compare(runs), 100)
