"""What to know before running a plan: off the marginal, no fresh noise, beyond the schedule, over the churn cap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recorder.shocks.spec import CHURN_CAP_DB, CRITICAL, DEFAULT_DB, KEEPS_MARGINAL, Shock

if TYPE_CHECKING:
    from recorder.shocks.plan import Action

COARSE_DB = 1.0
"""An up-step of Euler's that is larger than this is called coarse: it leaves the marginal for all to see."""


def of_shock(shock: Shock, acting: Sequence[Action], native: Sequence[float]) -> list[str]:
    """What to say of one shock, with the places it acts at; none if it waits for the critical phase."""
    found = []
    name = shock.describe()
    if shock.kind == "additive":
        found.append(f"{name}: off the marginal: the sample is noisier than the model is told")
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
    if shock.kind == "sigma_bump" and strongest > COARSE_DB:
        found.append(f"{name}: off the marginal: an Euler step of {strongest:.3g} dB upwards is coarse")
    return found


def _known_db(shock: Shock) -> float:
    """The strength of a shock that has no place yet; 0 if it will follow from the place."""
    if shock.at != CRITICAL or shock.to is not None or shock.eta is not None:
        return 0.0
    if shock.strength_db is not None:
        return shock.strength_db
    return 0.0 if shock.kind == "restart" else DEFAULT_DB


def of_list(native: Sequence[float]) -> list[str]:
    """What to say of a σ list that rises by itself."""
    rises = [i for i in range(1, len(native)) if native[i] > native[i - 1]]
    if not rises:
        return []
    where = ", ".join(str(i) for i in rises[:8]) + ("…" if len(rises) > 8 else "")
    return [f"the σ list itself rises at step {where}: no fresh noise there, Euler re-noises with the predicted ε"]
