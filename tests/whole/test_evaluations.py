"""One guided run of 8 steps: run screen, compare screen, sweep and every text count the same model evaluations."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ltxtui.compare.deck import CompareDeck
from ltxtui.compare.member import members
from ltxtui.compare.statements import table_rows
from ltxtui.reports import compare_text, plan_text, sweep_text
from ltxtui.viewmodel.deck import Deck
from recorder import record
from recorder.archive.writer import ArchiveWriter
from recorder.generate import Request
from recorder.recipes.native_schedule import native
from recorder.shocks.plan import plan
from recorder.sweep.grid import arms_of, with_controls
from recorder.sweep.spec import Job, Sweep, SweepSettings
from replay.comparison.compare import compare
from replay.sources.interface import Liveness
from replay.sources.open import load
from replay.sweep.analysis import analyse
from replay.sweep.results import read_run
from tests.conftest import nano_call
from tests.pipelines import GUIDED
from tests.recorded import whole

STEPS = 8


@pytest.fixture(scope="module")
def guided(nano_pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a run with all three guidance passes."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTXTUI_RUNTIME_DIR", str(tmp_path_factory.mktemp("s")))
        with record(nano_pipe, runs_dir=runs, previews=False) as run:
            nano_pipe(**{**nano_call(steps=STEPS), **GUIDED})
    return run.path


def test_all_agree_on_the_evaluations_of_a_guided_run(guided: Path) -> None:
    run = load(guided)
    (stage,) = run.stages
    gaps = [stage.streams["video"].values(f"guidance_gap_{name}") for name in ("cfg", "stg", "modality")]
    assert np.isfinite(gaps).all(), "the run is guided in every step"
    spent = np.arange(1, STEPS + 1)

    deck = Deck(run, Liveness.FINISHED)
    deck.changed(Liveness.FINISHED)
    deck.set_axis("evaluations")
    assert_array_equal(deck.ruler.values, spent)

    compared = compare([run, run], align="evaluations")
    assert_array_equal(compared.axis, spent)
    assert [facts.evaluations for facts in compared.runs] == [STEPS, STEPS]
    assert re.search(rf"^model evaluations +{STEPS} +{STEPS} +0$", compare_text.tables(compared, 80), re.MULTILINE)
    together = CompareDeck(members([run, run]), align="evaluations").together
    assert together is not None
    assert_array_equal(together.comparison.axis, spent)
    assert_array_equal(dict(table_rows(together.comparison))["model evaluations"], [STEPS, STEPS])

    row = read_run(guided, Job("smooth", 0), {})
    assert row.evaluations == run.evaluations == STEPS
    arms = with_controls(arms_of([], ["restart:sigma=0.9"])[0])
    sweep = Sweep.make(SweepSettings("nano", ("a red ball",), STEPS), (0,), arms, {})
    assert f"{STEPS} evaluations each" in sweep_text.report(analyse(sweep, [row]))

    planned = native(Request(model="nano", prompt="", steps=STEPS))
    made = plan(planned.sigmas, [])
    assert made.evaluations == STEPS and f"{STEPS} model evaluations" in plan_text.text("nano", [(planned, made)], 80)


def test_a_sweep_counts_what_the_rows_record(tmp_path: Path) -> None:
    counts = [2, 2, 1]
    writer = ArchiveWriter(tmp_path / "one.zarr")
    for message in whole("one", steps=len(counts), stages=2):
        if message["t"] == "stream":
            before = itertools.takewhile(lambda m: m["name"] != "evaluations", message["metrics"])
            column = sum(int(np.prod(m["shape"])) for m in before)
        if message["t"] == "step":
            row = np.frombuffer(message["data"], "<f4").copy()
            row[column] = counts[message["step"]]
            message["data"] = row.tobytes()
        writer.feed(message)
    run = load(writer.path)
    assert [s.evaluations.tolist() for s in run.stages] == [counts, counts]
    assert read_run(writer.path, Job("smooth", 0), {}).evaluations == run.evaluations == 10
