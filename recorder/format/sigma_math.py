"""Arithmetic of noise levels in rectified flow: x = (1−σ)·x0 + σ·ε, strength in dB, re-noising coefficients."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def odds(sigma: float) -> float:
    """s = σ/(1−σ): noise to signal, infinite at σ = 1."""
    return math.inf if sigma >= 1 else sigma / (1 - sigma)


def of_odds(s: float) -> float:
    """σ = s/(1+s)."""
    return 1.0 if math.isinf(s) else s / (1 + s)


def raised(sigma: float, db: float) -> float:
    """The σ whose s lies `db` above that of `sigma`; negative dB go down."""
    return of_odds(odds(sigma) * 10 ** (db / 20))


def strength_db(lo: float, hi: float) -> float:
    """20·log10(s_hi/s_lo): how strong a shock from σ_lo up to σ_hi is; infinite from 0 or to 1."""
    if lo <= 0 or hi >= 1:
        return math.inf
    return 20 * math.log10(odds(hi) / odds(lo))


def log_snr(sigma: float) -> float:
    """λ = ln((1−σ)²/σ²): log of the signal to noise ratio in power, of latents of unit power.

    −inf from σ = 1 on, inf at 0, NaN below 0 and for NaN.
    """
    if not sigma >= 0:
        return math.nan
    if sigma in (0, 1) or sigma > 1:
        return math.inf if sigma == 0 else -math.inf
    return 2 * math.log((1 - sigma) / sigma)


def log_snr_of(levels: Floats) -> Floats:
    """`log_snr` of each of some levels, of the same shape."""
    levels = np.asarray(levels, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = 2 * np.log((1 - levels) / levels)
    found[levels >= 1] = -np.inf
    return found


def snr_db(sigma: float) -> float:
    """20·log10((1−σ)/σ): the schedule's signal to noise in dB; −inf from σ = 1 on, inf at 0, NaN below 0."""
    return in_db(log_snr(sigma))


def snr_db_of(levels: Floats) -> Floats:
    """`snr_db` of each of some levels, of the same shape."""
    found: Floats = log_snr_of(levels) * 10 / math.log(10)
    return found


def in_db(log_ratio: float) -> float:
    """A natural log of a ratio of powers, in dB."""
    return log_ratio * 10 / math.log(10)


def of_snr_db(db: float) -> float:
    """The σ at which the schedule has this signal to noise ratio."""
    return of_odds(10 ** (-db / 20))


def renoise_coefficients(lo: float, hi: float) -> tuple[float, float]:
    """α and β of x_hi = α·x_lo + β·ξ, which keeps the marginal exact.

    α = (1−σ_hi)/(1−σ_lo), β² = σ_hi² − α²·σ_lo²: Restart (Xu et al., 2306.14878) and EDM churn (Karras et al.,
    2206.00364), written for rectified flow.

    Raises:
        ValueError: unless 0 ≤ σ_lo ≤ σ_hi ≤ 1 and σ_lo < 1.
    """
    if not (0 <= lo <= hi <= 1 and lo < 1):
        raise ValueError(f"re-noising goes from a lower σ to a higher one, not from {lo:g} to {hi:g}")
    alpha = (1 - hi) / (1 - lo)
    return alpha, math.sqrt(max(0.0, hi * hi - alpha * alpha * lo * lo))


def ancestral_down(sigma: float, sigma_next: float, eta: float) -> float:
    """How far down an ancestral step of rectified flow goes: σ′·(1 + (σ′/σ − 1)·η)."""
    return sigma_next * (1 + (sigma_next / sigma - 1) * eta)
