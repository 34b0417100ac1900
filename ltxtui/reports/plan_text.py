"""A planned schedule as text and as JSON: the σ curve, a table of its shocks, and warnings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ltxtui.plot import scales
from ltxtui.plot.line_plot import GUTTER, columns, curve_text
from ltxtui.plot.model import Curve, Mark
from ltxtui.plot.text import clean, number, to_ascii
from recorder.format import sigma_math
from recorder.format.numerals import counted
from recorder.shocks.action import ShockAction
from recorder.shocks.plan import Plan
from recorder.shocks.plan_warnings import COARSE_DB, takes_long_step
from recorder.shocks.spec import EVERY, KEEPS_MARGINAL

if TYPE_CHECKING:
    from recorder.recipes.native_schedule import Native

_ROWS: Final = 16
_MANY: Final = 8
"""A shock that acts more often than this is shown by its first and last places."""
_HEAD: Final = ("#", "kind", "row", "step", "σ down", "σ up", "dB", "SNR down", "SNR up", "marginal")
_LEGEND: Final = (
    "   row: evaluation that it ends; step: arrived at, of the schedule without shocks; SNR: of the schedule, in dB"
)


Stages = Sequence[tuple["Native", Plan]]
"""The schedule of each stage of a generation, and the plan on it."""


def text(
    model: str,
    stages: Stages,
    width: int,
    *,
    ascii_only: bool = False,
    paint: Callable[[str, str], str] | None = None,
) -> str:
    """Everything for a terminal, `width` columns wide.

    Args:
        model: name of the model.
        stages: of the generation, drawn as one curve.
        width: of the plot.
        ascii_only: no other character than ASCII.
        paint: gives a piece of the plot its colour by its role.
    """

    def plain(line: str) -> str:
        return to_ascii(line) if ascii_only else line

    plan = joined(stages)
    head = [*_schedules(clean(model, 200), stages), _evaluations(plan)]
    lines = [
        *map(plain, head),
        "",
        _curve(plan, width, ascii_only, paint),
        plain(_under_the_curve(stages, plan, width)),
    ]
    if plan.actions:
        lines += ["", *_table(plan, plain), plain(_LEGEND)]
    for _, each in stages:
        if each.waiting is not None:
            lines += ["", *map(plain, _waiting(each))]
    if plan.warnings:
        lines += ["", *(plain(f"warning: {warning}") for warning in plan.warnings)]
    return "\n".join(line.rstrip() for line in lines)


def as_json(model: str, stages: Stages) -> dict[str, Any]:
    """The same as plain data; an infinite SNR or strength is None. A recipe has its stages under `stages`."""
    if len(stages) == 1:
        return _stage_as_json(model, *stages[0])
    return {
        "model": model,
        "native_evaluations": sum(len(plan.native) for _, plan in stages),
        "evaluations": sum(plan.evaluations for _, plan in stages),
        "stages": [_stage_as_json(model, native, plan) for native, plan in stages],
    }


def joined(stages: Stages) -> Plan:
    """The plans of all stages as one, whose rows and steps go on from stage to stage."""
    if len(stages) == 1:
        return stages[0][1]
    native: list[float] = []
    sigmas: list[float] = []
    actions: list[ShockAction] = []
    for _, plan in stages:
        actions += (replace(a, step=a.step + len(native), position=a.position + len(sigmas)) for a in plan.actions)
        native += plan.native
        sigmas += plan.sigmas
    warnings = tuple(dict.fromkeys(warning for _, plan in stages for warning in plan.warnings))
    spare = sum(plan.spare for _, plan in stages)
    return Plan(tuple(native), tuple(sigmas), tuple(actions), None, spare, warnings)


def _stage_as_json(model: str, native: Native, plan: Plan) -> dict[str, Any]:
    waiting = None
    if plan.waiting is not None:
        index, shock = plan.waiting
        waiting = {"number": index, "shock": shock.as_dict(), "spare_evaluations": plan.spare}
    return {
        "model": model,
        "size": None if native.size is None else dict(zip(("height", "width", "frames"), native.size, strict=True)),
        "tokens": native.tokens,
        "native": list(plan.native),
        "sigmas": list(plan.sigmas),
        "native_evaluations": len(plan.native),
        "evaluations": plan.evaluations,
        "shocks": [
            {
                **action.as_dict(),
                "snr_down_db": _finite(sigma_math.snr_db(action.sigma_down)),
                "snr_up_db": _finite(sigma_math.snr_db(action.sigma_up)),
                "snr_db": _finite(sigma_math.snr_db(action.sigma_up)),
                "marginal": marginal(action),
                "text": action.describe(),
            }
            for action in plan.actions
        ],
        "waiting": waiting,
        "warnings": list(plan.warnings),
    }


def marginal(action: ShockAction) -> str:
    """Whether the sample is distributed as the model expects: `on`, `in part`, `nearly`, `long step` or `off`."""
    shock = action.shock
    one_step = shock.at != EVERY and not shock.respace
    if one_step and takes_long_step(shock.kind, action.sigma, action.strength_db):
        return "long step"
    if shock.kind in KEEPS_MARGINAL:
        # Where no fresh noise goes, Euler re-noises with the predicted ε.
        return "in part" if shock.is_shaped else "on"
    if shock.kind == "sigma_bump" and action.strength_db <= COARSE_DB:
        return "nearly"
    return "off"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _schedules(model: str, stages: Stages) -> Iterator[str]:
    if len(stages) == 1:
        yield _schedule(model, stages[0][0])
        return
    for stage, (native, _) in enumerate(stages, start=1):
        yield f"stage {stage}: {_schedule(model, native)}, σ {native.sigmas[0]:.4g} to {native.sigmas[-1]:.4g}"


def _schedule(model: str, native: Native) -> str:
    count = len(native.sigmas)
    if native.grid is None or native.size is None:
        return f"{counted(count, 'explicit noise level')}, used unchanged"
    height, width, frames = native.size
    grid = "×".join(map(str, native.grid))
    clip = f"{width}×{height}, {counted(frames, 'frame')}: {grid} = {counted(native.tokens or 0, 'token')}"
    return f"{model}: {counted(count, 'step')} for {clip}"


def _evaluations(plan: Plan) -> str:
    more = plan.evaluations - len(plan.native)
    against = f"{more} more than the {len(plan.native)} without shocks" if more else "as many as without shocks"
    kept = f", {plan.spare} of them kept for the critical phase" if plan.spare else ""
    return f"{counted(plan.evaluations, 'model evaluation')}, {against}{kept}"


# -- the curve


def _substeps(plan: Plan) -> np.ndarray:
    """σ with a place between any two model evaluations, where a shock shows how far down the sample goes."""
    sigmas = np.array(plan.sigmas)
    drawn = np.empty(max(0, 2 * len(sigmas) - 1))
    drawn[::2] = sigmas
    drawn[1::2] = (sigmas[1:] + sigmas[:-1]) / 2
    for action in plan.actions:
        drawn[2 * action.position - 1] = action.reaches
    return drawn


def _curve(plan: Plan, width: int, ascii_only: bool, paint: Callable[[str, str], str] | None) -> str:
    drawn = _substeps(plan)
    labels = [str(i // 2) if i % 2 == 0 else "" for i in range(len(drawn))]
    curves = [Curve("planned σ", drawn, Mark.FIRST)]
    if plan.sigmas != plan.native:
        places = np.arange(2 * len(plan.native) - 1) / 2
        smooth = np.interp(places, np.arange(len(plan.native)), plan.native)
        curves.append(Curve("without shocks", smooth, Mark.SECOND))
    labels += [str(i // 2) if i % 2 == 0 else "" for i in range(len(labels), 2 * len(plan.native) - 1)]
    return curve_text(curves, width, _ROWS, ascii_only=ascii_only, labels=labels, paint=paint)


def _under_the_curve(stages: Stages, plan: Plan, width: int) -> str:
    """The shocks' numbers below the places they act at, what the axis is, and where each stage begins."""
    steps = max(2 * len(plan.sigmas) - 1, 2 * len(plan.native) - 1)
    line = [" "] * width
    for action in plan.actions:
        at = GUTTER + scales.column(2 * action.position - 1, steps, columns(width))
        line[at] = str(action.number) if action.number < 10 else "↑"
    under = "".join(line).rstrip()
    name = f"{'shocks' if under else '':>{GUTTER - 1}}"
    axis = " " * GUTTER + "model evaluation"
    if len(stages) > 1:
        row, first = list(" " * width), 0
        for stage, (_, each) in enumerate(stages, start=1):
            at = GUTTER + scales.column(2 * first, steps, columns(width))
            mark = f"└ stage {stage}"
            row[at : at + len(mark)] = mark
            first += each.evaluations
        axis = f"{''.join(row).rstrip()}\n{axis}"
    return f"{axis}\n{name}{under[len(name) :]}" if under else axis


# -- the table


def _table(plan: Plan, plain: Callable[[str], str]) -> Iterator[str]:
    rows = [_HEAD, *_rows(plan.actions)]
    cells = [[plain(cell) for cell in row] for row in rows]
    # The mark of places left out is not a row of cells.
    widths = [max(len(row[i]) for row in cells if len(row) > 1) for i in range(len(_HEAD))]
    for row in cells:
        if len(row) == 1:
            yield row[0]
            continue
        padded = [
            c.ljust(w) if i in (1, len(_HEAD) - 1) else c.rjust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(padded)


def _rows(actions: Sequence[ShockAction]) -> Iterator[Sequence[str]]:
    for _, group in groupby(actions, key=lambda a: a.number):
        same = list(group)
        left_out = len(same) - 3
        if len(same) <= _MANY:
            yield from map(_row, same)
            continue
        yield from map(_row, same[:2])
        yield (f"   … {left_out} more place{'s' * (left_out != 1)} …",)
        yield _row(same[-1])


def _row(action: ShockAction) -> Sequence[str]:
    db, down = action.strength_db, action.sigma_down
    snr_down = sigma_math.snr_db(down)
    return (
        str(action.number),
        action.shock.kind,
        str(action.position - 1),
        str(action.step),
        f"{down:.4f}",
        f"{action.sigma_up:.4f}",
        f"+{db:.2f}" if math.isfinite(db) else "–",
        _db(snr_down),
        _db(sigma_math.snr_db(action.sigma_up)),
        marginal(action),
    )


def _db(value: float) -> str:
    return f"{value if abs(value) >= 0.005 else 0.0:.2f}" if math.isfinite(value) else number(value)


def _waiting(plan: Plan) -> Iterator[str]:
    assert plan.waiting is not None
    index, shock = plan.waiting
    yield f"{index}  {shock.describe()}: decided in the run, once a peak of the change of x0 stands out"
    if plan.spare:
        many = f"{plan.spare} evaluations are" if plan.spare > 1 else "1 evaluation is"
        yield f"   {many} kept for it, and spent on smooth steps at the end if no peak is found"
    else:
        yield "   it adds no evaluations; without a peak it does not act, and the run reports that"
