"""docs/metrics.md says what the declarations say."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from recorder.format import declarations

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "metrics.md").read_text()


@pytest.fixture(scope="module")
def plots() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "metrics_plots.py"))


@pytest.mark.parametrize("name", declarations.METRICS)
def test_every_metric_has_its_row_and_its_example(name: str, plots: dict[str, Any]) -> None:
    metric = declarations.METRICS[name]
    row = plots["metric_table"]([metric]).splitlines()[-1]
    assert row.startswith(f"| `{name}` | {metric.unit} |")
    assert PAGE.count(row) == 1, "run: python docs/metrics_plots.py"
    assert re.search(rf"^`.*`:$\n\n(```text|{plots['NOTHING']})", PAGE, re.MULTILINE)
    heads = re.findall(r"^(`\w+`(?:, `\w+`)*):$", PAGE, re.MULTILINE)
    assert sum(f"`{name}`" in head for head in heads) == 1


def test_summaries_are_what_is_declared(plots: dict[str, Any]) -> None:
    assert plots["summary_table"]() in PAGE, "run: python docs/metrics_plots.py"


def test_no_part_names_a_metric_that_is_not_declared(plots: dict[str, Any]) -> None:
    parts = [m["what"] for m in plots["PART"].finditer(PAGE)]
    named = [n for what in parts if what.startswith("metrics: ") for n in re.findall(r"\w+", what.split(": ")[1])]
    assert set(named) - {"others"} <= set(declarations.METRICS) and len(named) == len(set(named))
    assert {"summaries", "drift", "metrics: others"} <= set(parts)


def test_rewriting_changes_only_the_parts_and_adds_what_is_new(plots: dict[str, Any]) -> None:
    without = PAGE.replace(" mean std max_abs ", " mean max_abs ")
    assert plots["groups"]("others", without) == [["std"]] and plots["groups"]("others", PAGE) == []
    outside = plots["PART"].sub("", PAGE)
    assert "## The drift index" in outside and "```text" not in outside
