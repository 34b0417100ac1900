"""What a sweep found, as text and as Markdown: a ranked table, a forest plot, exploratory tables, the verdict."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from ltxtui.plot.text import clean, fit, to_ascii
from ltxtui.reports import forest_plot
from recorder.format.declarations import drift_hint
from recorder.format.numerals import counted
from replay.sweep.analysis import Analysis
from replay.sweep.arm_result import FLAGS, ArmResult
from replay.sweep.results import ENDPOINTS, PRIMARY, TASK
from replay.sweep.statistics import LEVEL
from replay.sweep.verdict_text import effect, plain_number, probability, signed

_NAME: Final = 28
_EXPLORED: Final = (
    ("identity", "motion", "jerk", "wander", "straightness", "final_std"),
    ("colour", "shape", "direction", "shape_frames", "stillness", "wobble"),
)
_WIDTH: Final = 100
_SHORT: Final = {"straightness": "straight", "shape_frames": "shape part"}
_SCALE: Final = f"{PRIMARY}: {drift_hint()}"
"""What the numbers of table and verdict mean."""
TITLE: Final = "drift index, arm minus smooth at equal evaluations, 95 % intervals"


def report(analysis: Analysis, width: int = 100, *, ascii_only: bool = False) -> str:
    """Everything: the table, the plot, the exploratory tables, the verdict."""
    parts = [
        "\n".join(_heading(analysis)),
        "\n".join([*ranked_table(analysis), *textwrap.wrap(_SCALE, width)]),
        forest_plot.text(effects(analysis), TITLE, width, ascii_only=ascii_only),
        *("\n".join(table) for table in explored(analysis)),
        "\n".join(["Verdict", *(line for said in (*analysis.verdict, _SCALE) for line in _wrapped(said, width))]),
    ]
    joined = "\n\n".join(parts)
    return "\n".join(to_ascii(line.replace("±", "+/-")) for line in joined.split("\n")) if ascii_only else joined


def _wrapped(said: str, width: int) -> list[str]:
    return textwrap.wrap(clean(said, 4000), width - 2, initial_indent="  ", subsequent_indent="    ")


def subtitle(analysis: Analysis) -> str:
    """Model, steps, guidance, seeds: one line."""
    own = analysis.sweep.settings
    guidance = "the model's own guidance" if own.guidance_scale is None else f"guidance {own.guidance_scale:g}"
    if own.guidance_scale is not None and own.guidance_scale <= 1:
        guidance = "unguided"
    if own.distilled:
        guidance = "distilled"
    seeds = counted(len(analysis.sweep.seeds), "paired seed")
    return f"{clean(own.model, 60)}, {counted(own.steps, 'step')}, {guidance}, {seeds}"


def _heading(analysis: Analysis) -> Iterator[str]:
    base = analysis.baseline
    arms, controls = counted(len(analysis.ranked), "arm"), counted(1 + len(analysis.controls), "control")
    yield f"{subtitle(analysis)}: {arms} and {controls}"
    drift = plain_number(base.values[PRIMARY])
    yield f"smooth: mean drift index {drift} over {counted(base.runs, 'run')}, {base.evaluations:g} evaluations each"


def effects(analysis: Analysis) -> list[forest_plot.Effect]:
    """The lines of the forest plot: arms by rank, then the controls with extra steps."""
    found = [
        forest_plot.Effect(
            f.arm.name, f.primary.mean, f.primary.low, f.primary.high, strong=f.significant, hollow=f.arm.off_marginal
        )
        for f in analysis.ranked
    ]
    return found + [
        forest_plot.Effect(f"{f.arm.name} against smooth", f.primary.mean, f.primary.low, f.primary.high)
        for f in analysis.controls
    ]


def ranked_table(analysis: Analysis) -> Iterator[str]:
    """Ranked by the primary endpoint, most drift removed first; 100 columns."""
    yield (
        f"{'arm':<{_NAME}}{'evals':>6}{'n':>4}{'Δ drift':>9}{'SE':>8}{'95 % interval':>19}"
        f"{'p Holm':>8}{'vs smooth':>10}"
    )
    for f in analysis.ranked:
        yield _ranked_line(f, probability(f.holm))
    if analysis.controls:
        yield "controls, against plain smooth; p uncorrected"
        for f in analysis.controls:
            yield _ranked_line(f, probability(f.primary.p))
    used = "".join(f.flags for f in (*analysis.ranked, *analysis.controls, analysis.baseline))
    for letter, meaning in FLAGS.items():
        if letter in used:
            yield from textwrap.wrap(f"{letter}: {meaning}", _WIDTH, subsequent_indent="   ")


def _ranked_line(f: ArmResult, p: str) -> str:
    d = f.primary
    between = f"{signed(d.low)} to {signed(d.high)}" if math.isfinite(d.low) else "–"
    plain = "" if f.to_smooth is None else signed(f.to_smooth.mean)
    cells = f"{f.evaluations:>6.4g}" if math.isfinite(f.evaluations) else f"{'–':>6}"
    cells += f"{d.pairs:>4}{signed(d.mean):>9}{plain_number(d.se):>8}{between:>19}{p:>8}{plain:>10}"
    return f"{fit(clean(f.arm.name), _NAME - 1):<{_NAME}}{cells} {f.flags}".rstrip()


def explored(analysis: Analysis) -> list[list[str]]:
    """Tables of the secondary endpoints: exploratory, uncorrected, differences to the same controls."""
    everyone = [*analysis.ranked, *analysis.controls]
    tables = []
    for names in _EXPLORED:
        names_ = [n for n in names if any(f.differences[n].pairs for f in everyone)]
        if not names_:
            continue
        lines = ["exploratory, uncorrected: difference to the control; * p < .05"]
        lines.append(f"{'arm':<{_NAME}}" + "".join(f"{_SHORT.get(n, n):>10} " for n in names_).rstrip())
        base = "".join(f"{plain_number(analysis.baseline.values[n]):>10} " for n in names_)
        lines.append(f"{'smooth itself, mean':<{_NAME}}{base}".rstrip())
        for f in everyone:
            cells = "".join(_cell(f, n) for n in names_)
            lines.append(f"{fit(clean(f.arm.name), _NAME - 1):<{_NAME}}{cells}".rstrip())
        tables.append(lines)
    return tables


def _cell(f: ArmResult, name: str) -> str:
    # The star is outside the column, so that numbers stay aligned.
    d = f.differences[name]
    return f"{signed(d.mean):>10}{'*' if d.p < LEVEL else ' '}"


def markdown(analysis: Analysis) -> str:
    """Tables and verdict as Markdown."""
    lines = [*_heading(analysis), "", "### Verdict", "", *(f"- {clean(s, 4000)}" for s in analysis.verdict), ""]
    lines += ["### Drift index", "", f"Ranked; {TITLE}. p by sign flips, corrected by Holm.", ""]
    lines += _rows(
        ["arm", "evaluations", "n", "difference ± SE", "95 % interval", "p", "p Holm", "against smooth ± SE", "flags"],
        [_markdown_row(f, probability(f.holm)) for f in analysis.ranked]
        + [_markdown_row(f, "") for f in analysis.controls],
    )
    used = "".join(f.flags for f in (*analysis.ranked, *analysis.controls, analysis.baseline))
    lines += ["", *(f"- {letter}: {meaning}" for letter, meaning in FLAGS.items() if letter in used)]
    everyone = [*analysis.ranked, *analysis.controls]
    for names in (tuple(n for n in ENDPOINTS if n != PRIMARY), tuple(TASK)):
        known = [n for n in names if any(f.differences[n].pairs for f in everyone)]
        if not known:
            continue
        what = "Task measures" if names == tuple(TASK) else "Other endpoints"
        lines += ["", f"### {what}: exploratory, uncorrected; * p < .05", ""]
        rows = [["smooth itself, mean", *(plain_number(analysis.baseline.values[n]) for n in known)]]
        for f in everyone:
            cells = (effect(f.differences[n]) + (" *" if f.differences[n].p < LEVEL else "") for n in known)
            rows.append([f"`{clean(f.arm.name)}`", *cells])
        lines += _rows(["arm", *known], rows)
        lines += ["", *(f"- {n}: {({**ENDPOINTS, **TASK})[n]}" for n in known)]
    return "\n".join(lines) + "\n"


def _markdown_row(f: ArmResult, corrected: str) -> list[str]:
    d = f.primary
    between = f"{signed(d.low)} to {signed(d.high)}" if math.isfinite(d.low) else "–"
    plain = "–" if f.to_smooth is None else effect(f.to_smooth)
    evaluations = f"{f.evaluations:g}" if math.isfinite(f.evaluations) else "–"
    name = f"`{clean(f.arm.name)}`" + (" (control, against smooth)" if f.arm.is_control else "")
    return [name, evaluations, str(d.pairs), effect(d), between, probability(d.p), corrected, plain, " ".join(f.flags)]


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
