"""Findings of runs side by side: verdicts, what only one has, which run is better, and how to find out."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltxtui.app import Dashboard
from ltxtui.compare.findings import better, only_in, way_to_find_out
from ltxtui.panels.compare.chart import CompareChart
from ltxtui.screens.compare import CompareScreen, compare_screen
from recorder.findings.finding import Finding, Verdict
from recorder.format import protocol
from replay.model.run import Run
from tests.ltxtui import fake
from tests.ltxtui.driving import shown, until
from tests.ltxtui.fixture import journal_file, open_fixture_run

FAULT = "latents changed between steps"


def test_better_is_the_run_without_the_faults_of_the_others_and_else_none() -> None:
    ok, note = Verdict(), Verdict("note", "ok")
    warning, error = Verdict("warning", "drifts"), Verdict("error", "NaN since step 3")
    assert better([("A", ok), ("B", warning)]) == "A; B has a warning: drifts"
    assert better([("A", error), ("B", warning)]) == "B; A has an error: NaN since step 3"
    assert better([("A", ok), ("B", error), ("C", note)]).startswith("A or C; B has an error")
    for pair in ((ok, note), (warning, warning), (ok, ok)):
        assert better([("A", pair[0]), ("B", pair[1])]) == "cannot be told from one seed", "notes decide nothing"


def test_findings_are_the_same_if_rule_and_place_are_whatever_their_numbers() -> None:
    one = Finding("noise-power", "note", "1.2 times", stage=0, stream="video", step=3)
    same = Finding("noise-power", "warning", "1.3 times", stage=0, stream="video", step=4)
    other = Finding("noise-power", "note", "1.2 times", stage=0, stream="video", clip=1, step=3)
    assert only_in([one, other], [same]) == [other] and only_in([same], [one]) == []


def test_a_sweep_tells_of_shocks_and_another_seed_of_settings() -> None:
    smooth, restart = open_fixture_run("smooth"), open_fixture_run("restart")
    words = way_to_find_out([smooth, restart])
    assert words[:4] == ["ltxtui", "sweep", "--model", "nano"]
    assert words[-2:] == ["--shock", "restart:at=0.9,db=6"]
    assert way_to_find_out([smooth, smooth]) == ["ltxtui", "record", "--like", smooth.name, "--seed", "1"]


def test_another_seed_is_one_that_no_run_had() -> None:
    runs = []
    for seed in (1, 2, None, [3]):
        run = Run()
        for message in fake.messages(2):
            metadata = {**message.get("metadata", {}), "seed": seed}
            run.feed({**message, "metadata": metadata} if message["t"] == protocol.STAGE else message)
        runs.append(run)
    assert way_to_find_out(runs)[-2:] == ["--seed", "3"] and way_to_find_out(runs[2:])[-1] == "1"


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_the_first_page_names_the_faulty_run(tmp_path: Path, size: tuple[int, int]) -> None:
    paths = [journal_file(tmp_path, "smooth"), journal_file(tmp_path, "faulty")]
    app = Dashboard(first=lambda app: compare_screen(paths, {}))
    async with app.run_test(size=size) as pilot:
        screen = app.screen_stack[0]
        assert isinstance(screen, CompareScreen)
        await until(pilot, lambda: not screen.deck.loading)
        text = " ".join(shown(pilot, "#findings").split())
        assert f"A ok B warning: {FAULT}" in text
        assert f"better: A; B has a warning: {FAULT}" in text and "only B:" in text
        assert "something changed the latents before step 6" in text
        await pilot.press("pagedown", "pagedown", "pagedown")
        assert "Findings" in shown(pilot, "#findings")
        await pilot.press("tab")
        assert any(chart.display and chart.region for chart in screen.query(CompareChart))
        await pilot.press("escape")
        assert screen.deck.face == "findings"
