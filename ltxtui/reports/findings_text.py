"""Findings as text, worst first, in the form of a linter: severity, rule, where, the sentence, and what to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ltxtui.home.spark import spark
from ltxtui.plot.line_plot import Style
from ltxtui.plot.text import clean
from recorder.findings.finding import Finding, Verdict
from recorder.findings.rules import BY_ID
from replay.model.run import Run, StageData

CURVE_CELLS = 40


def place(finding: Finding, run: Run) -> str:
    """Where it is: `stage 1, video, clip 0, from step 12, frames 7 to 16`; a single stage or clip is not named."""
    parts = []
    if finding.stage is not None and len(run.stages) > 1:
        parts.append(f"stage {finding.stage}")
    if finding.stream:
        parts.append(finding.stream)
    if finding.clip is not None:
        parts.append(f"clip {finding.clip}")
    if finding.step is not None:
        parts.append(f"from step {finding.step}")
    if finding.frames is not None:
        first, last = finding.frames
        parts.append(f"frame {first}" if first == last else f"frames {first} to {last}")
    return ", ".join(parts)


def text(
    run: Run, verdict: Verdict, findings: Sequence[Finding], undecided: Mapping[str, Sequence[str]], *,
    style: Style = Style.BLOCK, verbose: bool = False,
) -> str:  # fmt: skip
    """All findings of a run; with `verbose` also the rules' formulas and bounds, and those that could not decide."""
    lines = [f"{clean(run.name)}: {clean(run.standing)}: {clean(verdict.text)}"]
    for finding in findings:
        where = place(finding, run)
        lines += [
            "",
            f"  {finding.severity} [{finding.id}]{f' {where}' if where else ''}",
            f"    {clean(finding.text, 400)}",
        ]
        if curve := curve_of(finding, run, style):
            lines += [f"    {line}" for line in curve]
        lines.append(f"    try: {clean(finding.advice, 400)}")
        if verbose and (rule := BY_ID.get(finding.id)):
            lines += [f"    measured: {rule.formula}", f"    bound: {rule.reason} ({rule.basis})"]
    if verbose:
        for name, metrics in sorted(undecided.items()):
            lines.append(f"  not decided: {name}: the run does not record {', '.join(metrics)}")
    return "\n".join(lines)


def curve_of(finding: Finding, run: Run, style: Style) -> list[str]:
    """The quantity behind a finding over the steps, in a few cells, and a mark under the step it begins at."""
    rule = BY_ID.get(finding.id)
    if rule is None or finding.stage is None or finding.step is None or finding.stage >= len(run.stages):
        return []
    values = _values(run.stages[finding.stage], finding, rule.curve)
    if values is None or np.isfinite(values).sum() < 2:
        return []
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    cells = min(CURVE_CELLS, len(values))
    heights = tuple(0.0 if v != v else (v - low) / ((high - low) or 1.0) for v in values.tolist())
    drawn = spark(heights, cells, style)
    at = min(cells - 1, finding.step * cells // len(values))
    ends = f"{rule.curve} {low:.3g} to {high:.3g}"
    return [f"{drawn}  {ends}", f"{' ' * at}^ step {finding.step}"]


def _values(stage: StageData, finding: Finding, metric: str) -> np.ndarray | None:
    stream = stage.streams.get(finding.stream or "video") or next(iter(stage.streams.values()), None)
    if stream is None or metric not in stream.metrics or not stream.rows:
        return None
    values = np.asarray(stream.series(metric, finding.clip or 0), float)
    if values.ndim > 1:  # a value per frame: those that the finding names, or all of them
        first, last = finding.frames or (0, values.shape[1] - 1)
        named = values[:, first : last + 1].reshape(len(values), -1)
        count = np.isfinite(named).sum(axis=1)
        values = np.where(count > 0, np.nansum(named, axis=1) / np.maximum(count, 1), np.nan)
    return values if np.isfinite(values).any() else None
