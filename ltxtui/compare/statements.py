"""Statements about compared runs, computed once: fairness, settings, first differences and the rows of the table.

`ltxtui.reports.compare_text` renders it as text, `ltxtui.panels.compare.table` and `runs` as panels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ltxtui.plot.text import clean, number
from replay.comparison.alignment import Floats
from replay.comparison.compare import Comparison
from replay.comparison.conditions import differing_values
from replay.comparison.run_differences import Divergence, Mismatch
from replay.model.prompts import prompt_text


@dataclass(frozen=True)
class Reason:
    """A setting that makes a pair unfair, with both values, and how the difference is removed."""

    setting: str
    cure: str


@dataclass(frozen=True)
class PairStatement:
    """Whether a run and the reference are a fair pair, and the settings in which they differ.

    Attributes:
        title: the verdict, such as `B and A are a fair pair`.
        reasons: what makes the pair unfair; empty if it is fair.
        others: settings that differ and do not decide.
    """

    title: str
    reasons: tuple[Reason, ...]
    others: tuple[str, ...]


def pair_statement(letter: str, reference: str, mismatches: Sequence[Mismatch]) -> PairStatement:
    """The statements about a pair, from the mismatches of this pair alone."""
    reasons = tuple(Reason(setting(m), m.cure) for m in mismatches if m.decides)
    title = f"{letter} and {reference} are {'not a' if reasons else 'a'} fair pair"
    return PairStatement(title, reasons, tuple(setting(m) for m in mismatches if not m.decides))


def setting(mismatch: Mismatch) -> str:
    """A setting that differs from the reference's, with both values."""
    if mismatch.what == "seed" and mismatch.reference is None and mismatch.value is None:
        return "no seed recorded"
    if mismatch.what == "start noise":
        return f"same seed, other start noise ({clean(mismatch.value, 20)})"
    what, value, reference = mismatch.what, mismatch.value, mismatch.reference
    while isinstance(value, list) and isinstance(reference, list) and len(value) == len(reference):
        # Only the first entry that differs: a full list would be cut before it.
        at = next((n for n, (one, other) in enumerate(zip(value, reference, strict=True)) if one != other), None)
        if at is None:
            break
        what, value, reference = f"{what} [{at}]", value[at], reference[at]
        if isinstance(value, Mapping) and isinstance(reference, Mapping):
            what, reference, value = next(differing_values(what, reference, value), (what, reference, value))
    return f"{clean(what, 80)} {_value(value)}, not {_value(reference)}"


def _value(value: object) -> str:
    return "none" if value is None else clean(prompt_text(value), 60) or "empty"


def position(found: Divergence) -> str:
    """Where a first difference is, short."""
    return f"stage {found.stage} step {found.step}"


def first_difference(letter: str, reference: str, found: Divergence) -> str:
    """A first difference in a sentence; values with the nine digits that distinguish all float32."""
    where = f"{letter} first differs from {reference} in stage {found.stage}, step {found.step}"
    if found.metric is None:
        return f"{where}: only one has it"
    metric = f"{clean(found.stream, 20)}: {clean(found.metric, 60)}"
    return f"{where}, {metric} is {found.value:.9g}, not {found.reference:.9g}"


def table_rows(comparison: Comparison) -> list[tuple[str, Floats]]:
    """Rows of the paired table: label with unit, and one value per run [runs], NaN where a run has none yet."""
    rows = (*comparison.spent, *comparison.summaries)
    return [(f"{clean(row.label, 60)} {unit_text(row.unit)}".rstrip(), row.values) for row in rows]


def unit_text(unit: str) -> str:
    """A unit after a label; empty for quantities without one."""
    return "" if unit == "1" else clean(unit, 20)


def value_text(value: float) -> str:
    """A number of the table; an integer without decimals."""
    return f"{value:.0f}" if abs(value) < 1e6 and value == round(value) else number(value, 7)


def difference_text(value: float) -> str:
    """A difference with its sign; – if it is NaN."""
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{value_text(abs(value))}" if not math.isnan(value) else "–"
