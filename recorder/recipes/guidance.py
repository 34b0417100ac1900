"""Guidance values by name, each constant or by step or level: `3`, `4,4,1`, `4@0-9,1`, `4@1.0-0.9,1`. No torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from recorder.format.numerals import real, whole

ARGUMENTS: Final[dict[str, str]] = {
    "cfg": "guidance_scale",
    "audio_cfg": "audio_guidance_scale",
    "stg": "stg_scale",
    "audio_stg": "audio_stg_scale",
    "modality": "modality_scale",
    "audio_modality": "audio_modality_scale",
    "rescale": "guidance_rescale",
    "audio_rescale": "audio_guidance_rescale",
}
"""Names of guidance values, and the arguments of the pipeline call that they are."""
BLOCKS: Final = "stg_blocks"
SKIP: Final = "skip_step"
GUIDANCE_NAMES: Final = (*ARGUMENTS, BLOCKS, SKIP)
NEUTRAL: Final[dict[str, float]] = {"cfg": 1.0, "stg": 0.0, "modality": 1.0}
"""At or below this value, for both streams, a pass is not made."""
MOST: Final = 1000.0


@dataclass(frozen=True)
class GuidanceRange:
    """A value from one step to another, both included, or from one level down to another."""

    value: float
    first: float
    last: float
    by_level: bool

    def holds(self, step: int, sigma: float) -> bool:
        """Whether a step at a level is inside."""
        if self.by_level:
            return min(self.first, self.last) <= sigma <= max(self.first, self.last)
        return self.first <= step <= self.last


@dataclass(frozen=True)
class GuidanceValue:
    """A guidance value for each step: from the range that contains it, else from `steps`, whose last value repeats."""

    steps: tuple[float, ...] = ()
    ranges: tuple[GuidanceRange, ...] = ()

    @property
    def is_constant(self) -> bool:
        return not self.ranges and len(self.steps) == 1

    @property
    def all_values(self) -> tuple[float, ...]:
        """Every value that it can have."""
        return (*self.steps, *(r.value for r in self.ranges))

    def at(self, step: int, sigma: float) -> float:
        """The value in a step, counted from 0, at its level."""
        for each in self.ranges:
            if each.holds(step, sigma):
                return each.value
        return self.steps[min(step, len(self.steps) - 1)]


def read_value(name: str, given: Any) -> GuidanceValue:
    """A value from a number, a list, or text.

    Raises:
        ValueError: naming what would be right.
    """
    if isinstance(given, bool):
        raise ValueError(f"{name} is a number, not {given}")
    parts = list(given) if isinstance(given, list | tuple) else str(given).strip().strip("[]()").split(",")
    steps: list[float] = []
    ranges: list[GuidanceRange] = []
    for part in (str(p).strip() for p in parts):
        value, at, where = part.partition("@")
        try:
            number = _checked(name, real(value))
            if at:
                ranges.append(_range(number, where.strip()))
            else:
                steps.append(number)
        except ValueError as error:
            raise ValueError(
                f"{name}: {part!r}: {error}; it looks like 3, 4,4,1 by step, or 4@0-9,1 and 4@1.0-0.9,1 by step and σ"
            ) from error
    if not steps:
        raise ValueError(f"{name} says nothing of the steps outside of its ranges; add a value, as in {given},1")
    return GuidanceValue(tuple(steps), tuple(ranges))


def _checked(name: str, number: float) -> float:
    if not (math.isfinite(number) and 0 <= number <= MOST):
        raise ValueError(f"must be from 0 to {MOST:g}")
    if "rescale" in name and number > 1:
        raise ValueError("must be from 0 to 1")
    return number


def _range(value: float, where: str) -> GuidanceRange:
    matched = re.fullmatch(r"([\d.]+)(?:-([\d.]+))?", where)
    if matched is None:
        raise ValueError(f"{where!r} is not a range of steps such as 0-9, or of σ such as 1.0-0.9")
    first, last = matched[1], matched[2] or matched[1]
    if "." in first + last:
        return GuidanceRange(value, real(first), real(last), True)
    return GuidanceRange(value, whole(first), whole(last), False)


def read_guidance(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values by name, checked, as plain data: numbers, texts by step, a list of blocks.

    Raises:
        ValueError: naming what would be right.
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name == BLOCKS:
            found[name] = _blocks(value)
        elif name == SKIP:
            number = whole(str(value))
            if not 0 <= number <= 1000:
                raise ValueError(f"{SKIP} must be from 0 to 1000, not {value}")
            found[name] = number
        elif name in ARGUMENTS:
            read = read_value(name, value)
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            found[name] = read.steps[0] if read.is_constant else text
        else:
            raise ValueError(f"{name!r} is not a guidance value; those are {', '.join(GUIDANCE_NAMES)}")
    return found


def _blocks(value: Any) -> list[int]:
    parts = value if isinstance(value, list | tuple) else re.split(r"[,\s]+", str(value).strip().strip("[]()"))
    try:
        found = [whole(str(p)) for p in parts if str(p)]
    except ValueError as error:
        raise ValueError(f"{BLOCKS} are numbers of transformer blocks, such as 28 or 14,19: {error}") from error
    if not found or min(found) < 0:
        raise ValueError(f"{BLOCKS} are numbers of transformer blocks, such as 28 or 14,19, not {value!r}")
    return found


def by_step(guidance: Mapping[str, Any]) -> dict[str, GuidanceValue]:
    """The values that change during the steps."""
    read = {name: read_value(name, guidance[name]) for name in ARGUMENTS if name in guidance}
    return {name: value for name, value in read.items() if not value.is_constant}


def call_values(guidance: Mapping[str, Any], usual: Mapping[str, Any], step: int, sigma: float) -> dict[str, float]:
    """Arguments of the pipeline call that are given, as they are in one step.

    A pass that is made in some step must be prepared in the first: where it is off, its value is the next number above
    the neutral one, which changes no result.

    Args:
        guidance: values by name.
        usual: the other arguments of the call.
        step: counted from 0.
        sigma: its level.
    """
    read = {name: read_value(name, guidance[name]) for name in ARGUMENTS if name in guidance}
    found = {ARGUMENTS[name]: value.at(step, sigma) for name, value in read.items()}
    for name, neutral in NEUTRAL.items():
        pair = [read.get(n) for n in (name, f"audio_{name}")]
        ever = any(v > neutral for value in pair if value is not None for v in value.all_values)
        steady = all(value is None or value.is_constant for value in pair)
        argument = ARGUMENTS[name]
        now = [found.get(a, usual.get(a)) for a in (argument, ARGUMENTS[f"audio_{name}"])]
        if ever and not steady and all(v is not None and v <= neutral for v in now):
            found[argument] = math.nextafter(neutral, math.inf)
    for name in NEUTRAL | {"rescale": 0.0}:
        own, other = ARGUMENTS[f"audio_{name}"], ARGUMENTS[name]
        # The pipelines take an audio value of 0 for none, and use that of the video.
        if found.get(own) == 0 and found.get(other, usual.get(other)) != 0:
            found[own] = math.nextafter(0.0, math.inf)
    return found
