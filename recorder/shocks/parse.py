"""Shocks as text, as on a command line: `restart:sigma=0.93,db=3`. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from recorder.format.numerals import real, whole
from recorder.shocks import schedules
from recorder.shocks.spec import CRITICAL, EVERY, MAX_LIST, Kind, Shock, require

_KEYS = "sigma or at, step, snr, db, to, eta, shape, streams, frames, respace, seed, stage"


def parse_shock(text: str) -> Shock:
    """One shock from `kind:key=value,key=value`, such as `restart:sigma=0.93,db=3`.

    `sigma=0.93`, `step=12`, `snr=-20` or `at=critical` set the place; `at=` takes all of them, an integer is a step.
    `frames=2-4+7` and `shape=0.1-0.3` are ranges, `streams=video+audio` is a list.

    Raises:
        ValueError: naming what could not be read.
    """
    found = parse_shocks(text)
    require(len(found) == 1, f"{text!r} means {len(found)} shocks; one is wanted here")
    return found[0]


def parse_shocks(text: str) -> list[Shock]:
    """One or several shocks from text: as `parse_shock`, and `ancestral:eta=0.5`, `spikes:at=0.95+0.9+0.8,db=3`.

    Raises:
        ValueError: naming what could not be read.
    """
    kind, _, rest = text.strip().partition(":")
    given: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in rest.split(","))):
        key, equals, value = part.partition("=")
        key, value = key.strip(), value.strip()
        if not equals:
            require(key in (CRITICAL, EVERY, "respace"), f"{part!r} in {text!r} is not key=value; keys are {_KEYS}")
            key, value = ("respace", "yes") if key == "respace" else ("at", key)
        name, read = _read(key, value, text, several=kind == "spikes")
        require(name not in given, f"{text!r} gives {name} twice")
        given[name] = read
    try:
        if kind == "ancestral":
            return schedules.ancestral(**given)
        if kind == "spikes":
            return schedules.spikes(given.pop("at", ()), **given)
        return [Shock(kind=cast(Kind, kind), **given)]
    except TypeError as error:
        raise ValueError(f"{text!r}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from error


def _read(key: str, value: str, text: str, several: bool) -> tuple[str, Any]:
    try:
        match key:
            case "at":
                places = [_place(v) for v in value.split("+")]
                return "at", places if several else places[0] if len(places) == 1 else _many(value)
            case "sigma":
                return "at", [real(v) for v in value.split("+")] if several else real(value)
            case "step":
                return "at", whole(value)
            case "snr" | "at_snr_db":
                return "at_snr_db", real(value)
            case "db" | "strength_db":
                return "strength_db", real(value)
            case "to" | "eta":
                return key, real(value)
            case "shape":
                low, dash, high = value.partition("-")
                return key, (real(low), real(high)) if dash else value
            case "streams":
                return key, tuple(value.split("+"))
            case "frames":
                return key, tuple(_ranges(value))
            case "respace":
                require(value in ("yes", "no"), "respace is yes or no")
                return key, value == "yes"
            case "seed" | "stage":
                return key, whole(value)
            case "kind" if several:
                return key, value
    except ValueError as error:
        raise ValueError(f"{key}={value} in {text!r} cannot be read: {error}") from error
    raise ValueError(f"{key!r} in {text!r} is unknown; keys are {_KEYS}")


def _many(value: str) -> Any:
    raise ValueError(f"{value} names several places; use spikes:at={value}")


def _place(value: str) -> float | int | str:
    if value in (CRITICAL, EVERY):
        return value
    return whole(value) if value.lstrip("+-").isdecimal() else real(value)


def _ranges(value: str) -> Iterable[int]:
    for part in value.split("+"):
        first, dash, last = part.partition("-")
        end = whole(last) if dash else whole(first)
        require(whole(first) <= end < MAX_LIST, f"{part} is not a range of frames")
        yield from range(whole(first), end + 1)
