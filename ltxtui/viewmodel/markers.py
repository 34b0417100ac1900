"""What is where in a run, to jump to: stages, shocks, critical phases, NaN, control, warnings, and findings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from ltxtui.plot.text import clean
from recorder.findings.finding import Finding
from replay.model.run import Run, StageData

KINDS: Final[dict[str, tuple[str, str]]] = {
    "stage": (">", "stage begins"),
    "shock": ("S", "shock"),
    "critical": ("C", "critical phase"),
    "nan": ("N", "NaN or Inf"),
    "control": ("X", "command of a viewer"),
    "warning": ("!", "warning or error"),
    "finding": ("F", "finding"),
    "note": ("f", "finding of severity note"),
}
"""Every kind of marker with its letter on the axis, which distinguishes it without colour, and its name."""

_SHORT: Final = {"nan": "NaN", "control": "command"}
"""What a kind is called where there is little room, if not by its own name."""

_OF_EVENT: Final = {
    "stage_start": "stage", "shock": "shock", "critical": "critical", "nan": "nan", "control": "control",
    "warning": "warning", "error": "warning", "degraded": "warning",
}  # fmt: skip


class Marker(NamedTuple):
    """Something at a step of a stage; `kind` is one of `KINDS`, `text` is harmless."""

    stage: int
    step: int
    kind: str
    text: str

    @property
    def letter(self) -> str:
        return KINDS[self.kind][0]


def legend(shown: Iterable[Marker]) -> str:
    """The letters of markers with what they stand for: `C critical · F finding`; that of a stage has no letter."""
    kinds = {marker.kind for marker in shown}
    return " · ".join(f"{KINDS[kind][0]} {_SHORT.get(kind, kind)}" for kind in KINDS if kind in kinds - {"stage"})


def markers(run: Run) -> list[Marker]:
    """All markers in the order of the run; those of one step in the order of the messages.

    An event without a stage or step, such as a warning of the recorder, is put by its time: at the first step that
    was done no earlier, or else at the last one. Events before the first stage have no marker.
    """
    found = []
    for event in run.events:
        kind = _OF_EVENT.get(event["kind"]) if isinstance(event.get("kind"), str) else None
        where = _where(run.stages, event.get("stage"), event.get("step"), event.get("time"), kind) if kind else None
        if kind and where:
            found.append(Marker(*where, kind, clean(event.get("text", ""), 200)))
    return sorted(found, key=lambda m: m[:2])


def of_findings(found: Iterable[Finding], stages: int) -> list[Marker]:
    """Findings that begin at a step, as markers; those of one rule and step once."""
    return list(
        dict.fromkeys(
            Marker(f.stage, f.step, "note" if f.severity == "note" else "finding", clean(f.text, 200))
            for f in found
            if f.stage is not None and f.step is not None and f.stage < stages
        )
    )


def neighbour(places: Iterable[tuple[int, int]], here: tuple[int, int], by: int) -> tuple[int, int] | None:
    """The next place (stage, step) after `here`, or the last before it if `by` is negative; None if there is none."""
    if by > 0:
        return min((p for p in places if p > here), default=None)
    return max((p for p in places if p < here), default=None)


def _where(stages: list[StageData], stage: object, step: object, time: object, kind: str) -> tuple[int, int] | None:
    if not stages:
        return None
    if not isinstance(stage, int) or not 0 <= stage < len(stages):
        if not isinstance(time, float | int) or time < stages[0].time:
            return None
        stage = max(s.index for s in stages if s.time <= time)
    if kind == "stage":
        return stage, 0
    if isinstance(step, int) and step >= 0:
        return stage, step
    stream = stages[stage].furthest
    if stream is None or not stream.rows or not isinstance(time, float | int):
        return stage, 0
    later = np.flatnonzero(stream.times >= time)
    return stage, int(later[0]) if later.size else stream.rows - 1
