"""How a rule is declared, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recorder.findings.facts import Block, RunFacts, StageFacts, Values
from recorder.findings.finding import Severity

Basis = Literal["physics", "bookkeeping", "measured"]
"""Why a bound holds: from the definition of the process, from what was asked and recorded, or from measured runs."""


@dataclass(frozen=True)
class Check:
    """Numbers that a rule looked at, with their bounds: outside of them something is wrong.

    Attributes:
        values: [rows, clips] of a rule over rows, [clips] of one over stages; NaN is never outside.
        key: tells checks of one rule apart, such as the guidance pass; it may stand in the sentence as `{key}`.
        evidence: more numbers for the sentence, of the shape of `values` or single.
        frames: first and last latent frame.
        step: the step it holds from, of a rule over stages.
        every: the check counts only if it holds in every row.
        final: only the last row of the stage counts, once the stage has ended.
        severity: other than the rule's.
    """

    values: Values
    low: float = -np.inf
    high: float = np.inf
    key: str = ""
    evidence: Mapping[str, float | NDArray[np.float64]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    frames: tuple[int, int] | None = None
    step: int | None = None
    every: bool = False
    final: bool = False
    severity: Severity | None = None
    stream: str | None = None
    """Of a rule over stages: the stream it speaks of."""
    single: bool = False
    """The values are the same for all clips: one finding, of no clip."""
    joint: bool = False
    """It is about both streams: one finding, of no stream and no clip."""
    planned: bool = False
    """It holds for a plan that no shock has changed."""
    stage: int | None = None
    """Of a rule over the run: the stage it speaks of."""


RowCheck = Callable[[Block], Iterable[Check]]
StageCheck = Callable[[RunFacts, StageFacts], Iterable[Check]]
RunCheck = Callable[[RunFacts], Iterable[Check]]


@dataclass(frozen=True)
class Rule:
    """What makes a finding.

    Attributes:
        id: in words joined by hyphens.
        family: of faults, as docs/findings.md groups them.
        sentence: with the fields `value`, `key`, `low`, `high` and those of the check's evidence and words.
        short: the same in a few words, with `step` too.
        reason: why the bound is where it is.
        advice: what to try.
        needs: metrics without which it cannot decide.
        curve: the metric that shows it best over the steps.
        follows: rules whose finding in the same stage explains this one, which is then a note.
        rows: over blocks of rows; or
        stage: over a stage, when its first row has come and again when it has ended; or
        run: over the run as a whole.
    """

    id: str
    family: str
    severity: Severity
    sentence: str
    short: str
    formula: str
    reason: str
    basis: Basis
    advice: str
    needs: tuple[str, ...] = ()
    streams: tuple[str, ...] = ("video", "audio")
    curve: str = "sigma"
    follows: tuple[str, ...] = ()
    rows: RowCheck | None = None
    stage: StageCheck | None = None
    run: RunCheck | None = None
