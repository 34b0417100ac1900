"""A comparison of runs as text: names, fairness, their summaries, and plots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ltxtui.compare.statements import (
    difference_text,
    first_difference,
    pair_statement,
    table_rows,
    unit_text,
    value_text,
)
from ltxtui.plot.line_plot import curve_text
from ltxtui.plot.model import Curve, Mark
from ltxtui.plot.text import clean, fit, number, to_ascii
from recorder.format.declarations import DRIFT, drift_hint
from replay.comparison.compare import Comparison, Series, letter
from replay.model.prompts import prompt_text

Values = NDArray[np.float64]

_MARKS: Final = (Mark.FIRST, Mark.SECOND, Mark.THIRD)
_OVERLAY_ROWS: Final = 12
_RESIDUAL_ROWS: Final = 9
_LABEL: Final = 22
_CELL: Final = 10


def tables(comparison: Comparison, width: int, *, ascii_only: bool = False) -> str:
    """Everything but the plots: the runs, fairness, the paired table, and where each run leaves the reference."""
    lines = [*_runs(comparison), "", *_fairness(comparison), ""]
    where = f"stage {comparison.stage}, {comparison.stream}, "
    where += "mean over the batch" if comparison.item is None else f"batch item {comparison.item}"
    lines += [where, *_table(comparison, width)]
    if any(row.name == DRIFT for row in comparison.summaries):
        lines.append(f"drift: {drift_hint()}")
    lines += ["", *_divergences(comparison)]
    return "\n".join(to_ascii(line) if ascii_only else line for line in lines)


def plots(
    comparison: Comparison,
    width: int,
    *,
    ascii_only: bool = False,
    paint: Callable[[str, str], str] | None = None,
) -> str:
    """For every metric the runs on one plot, and their differences to the reference on another.

    Up to three runs are distinguished by their lines; more are drawn with their letters.
    """
    letters = ascii_only or len(comparison.runs) > len(_MARKS)
    labels = [_place(value, comparison.align) for value in comparison.axis]
    axis = f"{clean(comparison.axis_info.label, 60)}{_unit(comparison.axis_info.unit)}"
    parts = []
    for series in comparison.series:
        parts.append(f"{clean(series.label, 60)}{_unit(series.unit)} over {axis} ({series.name})")
        if not np.isfinite(series.values).any():
            parts += ["no value in any run", ""]
            continue
        curves = [_curve(i, "" if letters else letter(i), values) for i, values in enumerate(series.values)]
        parts += [curve_text(curves, width, _OVERLAY_ROWS, ascii_only=letters, labels=labels, paint=paint), ""]
        parts += [*_residual_plot(series, width, letters, labels, paint), ""]
    text = "\n".join(parts).rstrip()
    return to_ascii(text) if ascii_only else text


def _residual_plot(
    series: Series, width: int, letters: bool, labels: Sequence[str], paint: Callable[[str, str], str] | None
) -> list[str]:
    """Differences as curves; for a pair without any, a line of text instead of an empty plot."""
    drawn, said = [], []
    for i, residuals in enumerate(series.residuals, 1):
        known = residuals[np.isfinite(residuals)]
        if not known.size:
            said.append(f"{_minus(i)}: no point that both have")
        elif not known.any():
            said.append(f"{_minus(i)}: 0 at all {known.size} points that both have")
        else:
            drawn.append(_curve(i, _minus(i), residuals))
    if drawn:
        text = curve_text(
            drawn, width, _RESIDUAL_ROWS, ascii_only=letters, labels=labels, references=[0.0], paint=paint
        )
        said.insert(0, text)
    return said


def _curve(index: int, label: str, values: Values) -> Curve:
    return Curve(label, values, _MARKS[index % len(_MARKS)], letter(index))


def _minus(index: int) -> str:
    return f"{letter(index)}−{letter(0)}"


def _unit(unit: str) -> str:
    text = unit_text(unit)
    return f" {text}" if text else ""


def _place(value: float, align: str) -> str:
    if align in ("step", "evaluations"):
        return f"{value:.0f}"
    return number(value, 5)


def _runs(comparison: Comparison) -> Iterator[str]:
    for i, run in enumerate(comparison.runs):
        seed = "no seed recorded" if run.seed is None else f"seed {clean(run.seed, 40)}"
        prompt = f": {clean(prompt_text(run.prompt), 60)}" if run.prompt else ""
        stages = f", {run.evaluations} evaluations in {run.stages} stages" if run.stages > 1 else ""
        yield f"{letter(i)}  {clean(run.name, 80)} ({clean(run.standing, 100)}, {seed}{stages}){prompt}"
        yield from (f"   shock: {clean(text, 120)}" for text in run.shocks)


def _fairness(comparison: Comparison) -> Iterator[str]:
    for i in range(1, len(comparison.runs)):
        pair = pair_statement(letter(i), letter(0), [m for m in comparison.mismatches if m.run == i])
        if pair.reasons:
            yield f"{pair.title}:"
            yield from (f"   {reason.setting}; {reason.cure}" for reason in pair.reasons)
        else:
            same = "same prompt, seed, start noise, sizes, model, sampler, arguments and number of model evaluations"
            yield f"{pair.title}: {same}"
        if pair.others:
            yield "   other settings that differ:"
            yield from (f"      {text}" for text in pair.others)


def _table(comparison: Comparison, width: int) -> Iterator[str]:
    """A column per run and one per difference; as many runs side by side as fit, the reference in each block."""
    runs = comparison.runs
    rows = table_rows(comparison)
    side = max(_CELL, min(_LABEL, width - 3 * _CELL))  # a narrow terminal cuts labels before numbers
    room = max(1, (width - side - _CELL) // (2 * _CELL))
    for start in range(1, len(runs), room):
        block = range(start, min(start + room, len(runs)))
        if start > 1:
            yield ""
        yield _line(side, "", [letter(0), *(t for i in block for t in (letter(i), _minus(i)))])
        for label, values in rows:
            cells = [value_text(values[0])]
            for i in block:
                cells += [value_text(values[i]), difference_text(values[i] - values[0])]
            yield _line(side, label, cells)
    if not comparison.summaries:
        yield "no summaries: the stage has not ended in any run"


def _line(side: int, label: str, cells: Sequence[str]) -> str:
    # In ASCII one sign may become several; those used here (−, –) become one.
    return f"{fit(label, side):<{side}}" + "".join(f"{cell:>{_CELL}}" for cell in cells)


def _divergences(comparison: Comparison) -> Iterator[str]:
    """Where each run's plan and rows leave the reference's."""
    for i, (plan, divergence) in enumerate(zip(comparison.plans, comparison.divergences, strict=True), 1):
        one, other = letter(i), letter(0)
        if plan is None:
            yield f"{one} plans the same σ as {other}"
        else:
            a, b = ("none" if v is None else f"{v:.6g}" for v in (plan.reference, plan.value))
            of = "" if "video" in plan.streams else f" of {' and '.join(clean(s, 20) for s in plan.streams)}"
            yield f"{one} plans another σ{of} from stage {plan.stage}, step {plan.step} on: {b}, not {a}"
        if divergence is None:
            within = f" within {comparison.tolerance:g}" if comparison.tolerance else ""
            yield f"{one} does not differ from {other}{within} in any row"
        else:
            yield first_difference(one, other, divergence)
