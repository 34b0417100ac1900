"""docs/shock-study.md says what its data say."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_tables_and_plots_are_those_of_the_data() -> None:
    made = runpy.run_path(str(DOCS / "shock_study.py"))
    text = (DOCS / "shock-study.md").read_text("utf-8")
    names = [m["name"] for m in made["PART"].finditer(text)]
    assert names == ["unguided", "guided"]
    assert made["page"](text) == text, "run: python docs/shock_study.py"
    for name in names:
        found = made["analysis"](name)
        drawn = made["forest_plot"].svg(
            made["sweep_text"].effects(found), made["sweep_text"].TITLE, made["sweep_text"].subtitle(found)
        )
        assert (DOCS / "shock-study" / f"{name}.svg").read_text("utf-8") == drawn, "run: python docs/shock_study.py"
        assert f"(shock-study/{name}.svg)" in text
        rows = (DOCS / "shock-study" / name / "results.csv").read_text("utf-8").splitlines()
        assert len(rows) - 1 == 32 * len({line.split(",")[0] for line in rows[1:]})
