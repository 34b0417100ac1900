"""Applies the rules to a run as it grows: rows are looked at once, in blocks of any size, with the same result."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import numpy as np

from recorder.findings.facts import Block, RunFacts, StageFacts
from recorder.findings.finding import Finding, Verdict, finite_or_none, verdict_of, worst_first
from recorder.findings.rule import Check, Rule
from recorder.format.events import named

logger = logging.getLogger(__name__)

T = TypeVar("T")
_Key = tuple[str, int, str | None, str, int | None]
"""Rule, stage, stream, key and clip."""
OPENING: Final = ("sigma", "velocity_conditional_rms", "guidance_gap_cfg")
"""Metrics whose first row is kept."""
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
        if check.final:  # what was seen before says nothing of the result
            self.first, self.worst, self.lowest, self.highest = None, 0.0, np.inf, -np.inf
            values, first_row = values[-1:], first_row + len(values) - 1
        known = len(values) - int(np.count_nonzero(np.isnan(values)))
        if not known:
            return
        self.seen += known
        self.lowest = min(self.lowest, float(np.fmin.reduce(values)))
        self.highest = max(self.highest, float(np.fmax.reduce(values)))
        excess = np.fmax(check.low - values, values - check.high)  # NaN where the value is
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

    def finding(self, ended: bool, changed: bool) -> Finding | None:
        if self.first is None or (self.check.every and self.outside < self.seen) or (self.check.final and not ended):
            return None
        if self.check.planned and changed:
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

    `undecided` are the rules that could not look at a stream, since it lacks a metric they need. A rule that raises an
    error is logged and left out from then on, with its findings: it never breaks what uses the examiner.
    """

    def __init__(self, facts: RunFacts, rules: Iterable[Rule]) -> None:
        self.facts = facts
        self._rules = tuple(rules)
        self._tallies: dict[_Key, _Tally] = {}
        self._outside: dict[_Key, _Tally] = {}
        """Those that are outside of a bound; most runs have few."""
        self._known: dict[int, tuple[Any, list[Finding]]] = {}
        """What rules over stages found, by stage, with what they found it from."""
        self._stage_extremes: dict[tuple[str, str], tuple[float, float]] = {}
        self.undecided: dict[str, tuple[str, ...]] = {}
        self.failures: dict[str, str] = {}
        """Rules that raised and are left out, with the reason."""

    def rows(self, block: Block) -> None:
        """Look at rows that follow those seen before."""
        _note_levels(block)
        with np.errstate(all="ignore"):
            for rule in self._rules:
                if rule.rows is None or block.stream.name not in rule.streams:
                    continue
                if not block.has(*rule.needs):
                    self.undecided[rule.id] = tuple(m for m in rule.needs if m not in block.stream.metrics)
                    continue
                for check in self._checks(rule, rule.rows, block):
                    self._guarded(rule, self._take, rule, check, block)

    def _checks(self, rule: Rule, look: Callable[..., Iterable[Check]], *facts: Any) -> list[Check]:
        """What a rule looked at; nothing if it fails."""
        return self._guarded(rule, lambda: list(look(*facts))) or []

    def _guarded(self, rule: Rule, function: Callable[..., T], *arguments: Any) -> T | None:
        try:
            return function(*arguments)
        except Exception as error:  # noqa: BLE001 - one rule must not cost the others, nor the archive
            self.failures[rule.id] = named(error)
            logger.warning("the rule %s is left out: %s", rule.id, self.failures[rule.id])
            self._rules = tuple(r for r in self._rules if r is not rule)
            for known in (self._tallies, self._outside):
                for key in [key for key in known if key[0] == rule.id]:
                    del known[key]
            self._known.clear()
            return None

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
            if tally.first is None:
                self._outside.pop(key, None)
            else:
                self._outside[key] = tally

    def findings(self) -> list[Finding]:
        """What is found so far, worst first."""
        found = []
        for tally in list(self._outside.values()):
            ended, changed = self._ended(tally.stage), self.facts.shocked(self.facts.stages[tally.stage])
            if (made_of := self._guarded(tally.rule, tally.finding, ended, changed)) is not None:
                found.append(made_of)
        for stage in self.facts.stages:
            found += self._of_stage(stage)
        for rule in self._rules:
            if rule.run is not None:
                found += self._of_rule(rule, None, self._checks(rule, rule.run, self.facts))
        order = {rule.id: number for number, rule in enumerate(self._rules)}
        last = {rule.id for rule in self._rules if rule.run is not None}
        found = [f for f in found if f.id in order]  # without those of a rule that has just failed

        def rank(f: Finding) -> tuple[int, int, int, str, int]:
            stage, step, clip = (-1 if at is None else at for at in (f.stage, f.step, f.clip))
            if f.id in last:  # what became of the run as a whole is its last word
                stage = len(self.facts.stages)
            return stage, order[f.id], step, f.stream or "", clip

        return worst_first(self._explained(sorted(found, key=rank)))

    def _explained(self, found: list[Finding]) -> list[Finding]:
        """Consequences of another finding of the same stage become notes, as what audio has after video does."""
        there = {(f.stage, f.id) for f in found if f.severity != "note"}
        video = {(f.stage, f.id, f.clip): f.step or 0 for f in found if f.stream == "video" and f.severity != "note"}
        follows = {rule.id: rule.follows for rule in self._rules}

        def explained(f: Finding) -> bool:
            also = video.get((f.stage, f.id, f.clip)) if f.stream == "audio" else None
            return any((f.stage, cause) in there for cause in follows[f.id]) or (
                also is not None and also <= (f.step or 0)
            )

        return [replace(f, severity="note") if explained(f) else f for f in found]

    @property
    def verdict(self) -> Verdict:
        return verdict_of(self.findings())

    def extremes(self) -> dict[tuple[str, str], tuple[float, float]]:
        """The lowest and highest number that each rule saw, by rule and key."""
        found = dict(self._stage_extremes)
        for (rule, _, _, key, _), tally in self._tallies.items():
            if tally.seen and tally.lowest <= tally.highest:
                low, high = found.get((rule, key), (np.inf, -np.inf))
                found[rule, key] = min(low, tally.lowest), max(high, tally.highest)
        return found

    def _ended(self, stage: int) -> bool:
        return self.facts.stages[stage].ended or bool(self.facts.status)

    def _of_stage(self, stage: StageFacts) -> list[Finding]:
        """Findings of the rules over stages; made again only where the facts have changed since."""
        mark = _mark(self.facts, stage)
        if (known := self._known.get(stage.index)) is not None and known[0] == mark:
            return known[1]
        found: list[Finding] = []
        with np.errstate(all="ignore"):
            for rule in self._rules:
                if rule.stage is not None:
                    found += self._of_rule(rule, stage, self._checks(rule, rule.stage, self.facts, stage))
        self._known[stage.index] = mark, found
        return found

    def _of_rule(self, rule: Rule, stage: StageFacts | None, checks: list[Check]) -> list[Finding]:
        """Findings of a rule over a stage, or over the run."""
        found: list[Finding] = []
        for check in checks:
            self._guarded(rule, self._add, rule, stage, check, found)
        return found

    def _add(self, rule: Rule, stage: StageFacts | None, check: Check, found: list[Finding]) -> None:
        for clip, value in enumerate(np.atleast_1d(check.values)[:MAX_CLIPS].tolist()):
            if value != value:
                continue
            low, high = self._stage_extremes.get((rule.id, check.key), (value, value))
            self._stage_extremes[rule.id, check.key] = min(low, value), max(high, value)
            if check.low <= value <= check.high:
                continue
            evidence = {k: float(np.atleast_1d(v)[min(clip, np.size(v) - 1)]) for k, v in check.evidence.items()}
            one = check.single or np.size(check.values) == 1
            index = check.stage if stage is None else stage.index
            found.append(made(rule, check, value, evidence, index, check.stream, None if one else clip, check.step))


def _mark(run: RunFacts, stage: StageFacts) -> Any:
    """Differs once a stage's facts do: they only grow. How many rows there are matters only when the run has ended."""
    rows = tuple((name, stream.rows if run.status else bool(stream.rows)) for name, stream in stage.streams.items())
    shape = stage.ended, stage.changed, len(stage.sigmas), len(stage.seen), len(stage.metadata)
    in_effect = stage.metadata.get("in_effect")
    return rows, shape, in_effect, run.status, run.is_last(stage), run.shocks, bool(stage.summary)


def _note_levels(block: Block) -> None:
    """Keep what later rows and rules over stages need of rows: the levels of both streams, and the first row."""
    if not block.first:
        block.stream.opening = {m: np.atleast_1d(block[m][0]) for m in OPENING if block.has(m)}
    block.stream.rows = block.first + block.count
    if block.has("sigma", "sigma_next"):
        block.stage.levels.setdefault(block.stream.name, []).extend(block["sigma"].tolist())
        if block.stream.rows >= max(s.rows for s in block.stage.streams.values()):
            block.stage.last_level = float(block["sigma_next"][-1])


def _two_dimensional(check: Check) -> Check:
    return replace(check, values=check.values.reshape(-1, 1))
