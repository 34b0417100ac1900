"""What a seed draws: which runs are faulty, in which way, and of which settings. Nothing is recorded here."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.first_screens.faults import Fault
from benchmarks.first_screens.faults_result import FAULTS
from benchmarks.first_screens.setting import KINDS, Setting, healthy

NAMES: Final = (
    "alder", "birch", "cedar", "elm", "fir", "hazel", "juniper", "larch", "maple", "oak", "pine", "rowan", "spruce",
    "willow", "yew", "ash", "aspen", "beech", "hornbeam", "linden",
)  # fmt: skip
BY_ID: Final = {fault.id: fault for fault in FAULTS}


@dataclass(frozen=True)
class Drawn:
    """One run of a set: its neutral name, its setting, and what is wrong with it."""

    name: str
    setting: Setting
    fault: Fault | None

    def as_json(self, number: int) -> dict[str, Any]:
        """The answer."""
        said: dict[str, Any] = {"screen": f"{number:02d}", "run": self.name, "kind": self.setting.kind}
        said |= {"seed": self.setting.seed, "faulty": self.fault is not None}
        if self.fault is not None:
            said |= {"fault": self.fault.id, "family": self.fault.family, "cause": self.fault.cause}
        return said


def draw(seed: int, runs: int = 10, only: tuple[str, ...] = (), small: bool = False) -> list[Drawn]:
    """Runs in random order, half of them faulty, the faults of as many families as there are.

    Args:
        seed: the same one draws the same runs.
        runs: how many, at most 20.
        only: ids of faults to draw from; all if empty.
        small: clips of 160×128 and few steps, for tests.

    Raises:
        ValueError: for more than 20 runs, or a fault that does not exist.
    """
    if not 1 <= runs <= len(NAMES):
        raise ValueError(f"a set has 1 to {len(NAMES)} runs, not {runs}")
    if unknown := [name for name in only if name not in BY_ID]:
        raise ValueError(f"{unknown[0]!r} is not a fault; faults are {', '.join(sorted(BY_ID))}")
    chance = random.Random(f"first screens {seed}")
    known = [BY_ID[name] for name in only] if only else FAULTS
    chosen: list[Fault | None] = [*_faults(known, runs // 2, chance), *[None] * (runs - runs // 2)]
    chance.shuffle(chosen)
    kinds = _kinds(sum(fault is None for fault in chosen), chance)
    drawn = []
    for name, fault in zip(chance.sample(NAMES, runs), chosen, strict=True):
        setting = healthy(chance.choice(fault.kinds) if fault else kinds.pop(), chance, small)
        if fault is not None:
            fault.change(setting, chance)
        drawn.append(Drawn(name, setting, fault))
    return drawn


def _faults(known: list[Fault], count: int, chance: random.Random) -> list[Fault]:
    """Faults of different families, of all before one comes a second time; each once where there are enough."""
    found: list[Fault] = []
    while len(found) < count:
        left = [fault for fault in known if fault not in found] or list(known)
        families = {fault.family for fault in found[len(found) // 11 * 11 :]}
        fresh = [fault for fault in left if fault.family not in families] or left
        family = chance.choice(sorted({fault.family for fault in fresh}))
        found.append(chance.choice([fault for fault in fresh if fault.family == family]))
    return found


def _kinds(count: int, chance: random.Random) -> list[str]:
    """Kinds of healthy runs, each once before one comes again."""
    found: list[str] = []
    while len(found) < count:
        found += chance.sample(KINDS, len(KINDS))
    return found[:count]
