"""Follows a run's messages in their order, and examines the rows of a stage in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recorder.findings.examine import Examiner
from recorder.findings.facts import Block, RunFacts
from recorder.findings.finding import Finding, Verdict, verdict_of
from recorder.findings.reading import MOST_STAGES, stage_facts, stream_facts, take_end, take_event
from recorder.findings.rule import Rule
from recorder.findings.rules import RULES
from recorder.format import paths, protocol

BLOCK_ROWS: Final = 256
"""Rows of a stream that wait until they are examined together, or until the findings are asked for."""
WIDEST_GAP: Final = 1 << 16
"""Rows that may be missing in one place; files from elsewhere may claim any number."""


class _Rows:
    """Rows of one stream as they travel: those that wait, and the one before them."""

    def __init__(self, metrics: Iterable[Mapping[str, Any]]) -> None:
        self._places: dict[str, tuple[slice, tuple[int, ...]]] = {}
        self.width = 0
        for metric in metrics:
            shape = tuple(int(n) for n in metric["shape"])
            size = prod(shape)
            self._places[metric["name"]] = slice(self.width, self.width + size), shape
            self.width += size
        self.first = 0
        self._waiting: list[NDArray[np.float32]] = []
        self._before = np.empty((0, self.width), np.float32)

    def add(self, first: int, rows: NDArray[np.float32]) -> None:
        """Add rows from row `first` on; known rows stay, and steps without a row are rows of NaN.

        Raises ValueError if more than `WIDEST_GAP` rows are missing.
        """
        gap = first - self.first - len(self._waiting)
        if gap > WIDEST_GAP:
            raise ValueError(f"{gap} rows are missing before row {first}")
        if gap > 0:
            self._waiting.extend(np.full((gap, self.width), np.nan, np.float32))
        self._waiting.extend(rows[max(0, -gap) :])

    def __len__(self) -> int:
        return len(self._waiting)

    def read(self, metric: str, first: int, end: int) -> NDArray[np.float32]:
        """Rows of a metric; `first` is the row before those that wait at the least."""
        columns, shape = self._places[metric]
        rows = np.concatenate([self._before, np.stack(self._waiting)])[:, columns]
        lead = self.first - len(self._before)
        return rows[first - lead : end - lead].reshape(end - first, *shape)

    def done(self) -> None:
        """The rows that wait were examined."""
        self.first += len(self._waiting)
        self._before = self._waiting[-1][None, :]
        self._waiting = []


class Follower:
    """Findings of a run from its messages, for a recorder or anything else that has them one by one."""

    def __init__(self, rules: Iterable[Rule] = RULES) -> None:
        self.facts = RunFacts()
        self._examiner = Examiner(self.facts, rules)
        self._rows: dict[tuple[int, str], _Rows] = {}

    def feed(self, message: Mapping[str, Any]) -> None:
        """Take in one message that is as the format says; of other types than it needs nothing is taken."""
        kind = message["t"]
        if kind == protocol.HEADER:
            self.facts.metadata = message.get("metadata") or {}
        elif kind == protocol.STAGE:
            if len(self.facts.stages) == message["stage"] < MOST_STAGES:
                self.facts.stages.append(stage_facts(message))
        elif kind == protocol.EVENT:
            take_event(self.facts, message)
        elif kind == protocol.END:
            take_end(self.facts, message)
        elif message.get("stage", -1) < len(self.facts.stages):
            self._of_stream(kind, message)

    def _of_stream(self, kind: str, message: Mapping[str, Any]) -> None:
        if kind == protocol.STREAM:
            stream = stream_facts(message)
            self.facts.stages[message["stage"]].streams[stream.name] = stream
            self._rows[message["stage"], stream.name] = _Rows(message["metrics"])
        elif kind == protocol.STEP and (key := (message["stage"], message["stream"])) in self._rows:
            waiting = self._rows[key]
            waiting.add(message["step"], np.frombuffer(message["data"], "<f4").reshape(-1, waiting.width))
            if len(waiting) >= BLOCK_ROWS:
                self._examine(key)
        elif kind == protocol.MISSED:
            place = paths.stream(message["stage"], message["stream"])
            known = self.facts.missed.get(place, 0)
            self.facts.missed = {**self.facts.missed, place: max(known, int(message["count"]))}

    def _examine(self, key: tuple[int, str]) -> None:
        rows, stage = self._rows[key], self.facts.stages[key[0]]
        if not len(rows):
            return
        stream = stage.streams[key[1]]
        block = Block(self.facts, stage, stream, rows.first, len(rows), rows.read)
        self._examiner.rows(block)
        rows.done()

    def findings(self) -> list[Finding]:
        """What is found so far, worst first."""
        for key in self._rows:
            self._examine(key)
        return self._examiner.findings()

    @property
    def verdict(self) -> Verdict:
        return verdict_of(self.findings())
