"""Finds the peak of a noisy positive rate along log signal to noise, with a confidence. Host numbers only.

The logarithm of the rate is averaged over windows of log SNR, at several widths. A position is a peak if its average
lies above the lowest one before it and above the lowest one after it by more than the noise explains. The noise is
that of neighbouring rates about the line between them. A prior of 5 % takes part in it, because a short run cannot
tell noise from shape. The threshold grows with the number of positions that were compared, so that the chance of a
false alarm is that of the whole run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

ALARMS: Final = 0.02
"""Probability of a false alarm over a whole run; `benchmarks.detector` measures the actual one."""
WINDOWS: Final = (0.0, 0.5, 1.0)
"""Half widths of the windows, in units of log SNR (4.3 dB); narrowest first."""
CONFIRMED: Final = 1.5
"""Log SNR that must have passed on both sides of a peak before it is accepted, unless the steps are coarser."""
LATER_ROWS: Final = 2
"""Rates that must follow a peak before it is accepted."""

_PRIOR: Final = 0.05
_PRIOR_WEIGHT: Final = 8.0
_COARSE: Final = 0.7
"""Steps of log SNR from which the line between two neighbours predicts little of the rate between them."""
_DEEP: Final = 4.0
"""Logarithms below the highest rate at which lower rates are clipped: they are mostly rounding."""


@dataclass(frozen=True)
class Peak:
    """A peak: its index among the rates, and the probability that noise alone shows one anywhere in the run."""

    index: int
    chance: float

    @property
    def confidence(self) -> float:
        """1 minus the chance; at most .9999, since the noise itself is only estimated."""
        return min(0.9999, 1 - self.chance)


def find(rates: Values, positions: Values, *, whole: bool = False, shown: bool = False) -> Peak | None:
    """The highest peak of the rates, or None if none stands out from the noise.

    Args:
        rates: logarithms of the rate [n].
        positions: where along log SNR each one was measured [n], rising.
        whole: the run is over. A peak needs one later step only, and once one peak stands out, the highest is taken
            even if the end of the run cuts off its far side.
        shown: a peak has been reported before, so that the highest one may stand out half as far.
    """
    n = len(rates)
    if n < 4:
        return None
    rates = np.maximum(rates, rates.max() - _DEEP)
    noise, freedom = noise_of(rates, positions)
    # The first and the last rate are at the edge of what can be measured: no peak is seen from one side.
    inside = (np.arange(n) > 0) & (np.arange(n) < n - 1)
    best: _View | None = None
    top, chance = 0, 1.0
    for half in WINDOWS:
        seen = _view(rates, positions, half, noise, freedom)
        if best is None:
            if not (inside & (seen.stands >= (seen.threshold / 2 if shown else seen.threshold))).any():
                continue
            # Once one peak is sure, the highest place is the largest of them, though its own sides may be cut short.
            believed = inside & (seen.stands >= (seen.threshold / 2 if whole else seen.threshold))
            best, top = seen, int(np.argmax(np.where(believed, seen.level, -np.inf)))
            chance = seen.chance(float(seen.stands[inside].max() if whole else seen.stands[top]))
            continue
        if best.stands[top] >= 2 * best.threshold:
            break
        # A peak that hardly stands out has its top where the noise is highest; a wider window places it better.
        near = inside & (np.abs(positions - positions[top]) <= 2 * half)
        other = int(np.argmax(np.where(near, seen.level, -np.inf)))
        if seen.stands[other] > best.stands[top]:
            best, top = seen, other
            chance = min(chance, seen.chance(float(seen.stands[top])))
    if best is None:
        return None
    top = _located(rates, positions, best, top)
    return Peak(top, chance) if whole or _confirmed(positions, top) else None


def _confirmed(positions: Values, top: int) -> bool:
    """Whether enough has passed on both sides of a peak; early steps of a schedule may be longer than that."""
    before, after = positions[top] - positions[0], positions[-1] - positions[top]
    return (
        len(positions) - 1 - top >= LATER_ROWS
        and after >= CONFIRMED
        and before >= min(CONFIRMED, positions[1] - positions[0])
    )


@dataclass(frozen=True)
class _View:
    """The rates through one window: means, how many rates each holds, their errors, and how far each stands out."""

    level: Values
    count: Values
    error: Values
    stands: Values
    compared: float
    freedom: float

    @property
    def threshold(self) -> float:
        return _threshold(ALARMS / (2 * self.compared), self.freedom)

    def chance(self, stands: float) -> float:
        """Probability that noise alone makes a position in the run stand out this far."""
        return min(1.0, 2 * self.compared * _tail(stands, self.freedom))


def _view(rates: Values, positions: Values, half: float, noise: float, freedom: float) -> _View:
    level, count = _smoothed(rates, positions, half)
    error = noise / np.sqrt(count)
    independent = max(2.0, float(np.sum(1 / count)))
    # The lowest before and after are picked from as many; `benchmarks.detector` measures what that costs.
    compared = independent * (1 + independent / 24)
    return _View(level, count, error, _prominence(level, error), compared, freedom)


def noise_of(rates: Values, positions: Values) -> tuple[float, float]:
    """Standard deviation of the noise in log rates, and the degrees of freedom that it is known with."""
    if len(rates) < 3:
        return _PRIOR, _PRIOR_WEIGHT
    span = positions[2:] - positions[:-2]
    share = (positions[2:] - positions[1:-1]) / span
    off = rates[1:-1] - share * rates[:-2] - (1 - share) * rates[2:]
    off = np.abs(off) / np.sqrt(1 + share**2 + (1 - share) ** 2)
    # Where steps are coarse, what is off the line is the shape of the rate rather than its noise.
    weight = 1 / (1 + (span / 2 / _COARSE) ** 4)
    # Neighbouring ones overlap, so they are worth less than as many independent ones.
    seen = 0.6 * float(weight.sum())
    own = math.sqrt(math.pi / 2) * float((weight * off).sum() / weight.sum())
    weight_of_all = _PRIOR_WEIGHT + seen
    return math.sqrt((_PRIOR_WEIGHT * _PRIOR**2 + seen * own**2) / weight_of_all), weight_of_all


def _smoothed(rates: Values, positions: Values, half: float) -> tuple[Values, Values]:
    """Means over windows of this half width, narrower towards either end, and how many rates each one holds."""
    hair = 1e-9
    # A window that the end cuts off on one side would lean the other way, and peaks with it.
    reach = np.minimum(half, np.minimum(positions - positions[0], positions[-1] - positions)) + hair
    begin = np.searchsorted(positions, positions - reach)
    end = np.searchsorted(positions, positions + reach)
    sums = np.concatenate([[0.0], np.cumsum(rates)])
    count = (end - begin).astype(np.float64)
    return (sums[end] - sums[begin]) / count, count


def _prominence(level: Values, error: Values) -> Values:
    """How far each level lies above the lowest before it and the lowest after it, whichever is less, in errors."""
    before = _over_lowest_before(level, error)
    after = _over_lowest_before(level[::-1], error[::-1])[::-1]
    return np.minimum(before, after)


def _over_lowest_before(level: Values, error: Values) -> Values:
    lowest = np.minimum.accumulate(level)
    at = np.maximum.accumulate(np.where(level == lowest, np.arange(len(level)), 0))
    return (level - lowest) / np.hypot(error, error[at])


def _located(rates: Values, positions: Values, seen: _View, top: int) -> int:
    """The place of a peak: the vertex of a parabola through what is as high as its top but for noise."""
    near = seen.level > seen.level[top] - max(0.1, 4 * seen.error[top])
    below = np.flatnonzero(~near)
    first = int(below[below < top].max(initial=-1)) + 1
    last = int(below[below > top].min(initial=len(rates))) - 1
    reach = max(2, min(top - first, last - top))
    first, last = max(0, top - reach), min(len(rates) - 1, top + reach)
    if last - first < 3:
        return top
    width = float(positions[last] - positions[first])
    along = (positions[first : last + 1] - positions[top]) / width
    curvature, slope, _ = np.polyfit(along, rates[first : last + 1], 2)
    if curvature >= 0:
        return top
    nearest = first + int(np.argmin(np.abs(along + slope / (2 * curvature))))
    reach = max(1, int(seen.count[top]))
    return int(np.clip(nearest, top - reach, top + reach))


def _tail(t: float, freedom: float) -> float:
    """P(T > t) of Student's t, by Wallace's normal approximation: good to a tenth of itself where it matters."""
    z = math.sqrt(freedom * math.log1p(t * t / freedom)) * _wallace(freedom)
    return 0.5 * math.erfc(z / math.sqrt(2))


def _threshold(chance: float, freedom: float) -> float:
    """The t with `_tail(t)` = chance."""
    z = NormalDist().inv_cdf(1 - chance) / _wallace(freedom)
    return math.sqrt(freedom * math.expm1(z * z / freedom))


def _wallace(freedom: float) -> float:
    return (8 * freedom + 1) / (8 * freedom + 3)
