"""The critical phase of a denoising, in three notions that are reported apart and never mixed. Host numbers only.

- `zero_db`: the schedule's signal to noise passes 0 dB, σ = ½. Says nothing about the data.
- `speciation`: σ passes σ_c = √Λ/(1+√Λ), Λ the top eigenvalue of the data's covariance (Biroli et al., 2402.18491):
  where trajectories commit to a class. Reported only when Λ is supplied.
- `x0_rate_peak`: what can be seen from inside: the predicted clean sample changes fastest per unit of log signal to
  noise. Confirmed one step later, when the rate has fallen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Notion = Literal["zero_db", "speciation", "x0_rate_peak"]

TEXTS: dict[Notion, str] = {
    "zero_db": "0 dB: the schedule gives as much signal as noise from here on",
    "speciation": "speciation estimate: the data's largest mode is decided about here",
    "x0_rate_peak": "x0 changed fastest here, per unit of log signal to noise",
}


def speciation_sigma(eigenvalue: float) -> float:
    """σ_c = √Λ/(1+√Λ). Raises ValueError unless Λ is positive."""
    if not eigenvalue > 0:
        raise ValueError(f"the data's top eigenvalue must be positive, not {eigenvalue}")
    return math.sqrt(eigenvalue) / (1 + math.sqrt(eigenvalue))


PROMINENCE = 1e-3
"""How much a peak must stand out from both neighbours, relatively: less is rounding, not a decision."""
LEAST_RATE = 1e-5
"""Change per unit of log signal to noise, of latents of unit power, below which x0 stands still but for rounding."""


@dataclass(frozen=True)
class Found:
    """One notion met: at which step and noise level."""

    notion: Notion
    step: int
    sigma: float


class CriticalPhase:
    """Follows one stream of one stage, a step at a time; every notion is found at most once."""

    def __init__(self, eigenvalue: float | None = None) -> None:
        self._sigma_c = None if eigenvalue is None else speciation_sigma(eigenvalue)
        self._found: set[Notion] = set()
        self._last: list[tuple[int, float, float]] = []

    def take(self, step: int, sigma: float, x0_change_rate: float) -> list[Found]:
        """The notions that this step meets or confirms.

        Args:
            step: row of the stage.
            sigma: level of this row.
            x0_change_rate: ‖Δx̂0‖ / abs(Δλ) between the row before and this one; NaN or 0 where it has no meaning.
        """
        found: list[Found] = []
        if sigma <= 0.5:
            found += self._once("zero_db", step, sigma)
        if self._sigma_c is not None and sigma <= self._sigma_c:
            found += self._once("speciation", step, sigma)
        if math.isfinite(x0_change_rate) and x0_change_rate > 0:
            found += self._peak(step, sigma, x0_change_rate)
        return found

    def _peak(self, step: int, sigma: float, rate: float) -> list[Found]:
        self._last = [*self._last[-2:], (step, sigma, rate)]
        if len(self._last) < 3:
            return []  # the first rate is at the edge of what can be measured: a peak there is an artefact
        before, top, after = self._last
        highest = top[2] > max(LEAST_RATE, (1 + PROMINENCE) * before[2], (1 + PROMINENCE) * after[2])
        return self._once("x0_rate_peak", top[0], top[1]) if highest else []

    def _once(self, notion: Notion, step: int, sigma: float) -> list[Found]:
        if notion in self._found:
            return []
        self._found.add(notion)
        return [Found(notion, step, sigma)]

    @property
    def missing(self) -> list[Notion]:
        """Notions that were looked for and not met."""
        looked: list[Notion] = ["zero_db", "x0_rate_peak"]
        if self._sigma_c is not None:
            looked.append("speciation")
        return [n for n in looked if n not in self._found]
