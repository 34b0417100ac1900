"""Power of the paired comparisons: by the noncentral t, and for few pairs by the sign-flip test itself. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from replay.sweep.statistics import MAX_EXACT, sign_patterns, smallest_p, t_quantile

Values = NDArray[np.float64]

FEW: Final = 12
"""Up to this number of pairs the sign-flip test can give few p, so that its power is not that of t."""
_WORK: Final = 1 << 20
"""Samples times sign patterns that a power is taken from."""
_NODES: Final = 2_000


def t_power(effect: float, df: int, level: float) -> float:
    """Power of the two-sided t test of a mean: P(|T| > t) of the noncentral t.

    Args:
        effect: the noncentrality, the true mean in its true standard errors.
        df: degrees of freedom, 1 or more.
        level: the test's size, between 0 and 1.
    """
    spread, weight = _chi(df)
    critical = t_quantile(1 - level / 2, df) * spread
    return float(weight @ (_normal_cdf(effect - critical) + _normal_cdf(-effect - critical)))


def smallest_seen(errors: Sequence[float], pairs: Sequence[int], level: float, power: float) -> float:
    """The difference that the middle one of several comparisons finds with this power.

    Args:
        errors: estimated standard error of each comparison's mean difference, above 0.
        pairs: of each comparison, 2 or more.
        level: of the test.
        power: between 0 and 1.

    The test of a comparison meets its own estimated error again, so a single one is used unchanged. The median of
    several is below the true error, and is raised by as much as that is of normal differences.
    """
    sizes = []
    for error, count in zip(errors, pairs, strict=True):
        low = (1 - 2 / (9 * (count - 1))) ** 1.5 if len(errors) > 1 else 1.0
        sizes.append(error / low * smallest_effect(count, level, power))
    return float(np.median(sizes))


@lru_cache(maxsize=64)
def smallest_effect(pairs: int, level: float, power: float) -> float:
    """The difference, in standard errors, that the sign-flip test of `pairs` pairs finds with this power.

    Infinite if no p can be as small as `level`. Differences are taken to be normal.

    Raises:
        ValueError: with fewer than two pairs.
    """
    if pairs < 2:
        raise ValueError(f"power needs two pairs, not {pairs}")
    if smallest_p(pairs) > level:
        return math.inf
    # The exact p is the share of sign patterns, taken with their opposites, whose sum is at least as far out.
    patterns = 2 ** (pairs - 1)
    allowed = math.floor(level * patterns + 1e-9)
    if 2**pairs <= MAX_EXACT:
        level = allowed / patterns
    effect = _least(lambda size: t_power(size, pairs - 1, level), power, 0.0, 4.0, 1e-4)
    return effect if pairs > FEW else _least(_flip_power(pairs, allowed), power, 0.8 * effect, 1.4 * effect, 0.005)


def _flip_power(pairs: int, allowed: int) -> Callable[[float], float]:
    """Power of the exact sign-flip test by effect in standard errors, over fixed normal samples."""
    signs = sign_patterns(pairs)[: 2 ** (pairs - 1)]
    drawn = np.random.default_rng(0).standard_normal((min(2_000, _WORK // len(signs)), pairs))
    drawn = np.concatenate([drawn, -drawn]).astype(np.float32)
    signs = signs.astype(np.float32)
    sums, moved = drawn @ signs.T, signs.sum(axis=1) / np.float32(math.sqrt(pairs))
    whole = drawn.sum(axis=1)

    def power(effect: float) -> float:
        # A hair less, for sums that are equal but for the order of additions.
        seen = np.abs(whole + np.float32(effect * math.sqrt(pairs))) - np.float32(1e-4)
        as_far = (np.abs(sums + np.float32(effect) * moved) >= seen[:, None]).sum(axis=1)
        return float(np.mean(as_far <= allowed))

    return power


def _least(reached: Callable[[float], float], power: float, low: float, high: float, error: float) -> float:
    """The least effect that reaches a power, to within an error, looked for from `low` to `high` first."""
    while reached(high) < power:
        low, high = high, 2 * high
    while high - low > error:
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) < power else (low, middle)
    return high


@lru_cache(maxsize=16)
def _chi(df: int) -> tuple[Values, Values]:
    """Nodes and weights that integrate over s = √(χ²/df), the estimated standard deviation in true ones."""
    reach = 9 / math.sqrt(2 * df)
    first = max(0.0, 1 - reach)
    s = first + (1 + reach - first) * (np.arange(_NODES) + 0.5) / _NODES
    density = (df - 1) * np.log(s) - df * s * s / 2
    weight = np.exp(density - density.max())
    return s, weight / weight.sum()


def _normal_cdf(z: Values) -> Values:
    return 0.5 * np.array([math.erfc(-v / math.sqrt(2)) for v in z])
