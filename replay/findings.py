"""Findings of a run in memory, live or recorded: rows are examined once, as they come."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from recorder.findings.examine import Examiner
from recorder.findings.facts import Block, RunFacts
from recorder.findings.finding import Finding, Verdict, verdict_of
from recorder.findings.reading import MOST_STAGES, stage_facts, stream_facts, take_end, take_event
from recorder.findings.rule import Rule
from recorder.findings.rules import RULES
from replay.model.run import Run
from replay.model.stream import StreamData


class RunFindings:
    """Findings of `run`, which may grow; ask `update` for them whenever its version has changed."""

    def __init__(self, run: Run, rules: Iterable[Rule] = RULES) -> None:
        self.run = run
        self._facts = RunFacts()
        self._examiner = Examiner(self._facts, rules)
        self._events = 0
        self._version = -1
        self._found: list[Finding] = []
        self.lost = False
        """Whether the run has no end and its recorder has gone; set by what knows, before `update`."""
        self.stalled_seconds: float | None = None
        """For how long a live run has made no progress; set by what knows."""
        self._mark: tuple[bool, int | None, str] | None = None

    def update(self) -> list[Finding]:
        """What is found so far, worst first."""
        run, facts = self.run, self._facts
        stalled = None if self.stalled_seconds is None else round(self.stalled_seconds)
        mark = self.lost, stalled, run.damage
        if run.version == self._version and mark == self._mark:
            return self._found
        self._version, self._mark = run.version, mark
        facts.lost, facts.stalled_seconds = self.lost and not run.end, self.stalled_seconds
        facts.metadata, facts.missed = run.metadata, run.missed
        facts.damage = run.damage
        if run.end:
            take_end(facts, run.end)
        for stage in run.stages[len(facts.stages) : MOST_STAGES]:
            facts.stages.append(stage_facts(stage.declaration))
        for event in run.events[self._events :]:
            take_event(facts, event)
        self._events = len(run.events)
        for stage, known in zip(run.stages, facts.stages, strict=False):
            for name, stream in stage.streams.items():
                if name not in known.streams:
                    known.streams[name] = stream_facts(stream.declaration)
                self._rows(known.index, name, stream)
        self._found = self._examiner.findings()
        return self._found

    def _rows(self, stage: int, name: str, stream: StreamData) -> None:
        facts = self._facts.stages[stage]
        known = facts.streams[name]
        first, count = known.rows, stream.rows - known.rows
        if count <= 0:
            return

        def read(metric: str, begin: int, end: int) -> NDArray[np.float32]:
            return stream.recent(metric, end - begin, end)

        self._examiner.rows(Block(self._facts, facts, known, first, count, read))

    @property
    def verdict(self) -> Verdict:
        return verdict_of(self.update())

    @property
    def undecided(self) -> dict[str, tuple[str, ...]]:
        """Rules that cannot decide on this run, with the metrics that they need and it lacks."""
        self.update()
        return self._examiner.undecided

    @property
    def failures(self) -> dict[str, str]:
        """Rules that raised on this run and are left out, with the reason."""
        return self._examiner.failures

    def extremes(self) -> dict[tuple[str, str], tuple[float, float]]:
        """The lowest and highest number that each rule saw, by rule and key."""
        return self._examiner.extremes()
