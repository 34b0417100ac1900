"""Plans shocks on a native schedule: which levels the model will be called at, and what happens on arrival at each.

A plan is made before a run, and changed in it by what is decided online (`at="critical"`, a shock sent live). Uses
host numbers only, so that `ltxtui plan` and the scheduler share every line of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from recorder.format import sigma_math
from recorder.shocks import plan_warnings
from recorder.shocks.action import ShockAction
from recorder.shocks.spec import CRITICAL, DEFAULT_DB, EVERY, MOVES_SIGMA, Shock


class PlanError(ValueError):
    """A shock that cannot act on this schedule; the message has the reason and what would work."""


@dataclass(frozen=True)
class Plan:
    """Levels of the model calls, without the closing 0, and the shocks among them.

    Attributes:
        native: the schedule as it would be without shocks.
        sigmas: the levels that the model is called at.
        actions: what acts where, in order.
        waiting: the number and the shock that waits for the critical phase, if there is one.
        spare: evaluations kept for it at the end of `sigmas`: smooth steps more, if it never fires.
        warnings: what a user should know before running this.
    """

    native: tuple[float, ...]
    sigmas: tuple[float, ...]
    actions: tuple[ShockAction, ...] = ()
    waiting: tuple[int, Shock] | None = None
    spare: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def evaluations(self) -> int:
        """Model evaluations of the loop: one per step. Guidance passes are not counted apart."""
        return len(self.sigmas)

    def at(self, position: int, stream: str | None = None) -> list[ShockAction]:
        """What acts on arrival at a row, on one stream or on any."""
        found = [a for a in self.actions if a.position == position]
        return [a for a in found if stream is None or stream in a.shock.streams]

    def native_step(self, position: int) -> int:
        """The native step that a row is, or begins again: rows that restarts put before it are not counted."""
        return position - sum(rows_more(a.shock) for a in self.actions if a.position < position)


@dataclass
class _Draft:
    """A plan being made, from its first step to its last."""

    native: tuple[float, ...]
    steps: list[float]
    """The native levels; a respaced restart changes those after it."""
    sigmas: list[float] = field(default_factory=list)
    actions: list[ShockAction] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def plan(
    native: Sequence[float],
    shocks: Sequence[Shock],
    stage: int | None = None,
    left_out: Collection[int] = (),
    stepping: plan_warnings.Stepping = "euler",
) -> Plan:
    """Where each shock acts on a schedule, and the σ list that results.

    Args:
        native: levels of the model calls as the scheduler has them, shifted and stretched, without the closing 0.
        shocks: in any order; those of zero strength are left out.
        stage: number of the loop in its run, counted from 1; shocks of other stages are left out.
        left_out: numbers of shocks that do not act here; the others keep their numbers, and so their noise.
        stepping: how the sampler reaches a higher level.

    Raises:
        PlanError: if one of them cannot act on this schedule.
    """
    native = [float(np.float32(s)) for s in native]
    draft = _Draft(tuple(native), list(native))
    placed: dict[int, list[tuple[int, Shock]]] = {}
    waiting: tuple[int, Shock] | None = None
    taken = {n for n, s in enumerate(shocks) if not s.is_noop and s.acts_in(stage) and n not in left_out}
    everywhere: list[tuple[int, Shock]] = []
    for number, shock in enumerate(shocks):
        if number not in taken:
            continue
        if shock.at == CRITICAL:
            if waiting is not None:
                raise PlanError("only one shock can wait for the critical phase")
            waiting = (number, shock)
        elif shock.at == EVERY:
            everywhere.append((number, shock))
        else:
            placed.setdefault(step_of(shock, native), []).append((number, shock))
    for number, shock in everywhere:
        for j in range(1, len(native)):
            if not any(set(shock.streams) & set(other.streams) for _, other in placed.get(j, [])):
                placed.setdefault(j, []).append((number, shock))
    for j in range(len(native)):
        _arrive(draft, j, placed.get(j, []))
    for number, shock in enumerate(shocks):
        if number in taken and shock.at != CRITICAL:
            draft.warnings += plan_warnings.of_shock(
                shock, [a for a in draft.actions if a.number == number], draft.native
            )
    draft.warnings += plan_warnings.of_list(draft.native, stepping)
    spare = 0
    if waiting is not None:
        if len(native) < 4:
            raise PlanError("the critical phase needs at least four steps to be seen")
        spare = rows_more(waiting[1])
        last = draft.sigmas[-1]
        draft.sigmas += [float(np.float32(last * (1 - (k + 1) / (spare + 1)))) for k in range(spare)]
        draft.warnings += plan_warnings.of_shock(waiting[1], [], draft.native)
    unique = tuple(dict.fromkeys(draft.warnings))
    return Plan(draft.native, tuple(draft.sigmas), tuple(draft.actions), waiting, spare, unique)


def step_of(shock: Shock, native: Sequence[float]) -> int:
    """The native step that a shock acts on arrival at: the first with σ_j ≤ at, or the step named.

    Raises:
        PlanError: unless 1 ≤ j ≤ N−1, or if the shock has no place.
    """
    last = len(native) - 1
    at = sigma_math.of_snr_db(shock.at_snr_db) if shock.at_snr_db is not None else shock.at
    if at is None or isinstance(at, str):
        raise PlanError(f"{shock.kind} needs a place: at as a σ, a step, or at_snr_db")
    if isinstance(at, int):
        if not 1 <= at <= last:
            raise PlanError(
                f"{shock.kind} at step {at} is beyond the schedule, which has steps 1 to {last} to arrive at"
            )
        return at
    # A level that is named as written, such as 0.6, is 0.6000000238 in the scheduler.
    place = float(np.float32(at))
    found = next((j for j, sigma in enumerate(native) if sigma <= place), None)
    if found is None or found == 0:
        side = "begins at" if found == 0 else "ends at"
        edge = native[0] if found == 0 else native[-1]
        raise PlanError(
            f"{shock.kind} at σ {at:.4g} is beyond the schedule, which {side} σ {edge:.4g}; "
            f"choose a σ from {native[-1]:.4g} to below {native[0]:.4g}"
        )
    return found


def target(shock: Shock, sigma: float, before: float) -> tuple[float, float]:
    """How far down and how far up a shock goes on arrival at σ, coming from the level `before`.

    Raises:
        PlanError: if its target is on the wrong side.
    """
    # As the scheduler will hold them, so that what is planned is what is recorded, to the last bit.
    down, up = (float(np.float32(level)) for level in _target(shock, sigma, before))
    if down > sigma:
        raise PlanError(f"{shock.kind} goes down from σ {sigma:.4g}, so to={down:g} must lie below it")
    if up < sigma:
        raise PlanError(f"{shock.kind} goes up from σ {sigma:.4g}, so to={up:g} must lie above it")
    return down, up


def _target(shock: Shock, sigma: float, before: float) -> tuple[float, float]:
    if shock.kind == "predict_perturb":
        return 0.0, sigma
    if shock.kind in ("renoise", "additive"):
        if shock.eta is not None:
            down = sigma_math.ancestral_down(before, sigma, shock.eta) if before > sigma else sigma
        else:
            down = shock.to if shock.to is not None else sigma_math.raised(sigma, -_db(shock))
        return down, sigma
    return sigma, shock.to if shock.to is not None else sigma_math.raised(sigma, _db(shock))


def _db(shock: Shock) -> float:
    return DEFAULT_DB if shock.strength_db is None else shock.strength_db


def rows_more(shock: Shock) -> int:
    """Model evaluations that a shock adds: a restart visits σ_hi, a bump σ_hi and then σ_j again."""
    if shock.is_noop:
        return 0
    return {"restart": 0 if shock.respace else 1, "sigma_bump": 2}.get(shock.kind, 0)


def _arrive(draft: _Draft, j: int, here: list[tuple[int, Shock]]) -> None:
    """Add the rows of native step j, with the shocks that act there."""
    sigma = draft.steps[j]
    moving = [(n, s) for n, s in here if s.kind in MOVES_SIGMA]
    staying = [(n, s) for n, s in here if s.kind not in MOVES_SIGMA]
    streams = [name for _, s in staying for name in s.streams]
    clash = (moving and staying) or len(set(streams)) < len(streams)
    if clash or (len(moving) > 1 and any(s.kind == "sigma_bump" or s.respace for _, s in moving)):
        names = " and ".join(s.describe() for _, s in here)
        raise PlanError(f"{names} would act on arrival at the same step, {j} (σ {sigma:.4g}); move one of them")
    before = draft.sigmas[-1] if draft.sigmas else sigma
    for number, shock in staying:
        down, up = target(shock, sigma, before)
        draft.actions.append(ShockAction(number, shock, j, len(draft.sigmas), down, up))
    for number, shock in moving:
        down, up = target(shock, sigma, before)
        rows, after = spike(shock, draft.steps[j:], up)
        here_at = len(draft.sigmas) + (1 if shock.kind == "sigma_bump" else 0)
        draft.actions.append(ShockAction(number, shock, j, here_at, down, up))
        draft.sigmas += rows
        draft.steps[j:] = after
        sigma = draft.steps[j]
    draft.sigmas.append(sigma)


def spike(shock: Shock, remaining: Sequence[float], up: float) -> tuple[list[float], list[float]]:
    """Rows that a restart or a bump puts before the remaining levels, and what those then are.

    Args:
        shock: a restart or a sigma_bump.
        remaining: native levels from the step that is arrived at.
        up: the level gone up to.
    """
    if shock.kind == "sigma_bump":
        return [remaining[0], up], list(remaining)
    if shock.respace:
        return [], respaced(remaining, up)
    return [up], list(remaining)


def respaced(remaining: Sequence[float], up: float) -> list[float]:
    """As many levels as there are, from `up` down, spread in the index as the given ones and the closing 0 are.

    The schedule is read as a line through its levels; above its first one it continues straight in log odds.
    """
    count = len(remaining)
    line = np.array([*remaining, 0.0])
    if up <= line[0] or count == 1:
        return [up, *remaining[1:]]
    if line[1] > 0:
        slope = sigma_math.strength_db(float(line[1]), float(line[0])) if line[0] < 1 else 1.0
    else:
        slope = 1.0
    start = -sigma_math.strength_db(float(line[0]), up) / max(slope, 1e-6)
    start = max(start, -float(count))
    places = start + (count - start) * np.arange(count) / count
    found = np.interp(places, np.arange(count + 1), line)
    between = places < 0
    share = np.where(between, places / start, 0.0)
    rising = [sigma_math.raised(float(line[0]), f * sigma_math.strength_db(float(line[0]), up)) for f in share]
    return [up, *(float(np.float32(r if b else v)) for r, b, v in zip(rising[1:], between[1:], found[1:], strict=True))]
