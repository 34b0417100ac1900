"""Shocks are read, planned on a schedule, and refused with the reason where they cannot act."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.format import sigma_math
from recorder.shocks import schedules
from recorder.shocks.parse import parse_shock, parse_shocks
from recorder.shocks.plan import Plan, PlanError, plan, rows_more
from recorder.shocks.spec import CHURN_CAP_DB, Shock, check_live
from recorder.sweep.grid import Arm

NATIVE = tuple(float(np.float32(s)) for s in np.linspace(1, 0.1, 10))


def test_a_restart_is_a_spike() -> None:
    made = plan(NATIVE, [Shock("restart", at=0.75, to=0.9)])
    assert made.sigmas == (*NATIVE[:3], float(np.float32(0.9)), *NATIVE[3:])
    (action,) = made.actions
    assert (action.position, action.step, action.sigma_down) == (3, 3, NATIVE[3])
    assert made.evaluations == len(NATIVE) + 1


def test_kinds_without_a_spike_leave_the_levels_alone() -> None:
    for kind in ("renoise", "additive", "predict_perturb"):
        made = plan(NATIVE, [Shock(kind, at=4)])  # type: ignore[arg-type]
        assert made.sigmas == NATIVE
        assert made.actions[0].sigma_up == NATIVE[4]
    down = plan(NATIVE, [Shock("renoise", at=4, strength_db=3)]).actions[0].sigma_down
    assert sigma_math.strength_db(down, NATIVE[4]) == pytest.approx(3, abs=1e-4)


def test_a_bump_goes_up_and_comes_back() -> None:
    made = plan(NATIVE, [Shock("sigma_bump", at=3, to=0.9)])
    assert made.sigmas == (*NATIVE[:4], float(np.float32(0.9)), *NATIVE[3:])
    assert made.actions[0].position == 4


def test_places() -> None:
    """The first native level at or below; a level itself is its own place."""
    assert plan(NATIVE, [Shock("renoise", at=NATIVE[2])]).actions[0].step == 2
    assert plan(NATIVE, [Shock("renoise", at=NATIVE[2] - 1e-4)]).actions[0].step == 3
    assert plan(NATIVE, [Shock("renoise", at_snr_db=0.0)]).actions[0].sigma_up == pytest.approx(0.5)
    assert plan(NATIVE, [Shock("renoise", at=9)]).actions[0].step == 9


@pytest.mark.parametrize("level", [0.1, 0.3, 0.6, 0.725, 0.97])
def test_a_level_is_met_as_it_is_written(level: float) -> None:
    """Schedulers hold 32-bit numbers: 0.6 is 0.6000000238 there, which is above the 0.6 that a user asks for."""
    made = plan([1, level + 0.01, level, level / 2], [Shock("renoise", at=level)])
    assert made.actions[0].step == 2
    assert plan([1, level + 0.01, level], [Shock("renoise", at=level)]).actions[0].step == 2
    (action,) = plan([1, level + 0.01, level], [Shock("restart", at=2, to=level)]).actions
    assert action.sigma_up == action.sigma_down, "up to the level itself is no step down"
    (action,) = plan([1, level + 0.01, level], [Shock("renoise", at_snr_db=sigma_math.snr_db(level))]).actions
    assert action.step == 2


def test_numbers_of_numpy_and_torch_are_numbers() -> None:
    torch = pytest.importorskip("torch")
    wanted = Shock("restart", at=3, strength_db=6.0, seed=4)
    assert Shock("restart", at=np.int64(3), strength_db=np.float32(6), seed=np.uint8(4)) == wanted
    assert json.dumps(Shock("renoise", at=torch.tensor(0.5), to=np.float64(0.25)).as_dict())
    assert Shock("renoise", at=np.float32(0.5)).describe() == "renoise at σ 0.5, 3 dB, seed 0"


@pytest.mark.parametrize(
    ("shock", "words"),
    [
        (Shock("restart", at=0.05), "ends at σ 0.1"),
        (Shock("restart", at=10), "steps 1 to 9"),
        (Shock("restart", at=0.5, to=0.4), "must lie above"),
        (Shock("renoise", at=0.5, to=0.9), "must lie below"),
        (Shock("renoise"), "needs a place"),
    ],
)
def test_what_cannot_act_is_refused(shock: Shock, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        plan(NATIVE, [shock])


def test_before_the_first_level() -> None:
    with pytest.raises(PlanError, match="begins at"):
        plan([0.8, 0.5, 0.2], [Shock("restart", at=0.9)])


def test_two_shocks_in_one_place() -> None:
    with pytest.raises(PlanError, match="same step"):
        plan(NATIVE, [Shock("renoise", at=3), Shock("restart", at=3)])
    with pytest.raises(PlanError, match="same step"):
        plan(NATIVE, [Shock("renoise", at=3), Shock("additive", at=3)])
    made = plan(NATIVE, [Shock("renoise", at=3, streams=("video",)), Shock("additive", at=3, streams=("audio",))])
    assert [a.shock.kind for a in made.at(3, "audio")] == ["additive"]
    with pytest.raises(PlanError, match="only one"):
        plan(NATIVE, [Shock("restart", at="critical"), Shock("renoise", at="critical")])


def test_restarts_in_a_row() -> None:
    """A place named twice is restarted twice (Restart, algorithm 1 with K = 2)."""
    made = plan(NATIVE, schedules.spikes([3, 3], strength_db=6))
    up = made.actions[0].sigma_up
    assert made.sigmas == (*NATIVE[:3], up, up, *NATIVE[3:])
    assert [a.position for a in made.actions] == [3, 4]
    assert len({a.shock.seed for a in made.actions}) == 2


def test_respacing_costs_no_evaluation() -> None:
    made = plan(NATIVE, [Shock("restart", at=4, to=0.8, respace=True)])
    assert len(made.sigmas) == len(NATIVE)
    assert made.sigmas[4] == float(np.float32(0.8))
    tail = made.sigmas[4:]
    assert list(tail) == sorted(tail, reverse=True) and tail[-1] < NATIVE[-1] * 1.5


def test_ancestral_is_a_small_shock_at_every_step() -> None:
    made = plan(NATIVE, schedules.ancestral(1.0))
    assert [a.position for a in made.actions] == list(range(1, 10))
    for action in made.actions:
        sigma, after = NATIVE[action.position - 1], NATIVE[action.position]
        assert action.sigma_down == pytest.approx(after * after / sigma)  # η = 1: σ′·σ′/σ
    assert plan(NATIVE, schedules.ancestral(0.0)).actions == ()


def test_every_makes_room_for_a_planned_shock() -> None:
    made = plan(NATIVE, [*schedules.ancestral(0.5), Shock("restart", at=4)])
    assert [a.shock.kind for a in made.actions].count("renoise") == 8


def test_waiting_for_the_critical_phase_keeps_evaluations_spare() -> None:
    made = plan(NATIVE, [Shock("restart", at="critical")])
    assert made.spare == 1 and made.evaluations == 11
    assert made.sigmas[:10] == NATIVE and 0 < made.sigmas[10] < NATIVE[-1]
    assert plan(NATIVE, [Shock("renoise", at="critical")]).sigmas == NATIVE


def test_zero_strength_is_no_shock() -> None:
    for shock in (Shock("restart", at=3, strength_db=0), Shock("renoise", at="every", eta=0)):
        assert plan(NATIVE, [shock]) == Plan(NATIVE, NATIVE)


def warned(*shocks: Shock, native: Any = NATIVE) -> str:
    return "\n".join(plan(native, shocks).warnings)


def test_warnings() -> None:
    assert "off the marginal" in warned(Shock("additive", at=3, strength_db=1))
    assert "variance" in warned(Shock("predict_perturb", at=3))
    assert "no fresh noise" in warned(Shock("sigma_bump", at=3, strength_db=0.5))
    assert "coarse" not in warned(Shock("sigma_bump", at=3, strength_db=0.5))
    assert "coarse" in warned(Shock("sigma_bump", at=3, strength_db=5))
    assert "beyond the schedule" in warned(Shock("restart", at=1, to=0.9), native=(0.8, 0.5, 0.2))
    assert "churn cap" in warned(Shock("restart", at=3, strength_db=CHURN_CAP_DB + 0.1))
    assert warned(Shock("restart", at=3, strength_db=CHURN_CAP_DB - 0.1)) == ""
    assert "rises at step 2" in warned(native=(0.8, 0.5, 0.6, 0.2))
    assert "in a band" in warned(Shock("renoise", at=3, strength_db=1, shape="low"))


def test_a_shock_that_waits_is_warned_of_as_far_as_its_strength_is_known() -> None:
    assert "9 dB is more than EDM's churn cap" in warned(Shock("restart", at="critical", strength_db=9))
    assert warned(Shock("renoise", at="critical")) == "", "the default strength needs no warning"
    assert "coarse" in warned(Shock("sigma_bump", at="critical"))
    assert warned(Shock("renoise", at="critical", strength_db=2)) == ""
    assert warned(Shock("restart", at="critical")) == "", "back up to a peak that is not known yet"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "boom"},
        {"kind": "restart", "at": 0},
        {"kind": "restart", "at": 1.5},
        {"kind": "restart", "at": True},
        {"kind": "restart", "at": "sometime"},
        {"kind": "restart", "at": "every"},
        {"kind": "restart", "at": 0.5, "at_snr_db": 0},
        {"kind": "restart", "strength_db": -1},
        {"kind": "restart", "strength_db": float("nan")},
        {"kind": "restart", "strength_db": 3, "to": 0.9},
        {"kind": "restart", "to": 1.0},
        {"kind": "restart", "eta": 0.5},
        {"kind": "restart", "streams": ["video"]},
        {"kind": "renoise", "streams": []},
        {"kind": "renoise", "streams": ["smell"]},
        {"kind": "renoise", "shape": "pink"},
        {"kind": "renoise", "shape": [0.5, 0.2]},
        {"kind": "renoise", "frames": []},
        {"kind": "renoise", "frames": [-1]},
        {"kind": "renoise", "frames": [1], "mask": [[1]]},
        {"kind": "renoise", "mask": [[0.5]]},
        {"kind": "renoise", "respace": True},
        {"kind": "renoise", "seed": -1},
        {"kind": "sigma_bump", "shape": "low"},
        {"kind": "predict_perturb", "strength_db": 3},
        {"kind": "renoise", "colour": "red"},
        {"at": 0.5},
        {"kind": "renoise", "at": [1]},
        "renoise",
    ],
)
def test_what_is_no_shock(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Shock.from_dict(wrong)


SHOCKS = st.one_of(
    st.builds(
        Shock,
        kind=st.just("restart"),
        at=st.one_of(st.floats(0.11, 0.99), st.integers(1, 9), st.just("critical")),
        strength_db=st.one_of(st.none(), st.floats(0, 20)),
        respace=st.booleans(),
        seed=st.integers(0, 2**63 - 1),
    ),
    st.builds(
        Shock,
        kind=st.sampled_from(["renoise", "additive"]),
        at=st.one_of(st.floats(0.11, 0.99), st.just("every")),
        eta=st.floats(0, 1),
        shape=st.sampled_from(["white", "low", (0.1, 0.4)]),
        streams=st.sampled_from([("video",), ("audio",), ("video", "audio")]),
        frames=st.one_of(st.none(), st.lists(st.integers(0, 8), min_size=1).map(tuple)),
    ),
    st.builds(Shock, kind=st.just("predict_perturb"), at_snr_db=st.floats(-19, 15)),
)


@given(SHOCKS)
def test_dictionaries_come_back(shock: Shock) -> None:
    assert Shock.from_dict(json.loads(json.dumps(shock.as_dict()))) == shock
    assert shock.kind in shock.describe()


@given(SHOCKS)
def test_the_evaluations_that_a_shock_adds_are_those_of_its_plan(shock: Shock) -> None:
    """A sweep's control has as many steps more, so the number must not depend on the schedule or the place."""
    try:
        made = plan(NATIVE, [shock])
    except PlanError:
        return
    assert made.evaluations - len(NATIVE) == rows_more(shock) == Arm("one", (shock,)).more_evaluations


@given(st.lists(SHOCKS, max_size=3), st.integers(4, 40))
def test_every_plan_is_whole(shocks: list[Shock], steps: int) -> None:
    """Levels are in (0, 1]; every level of the native schedule is still called unless respaced; rows fit actions."""
    native = tuple(float(np.float32(s)) for s in np.linspace(1, 1 / steps, steps))
    try:
        made = plan(native, shocks)
    except PlanError:
        return
    assert all(0 < s < 1 or i == 0 for i, s in enumerate(made.sigmas))
    if not any(s.respace for s in shocks):
        rest = list(made.sigmas)
        for sigma in native:
            rest.remove(sigma)
        assert len(rest) == len([a for a in made.actions if a.shock.kind == "restart"]) + made.spare
    for action in made.actions:
        assert made.sigmas[action.position] == action.sigma_up
        assert action.sigma_down <= action.sigma_up


def test_text() -> None:
    assert parse_shock("restart:sigma=0.93,db=6") == Shock("restart", at=0.93, strength_db=6)
    assert parse_shock("renoise:at=12,to=0.4") == Shock("renoise", at=12, to=0.4)
    assert parse_shock("restart:critical") == Shock("restart", at="critical")
    assert parse_shock("restart:snr=-20,respace,seed=4") == Shock("restart", at_snr_db=-20, respace=True, seed=4)
    assert parse_shock("renoise:sigma=.9,shape=0.1-0.3,frames=2-4+7,streams=video") == Shock(
        "renoise", at=0.9, shape=(0.1, 0.3), frames=(2, 3, 4, 7), streams=("video",)
    )
    assert parse_shocks("ancestral:eta=0.5,seed=2") == schedules.ancestral(0.5, 2)
    assert parse_shocks("spikes:at=0.95+0.9,db=6") == schedules.spikes([0.95, 0.9], 6)
    assert parse_shock("renoise:db=6") == Shock("renoise", strength_db=6)  # the place is known to who is told


@pytest.mark.parametrize(
    "text",
    ["", "boom", "restart:sigma", "restart:sigma=x", "restart:colour=red", "restart:sigma=0.9,at=3", "spikes:db=3",
     "restart:at=0.9+0.8", "spikes:at=0.9+0.8,colour=red", "renoise:frames=4-2", "ancestral:db=3"],
)  # fmt: skip
def test_text_that_is_no_shock(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_shock(text)


def test_lists_of_levels() -> None:
    assert schedules.free([1, 0.5, 0.7, 0]) == (1.0, 0.5, 0.7)
    for wrong in ([], [0], [1.2], [float("nan")], [0.5, 0, 0.2]):
        with pytest.raises(ValueError, match=r"σ"):
            schedules.free(wrong)
    assert schedules.smooth() == []


@pytest.mark.parametrize("place", ["at=critical", "sigma=0.5", "step=3", "snr=-3"])
def test_a_live_shock_names_no_place(place: str) -> None:
    check_live(parse_shock("renoise:db=3"))
    with pytest.raises(ValueError, match="take effect at the next step; remove at=, sigma=, step= or snr="):
        check_live(parse_shock(f"renoise:db=3,{place}"))


def test_signal_to_noise_of_levels_is_that_of_each_level() -> None:
    levels = np.array([1.5, 1.0, 0.9, 0.5, 1e-6, 0.0, -0.1, np.nan])
    for many, one in ((sigma_math.snr_db_of, sigma_math.snr_db), (sigma_math.log_snr_of, sigma_math.log_snr)):
        np.testing.assert_allclose(many(levels), [one(float(level)) for level in levels], rtol=1e-12, atol=1e-12)
    assert sigma_math.snr_db(0.5) == 0 and sigma_math.snr_db(0.1) == pytest.approx(20 * np.log10(9))
    assert sigma_math.of_snr_db(sigma_math.snr_db(0.3)) == pytest.approx(0.3)
    assert (sigma_math.snr_db(1.0), sigma_math.snr_db(0.0)) == (-np.inf, np.inf)
