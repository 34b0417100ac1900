"""Applies the rules to a run as it grows: rows are looked at once, in blocks of any size, with the same result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from recorder.findings.facts import Block, RunFacts, StageFacts
from recorder.findings.finding import Finding, Verdict, finite_or_none, verdict_of, worst_first
from recorder.findings.rule import Check, Rule

MAX_CLIPS: Final = 64
"""Clips of a batch that are looked at."""


@dataclass
class _Tally:
    """What the rows seen so far came to, for one rule, stream, key and clip."""

    rule: Rule
    check: Check
    stage: int
    stream: str | None
    clip: int | None
    lowest: float = np.inf
    highest: float = -np.inf
    seen: int = 0
    outside: int = 0
    first: int | None = None
    worst: float = 0.0
    value: float = np.nan
    at: int = 0
    evidence: dict[str, float] = field(default_factory=dict)

    def add(self, check: Check, first_row: int, column: int | None) -> None:
        """Take in the check of a block of rows."""
        self.check = check
        values = check.values if column is None else check.values[:, column]
        finite = np.isfinite(values) | np.isinf(values)
        if not finite.any():
            return
        self.seen += int(finite.sum())
        self.lowest, self.highest = min(self.lowest, np.nanmin(values)), max(self.highest, np.nanmax(values))
        if check.final:
            self.first, self.worst = None, 0.0
            values, first_row = values[-1:], first_row + len(values) - 1
        excess = np.maximum(
            np.nan_to_num(check.low - values, nan=-np.inf), np.nan_to_num(values - check.high, nan=-np.inf)
        )
        bad = np.flatnonzero(excess > 0)
        if not len(bad):
            return
        self.outside += len(bad)
        worst = bad[int(np.argmax(excess[bad]))]
        if self.first is None:
            self.first = first_row + int(bad[0])
        elif excess[worst] <= self.worst:
            return
        self.worst, self.value, self.at = float(excess[worst]), float(values[worst]), first_row + int(worst)
        self.evidence = {k: _pick(v, len(values), worst, column) for k, v in check.evidence.items()}

    def finding(self, ended: bool) -> Finding | None:
        if self.first is None or (self.check.every and self.outside < self.seen) or (self.check.final and not ended):
            return None
        return made(self.rule, self.check, self.value, self.evidence, self.stage, self.stream, self.clip, self.first)


def _pick(value: float | np.ndarray, rows: int, row: int, column: int | None) -> float:
    """One number of a check's evidence, which may be single, per clip, or per row and clip."""
    found = np.asarray(value, np.float64)
    if found.ndim == 0:
        return float(found)
    if found.ndim == 1:
        return float(found[min(column or 0, len(found) - 1)])
    return float(found[len(found) - rows + row, min(column or 0, found.shape[1] - 1)])


def made(
    rule: Rule, check: Check, value: float, evidence: Mapping[str, float], stage: int | None, stream: str | None,
    clip: int | None, step: int | None,
) -> Finding:  # fmt: skip
    """A finding from a check that is outside of its bounds."""
    bounds = {name: bound for name, bound in (("low", check.low), ("high", check.high)) if np.isfinite(bound)}
    numbers = {"value": value, **evidence, **bounds}
    words = {"key": check.key, "stream": stream or "", "step": "" if step is None else step, **check.words}
    if check.frames is not None:
        words |= {"first_frame": str(check.frames[0]), "last_frame": str(check.frames[1])}
    return Finding(
        id=rule.id,
        severity=check.severity or rule.severity,
        text=rule.sentence.format(**numbers, **words),
        stage=stage,
        stream=stream,
        clip=clip,
        step=step,
        frames=check.frames,
        evidence={k: finite_or_none(v) for k, v in numbers.items()},
        advice=rule.advice.format(**numbers, **words),
        short=rule.short.format(**numbers, **words),
    )


class Examiner:
    """Examines one run. Feed it blocks of rows in order; `findings` may be asked for at any time.

    `undecided` are the rules that could not look at a stream, since it lacks a metric they need.
    """

    def __init__(self, facts: RunFacts, rules: Iterable[Rule]) -> None:
        self.facts = facts
        self._rules = tuple(rules)
        self._tallies: dict[tuple[str, int, str | None, str, int | None], _Tally] = {}
        self.undecided: dict[str, tuple[str, ...]] = {}

    def rows(self, block: Block) -> None:
        """Look at rows that follow those seen before."""
        _note_levels(block)
        for rule in self._rules:
            if rule.rows is None or block.stream.name not in rule.streams:
                continue
            if not block.has(*rule.needs):
                self.undecided[rule.id] = tuple(m for m in rule.needs if m not in block.stream.metrics)
                continue
            with np.errstate(all="ignore"):
                for check in rule.rows(block):
                    self._take(rule, check, block)

    def _take(self, rule: Rule, check: Check, block: Block) -> None:
        single = check.single or check.joint or check.values.ndim == 1
        stream = None if check.joint else block.stream.name
        values = check.values.reshape(len(check.values), -1)
        for column in range(1 if single else min(values.shape[1], MAX_CLIPS)):
            clip = None if single or block.stream.clips == 1 else column
            key = (rule.id, block.stage.index, stream, check.key, clip)
            tally = self._tallies.get(key)
            if tally is None:
                tally = self._tallies[key] = _Tally(rule, check, block.stage.index, stream, clip)
            tally.add(check if check.values.ndim == 2 else _two_dimensional(check), block.first, column)

    def findings(self) -> list[Finding]:
        """What is found so far, worst first."""
        found = [f for t in self._tallies.values() if (f := t.finding(self._ended(t.stage))) is not None]
        for stage in self.facts.stages:
            found += self._of_stage(stage)
        order = {rule.id: number for number, rule in enumerate(self._rules)}

        def rank(f: Finding) -> tuple[int, int, int, str, int]:
            stage, step, clip = (-1 if at is None else at for at in (f.stage, f.step, f.clip))
            return stage, order[f.id], step, f.stream or "", clip

        return worst_first(self._explained(sorted(found, key=rank)))

    def _explained(self, found: list[Finding]) -> list[Finding]:
        """Consequences of another finding of the same stage become notes."""
        there = {(f.stage, f.id) for f in found if f.severity != "note"}
        follows = {rule.id: rule.follows for rule in self._rules}
        return [
            replace(f, severity="note") if any((f.stage, cause) in there for cause in follows[f.id]) else f
            for f in found
        ]

    @property
    def verdict(self) -> Verdict:
        return verdict_of(self.findings())

    def extremes(self) -> dict[tuple[str, str], tuple[float, float]]:
        """The lowest and highest number that each rule saw in rows, by rule and key."""
        found: dict[tuple[str, str], tuple[float, float]] = {}
        for (rule, _, _, key, _), tally in self._tallies.items():
            if tally.seen:
                low, high = found.get((rule, key), (np.inf, -np.inf))
                found[rule, key] = min(low, tally.lowest), max(high, tally.highest)
        return found

    def _ended(self, stage: int) -> bool:
        return self.facts.stages[stage].ended or bool(self.facts.status)

    def _of_stage(self, stage: StageFacts) -> list[Finding]:
        found = []
        for rule in self._rules:
            if rule.stage is None:
                continue
            with np.errstate(all="ignore"):
                for check in rule.stage(self.facts, stage):
                    for clip, value in enumerate(np.atleast_1d(check.values)[:MAX_CLIPS].tolist()):
                        if check.low <= value <= check.high or value != value:
                            continue
                        evidence = {
                            k: float(np.atleast_1d(v)[min(clip, np.size(v) - 1)]) for k, v in check.evidence.items()
                        }
                        one = check.single or np.size(check.values) == 1
                        place = (stage.index, check.stream, None if one else clip, check.step)
                        found.append(made(rule, check, value, evidence, *place))
        return found


def _note_levels(block: Block) -> None:
    """Keep what rules over stages need of rows: the levels of both streams."""
    block.stream.rows = block.first + block.count
    if block.has("sigma", "sigma_next"):
        block.stage.levels.setdefault(block.stream.name, []).extend(block["sigma"].tolist())
        if block.stream.rows >= max(s.rows for s in block.stage.streams.values()):
            block.stage.last_level = float(block["sigma_next"][-1])


def _two_dimensional(check: Check) -> Check:
    return replace(check, values=check.values.reshape(-1, 1))
