"""Several runs side by side: where they differ in their settings and results, and their curves in one chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ltxtui.compare.statements import difference_text, pair_statement, table_rows, value_text
from ltxtui.html_report.elements import Readings, section, table, text
from replay.comparison.compare import CannotCompare, Comparison, compare, letter
from replay.model.run import Run
from replay.page import svg


def compared_part(runs: Sequence[Run], readings: Readings) -> str:
    """The comparison of two runs or more with the first; a line of why not, if they cannot be compared."""
    try:
        found = compare(runs)
    except CannotCompare as error:
        return f"<article><h1>Not compared</h1><p>{text(error, 400)}</p></article>"
    head = " against ".join(letter(i) for i in range(len(runs))) if len(runs) == 2 else f"{len(runs)} runs"
    names = [
        (letter(i), run.name, run.standing, "" if run.seed is None else run.seed) for i, run in enumerate(found.runs)
    ]
    return "".join([
        f"<article><h1>{text(head)}</h1>",
        table(names, ("", "run", "standing", "seed"), "runs"),
        section("Settings that differ", "".join(_settings(found)), "settings"),
        section("Results", _results(found), "results"),
        section("Curves", _curves(found, readings)),
        "</article>",
    ])  # fmt: skip


def _settings(found: Comparison) -> Iterator[str]:
    for i in range(1, len(found.runs)):
        pair = pair_statement(letter(i), letter(0), [m for m in found.mismatches if m.run == i])
        rows = [(reason.setting, reason.cure) for reason in pair.reasons] + [(other, "") for other in pair.others]
        yield f"<h3>{text(pair.title)}</h3>" + (table(rows, ("setting", "to make it fair"), "differ") or "<p>none</p>")
    for i, divergence in enumerate(found.divergences, 1):
        if divergence is None:
            yield f"<p>{letter(i)} has the same rows as {letter(0)}.</p>"
        else:
            where = f"stage {divergence.stage}, {divergence.stream}, step {divergence.step}"
            what = f" ({text(divergence.metric)})" if divergence.metric else ""
            yield f"<p>{letter(i)} is not {letter(0)} from {text(where)} on{what}.</p>"


def _results(found: Comparison) -> str:
    others = range(1, len(found.runs))
    head = ["", *(letter(i) for i in range(len(found.runs))), *(f"{letter(i)} − {letter(0)}" for i in others)]
    rows = [
        (
            label,
            *(value_text(v) if v == v else "–" for v in values),
            *(difference_text(values[i] - values[0]) for i in others),
        )
        for label, values in table_rows(found)
    ]
    return table(rows, head, "numbers")


def _curves(found: Comparison, readings: Readings) -> str:
    info = found.axis_info
    if not len(found.axis):
        return ""
    group = readings.group(np.asarray(found.axis, np.float64), {}, info.label)
    styles = tuple(svg.COLOURS)
    figures = []
    for series in found.series:
        lines = [svg.SvgLine(letter(i), row, styles[i % len(styles)]) for i, row in enumerate(series.values)]
        if any(np.isfinite(line.values).any() for line in lines):
            plot = svg.SvgPlot(group.x, [svg.SvgLine(n.label, _finite(n.values), n.style) for n in lines])
            figures.append(group.figure(series.label or series.name, series.unit, plot, series.description))
    return "".join(figures)


def _finite(values: svg.Values) -> svg.Values:
    return np.where(np.isfinite(values), values, np.nan)
