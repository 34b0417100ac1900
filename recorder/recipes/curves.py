"""The σ curves that ComfyUI, diffusers and Lightricks' code offer by name, as functions of the number of steps.

Each returns the levels of the model calls without the closing 0. ComfyUI's act on a table of 10,000 levels, which its
LTX models shift by exp(2.37): `table(i)`, i from 1 to 10,000.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Levels = list[float]

TABLE: Final = 10_000
COMFY_SHIFT: Final = 2.37
"""μ of ComfyUI's LTX models; `ModelSamplingLTXV` and `ModelSamplingFlux` change it."""
FEWEST_TOKENS, MOST_TOKENS = 1024, 4096
"""Tokens at which the shift of LTX's schedule is `base_shift` and `max_shift`."""


def shifted(t: float, mu: float) -> float:
    """The time shift of Flux and LTX: exp(μ)/(exp(μ) + 1/t − 1)."""
    return math.exp(mu) / (math.exp(mu) + (1 / t - 1)) if t > 0 else 0.0


def ltx(
    steps: int,
    tokens: int,
    max_shift: float = 2.05,
    base_shift: float = 0.95,
    stretch: bool = True,
    terminal: float = 0.1,
) -> Levels:
    """LTXVScheduler of ComfyUI, LTX2Scheduler of ltx-core: shifted by the size of the clip, stretched to a terminal."""
    slope = (max_shift - base_shift) / (MOST_TOKENS - FEWEST_TOKENS)
    mu = base_shift + slope * (tokens - FEWEST_TOKENS)
    found = [shifted(1 - i / steps, mu) for i in range(steps)]
    if not stretch or steps < 2:
        return found
    scale = (1 - found[-1]) / (1 - terminal)
    return [1 - (1 - s) / scale for s in found]


# -- ComfyUI


def simple(steps: int, mu: float) -> Levels:
    """Every n-th level of the table, from the top."""
    return [_table(TABLE - int(x * TABLE / steps), mu) for x in range(steps)]


def ddim_uniform(steps: int, mu: float) -> Levels:
    """Every n-th level of the table, from the bottom."""
    return [_table(i + 1, mu) for i in range(1, TABLE, max(TABLE // steps, 1))][::-1]


def normal(steps: int, mu: float) -> Levels:
    """Even in time, down to the lowest level."""
    return [shifted(float(t), mu) for t in np.linspace(1.0, _table(1, mu), steps)]


def sgm_uniform(steps: int, mu: float) -> Levels:
    """Even in time, without the lowest level."""
    return [shifted(float(t), mu) for t in np.linspace(1.0, _table(1, mu), steps + 1)[:-1]]


def karras(steps: int, low: float, high: float, rho: float = 7.0) -> Levels:
    """Even in the ρ-th root of σ (Karras et al., 2206.00364)."""
    ramp = np.linspace(0, 1, steps)
    return _list((high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho)


def exponential(steps: int, low: float, high: float) -> Levels:
    """Even in log σ."""
    return _list(np.exp(np.linspace(math.log(high), math.log(low), steps)))


def kl_optimal(steps: int, low: float, high: float) -> Levels:
    """Even in the arc tangent of σ (Align Your Steps, Sabour et al., 2404.14507)."""
    ramp = np.arange(steps) / max(steps - 1, 1)
    return _list(np.tan(ramp * math.atan(low) + (1 - ramp) * math.atan(high)))


def linear_quadratic(steps: int, threshold: float = 0.025) -> Levels:
    """Half of the steps even and small, the others quadratic (Movie Gen, 2410.13720)."""
    if steps == 1:
        return [1.0]
    linear = steps // 2
    rest = steps - linear
    excess = linear - threshold * steps
    square = excess / (linear * rest**2)
    slope = threshold / linear - 2 * excess / rest**2
    left = [i * threshold / linear for i in range(linear)]
    return [1 - x for x in left + [square * i**2 + slope * i + square * linear**2 for i in range(linear, steps)]]


def beta(steps: int, mu: float, alpha: float = 0.6, second: float = 0.6) -> Levels:
    """Quantiles of a beta distribution on the table (Lee et al., 2407.12173); equal levels come once."""
    places = [round((TABLE - 1) * quantile(1 - i / steps, alpha, second)) for i in range(steps)]
    return [_table(i + 1, mu) for i in dict.fromkeys(places)]


# -- diffusers: conversions of a schedule


def converted(found: Levels, name: str) -> Levels:
    """The `use_karras_sigmas`, `use_exponential_sigmas` and `use_beta_sigmas` of FlowMatchEulerDiscreteScheduler."""
    low, high, steps = found[-1], found[0], len(found)
    if name == "karras":
        return karras(steps, low, high)
    if name == "exponential":
        return exponential(steps, low, high)
    return [low + quantile(1 - t, 0.6, 0.6) * (high - low) for t in np.linspace(0, 1, steps)]


CONVERSIONS: Final = ("karras", "exponential", "beta")
BY_SHIFT: Final[dict[str, Callable[[int, float], Levels]]] = {
    "simple": simple,
    "normal": normal,
    "sgm_uniform": sgm_uniform,
    "ddim_uniform": ddim_uniform,
    "beta": beta,
}
"""ComfyUI's curves on its table of levels."""
BY_RANGE: Final[dict[str, Callable[[int, float, float], Levels]]] = {
    "karras": karras,
    "exponential": exponential,
    "kl_optimal": kl_optimal,
}
"""ComfyUI's curves between its lowest level and 1."""


def comfy(name: str, steps: int, mu: float) -> Levels:
    """A curve of ComfyUI by its name. Raises KeyError."""
    if name == "linear_quadratic":
        return linear_quadratic(steps)
    if name in BY_RANGE:
        return BY_RANGE[name](steps, _table(1, mu), 1.0)
    return BY_SHIFT[name](steps, mu)


def _table(i: int, mu: float) -> float:
    return shifted(i / TABLE, mu)


def _list(found: NDArray[np.float64]) -> Levels:
    return [float(s) for s in found]


def quantile(share: float, alpha: float, second: float) -> float:
    """The quantile of a beta distribution, by bisection; exact to 1e-12. SciPy's `beta.ppf` without SciPy."""
    if share <= 0 or share >= 1:
        return float(min(max(share, 0.0), 1.0))
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _cumulative(middle, alpha, second) < share else (low, middle)
    return (low + high) / 2


def _cumulative(x: float, alpha: float, second: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Numerical Recipes 6.4, Lentz's method)."""
    if x > (alpha + 1) / (alpha + second + 2):
        return 1 - _cumulative(1 - x, second, alpha)
    if x <= 0:
        return 0.0
    front = math.lgamma(alpha + second) - math.lgamma(alpha) - math.lgamma(second)
    front += alpha * math.log(x) + second * math.log1p(-x)
    tiny = 1e-300
    c, d = 1.0, 1 - (alpha + second) * x / (alpha + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    fraction = d
    for m in range(1, 200):
        even = m * (second - m) * x / ((alpha + 2 * m - 1) * (alpha + 2 * m))
        odd = -(alpha + m) * (alpha + second + m) * x / ((alpha + 2 * m) * (alpha + 2 * m + 1))
        for term in (even, odd):
            d, c = 1 + term * d, 1 + term / c
            d = 1 / (d if abs(d) > tiny else tiny)
            c = c if abs(c) > tiny else tiny
            fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return math.exp(front) * fraction / alpha
