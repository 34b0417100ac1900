"""The critical phase of a denoising, by several definitions that are reported separately. Host numbers only.

- `zero_db`: the schedule's signal to noise passes 0 dB, σ = ½. It is independent of the data.
- `speciation`: σ passes σ_c = √Λ/(1+√Λ), Λ the top eigenvalue of the data's covariance (Biroli et al., 2402.18491):
  where trajectories commit to a class. Reported only when Λ is supplied.
- `x0_rate_peak`: the rate at which the predicted clean sample changes, per unit of log signal to noise, has had a
  peak. It is measured while the stage runs, and reported once, some steps later, when the peak stands out from the
  noise of the rate on both sides. A larger peak may follow, which no online detector can know.
- `x0_rate_largest`: the largest such peak of the complete stage, reported when the stage has ended.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from recorder.format.sigma_math import log_snr
from recorder.metrics import rate_peak

Notion = Literal["zero_db", "speciation", "x0_rate_peak", "x0_rate_largest"]

TEXTS: dict[Notion, str] = {
    "zero_db": "0 dB: the schedule gives as much signal as noise from here on",
    "speciation": "speciation estimate: the data's largest mode is decided about here",
    "x0_rate_peak": "the change of x0 per unit of log signal to noise peaked here, the largest peak so far",
    "x0_rate_largest": "largest peak of the stage: x0 changed fastest here, per unit of log signal to noise",
}


def speciation_sigma(eigenvalue: float) -> float:
    """σ_c = √Λ/(1+√Λ). Raises ValueError unless Λ is positive."""
    if not eigenvalue > 0:
        raise ValueError(f"the data's top eigenvalue must be positive, not {eigenvalue}")
    return math.sqrt(eigenvalue) / (1 + math.sqrt(eigenvalue))


LEAST_RATE: Final = 1e-5
"""Largest change of x0 per unit of log signal to noise that rounding alone explains, for latents of unit power."""
KEPT: Final = 256
"""Rates that are kept; beyond that, neighbours are merged, so that memory and time do not grow with a run."""


@dataclass(frozen=True)
class CriticalPhase:
    """A critical phase by one definition: its step, its noise level, and a confidence, 1 if the schedule gives it."""

    notion: Notion
    step: int
    sigma: float
    confidence: float = 1.0


class CriticalPhaseDetector:
    """Follows one stream of one stage, a step at a time; each definition is met at most once."""

    def __init__(self, eigenvalue: float | None = None) -> None:
        self._sigma_c = None if eigenvalue is None else speciation_sigma(eigenvalue)
        self._found: set[Notion] = set()
        self._rates = _Rates()

    def take(self, step: int, sigma: float, x0_change_rate: float, *, shocked: bool = False) -> list[CriticalPhase]:
        """The critical phases that this step reaches or confirms.

        Args:
            step: row of the stage.
            sigma: level of this row.
            x0_change_rate: ‖Δx̂0‖ / abs(Δλ) between the previous row and this one; NaN or 0 where it is undefined.
            shocked: a shock added fresh noise before this row, so the change is not the model's own.
        """
        found: list[CriticalPhase] = []
        if sigma <= 0.5:
            found += self._once("zero_db", step, sigma)
        if self._sigma_c is not None and sigma <= self._sigma_c:
            found += self._once("speciation", step, sigma)
        grew = self._rates.add(step, sigma, x0_change_rate, shocked)
        if grew and "x0_rate_peak" not in self._found:
            found += self._peak("x0_rate_peak")
        return found

    def finish(self) -> list[CriticalPhase]:
        """The largest peak of the stage, if it has one; known when the stage has ended."""
        self._rates.flush()
        return self._peak("x0_rate_largest", whole=True, shown="x0_rate_peak" in self._found)

    def _peak(self, notion: Notion, **how: bool) -> list[CriticalPhase]:
        kept = self._rates
        peak = rate_peak.find(np.array(kept.logs), np.array(kept.positions), **how)
        if peak is None:
            return []
        return self._once(notion, *kept.where[peak.index], peak.confidence)

    def _once(self, notion: Notion, step: int, sigma: float, confidence: float = 1.0) -> list[CriticalPhase]:
        if notion in self._found:
            return []
        self._found.add(notion)
        return [CriticalPhase(notion, step, sigma, confidence)]

    @property
    def missing(self) -> list[Notion]:
        """Definitions that were looked for and not met."""
        looked: list[Notion] = ["zero_db", "x0_rate_peak"]
        if self._sigma_c is not None:
            looked.append("speciation")
        return [n for n in looked if n not in self._found]


class _Rates:
    """Log rates along a path, in bounded memory: every entry stands for the same number of steps.

    `positions` measure the path in log SNR. Steps that rise, or begin with fresh noise, are excluded.
    """

    def __init__(self) -> None:
        self.logs: list[float] = []
        self.positions: list[float] = []
        self.where: list[tuple[int, float]] = []
        self._per_entry = 1
        self._waiting: list[tuple[float, float, int, float]] = []
        self._end = 0.0
        self._sigma: float | None = None

    def add(self, step: int, sigma: float, rate: float, shocked: bool) -> bool:
        """Add one rate; True if that made a new entry."""
        before, self._sigma = self._sigma, sigma
        if before is None or not 0 < sigma < before < 1 or shocked or not math.isfinite(rate) or rate <= 0:
            return False
        passed = log_snr(sigma) - log_snr(before)
        self._waiting.append((math.log(max(rate, LEAST_RATE)), self._end + passed / 2, step, sigma))
        self._end += passed
        if len(self._waiting) < self._per_entry:
            return False
        self.flush()
        if len(self.logs) > KEPT:
            self._halve()
        return True

    def flush(self) -> None:
        """Make an entry of the rates that are waiting."""
        if not self._waiting:
            return
        self.logs.append(sum(w[0] for w in self._waiting) / len(self._waiting))
        self.positions.append(sum(w[1] for w in self._waiting) / len(self._waiting))
        self.where.append(max(self._waiting)[2:])
        self._waiting.clear()

    def _halve(self) -> None:
        odd = len(self.logs) % 2
        self._waiting = [] if not odd else [(self.logs.pop(), self.positions.pop(), *self.where.pop())]
        self.where = [self.where[i if self.logs[i] >= self.logs[i + 1] else i + 1] for i in range(0, len(self.logs), 2)]
        self.logs = [sum(pair) / 2 for pair in zip(self.logs[::2], self.logs[1::2], strict=True)]
        self.positions = [sum(pair) / 2 for pair in zip(self.positions[::2], self.positions[1::2], strict=True)]
        self._per_entry *= 2
