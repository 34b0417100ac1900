"""The bound from which on a shock is said to leave the marginal by its long Euler step, against whole loops."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import marginal
from ltxtui.reports.plan_text import marginal as shown
from recorder import Shock
from recorder.shocks.parse import parse_shocks
from recorder.shocks.plan import plan
from recorder.shocks.plan_warnings import LONG_STEPS, long_step_bound, takes_long_step
from recorder.shocks.spec import DEFAULT_DB
from recorder.sweep.grid import arms_of

ROOT = Path(__file__).parents[3]
NATIVE = tuple(0.999 - i / 50 for i in range(50))
SAMPLES = 60_000
MOVED = 0.01
CHANCE = 0.004
"""What two loops of so many samples differ by once in a hundred times, with noise that they mostly share."""


@pytest.mark.parametrize("kind", ["restart", "renoise"])
@pytest.mark.parametrize("steps", [20, 50])
@pytest.mark.parametrize("sigma", [0.8, 0.65, 0.5, 0.4, 0.3])
def test_up_to_the_bound_nothing_is_seen(kind: Any, steps: int, sigma: float) -> None:
    bound = min(long_step_bound(kind, sigma), 20.0)
    assert marginal.added(kind, sigma, bound, steps, SAMPLES) < MOVED + CHANCE


@pytest.mark.parametrize(("kind", "sigma"), [("restart", 0.5), ("restart", 0.3), ("renoise", 0.5)])
def test_beyond_the_bound_whole_loops_end_elsewhere(kind: Any, sigma: float) -> None:
    bound = long_step_bound(kind, sigma)
    assert marginal.added(kind, sigma, bound + 3, 50, SAMPLES) > MOVED
    assert marginal.added(kind, sigma, 20, 50, SAMPLES) > 2 * MOVED
    assert marginal.added(kind, 0.8, 20, 50, SAMPLES) < MOVED


def test_figures_are_of_whole_loops() -> None:
    """Strong restarts and renoises end where the naive shock does, or farther; a plain loop does not."""
    restart, renoise, additive = (marginal.added(k, 0.5, 10, 50, SAMPLES) for k in ("restart", "renoise", "additive"))
    assert restart > renoise > 0.015 and additive > 0.015 and marginal.smooth(50, SAMPLES) < 0.02


def test_the_bound_rises_with_sigma_and_the_default_is_below_it() -> None:
    for kind, steps in LONG_STEPS.items():
        places, bounds = zip(*steps, strict=True)
        assert list(places) == sorted(places) and list(bounds) == sorted(bounds)
        assert min(bounds) > DEFAULT_DB
        assert long_step_bound(kind, 0.9) == math.inf
    assert takes_long_step("restart", 0.6000000238, 6) and not takes_long_step("additive", 0.3, 20)


def told(shock: Shock) -> str:
    return "\n".join(plan(NATIVE, [shock]).warnings)


@pytest.mark.parametrize("kind", ["restart", "renoise"])
def test_plans_warn_from_the_bound_on(kind: Any) -> None:
    strong, weak = Shock(kind, at=0.5, strength_db=9), Shock(kind, at=0.5, strength_db=3)
    assert "leaves the marginal by its long Euler step: 9 dB at σ 0.499" in told(strong)
    assert "long Euler step" not in told(weak) + told(Shock(kind, at=0.9, strength_db=9))
    assert "long Euler step if it acts at σ 0.6 or below" in told(Shock(kind, at="critical", strength_db=9))
    for shock, name in ((strong, "long step"), (weak, "on")):
        (action,) = plan(NATIVE, [shock]).actions
        assert shown(action) == name


def test_many_small_steps_are_no_long_one() -> None:
    for shock in (Shock("renoise", at="every", eta=1.0), Shock("restart", at=0.5, strength_db=9, respace=True)):
        assert "long Euler step" not in told(shock)


@pytest.mark.parametrize("kind", ["restart", "renoise", "additive", "sigma_bump"])
def test_the_default_strength_warns_of_nothing_but_its_kind(kind: Any) -> None:
    assert "churn cap" not in told(Shock(kind, at=0.5)) and "long Euler step" not in told(Shock(kind, at=0.5))
    if kind in LONG_STEPS:
        assert told(Shock(kind, at=0.5)) == told(Shock(kind, at="critical")) == ""


def test_sweeps_flag_arms_by_the_same_bound() -> None:
    def long(text: str) -> bool:
        return arms_of([], [text])[0][0].long_step

    assert long("restart:at=0.5,db=6") and long("renoise:at=0.5,db=6") and long("restart:snr=3,db=6")
    assert not long("restart:at=0.9,db=6") and not long("renoise:at=0.5,db=5") and not long("restart:at=0.5")
    assert long("restart:at=0.5,to=0.8") and not long("restart:at=0.5,to=0.55")
    assert long("restart:step=12,db=6"), "where it acts is not known, so it may"
    assert not long("ancestral:eta=1") and not long("additive:at=0.5,db=6") and not long("restart:critical")


EXAMPLES = [
    shock
    for page in ("README.md", "docs/shocks.md", "ltxtui/cli/record.py", "ltxtui/cli/plan.py", "ltxtui/cli/demo.py")
    for shock in re.findall(r"(?:--shock|control shock) (\w[\w:=,.+-]*)", (ROOT / page).read_text("utf-8"))
    if shock != "none"
]


def test_no_example_of_a_command_warns_of_its_strength() -> None:
    assert len(EXAMPLES) >= 6
    for text in EXAMPLES:
        for shock in (s for s in parse_shocks(text) if s.eta is None):  # η is not a strength in dB
            placed = shock if shock.at is not None or shock.at_snr_db is not None else replace(shock, at=0.5)
            assert not re.search("churn cap|long Euler step", told(placed)), text
