"""Findings of compared runs: those of each, and what only a comparison can see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from recorder.findings.finding import Finding, Severity, worst_first
from replay.comparison.run_differences import Mismatch, mismatches
from replay.findings import RunFindings
from replay.model.run import Run

_SHOWN: Final = 60
"""Characters that are shown of a setting's value."""


def compared_findings(runs: Sequence[Run]) -> list[tuple[Finding, tuple[str, ...]]]:
    """Every finding with the names of the runs that have it, worst first.

    Findings of the same rule at the same place are one. What differs between two runs names the first and the other.
    """
    found: dict[tuple[Any, ...], tuple[Finding, list[str]]] = {}
    for run in runs:
        for finding in RunFindings(run).update():
            place = (finding.id, finding.stage, finding.stream, finding.clip, finding.step, finding.text)
            found.setdefault(place, (finding, []))[1].append(run.name)
    pairs = [(one, (runs[0].name, runs[m.run].name)) for m in mismatches(runs) if (one := _of_pair(m)) is not None]
    listed = [*((finding, tuple(dict.fromkeys(names))) for finding, names in found.values()), *pairs]
    order = worst_first(finding for finding, _ in listed)
    names = {id(finding): runs_of for finding, runs_of in listed}
    return [(finding, names[id(finding)]) for finding in order]


def as_json(finding: Finding, names: Sequence[str]) -> dict[str, Any]:
    """As `compare --json` gives it."""
    return {**finding.as_json(), "runs": list(names)}


def _of_pair(m: Mismatch) -> Finding | None:
    """A difference that is a finding: other noise for the same seed, another scheduler, another model."""
    if m.what == "start noise":
        text = f"the {m.value} starts from other noise, though both runs have the same seed"
        advice = "make a new generator from the seed for every call: one that is used again goes on where it was"
        return _finding("start-noise-differs", "warning", m, text, advice, stream=str(m.value))
    if m.what == "seed" and (m.reference is None or m.value is None):
        text, advice = "not both runs have a known seed, so they start from other noise", "give every call a generator"
        return _finding("seed-unknown", "note", m, text, advice)
    if m.what == "model":
        return _finding("model-differs", "warning", m, f"the models differ: {_values(m)}", "compare runs of one model")
    if m.what == "scheduler" or m.what.startswith("scheduler "):
        name = "the scheduler" if m.what == "scheduler" else f"the scheduler's {m.what.removeprefix('scheduler ')}"
        text = f"{name} differs: {_values(m)}"
        return _finding("scheduler-differs", "note", m, text, "take the scheduler's configuration from the model")
    return None


def _values(m: Mismatch) -> str:
    return f"{str(m.reference)[:_SHOWN]} and {str(m.value)[:_SHOWN]}"


def _finding(id: str, severity: Severity, m: Mismatch, text: str, advice: str, stream: str | None = None) -> Finding:
    return Finding(id, severity, text, stage=m.stage, stream=stream, evidence=_evidence(m), advice=advice, short=text)


def _evidence(m: Mismatch) -> dict[str, float | None]:
    """Both values, where they are numbers."""
    values: Mapping[str, Any] = {"reference": m.reference, "value": m.value}
    numbers = {
        name: float(v) for name, v in values.items() if type(v) is float or (type(v) is int and abs(v) < 1 << 53)
    }
    return dict(numbers) if len(numbers) == len(values) else {}
