"""Arms of a sweep from the text of a grid: which shocks, under which name, against which control. Imports no torch."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from recorder.format import protocol, sigma_math
from recorder.shocks.parse import parse_shocks
from recorder.shocks.plan import rows_more
from recorder.shocks.plan_warnings import COARSE_DB, takes_long_step
from recorder.shocks.spec import CRITICAL, DEFAULT_DB, EVERY, KINDS, Shock

SMOOTH: Final = "smooth"
"""The baseline's name; `smooth+k` is the same with k steps more."""
MAX_ARMS: Final = 2000
_PLACES: Final = ("at", "sigma", "step", "snr")
_STRENGTHS: Final = ("db", "to", "eta")
_KEYS: Final = ("kind", *_PLACES, *_STRENGTHS, "shape", "streams", "frames", "respace", "stage")
NO_PLACE: Final = "it needs a place: at=0.9, step=12, at=critical …"
_IGNORED: Final[dict[str, tuple[str, ...]]] = {
    "predict_perturb": _STRENGTHS,
    "ancestral": (*_PLACES, "db", "to", "respace"),
}
"""Keys that mean nothing to a kind, so that their values make no separate arms."""


@dataclass(frozen=True)
class Arm:
    """One way of sampling: shocks, or smooth with some steps more.

    Attributes:
        name: short and stable, such as `restart@0.9+6dB`.
        shocks: with the seeds they have in the arm's text; a run adds its own seed to them.
        more_steps: of a control: steps of the native schedule beyond those asked for.
        in_stage: of a control: the stage of a recipe that has these steps, counted from 1.
    """

    name: str
    shocks: tuple[Shock, ...] = ()
    more_steps: int = 0
    in_stage: int = 1

    @property
    def is_control(self) -> bool:
        return not self.shocks

    @property
    def more_evaluations(self) -> int:
        """Model evaluations beyond those of plain smooth sampling."""
        return self.more_steps + sum(rows_more(s) for s in self.shocks)

    @property
    def control(self) -> str | None:
        """The arm that this one is compared with: smooth at equal evaluations; of `smooth+k`, plain smooth."""
        if self.is_control:
            return SMOOTH if self.more_steps else None
        return smooth(self.more_evaluations, self.stage).name

    @property
    def stage(self) -> int:
        """The stage that it changes, counted from 1: that of its shocks, or of its steps."""
        return self.in_stage if self.is_control else next((s.stage for s in self.shocks if s.stage), 1)

    @property
    def off_marginal(self) -> bool:
        """True if the sample is not distributed as the model expects after one of its shocks."""
        return any(leaves_marginal(s) for s in self.shocks)

    @property
    def long_step(self) -> bool:
        """True if one of its shocks leaves the marginal by its long Euler step, or may where it is not known where."""
        return any(steps_long(s) for s in self.shocks)

    def shocks_of(self, seed: int) -> list[Shock]:
        """Its shocks in the run with this seed: noise differs from seed to seed, and arms of one seed share it."""
        return [replace(s, seed=s.seed + seed) for s in self.shocks]

    def as_dict(self) -> dict[str, Any]:
        """JSON-like form; `from_dict` reads it."""
        found = {"name": self.name, "shocks": [s.as_dict() for s in self.shocks], "more_steps": self.more_steps}
        return found if self.in_stage == 1 else {**found, "in_stage": self.in_stage}

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Arm:
        """From what `as_dict` gave. Raises ValueError, KeyError or TypeError if it is something else."""
        return cls(
            str(given["name"]),
            tuple(Shock.from_dict(s) for s in given["shocks"]),
            int(given.get("more_steps", 0)),
            int(given.get("in_stage", 1)),
        )


def smooth(more_steps: int = 0, in_stage: int = 1) -> Arm:
    """A control: the native schedule, with some steps more in a stage."""
    if not more_steps:
        return Arm(SMOOTH)
    where = f",stage{in_stage}" if in_stage > 1 else ""
    return Arm(f"{SMOOTH}+{more_steps}{where}", (), more_steps, in_stage)


def leaves_marginal(shock: Shock) -> bool:
    """True for the naive kinds, and for an up-step without noise that is coarse or whose size is not known before."""
    if shock.kind in ("additive", "predict_perturb"):
        return True
    if shock.kind != "sigma_bump":
        return False
    if shock.to is not None:
        # It begins at the first native level at or below the place, so this is the least it can be.
        known = isinstance(shock.at, float) and shock.to > shock.at
        return not known or sigma_math.strength_db(float(shock.at or 0), shock.to) > COARSE_DB
    return (DEFAULT_DB if shock.strength_db is None else shock.strength_db) > COARSE_DB


def steps_long(shock: Shock) -> bool:
    """Whether a shock is beyond the measured bound of what one Euler step can be; False if its size is not known."""
    if shock.at == EVERY or shock.respace or shock.eta is not None:
        return False
    sigma = sigma_math.of_snr_db(shock.at_snr_db) if shock.at_snr_db is not None else shock.at
    place = sigma if isinstance(sigma, float) else None
    if shock.to is not None:
        if place is None:
            return False
        strength = sigma_math.strength_db(min(place, shock.to), max(place, shock.to))
    elif shock.strength_db is None and shock.kind == "restart" and shock.at == CRITICAL:
        return False
    else:
        strength = DEFAULT_DB if shock.strength_db is None else shock.strength_db
    return takes_long_step(shock.kind, place, strength)


def with_controls(arms: Iterable[Arm]) -> tuple[Arm, ...]:
    """The smooth baseline, `smooth+k` for every number of extra evaluations that an arm needs, then the arms."""
    kept = tuple(a for a in arms if not a.is_control)
    more = sorted({(a.stage, a.more_evaluations) for a in kept if a.more_evaluations})
    return (smooth(), *(smooth(k, stage) for stage, k in more), *kept)


def arms_of(grids: Sequence[str], shocks: Sequence[str]) -> tuple[tuple[Arm, ...], tuple[str, ...]]:
    """Arms of all grids and single shocks, each once, without controls; and one line per thing that was left out.

    Args:
        grids: texts such as `kind=restart,renoise at=0.95,0.9 db=3,6`: the product of all values.
        shocks: texts as `parse_shocks` reads them, one arm each; several joined by `;` make one arm.

    Raises:
        ValueError: naming what could not be read, or if nothing is left.
    """
    notes: dict[tuple[str, str], int] = {}
    found: list[tuple[Shock, ...]] = []
    for text in grids:
        before = len(found)
        found += _product(text, notes)
        if len(found) == before:
            reason = next((f"{kind}: {why}" for kind, why in notes), "it names no shock")
            raise ValueError(f"the grid {text!r} has no arm that makes sense ({reason})")
    for text in shocks:
        single = [_explicit(s) for part in text.split(";") for s in parse_shocks(part)]
        if any(s.at is None and s.at_snr_db is None for s in single):
            raise ValueError(f"{text!r}: {NO_PLACE}")
        if any(s.is_noop for s in single):
            raise ValueError(f"{text!r} has a shock of zero strength; the smooth baseline is always there")
        found.append(tuple(single))
    unique = {json.dumps([s.as_dict() for s in shocks_], sort_keys=True): shocks_ for shocks_ in found}
    if len(unique) > MAX_ARMS:
        raise ValueError(f"{len(unique)} arms are more than {MAX_ARMS}; make the grid smaller")
    arms: dict[str, Arm] = {}
    for shocks_ in unique.values():
        name = base = name_of(shocks_)
        for number in itertools.count(2):
            if name not in arms:
                break
            name = f"{base}~{number}"
        arms[name] = Arm(name, shocks_)
    lines = tuple(f"{kind}: {count} combination{'s' * (count > 1)} {why}" for (kind, why), count in notes.items())
    return tuple(arms.values()), lines


def _product(text: str, notes: dict[tuple[str, str], int]) -> list[tuple[Shock, ...]]:
    """The shocks of every combination of a grid's values that makes sense; what does not is counted in `notes`."""
    axes = _axes(text)
    found = []
    for kind in _kinds(axes.pop("kind", [])):
        ignored = [key for key in axes if key in _IGNORED.get(kind, ())]
        own = {key: values for key, values in axes.items() if key not in ignored}
        if (more := _count(axes) - _count(own)) > 0:
            notes[kind, f"left out: it takes no {' or '.join(ignored)}"] = more
        for shock in _combinations(kind, own):
            try:
                found.append(_sensible(shock))
            except ValueError as error:
                why = f"left out: {error.__cause__ or error}"
                notes[kind, why] = notes.get((kind, why), 0) + 1
    return found


def _axes(text: str) -> dict[str, list[str]]:
    """The values of each key of a grid, as written. Raises ValueError naming what could not be read."""
    axes: dict[str, list[str]] = {}
    for word in text.split():
        key, equals, values = word.partition("=")
        listed = [v for v in values.split(",") if v]
        if not equals or not listed:
            raise ValueError(f"{word!r} in the grid is not of the form key=value,value; keys are {', '.join(_KEYS)}")
        if key not in _KEYS:
            seeds = "; a shock's noise follows the run's seed" if key == "seed" else ""
            raise ValueError(f"{key!r} in the grid is unknown; keys are {', '.join(_KEYS)}{seeds}")
        if key in axes:
            raise ValueError(f"the grid gives {key} twice; list its values with commas")
        axes[key] = listed
    return axes


def _kinds(listed: list[str]) -> list[str]:
    """The kinds of a grid. Raises ValueError if there is none, or an unknown one."""
    unknown = [k for k in listed if k not in (*KINDS, "ancestral", "spikes")]
    if not listed or unknown:
        what = f", not {', '.join(unknown)}" if unknown else ""
        raise ValueError(f"a grid needs kind= with some of {', '.join(KINDS)}, ancestral, spikes{what}")
    return listed


def _combinations(kind: str, axes: dict[str, list[str]]) -> Iterator[str]:
    """The text of a shock for every combination of the values of all axes, the last axis fastest."""
    for chosen in itertools.product(*([f"{key}={value}" for value in values] for key, values in axes.items())):
        yield f"{kind}:{','.join(chosen)}"


def _sensible(text: str) -> tuple[Shock, ...]:
    """The shocks of one arm. Raises ValueError if they are invalid, have no place, or do nothing."""
    shocks = tuple(_explicit(s) for s in parse_shocks(text))
    if any(s.at is None and s.at_snr_db is None for s in shocks):
        raise ValueError(NO_PLACE)
    if any(s.is_noop for s in shocks):
        raise ValueError("zero strength is the smooth baseline")
    return shocks


def _count(axes: dict[str, list[str]]) -> int:
    return math.prod(map(len, axes.values()))


def _explicit(shock: Shock) -> Shock:
    """The same with its default strength made explicit, so that two ways of writing it are one arm."""
    explicit = any(v is not None for v in (shock.strength_db, shock.to, shock.eta))
    to_the_peak = shock.kind == "restart" and shock.at == CRITICAL
    if explicit or to_the_peak or shock.kind == "predict_perturb":
        return shock
    return replace(shock, strength_db=DEFAULT_DB)


def name_of(shocks: Sequence[Shock]) -> str:
    """Such as `restart@0.9+6dB`; equal shocks at several places are `restart@0.95/0.9+6dB`."""
    first = shocks[0]
    alike = [replace(s, at=first.at, at_snr_db=first.at_snr_db, seed=first.seed) == first for s in shocks]
    if all(alike):
        rest = f"{_strength(first)}{_where(first)}"
        if first.at == EVERY and first.kind == "renoise" and first.eta is not None:
            return f"ancestral{rest}"
        return f"{first.kind}@{'/'.join(_place(s) for s in shocks)}{rest}"
    return "&".join(name_of([s]) for s in shocks)


def _place(shock: Shock) -> str:
    if shock.at_snr_db is not None:
        return f"{shock.at_snr_db:g}dB-SNR"
    if isinstance(shock.at, str):
        return EVERY if shock.at == EVERY else CRITICAL
    return f"step{shock.at}" if isinstance(shock.at, int) else f"{shock.at:g}"


def _strength(shock: Shock) -> str:
    if shock.to is not None:
        return f",to{shock.to:g}"
    if shock.eta is not None:
        return f",eta{shock.eta:g}"
    return "" if shock.strength_db is None else f"+{shock.strength_db:g}dB"


def _where(shock: Shock) -> str:
    shape = shock.shape if isinstance(shock.shape, str) else f"{shock.shape[0]:g}-{shock.shape[1]:g}"
    parts = [] if shape == "white" else [shape]
    if len(shock.streams) < len(protocol.STREAMS):
        parts.append(shock.streams[0])
    if shock.frames is not None:
        parts.append("frames" + "+".join(map(str, shock.frames)))
    if shock.respace:
        parts.append("respaced")
    if shock.stage is not None:
        parts.append(f"stage{shock.stage}")
    return "".join(f",{p}" for p in parts)
