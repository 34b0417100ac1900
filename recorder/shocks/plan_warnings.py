"""What to know before running a plan: off the marginal, no fresh noise, beyond the schedule, over the churn cap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

from recorder.shocks.spec import CHURN_CAP_DB, CRITICAL, DEFAULT_DB, EVERY, KEEPS_MARGINAL, Shock

if TYPE_CHECKING:
    from recorder.shocks.action import ShockAction

Stepping = Literal["euler", "predicted", "ancestral", "stochastic", "own"]
"""How a sampler reaches a higher level.

Euler and others with the noise that they predict; with fresh noise in part, or wholly; or by a custom loop.
"""

_RISING: Final[Mapping[Stepping, str]] = {
    "euler": "no fresh noise there, Euler re-noises with the predicted ε; a restart, such as "
    "--shock restart:step=3,db=3, adds fresh noise",
    "predicted": "no fresh noise there, the sampler re-noises with the predicted ε; with --sampler euler a restart, "
    "such as --shock restart:step=3,db=3, adds fresh noise",
    "ancestral": "the ancestral scheduler has no such step, and its sample leaves the level that the model is given; "
    "let the list fall",
    "stochastic": "",
    "own": "right only if the loop adds fresh noise on the way up",
}
_THOUSANDS: Final = 10.0
"""Levels above it are read as timesteps."""

COARSE_DB = 1.0
"""An up-step of Euler's that is larger than this is called coarse: it visibly leaves the marginal."""


LONG_STEPS: Final[Mapping[str, tuple[tuple[float, float], ...]]] = {
    "restart": ((0.6, 3.5), (0.75, 7.0)),
    "renoise": ((0.6, 5.0), (0.75, 7.0)),
}
"""Pairs of a σ and the most dB that a shock at it or below may have before its one long Euler step is seen.

Measured by `python -m benchmarks.marginal` on loops of 20, 50 and 100 steps over data of two modes: up to these
the final distribution moves by less than .01 (Kolmogorov–Smirnov) against the same loop without a shock.
"""


def long_step_bound(kind: str, sigma: float) -> float:
    """The most dB that a shock on arrival at σ may have without leaving the marginal by its long Euler step."""
    # A level that is named as written, such as 0.6, is 0.6000000238 in the scheduler.
    return min((db for up_to, db in LONG_STEPS.get(kind, ()) if sigma <= up_to + 1e-6), default=math.inf)


def takes_long_step(kind: str, sigma: float | None, db: float) -> bool:
    """Whether a shock leaves the marginal by its long Euler step; where its place is not known yet, whether it may."""
    return db > long_step_bound(kind, 0.0 if sigma is None else sigma) + 1e-6


def of_shock(shock: Shock, acting: Sequence[ShockAction], native: Sequence[float]) -> list[str]:
    """Warnings about one shock, with the places it acts at; none if it waits for the critical phase."""
    found = []
    name = shock.describe()
    if shock.kind == "additive":
        found.append(f"{name}: off the marginal: the sample is noisier than the model expects")
    if shock.kind == "predict_perturb":
        found.append(f"{name}: off the marginal: it loses the posterior's variance, which can look like stability")
    if shock.kind == "sigma_bump":
        found.append(f"{name}: no fresh noise: Euler re-noises with the predicted ε")
    if shock.kind in KEEPS_MARGINAL and shock.shape != "white":
        found.append(f"{name}: fresh noise in a band only; the rest is re-noised with the predicted ε")
    top = max((a.sigma_up for a in acting if shock.kind in ("restart", "sigma_bump")), default=0.0)
    if top > native[0]:
        found.append(
            f"{name}: beyond the schedule: it goes up to σ {top:.4g}, and the schedule begins at {native[0]:.4g}"
        )
    if shock.kind == "predict_perturb":
        return found
    strongest = max((a.strength_db for a in acting), default=_known_db(shock))
    if strongest > CHURN_CAP_DB + 1e-6:
        found.append(
            f"{name}: {strongest:.3g} dB is more than EDM's churn cap of {CHURN_CAP_DB:.3g} dB allows in a step"
        )
    found += _long_steps(shock, acting, name, strongest)
    if shock.kind == "sigma_bump" and strongest > COARSE_DB:
        found.append(f"{name}: off the marginal: an Euler step of {strongest:.3g} dB upwards is coarse")
    return found


def _long_steps(shock: Shock, acting: Sequence[ShockAction], name: str, strongest: float) -> list[str]:
    if shock.at == EVERY or shock.respace:  # many steps where others take one long one: measured, and nothing seen
        return []
    if not acting:
        if not takes_long_step(shock.kind, None, strongest):
            return []
        top, db = LONG_STEPS[shock.kind][0]
        return [
            f"{name}: leaves the marginal by its long Euler step if it acts at σ {top:g} or below, where more than "
            f"{db:g} dB do"
        ]
    long = [a for a in acting if takes_long_step(shock.kind, a.sigma, a.strength_db)]
    return [
        f"{name}: leaves the marginal by its long Euler step: {a.strength_db:.3g} dB at σ {a.sigma:.4g}, where more "
        f"than {long_step_bound(shock.kind, a.sigma):g} dB do"
        for a in long[:1]
    ]


def _known_db(shock: Shock) -> float:
    """The strength of a shock that has no place yet; 0 if it will follow from the place."""
    if shock.at != CRITICAL or shock.to is not None or shock.eta is not None:
        return 0.0
    if shock.strength_db is not None:
        return shock.strength_db
    return 0.0 if shock.kind == "restart" else DEFAULT_DB


def of_list(native: Sequence[float], sampler: Stepping = "euler") -> list[str]:
    """Warnings about the levels that the model is called at, without the closing 0."""
    count = len(native)
    found = []
    if broken := [i for i, s in enumerate(native) if math.isnan(s)]:
        found.append(
            f"the σ list is not a number at step {_places(broken)} of {count}: the clip becomes NaN; a schedule "
            "that is stretched to shift_terminal needs two steps or more, and levels below 1 at its end"
        )
    if ended := [i for i, s in enumerate(native) if s <= 0]:
        found.append(
            f"the σ list is 0 or less at step {_places(ended)} of {count}: there is no noise to remove, and where the "
            "sampler divides by σ the clip becomes NaN; leave that level out: 0 is appended to the schedule"
        )
    top = max((s for s in native if not math.isnan(s)), default=0.0)
    if top > _THOUSANDS:
        found.append(
            f"the σ list goes up to {top:g}: these look like timesteps; noise levels lie between 0 and 1, so divide "
            "them by 1,000, or the model gets levels it was never trained on"
        )
    elif top > 1 + 1e-6:
        found.append(
            f"the σ list goes up to {top:.4g}: at σ = 1 a sample is all noise, and the model was trained on nothing "
            "beyond; let the list begin at 1 or below"
        )
    # NaN is neither above nor below.
    rises = [i for i in range(1, count) if native[i] > native[i - 1]]
    if rises and (consequence := _RISING[sampler]):
        found.append(f"the σ list itself rises at step {_places(rises)}: {consequence}")
    return found


def _places(steps: Sequence[int]) -> str:
    return ", ".join(str(i) for i in steps[:8]) + ("…" if len(steps) > 8 else "")
