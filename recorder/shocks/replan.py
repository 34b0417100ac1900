"""How a plan changes in the run that it is for: the critical phase was found, or a shock was sent to it."""

from __future__ import annotations

from dataclasses import replace

from recorder.shocks.action import ShockAction
from recorder.shocks.plan import Plan, PlanError, spike, target
from recorder.shocks.spec import MOVES_SIGMA, Shock


def fired(made: Plan, position: int, shock: Shock, number: int, peak: float | None) -> Plan:
    """The plan once a shock without a planned place acts on arrival at a row.

    Args:
        made: the plan so far; its spare evaluations are for the shock that waits for the critical phase.
        position: the row that is arrived at next.
        shock: what is to act.
        number: its number among the shocks.
        peak: the σ at which the critical phase was found, if that is why.

    Raises:
        PlanError: if it cannot act there.
    """
    end = len(made.sigmas) - made.spare
    if refusal := _refusal(made, position, shock, live=peak is None):
        raise PlanError(refusal)
    back_up = peak is not None and shock.kind == "restart" and shock.strength_db is None and shock.to is None
    sized = replace(shock, to=peak) if back_up else shock
    down, up = target(sized, made.sigmas[position], made.sigmas[position - 1])
    rows: list[float] = []
    after = list(made.sigmas[position:end])
    if shock.kind in MOVES_SIGMA:
        rows, after = spike(shock, after, up)
    # The rows of a shock that waited are the spare ones; a live one adds none.
    kept = list(made.sigmas[end:]) if peak is None else []
    here = position + (1 if shock.kind == "sigma_bump" else 0)
    action = ShockAction(number, shock, made.native_step(position), here, down, up)
    later = [replace(a, position=a.position + len(rows)) if a.position >= position else a for a in made.actions]
    if shock.respace and any(a.position > position for a in later):
        raise PlanError("shocks are planned further on, and a respaced restart would move their levels")
    sigmas = (*made.sigmas[:position], *rows, *after, *kept)
    assert len(sigmas) == len(made.sigmas)
    changed = replace(made, sigmas=sigmas, actions=tuple(sorted([*later, action], key=lambda a: a.position)))
    return changed if peak is None else given_up(changed)


def _refusal(made: Plan, position: int, shock: Shock, *, live: bool) -> str:
    """Why a shock cannot act on arrival at a row; empty if it can. `live`: it was sent to the running loop."""
    if not 1 <= position < len(made.sigmas) - made.spare:
        return "no model call is left that it could act before"
    if any(set(a.shock.streams) & set(shock.streams) for a in made.at(position)):
        return "another shock acts on arrival at the same step"
    if live and any(a.step == made.native_step(position) for a in made.actions):
        # It could not be distinguished from the one before, so the run could not be repeated.
        return "a restart has just come back to this step; ask again for the next one"
    if live and shock.kind == "sigma_bump":
        return "a sigma_bump needs more evaluations, and the length of a loop is fixed once it runs"
    return ""


def given_up(made: Plan) -> Plan:
    """The plan without the shock that waited; its spare evaluations stay, as smooth steps."""
    return replace(made, waiting=None, spare=0)


def settled(shock: Shock, step: int) -> Shock:
    """The same shock with its place known: what makes a live shock repeatable."""
    return replace(shock, at=step, at_snr_db=None, respace=shock.kind == "restart")
