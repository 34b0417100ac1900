"""Prompts of a batch are shown as prompts, wherever a run is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ltxtui.cli import cli
from ltxtui.compare.statements import setting
from ltxtui.home.draw import details
from ltxtui.home.model import HomeModel
from ltxtui.panels.header import HeaderView
from ltxtui.plot.raster import Style
from ltxtui.reports.compare_text import tables
from ltxtui.reports.run_text import summary
from ltxtui.viewmodel.deck import Deck
from replay import compare
from replay.comparison.run_differences import Mismatch
from replay.library.listing import list_runs
from replay.model.prompts import prompt_text
from replay.sources.open import Liveness, load
from tests import recorded

SHOWN = "a red ball and 2 more"


@pytest.mark.parametrize(
    ("given", "shown"),
    [(None, ""), ("a", "a"), ([], ""), (["a"], "a"), (["a", "b"], "a and 1 more"), (("a", "b", "c"), "a and 2 more")],
)
def test_a_batch_is_its_first_prompt_and_how_many_more(given: object, shown: str) -> None:
    assert prompt_text(given) == shown


def test_every_list_and_report_shows_prompts(tmp_path: Path) -> None:
    for name in ("one", "two"):
        recorded.archive(tmp_path, name, prompt=["a red ball", "a blue cross", "a green disc"])
    runs = list_runs(tmp_path)
    assert [run.prompt for run in runs] == [SHOWN, SHOWN]
    for words in (["runs"], ["compare", "one", "two"]):
        said = CliRunner().invoke(cli, ["--runs-dir", str(tmp_path), *words]).stdout
        assert SHOWN in said and "['" not in said
    model = HomeModel()
    model.set_runs(runs)
    assert any(SHOWN in row.text for row in details(model, 80, 6, ascii_only=False))
    run = load(tmp_path / "one.zarr")
    assert SHOWN in summary(run)
    assert SHOWN in tables(compare([run, run]), 100)
    rows = HeaderView(Deck(run, Liveness.FINISHED), Style.BRAILLE).rows(120, 3)
    assert any(SHOWN in row.text for row in rows)


def test_batches_that_differ_are_told_by_the_clip_that_differs() -> None:
    assert setting(Mismatch(1, "prompt", ["a", "b"], ["a", "c"])) == "prompt [1] c, not b"
    assert setting(Mismatch(1, "prompt", ["a", "b"], "a")) == "prompt a, not a and 1 more"
    shocks = [[{"kind": "restart", "frames": [1, 2, 3], "at": at}] for at in (0.9, 0.8)]
    assert setting(Mismatch(1, "user request.shocks", *shocks)) == "user request.shocks [0].at 0.8, not 0.9"
