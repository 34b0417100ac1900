"""Builders of schedules that are not monotone, as lists of shocks; and explicit σ lists. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from recorder.shocks.spec import EVERY, Kind, Shock


def smooth() -> list[Shock]:
    """The native schedule: no shock."""
    return []


def ancestral(eta: float = 1.0, seed: int = 0, **more: Any) -> list[Shock]:
    """Many small shocks: fresh noise at every step, as ancestral samplers of rectified flow inject it.

    A step from σ to σ′ goes down to σ′·(1 + (σ′/σ − 1)·η) and is re-noised to σ′, which keeps the marginal
    (Euler ancestral, RF form, as diffusers' LTXEulerAncestralRFScheduler has it). η = 0 is smooth.
    """
    return [Shock("renoise", at=EVERY, eta=eta, seed=seed, **more)]


def spikes(
    at: Sequence[float | int], strength_db: float | None = None, kind: Kind = "restart", seed: int = 0, **more: Any
) -> list[Shock]:
    """Several equal shocks; a place named k times gets k restarts in a row (Xu et al., 2306.14878).

    Args:
        at: their places, each a σ or a step.
        strength_db: of each.
        kind: of each.
        seed: of the first; the others count on from it, so that no noise is used twice.

    Raises:
        ValueError: if no place is given.
    """
    if not at:
        raise ValueError("spikes need places: at=0.95+0.9+0.8")
    return [Shock(kind, at=place, strength_db=strength_db, seed=seed + i, **more) for i, place in enumerate(at)]


def free(sigmas: Sequence[float]) -> tuple[float, ...]:
    """An explicit σ list, monotone or not, used unchanged: no shift, no stretching.

    Args:
        sigmas: the levels of the model calls, without the closing 0.

    Raises:
        ValueError: if a level is not in (0, 1].
    """
    found = tuple(float(s) for s in sigmas)
    if found and found[-1] == 0:
        found = found[:-1]
    if not found:
        raise ValueError("a σ list needs at least one level")
    for sigma in found:
        if not (math.isfinite(sigma) and 0 < sigma <= 1):
            raise ValueError(f"σ must be above 0 and at most 1, not {sigma:g}")
    return found
