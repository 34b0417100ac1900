"""What a finding is: one sentence on one run. And the verdict, which is made of a run's findings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Severity = Literal["note", "warning", "error"]
SEVERITIES: Final[tuple[Severity, ...]] = ("note", "warning", "error")
"""From the mildest to the worst. Notes name what is unusual and may be meant; they never make a run look ill."""


@dataclass(frozen=True)
class Finding:
    """One sentence on one run.

    Attributes:
        id: the rule's.
        stage: index from 0, as `clip`, `step` and `frames` are; None where it does not apply.
        step: the first step that it holds for.
        frames: first and last latent frame.
        evidence: the numbers behind it; None for one that is not finite.
        advice: what to try.
        short: the sentence in a few words, for headers and lists.
    """

    id: str
    severity: Severity
    text: str
    stage: int | None = None
    stream: str | None = None
    clip: int | None = None
    step: int | None = None
    frames: tuple[int, int] | None = None
    evidence: dict[str, float | None] = field(default_factory=dict)
    advice: str = ""
    short: str = ""

    def as_json(self) -> dict[str, Any]:
        """As `explain --json` gives it."""
        return {
            "id": self.id,
            "severity": self.severity,
            "stage": self.stage,
            "stream": self.stream,
            "clip": self.clip,
            "step": self.step,
            "frames": None if self.frames is None else list(self.frames),
            "text": self.text,
            "evidence": self.evidence,
            "advice": self.advice,
        }


@dataclass(frozen=True)
class Verdict:
    """The state of a run in a word or two; `severity` is `ok` where nothing is found."""

    severity: Literal["ok", "note", "warning", "error"] = "ok"
    text: str = "ok"

    def as_json(self) -> dict[str, str]:
        return {"severity": self.severity, "text": self.text}


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """By severity; findings of the same one stay in their order."""
    return sorted(findings, key=lambda f: -SEVERITIES.index(f.severity))


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """The worst finding in a few words. Notes alone leave the run `ok`, with the severity `note`."""
    found = worst_first(findings)
    if not found:
        return Verdict()
    worst = found[0]
    if worst.severity == "note":
        return Verdict("note", "ok")
    said = worst.short or worst.text
    # The sound's findings read like the picture's, which is what is looked at first.
    return Verdict(worst.severity, f"audio: {said}" if worst.stream == "audio" and "audio" not in said else said)


def finite_or_none(value: float) -> float | None:
    """As JSON has it."""
    return float(value) if math.isfinite(value) else None
