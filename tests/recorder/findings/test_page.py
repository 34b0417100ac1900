"""docs/findings.md says what the rules say."""

from __future__ import annotations

from pathlib import Path

from recorder.findings.page import rewritten
from recorder.findings.rules import RULES

PAGE = (Path(__file__).parents[3] / "docs" / "findings.md").read_text(encoding="utf-8")


def test_the_page_is_generated_from_the_declarations() -> None:
    assert rewritten(PAGE) == PAGE, "run: python -m recorder.findings docs/findings.md"
    assert all(PAGE.count(f"#### `{rule.id}`") == 1 for rule in RULES)


def test_the_page_shows_the_extremes_of_healthy_runs() -> None:
    assert "healthy runs, 0 with a false alarm" in PAGE
