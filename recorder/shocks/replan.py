"""How a plan changes in the run that it is for: the critical phase was found, or somebody asked for a shock."""

from __future__ import annotations

from dataclasses import replace

from recorder.shocks.plan import Action, Plan, PlanError, spike, target
from recorder.shocks.spec import MOVES_SIGMA, Shock


def fired(made: Plan, position: int, shock: Shock, number: int, peak: float | None) -> Plan:
    """The plan once a shock that nobody had planned a place for acts on arrival at a row.

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
    if not 1 <= position < end:
        raise PlanError("no model call is left that it could act before")
    if any(set(a.shock.streams) & set(shock.streams) for a in made.at(position)):
        raise PlanError("another shock acts on arrival at the same step")
    step = made.native_step(position)
    if peak is None and any(a.step == step for a in made.actions):
        # It could not be told apart from the one before, so the run could not be repeated.
        raise PlanError("a restart has just come back to this step; ask again for the next one")
    if shock.kind == "sigma_bump" and peak is None:
        raise PlanError("a sigma_bump needs evaluations more, and the loop's length is fixed once it runs")
    sigma, before = made.sigmas[position], made.sigmas[position - 1]
    if peak is not None and shock.kind == "restart" and shock.strength_db is None and shock.to is None:
        shock_to = replace(shock, to=peak)
    else:
        shock_to = shock
    down, up = target(shock_to, sigma, before)
    rows: list[float] = []
    after = list(made.sigmas[position:end])
    if shock.kind in MOVES_SIGMA:
        rows, after = spike(shock, made.sigmas[position:end], up)
    kept = [] if peak is not None else list(made.sigmas[end:])
    here = position + (1 if shock.kind == "sigma_bump" else 0)
    action = Action(number, shock, step, here, down, up)
    later = [replace(a, position=a.position + len(rows)) if a.position >= position else a for a in made.actions]
    if shock.respace and any(a.position > position for a in later):
        raise PlanError("shocks are planned further on, and a respaced restart would move their levels")
    actions = sorted([*later, action], key=lambda a: a.position)
    sigmas = (*made.sigmas[:position], *rows, *after, *kept)
    assert len(sigmas) == len(made.sigmas)
    done = peak is not None
    return replace(
        made,
        sigmas=sigmas,
        actions=tuple(actions),
        waiting=None if done else made.waiting,
        spare=0 if done else made.spare,
    )


def given_up(made: Plan) -> Plan:
    """The plan without the shock that waited; its spare evaluations stay, as smooth steps."""
    return replace(made, waiting=None, spare=0)


def settled(shock: Shock, step: int) -> Shock:
    """The same shock with its place known: what makes a live shock repeatable."""
    return replace(shock, at=step, at_snr_db=None, respace=shock.kind == "restart")
