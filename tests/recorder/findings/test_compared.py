"""What only a comparison of runs can see."""

from __future__ import annotations

from typing import Any

import pytest

from replay.comparison import run_findings
from replay.comparison.run_differences import Mismatch
from replay.model.run import Run
from tests.recorded import whole


def run(name: str) -> Run:
    made = Run()
    for message in whole(name, shocks=0, nan_at=3):
        made.feed(message)
    return made


@pytest.mark.parametrize(
    ("what", "one", "other", "id", "severity"),
    [
        ("start noise", None, "video", "start-noise-differs", "warning"),
        ("seed", None, None, "seed-unknown", "note"),
        ("model", "a", "b", "model-differs", "warning"),
        ("scheduler", "Euler", "Heun", "scheduler-differs", "note"),
        ("scheduler base_shift", 0.95, 2.05, "scheduler-differs", "note"),
    ],
)
def test_differences_that_are_findings(
    what: str, one: Any, other: Any, id: str, severity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [run("a"), run("b")]
    monkeypatch.setattr(run_findings, "mismatches", lambda runs: (Mismatch(1, what, one, other, 0),))
    found = [f for f in run_findings.compared_findings(runs) if f[0].id == id]
    assert [(f.severity, names) for f, names in found] == [(severity, ("a", "b"))]
    said = run_findings.as_json(*found[0])
    assert said["runs"] == ["a", "b"] and said["text"] and said["advice"]


def test_what_both_runs_have_is_listed_once() -> None:
    found = run_findings.compared_findings([run("a"), run("b")])
    assert found and all(names == ("a", "b") for finding, names in found if finding.id == "not-finite")
    assert len({(f.id, f.stage, f.stream, f.clip, f.step, f.text) for f, _ in found}) == len(found)
