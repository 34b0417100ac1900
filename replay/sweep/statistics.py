"""Statistics of paired differences: mean, standard error, interval, sign-flip test, Holm's correction. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LEVEL: Final = 0.05
MAX_EXACT: Final = 20_000
"""Up to this number of sign patterns, every one is tried: 14 pairs."""
FLIPS: Final = 49_999
"""Random sign patterns otherwise."""


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences of one quantity.

    Attributes:
        pairs: pairs with a finite value on both sides.
        left_out: pairs with a value that is NaN or infinite.
        mean, se: of the differences; se is NaN with fewer than two pairs.
        low, high: 95 % interval by Student's t.
        p: two-sided, of the sign-flip test of the mean; NaN with fewer than two pairs.
    """

    pairs: int
    left_out: int
    mean: float
    se: float
    low: float
    high: float
    p: float

    @property
    def known(self) -> bool:
        """True if there is something to judge."""
        return math.isfinite(self.p)

    def as_json(self) -> dict[str, Any]:
        """JSON-like form; NaN and infinity become None."""
        return {k: (None if isinstance(v, float) and not math.isfinite(v) else v) for k, v in asdict(self).items()}


def difference(values: Sequence[float] | Values, control: Sequence[float] | Values) -> Difference:
    """The paired difference `values` − `control`, both [n] in the order of the seeds; NaN where a run is missing."""
    taken = np.asarray(values, np.float64) - np.asarray(control, np.float64)
    found = taken[np.isfinite(taken)]
    n, left_out = len(found), int(len(taken) - len(found))
    if n < 2:
        return Difference(n, left_out, float(found[0]) if n else math.nan, math.nan, math.nan, math.nan, math.nan)
    mean, se = float(found.mean()), float(found.std(ddof=1) / math.sqrt(n))
    reach = t_quantile(1 - LEVEL / 2, n - 1) * se
    return Difference(n, left_out, mean, se, mean - reach, mean + reach, sign_flip_p(found))


def sign_flip_p(differences: Sequence[float] | Values, seed: int = 0) -> float:
    """Two-sided p of the mean of differences [n], n ≥ 1: how often random signs give a mean at least as far from 0.

    If nothing differs between the two ways of sampling, each pair is as likely to have come out the other way round.
    All 2^n patterns if these are at most 20,000, else 49,999 random ones and the one that was seen. For how
    small p can be see `smallest_p`.
    """
    found = np.asarray(differences, np.float64)
    seen = abs(float(found.sum()))
    # Sums that are equal but for the order of additions count as equal.
    slack = 1e-9 * float(np.abs(found).sum())
    exact = 2 ** len(found) <= MAX_EXACT
    signs = sign_patterns(len(found)) if exact else _random_signs(len(found), seed)
    count = int((np.abs(signs @ found) >= seen - slack).sum())
    return count / len(signs) if exact else (count + 1) / (len(signs) + 1)


def smallest_p(pairs: int) -> float:
    """The least p that the sign-flip test can give with `pairs` pairs, 1 or more."""
    return 2.0 ** (1 - pairs) if 2**pairs <= MAX_EXACT else 1 / (FLIPS + 1)


@lru_cache(maxsize=4)
def sign_patterns(n: int) -> Values:
    bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    return (1.0 - 2.0 * bits).astype(np.float64)


@lru_cache(maxsize=2)
def _random_signs(n: int, seed: int) -> Values:
    return np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), (FLIPS, n))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p, in the order given; the family is those that are not NaN.

    The smallest of m is multiplied by m, the next by m − 1, and so on; none becomes less than one before it.
    """
    adjusted = [math.nan] * len(p)
    order = sorted((i for i in range(len(p)) if not math.isnan(p[i])), key=lambda i: p[i])
    last = 0.0
    for rank, i in enumerate(order):
        last = max(last, min(1.0, (len(order) - rank) * p[i]))
        adjusted[i] = last
    return adjusted


def t_cdf(t: float, df: int) -> float:
    """P(T ≤ t) of Student's t with an integer number of degrees of freedom: Abramowitz and Stegun 26.7.3 and 26.7.4."""
    theta = math.atan(abs(t) / math.sqrt(df))
    cosine, sine = math.cos(theta), math.sin(theta)
    if df % 2:
        term = total = cosine if df > 1 else 0.0
        for k in range(3, df - 1, 2):
            term *= cosine * cosine * (k - 1) / k
            total += term
        inside = 2 / math.pi * (theta + sine * total)
    else:
        term = total = 1.0
        for k in range(2, df - 1, 2):
            term *= cosine * cosine * (k - 1) / k
            total += term
        inside = sine * total
    return 0.5 + math.copysign(inside / 2, t)


@lru_cache(maxsize=64)
def t_quantile(probability: float, df: int) -> float:
    """The t with P(T ≤ t) = probability, for .5 ≤ probability < 1, by bisection.

    Raises:
        ValueError: for other probabilities, or fewer degrees of freedom than one.
    """
    if not (0.5 <= probability < 1 and df >= 1):
        raise ValueError(f"a quantile of t needs .5 ≤ p < 1 and df ≥ 1, not {probability} and {df}")
    low, high = 0.0, 1.0
    while t_cdf(high, df) < probability:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, df) < probability else (low, middle)
    return high
