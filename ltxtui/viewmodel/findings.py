"""The findings of the run on the deck: examined at most twice a second, and the one that is selected. No Textual."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from ltxtui.plot.text import clean
from recorder.findings.finding import Finding, Verdict, verdict_of
from recorder.findings.rule import Rule
from recorder.findings.rules import RULES
from replay.findings import RunFindings
from replay.model.run import Run

PERIOD: Final = 0.5
"""Least seconds between two examinations of a run that grows."""
REST: Final = 50.0
"""How many times as long as an examination took the next one waits: rules take at most 2 % of a core."""

Key = tuple[str, int | None, str | None, int | None]
"""What stays of a finding while its numbers and its step change: rule, stage, stream and clip."""


class DeckFindings:
    """Findings of all rows that are loaded, wherever cursor and playhead are.

    `version` changes whenever `found` does. A rule that fails leaves the findings as they are; `problem` says so.
    """

    def __init__(self, run: Run, rules: Iterable[Rule] = RULES, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = tuple(rules)
        self._findings = RunFindings(run, self._rules)
        self._run = run
        self._clock = clock
        self.lost = False
        """Whether the run has no end and its recorder has gone; set by what knows, before `update`."""
        self._examined: tuple[int, bool] | None = None
        self._next = -float("inf")
        self._selected: Key | None = None
        self.found: list[Finding] = []
        """Worst first."""
        self.verdict = Verdict()
        self.version = 0
        self.problem = ""
        self.undecided: dict[str, tuple[str, ...]] = {}
        """Rules that cannot decide on this run, with the metrics that they need and it lacks."""

    @property
    def known(self) -> bool:
        """Whether the run has been examined at all."""
        return self._examined is not None

    @property
    def current(self) -> bool:
        """Whether everything that the run has now has been examined."""
        return self._examined == (self._run.version, self.lost)

    @property
    def due(self) -> float:
        """Seconds until the next examination may begin."""
        return max(0.0, self._next - self._clock())

    @property
    def rules(self) -> int:
        """How many rules looked at the run, with those that could not decide left out."""
        return len(self._rules) - len(self.undecided)

    def update(self) -> bool:
        """Examine what has come since; whether the findings differ."""
        if self.current:
            return False
        began, first, before = self._clock(), not self.known, (self.found, self.problem)
        self._examined = self._run.version, self.lost
        self._findings.lost = self.lost
        try:
            self.found = list(self._findings.update())
            self.undecided = dict(self._findings.undecided)
            failed = [f"{rule}: {clean(why, 200)}" for rule, why in self._findings.failures.items()]
            self.problem = f"a rule failed: {'; '.join(failed)}" if failed else ""
        except Exception as error:  # noqa: BLE001  rules see whatever a run holds; the screen must not end with one
            self.problem = f"a rule failed: {type(error).__name__}: {clean(error, 200)}"
        ended = self._clock()
        self._next = ended + max(PERIOD, REST * (ended - began))
        if not first and (self.found, self.problem) == before:
            return False
        self.verdict = verdict_of(self.found)
        self.version += 1
        return True

    # The selection

    @property
    def selected(self) -> int:
        """The place of the selected finding in the list; the first one where the selected one is gone."""
        keys = [key_of(f) for f in self.found]
        return keys.index(self._selected) if self._selected in keys else 0

    @property
    def chosen(self) -> Finding | None:
        """The selected finding; None without any."""
        return self.found[self.selected] if self.found else None

    @property
    def was_chosen(self) -> bool:
        """Whether the user has selected a finding that is still there."""
        return any(key_of(f) == self._selected for f in self.found)

    def select(self, place: int) -> None:
        """Select a finding by its place; beyond an end the one there."""
        if self.found:
            self._selected = key_of(self.found[max(0, min(place, len(self.found) - 1))])

    def select_next(self, by: int) -> None:
        """Select the next finding, after the last one the first; the first time, the worst."""
        if not self.was_chosen:
            self.select(0 if by > 0 else len(self.found) - 1)
        elif self.found:
            self.select((self.selected + by) % len(self.found))


def key_of(finding: Finding) -> Key:
    """What a finding is recognised by while the run grows."""
    return finding.id, finding.stage, finding.stream, finding.clip


def counts_text(found: Iterable[Finding]) -> str:
    """How many findings of each severity: `1 error, 2 warnings`; empty without any."""
    severities = [f.severity for f in found]
    counted = ((severities.count(name), name) for name in ("error", "warning", "note"))
    return ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for count, name in counted if count)
