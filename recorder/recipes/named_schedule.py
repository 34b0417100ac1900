"""A schedule as text: a list of levels, or a name with parameters, such as `ltx:max_shift=2.05,terminal=0.1`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from recorder.format.numerals import real, whole
from recorder.recipes import curves
from recorder.recipes.levels import EXAMPLE, is_list, read_levels

DISTILLED: Final = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875)
"""Levels the distilled LTX 2.3 was trained for (the model card of diffusers/LTX-2.3-Distilled-Diffusers)."""
LISTS: Final[dict[str, tuple[float, ...]]] = {
    "distilled": DISTILLED,
    "distilled_stage_2": DISTILLED[5:],
    "tiled_stage_2": (0.625, 0.4),
}
"""Lists of levels by name: both stages of Lightricks' distilled pipeline, and stage 2 on several GPUs."""

_ALIASES: Final = {
    "ltxvscheduler": "ltx",
    "ltx2scheduler": "ltx",
    "ltxv": "ltx",
    "uniform": "sgm_uniform",
    "stage_2": "distilled_stage_2",
}
COMFY: Final = (*curves.BY_SHIFT, *curves.BY_RANGE, "linear_quadratic")
DIFFUSERS: Final = tuple(f"diffusers_{name}" for name in curves.CONVERSIONS)
NAMES: Final = ("ltx", *LISTS, *sorted(COMFY), *DIFFUSERS)


def _flag(text: str) -> bool:
    if text.lower() in ("yes", "true", "1", "on"):
        return True
    if text.lower() in ("no", "false", "0", "off"):
        return False
    raise ValueError(f"{text!r} is not yes or no")


_LTX: Final[dict[str, Callable[[str], Any]]] = {
    "max_shift": real,
    "base_shift": real,
    "stretch": _flag,
    "terminal": real,
    "tokens": whole,
}
_COMFY: Final[dict[str, Callable[[str], Any]]] = {"shift": real, "denoise": real}


class BadSchedule(ValueError):
    """A schedule that cannot be read; the message says what would be right."""


@dataclass(frozen=True)
class NamedSchedule:
    """A schedule as requested.

    Attributes:
        name: one of `NAMES`, or empty for explicit levels.
        levels: those of a list.
        keys: parameters of the name.
        part: the steps that are taken, as a half-open range; the next level then ends the last one.
    """

    name: str
    levels: tuple[float, ...] = ()
    keys: Mapping[str, Any] = field(default_factory=dict)
    part: tuple[int, int | None] = (0, None)

    @property
    def is_fixed(self) -> bool:
        """Whether it has its own number of steps."""
        return bool(self.levels)

    @property
    def by_size(self) -> bool:
        """Whether its levels depend on the number of video tokens."""
        return (self.name == "ltx" or self.name in DIFFUSERS) and "tokens" not in self.keys

    def sigmas(self, steps: int, tokens: int) -> tuple[tuple[float, ...], float]:
        """Levels of the model calls, and the level that the last of them ends at, 0 for a whole schedule.

        Args:
            steps: as requested; of no effect on a list.
            tokens: video tokens of the clip.

        Raises:
            BadSchedule: if nothing is left, or a parameter is out of its range.
        """
        line = [*self._all(steps, tokens), 0.0]
        first, last = self.part
        taken = line[first:last] if last is not None and last < len(line) - 1 else line[first:-1]
        if not taken:
            raise BadSchedule(f"the steps [{first}:{'' if last is None else last}] are none of the {len(line) - 1}")
        for sigma in taken:
            if not 0 < sigma <= 1:
                raise BadSchedule(f"{self.name} with these parameters gives σ {sigma:.6g}; σ is above 0 and at most 1")
        return tuple(taken), line[first + len(taken)]

    def _all(self, steps: int, tokens: int) -> list[float]:
        if self.levels:
            return list(self.levels)
        keys = dict(self.keys)
        if self.name == "ltx":
            return curves.ltx(steps, **{"tokens": tokens, **keys})
        if self.name in DIFFUSERS:
            native = curves.ltx(steps, **{"tokens": tokens, **keys})
            return curves.converted(native, self.name.removeprefix("diffusers_"))
        shift, denoise = keys.get("shift", curves.COMFY_SHIFT), keys.get("denoise", 1.0)
        found = curves.comfy(self.name, steps if denoise >= 1 else int(steps / denoise), shift)
        return found if denoise >= 1 else found[-steps:]


def read_schedule(text: str) -> NamedSchedule:
    """Read `1, 0.9, 0`, `karras`, `ltx:max_shift=2.05,base_shift=0.95,stretch=yes,terminal=0.1,tokens=4096` …

    `[2:5]` behind a name takes some of its steps, `[5:]` all from the sixth.

    Raises:
        BadSchedule: naming what would be right.
    """
    if is_list(text):
        try:
            return NamedSchedule("", read_levels(text))
        except ValueError as error:
            raise BadSchedule(f"{text!r}: {error}; levels look like {EXAMPLE}") from error
    matched = re.fullmatch(r"\s*([^:\[\]]+?)\s*(?::([^\[\]]*))?(?:\[\s*(\d*)\s*:\s*(\d*)\s*\])?\s*", text)
    if matched is None:
        raise BadSchedule(f"{text!r} cannot be read; a schedule looks like karras, ltx:terminal=0.1 or {EXAMPLE}")
    said, rest, first, last = matched.groups()
    name = said.strip().lower().replace("-", "_").replace(" ", "_")
    name = _ALIASES.get(name, name)
    if name not in NAMES:
        raise BadSchedule(
            f"{said!r} is not a known schedule; those are {', '.join(NAMES)}, or a list such as {EXAMPLE}"
        )
    part = (int(first or 0), int(last) if last else None)
    keys = _keys(name, rest or "")
    return NamedSchedule(name, LISTS.get(name, ()), keys, part)


def _keys(name: str, text: str) -> dict[str, Any]:
    known = _LTX if name == "ltx" or name in DIFFUSERS else {} if name in LISTS else _COMFY
    found: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, equals, value = (p.strip() for p in part.partition("="))
        key = key.replace("-", "_")
        if not equals or key not in known:
            takes = f"its parameters are {', '.join(known)}" if known else "it takes no parameters"
            raise BadSchedule(f"{part!r} is not a parameter of {name}; {takes}")
        try:
            found[key] = known[key](value)
        except ValueError as error:
            raise BadSchedule(f"{key} of {name}: {error}") from error
    _check(name, found)
    return found


def _check(name: str, keys: Mapping[str, Any]) -> None:
    if not 0 < keys.get("terminal", 0.1) < 1:
        raise BadSchedule(f"terminal of {name} must be between 0 and 1, not {keys['terminal']:g}; LTX has 0.1")
    if keys.get("tokens", 1) < 1:
        raise BadSchedule(f"tokens of {name} must be at least 1; LTX2Scheduler has 4096")
    if not 0 < keys.get("denoise", 1.0) <= 1:
        raise BadSchedule(f"denoise of {name} must be above 0 and at most 1, not {keys['denoise']:g}")
    for key in ("max_shift", "base_shift", "shift"):
        if not -20 <= keys.get(key, 0.0) <= 20:
            raise BadSchedule(f"{key} of {name} must be from -20 to 20, not {keys[key]:g}; LTX has 0.95 to 2.05")
