"""Paired statistics against pencil and paper, and what a sweep's verdict says of data whose truth is known."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.power import measured as detected_power
from ltxtui.reports import forest_plot, sweep_text
from recorder.format.declarations import drift_hint
from recorder.sweep.grid import arms_of, with_controls
from recorder.sweep.spec import Job, Sweep, SweepSettings
from replay.sweep.analysis import Analysis, analyse
from replay.sweep.power import smallest_effect, t_power
from replay.sweep.results import ENDPOINTS, TASK, ResultRow, as_csv, from_csv
from replay.sweep.statistics import difference, holm, sign_flip_p, smallest_p, t_cdf, t_quantile

numbers = st.floats(-1e3, 1e3, allow_nan=False).map(lambda v: round(v, 6))
thousandths = st.integers(-1_000_000, 1_000_000)


# -- mean, error, interval


@pytest.mark.parametrize(
    ("df", "quantile"), [(1, 12.7062047), (2, 4.3026527), (5, 2.5705818), (15, 2.1314495), (31, 2.0395134)]
)
def test_quantiles_of_t_are_those_of_the_tables(df: int, quantile: float) -> None:
    assert t_quantile(0.975, df) == pytest.approx(quantile, abs=1e-6)
    assert t_cdf(-quantile, df) == pytest.approx(0.025, abs=1e-8)


def test_quantiles_of_t_refuse_what_they_cannot_give() -> None:
    for probability, df in ((0.3, 5), (1.0, 5), (0.975, 0)):
        with pytest.raises(ValueError, match="quantile"):
            t_quantile(probability, df)


def test_a_known_difference_has_its_mean_error_and_interval() -> None:
    found = difference([2.0, 4.0, 6.0, 8.0], [1.0, 2.0, 3.0, 4.0])  # differences 1, 2, 3, 4
    se = math.sqrt(5 / 3) / 2
    assert (found.pairs, found.left_out, found.mean) == (4, 0, 2.5)
    assert found.se == pytest.approx(se)
    assert (found.low, found.high) == pytest.approx((2.5 - 3.1824463 * se, 2.5 + 3.1824463 * se))
    assert found.p == 2 / 16  # only all signs as they are, or all turned round, are as far out


def test_pairs_without_both_sides_are_left_out_and_counted() -> None:
    found = difference([1.0, math.nan, 3.0, math.inf], [0.0, 0.0, math.nan, 0.0])
    assert (found.pairs, found.left_out, found.mean) == (1, 3, 1.0)
    assert not found.known and math.isnan(found.se)
    assert found.as_json()["p"] is None
    assert difference([], []).pairs == 0


def test_no_difference_at_all_is_no_evidence() -> None:
    found = difference([0.5] * 20, [0.5] * 20)
    assert (found.mean, found.se, found.p) == (0.0, 0.0, 1.0)


# -- sign flips


def enumerated(differences: Sequence[float], slack: float = 0.0) -> float:
    seen = abs(sum(differences)) - slack * sum(map(abs, differences))
    sums = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(abs(total) >= seen for total in sums) / len(sums)


@given(st.lists(thousandths, min_size=1, max_size=8))
def test_the_exact_p_is_that_of_enumeration(differences: list[int]) -> None:
    # Of whole numbers, so that sums are exact and ties are ties.
    assert sign_flip_p([d / 1000 for d in differences]) == enumerated(differences)


def test_a_random_p_is_near_the_exact_one_and_always_the_same() -> None:
    differences = np.random.default_rng(3).normal(0.5, 1.0, 16)
    exact, found = enumerated(differences.tolist()), sign_flip_p(differences)
    assert abs(found - exact) < 4 * math.sqrt(exact * (1 - exact) / 50_000)
    assert found == sign_flip_p(differences)
    assert sign_flip_p(np.ones(40)) == smallest_p(40) == 1 / 50_000
    assert smallest_p(5) == sign_flip_p(np.ones(5)) == 1 / 16


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=9), st.randoms(use_true_random=False))
def test_order_and_side_of_pairs_do_not_matter(pairs: list[tuple[float, float]], random: object) -> None:
    a, b = ([p[i] for p in pairs] for i in (0, 1))
    one, other = difference(a, b), difference(b, a)
    assert other.mean == -one.mean and other.p == one.p and other.se == pytest.approx(one.se)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))
    random.shuffle(pairs)  # type: ignore[attr-defined]
    mixed = difference([p[0] for p in pairs], [p[1] for p in pairs])
    assert mixed.p == one.p and mixed.mean == pytest.approx(one.mean, abs=1e-9)
    assert one.low <= one.mean <= one.high and smallest_p(len(pairs)) <= one.p <= 1


# -- Holm


def test_holm_agrees_with_a_hand_example() -> None:
    # .005·4, .01·3, .03·2, and .04·1 raised to the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, math.nan, 0.7])[::2] == [1.0, 1.0]
    assert math.isnan(holm([0.6, math.nan, 0.7])[1])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_never_lowers_a_p_and_keeps_their_order(p: list[float]) -> None:
    found = holm(p)
    assert all(q >= raw and q <= 1 for q, raw in zip(found, p, strict=True))
    in_order = [found[i] for i in sorted(range(len(p)), key=lambda i: p[i])]
    assert in_order == sorted(in_order)
    bonferroni = [min(1.0, raw * len(p)) for raw in p]
    assert all(q <= b for q, b in zip(found, bonferroni, strict=True))


# -- verdicts on made-up sweeps


def sweep_of(seeds: int, grid: str) -> Sweep:
    arms, _ = arms_of([grid], [])
    return Sweep.make(SweepSettings("nano", ("a red ball moving left",)), tuple(range(seeds)), with_controls(arms), {})


def rows_of(sweep: Sweep, drift: dict[str, Sequence[float]], **other: dict[str, Sequence[float]]) -> list[ResultRow]:
    """Rows with these values per arm and seed; endpoints that are not given are 1 everywhere."""
    found = []
    for arm in sweep.arms:
        for i, seed in enumerate(sweep.seeds):
            values = dict.fromkeys((*ENDPOINTS, *TASK), 1.0) | {"content_drift": float(drift[arm.name][i])}
            values |= {name: float(by_arm[arm.name][i]) for name, by_arm in other.items() if arm.name in by_arm}
            shocks = len(arm.shocks)
            found.append(ResultRow(Job(arm.name, seed), "p", "run", 30 + arm.more_evaluations, shocks, values))
    return found


def said(analysis: Analysis) -> str:
    return "\n".join(analysis.verdict)


def test_null_data_are_called_no_difference_at_least_19_times_in_20() -> None:
    sweep = sweep_of(8, "kind=restart,renoise at=0.9,0.5 db=6")
    rng = np.random.default_rng(0)
    trials, clear = 150, 0
    for _ in range(trials):
        scene = rng.normal(0.1, 0.03, 8)  # what a seed's arms have in common
        drift = {arm.name: scene + rng.normal(0, 0.01, 8) for arm in sweep.arms}
        clear += said(analyse(sweep, rows_of(sweep, drift))).startswith("No difference")
    assert clear / trials >= 0.95


def known_effects(seeds: int = 16) -> Analysis:
    sweep = sweep_of(seeds, "kind=restart,renoise,additive at=0.9 db=3,6")
    rng = np.random.default_rng(1)
    scene = rng.normal(0.1, 0.03, seeds)
    shift = {"restart@0.9+3dB": -0.02, "renoise@0.9+6dB": 0.03, "additive@0.9+6dB": -0.04}
    drift = {arm.name: scene + rng.normal(shift.get(arm.name, 0), 0.004, seeds) for arm in sweep.arms}
    std = {"additive@0.9+6dB": rng.normal(0.9, 0.01, seeds)}
    return analyse(sweep, rows_of(sweep, drift, final_std=std))


def test_real_effects_are_found_ranked_and_named() -> None:
    found = known_effects()
    assert [f.arm.name for f in found.ranked[:2]] == ["additive@0.9+6dB", "restart@0.9+3dB"]
    assert found.ranked[-1].arm.name == "renoise@0.9+6dB"
    assert [f.arm.name for f in found.ranked if f.significant] == [
        "additive@0.9+6dB",
        "restart@0.9+3dB",
        "renoise@0.9+6dB",
    ]
    lower, higher = found.verdict[:2]
    assert lower.startswith("2 arms lower the drift index after Holm's correction over 6 arms: additive@0.9+6dB (−0.0")
    assert higher.startswith("1 arm raises the drift index") and "renoise@0.9+6dB" in higher
    assert found.ranked[1].control == "smooth+1" and found.ranked[-1].control == "smooth"
    assert "No difference" not in said(found)


def test_what_looks_better_but_may_not_be_is_said() -> None:
    found = known_effects()
    assert found.ranked[0].flags == "OV"
    assert "Off the marginal, so that a lower drift index may be lost variance" in said(found)
    assert "Less variance in the final sample than the control" in said(found)
    assert "additive@0.9+3dB" not in said(found)


def test_an_arm_that_only_profits_from_its_extra_evaluation_is_not_called_better() -> None:
    sweep = sweep_of(12, "kind=restart at=0.9 db=6")
    rng = np.random.default_rng(2)
    drift = {"smooth": rng.normal(0.1, 0.003, 12)}
    drift |= {name: rng.normal(0.08, 0.003, 12) for name in ("smooth+1", "restart@0.9+6dB")}
    found = analyse(sweep, rows_of(sweep, drift))
    assert found.verdict[0].startswith("No difference")
    assert "restart@0.9+6dB is lower than plain smooth" in said(found) and "its extra evaluations may be all" in said(
        found
    )
    assert "smooth+1 against smooth −0.02" in said(found) and "uncorrected: lower." in said(found)


def test_an_arm_without_extra_evaluations_is_measured_against_one_smooth_step_more() -> None:
    sweep = sweep_of(12, "kind=restart,renoise at=0.9 db=6")
    rng = np.random.default_rng(2)
    means = {"smooth": 0.1, "smooth+1": 0.05, "restart@0.9+6dB": 0.05, "renoise@0.9+6dB": 0.08}
    found = analyse(sweep, rows_of(sweep, {k: rng.normal(m, 0.003, 12) for k, m in means.items()}))
    assert [f.arm.name for f in found.ranked if f.significant] == ["renoise@0.9+6dB"]
    assert "renoise@0.9+6dB gains no more against smooth" in said(found)


@pytest.mark.parametrize(
    ("df", "effect", "level", "power"),
    [  # scipy.stats.nct: sf(t, df, effect) + cdf(−t, df, effect), t the two-sided quantile
        (1, 2.0, 0.05, 0.1257563177570528),
        (7, 3.3, 0.05, 0.8070324325644536),
        (11, 2.8, 0.05, 0.7224308461341823),
        (31, 2.8, 0.05, 0.7740922144237095),
        (31, 3.7, 0.05 / 6, 0.8029063375282447),
        (33, 2.9154759474226504, 0.05, 0.8077775012792738),
    ],
)
def test_power_is_that_of_the_noncentral_t(df: int, effect: float, level: float, power: float) -> None:
    assert t_power(effect, df, level) == pytest.approx(power, abs=1e-6)


def test_power_without_an_effect_is_the_level() -> None:
    for df in (1, 2, 5, 30, 500):
        assert t_power(0.0, df, 0.05) == pytest.approx(0.05, abs=1e-5)


@pytest.mark.parametrize(("pairs", "arms"), [(8, 1), (8, 6), (12, 1), (12, 6)])
def test_promised_power_is_measured(pairs: int, arms: int) -> None:
    power, by_normal = detected_power(pairs, arms, 400)
    # 80 % within 3 points, and three standard errors of 400 sweeps.
    assert power == pytest.approx(0.8, abs=0.03 + 0.06)
    assert by_normal < 0.75


def test_few_pairs_need_what_the_sign_flip_test_needs() -> None:
    # With 8 pairs and 6 arms only differences that are all of one sign are found: power is Φ(effect/√8)^8.
    effect = smallest_effect(8, 0.05 / 6, 0.8)
    assert NormalDist().cdf(effect / math.sqrt(8)) ** 8 == pytest.approx(0.8, abs=0.02)
    assert smallest_effect(8, 0.05 / 8, 0.8) == math.inf and smallest_effect(4, 0.05, 0.8) == math.inf
    with pytest.raises(ValueError, match="two pairs"):
        smallest_effect(1, 0.05, 0.8)


def test_the_smallest_effect_that_could_be_seen_is_said() -> None:
    sweep = sweep_of(12, "kind=renoise at=0.9 db=6")
    drift = {"smooth": [0.0] * 12, "renoise@0.9+6dB": [1.0, -1.0] * 6}
    size = smallest_effect(12, 0.05, 0.8)
    told = said(analyse(sweep, rows_of(sweep, drift)))
    assert 3.0 < size < 3.2 and f"a difference of {size / math.sqrt(11):.2g} on its own ({size:.1f} standard" in told
    few = sweep_of(4, "kind=renoise at=0.9 db=6")
    rows = rows_of(few, {name: values[:4] for name, values in drift.items()})
    assert "could have been seen: nothing; with 4 pairs" in said(analyse(few, rows))


def test_ties_are_no_difference_of_0_that_could_have_been_seen() -> None:
    sweep = sweep_of(8, "kind=renoise at=0.9,0.5 db=6")
    tied = {"smooth": [0.1] * 8, "renoise@0.9+6dB": [0.1] * 8, "renoise@0.5+6dB": [0.3] * 8}
    told = said(analyse(sweep, rows_of(sweep, tied)))
    assert "difference of 0 " not in told and "is unknown: within every arm all pairs differ by the same" in told
    some = {**tied, "renoise@0.5+6dB": np.random.default_rng(0).normal(0.1, 0.01, 8)}
    told = said(analyse(sweep, rows_of(sweep, some)))
    assert "(1 arm without any spread left out)" in told and "a difference of 0.0" in told


def test_infinite_values_are_flagged_and_not_dropped_in_silence() -> None:
    sweep = sweep_of(4, "kind=renoise at=0.9 db=6")
    drift = {"smooth": [0.1, 0.2, 0.3, 0.4], "renoise@0.9+6dB": [0.1, math.inf, 0.3, 0.4]}
    found = analyse(sweep, rows_of(sweep, drift)).ranked[0]
    assert found.flags == "N" and found.broken == 1 and found.primary.pairs == 3
    motion = {"renoise@0.9+6dB": [0.1, math.inf, 0.3, 0.4]}
    other = analyse(sweep, rows_of(sweep, {**drift, "renoise@0.9+6dB": [0.1] * 4}, motion=motion))
    assert other.ranked[0].flags == "I" and "Infinite values in other endpoints" in said(other)
    again = from_csv(as_csv(rows_of(sweep, drift), sweep), sweep)
    assert analyse(sweep, again).ranked[0].flags == "N"


def test_arms_that_are_missing_from_the_correction_are_said() -> None:
    sweep = sweep_of(4, "kind=renoise at=0.9,0.75,0.5 db=6")
    rows = rows_of(sweep, {arm.name: [0.1, 0.2, 0.3, 0.5] for arm in sweep.arms})
    told = said(analyse(sweep, [r for r in rows if r.job.arm != "renoise@0.75+6dB" or r.job.seed < 1]))
    assert "Holm's family is 2 of 3 arms: fewer than two pairs of renoise@0.75+6dB" in told and "1.5 times" in told
    assert "Holm's family" not in said(analyse(sweep, rows))


def test_too_few_seeds_missing_and_broken_runs_are_said() -> None:
    sweep = sweep_of(4, "kind=renoise at=0.9,0.5 db=6")
    drift = {arm.name: [0.1, 0.2, 0.3, 0.4] for arm in sweep.arms}
    drift["renoise@0.9+6dB"] = [0.0, 0.1, math.nan, 0.3]
    rows = [r for r in rows_of(sweep, drift) if r.job != Job("renoise@0.5+6dB", 3)]
    found = analyse(sweep, rows)
    assert "Too few seeds: with 3 pairs and 2 arms no corrected p can be below 0.50" in said(found)
    assert "Incomplete: 1 run missing, of renoise@0.5+6dB" in said(found)
    assert "1 run without a finite drift index, left out: renoise@0.9+6dB" in said(found)
    assert {f.arm.name: f.primary.pairs for f in found.ranked} == {"renoise@0.9+6dB": 3, "renoise@0.5+6dB": 3}
    assert "N" in next(f.flags for f in found.ranked if f.broken)
    assert analyse(sweep, []).verdict[0].startswith("No result: ")


def test_shocks_that_did_not_act_and_unequal_evaluations_are_flagged() -> None:
    sweep = sweep_of(4, "kind=renoise at=0.9 db=6")
    rows = rows_of(sweep, {arm.name: [0.1, 0.2, 0.3, 0.4] for arm in sweep.arms})
    silent = [ResultRow(r.job, r.prompt, r.run, r.evaluations, 0, r.values) if r.job.seed == 2 else r for r in rows]
    found = analyse(sweep, silent)
    assert found.ranked[0].flags == "F" and "renoise@0.9+6dB (1 of 4)" in said(found)
    longer = [ResultRow(r.job, r.prompt, r.run, 31, r.shocks, r.values) if r.shocks else r for r in rows]
    assert analyse(sweep, longer).ranked[0].flags == "E"


# -- as text


@pytest.mark.parametrize("ascii_only", [False, True])
def test_the_report_fits_100_columns_and_says_everything(ascii_only: bool) -> None:
    found = known_effects()
    text = sweep_text.report(found, 100, ascii_only=ascii_only)
    assert max(map(len, text.split("\n"))) <= 100
    assert text.isascii() == ascii_only
    assert all(text.count(arm.name) >= 2 for arm in found.sweep.arms if arm.name != "smooth")
    words = " ".join(text.split())
    assert "O: off the marginal" in words and ("uncorrected" in words)
    assert "Verdict 2 arms lower the drift index" in words
    assert words.count(f"content_drift: {drift_hint()}") == 2, "below the table and in the verdict"


def test_the_forest_plot_puts_intervals_where_they_belong() -> None:
    lines = forest_plot.text(
        [forest_plot.Effect("a", 0.5, 0.0, 1.0, strong=True), forest_plot.Effect("b", -0.5, -1.0, 0.0, hollow=True)],
        "t",
        100,
    ).split("\n")
    a, b = lines[1], lines[2]
    assert a.index("├") == b.index("┤") and a.index("●") > a.index("├") and b.index("◌") < b.index("┤")
    empty = forest_plot.text([forest_plot.Effect("c", math.nan, math.nan, math.nan)], "t", 80)
    assert "no value" in empty


def test_one_huge_interval_does_not_hide_the_others() -> None:
    effects = [forest_plot.Effect(f"e{i}", 0.01, 0.0, 0.02) for i in range(6)] + [
        forest_plot.Effect("wild", 5.0, -1.0, 11.0)
    ]
    low, high = forest_plot.limits(effects)
    assert -0.2 < low < 0 < high < 0.2
    wild = forest_plot.text(effects, "t", 100).split("\n")[7]
    assert wild.startswith("wild") and "‹" in wild and "›" in wild and "○" not in wild


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6)), max_size=6))
@example([(0.0, 5e-324)])
def test_every_forest_plot_can_be_drawn(drawn: list[tuple[float, float]]) -> None:
    effects = [forest_plot.Effect("x", m, m - h, m + h) for m, h in drawn]
    assert all(len(line) <= 90 for line in forest_plot.text(effects, "t", 90).split("\n"))
    ElementTree.fromstring(forest_plot.svg(effects, "t"))


def test_the_picture_is_svg_with_a_line_per_arm_and_escaped_names() -> None:
    root = ElementTree.fromstring(
        forest_plot.svg([forest_plot.Effect("<a&b>", 0.1, 0.0, 0.2)], "t<i>tle", "nano & more")
    )
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "<a&b>" in texts and "t<i>tle" in texts
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 1


def test_markdown_has_every_arm_and_the_verdict() -> None:
    found = known_effects()
    text = sweep_text.markdown(found)
    rows = [line for line in text.split("\n") if line.startswith("| `")]
    assert len([r for r in rows if "restart@0.9+3dB" in r]) == 3  # primary, other endpoints, task measures
    assert all(s in text for s in found.verdict)
    assert "(control, against smooth)" in text


def test_a_csv_line_per_run_keeps_every_digit() -> None:
    sweep = sweep_of(2, "kind=renoise at=0.9 db=6")
    rows = rows_of(sweep, {"smooth": [0.1, math.nan], "renoise@0.9+6dB": [1 / 3, 0.2]})
    lines = as_csv(rows, sweep).split("\n")
    assert lines[0].startswith("arm,control,seed,prompt,run,evaluations,shocks,content_drift,identity")
    assert lines[1].startswith("smooth,,0,p,run,30,0,0.1,1.0") and lines[2].startswith("smooth,,1,p,run,30,0,,1.0")
    assert lines[3].startswith("renoise@0.9+6dB,smooth,0,p,run,30,1,0.3333333333333333,")
    again = from_csv("\n".join(lines), sweep)
    assert as_csv(again, sweep) == "\n".join(lines)
    assert analyse(sweep, again).as_json() == analyse(sweep, rows).as_json()
    with pytest.raises(ValueError, match="line 2 is not a run"):
        from_csv("\n".join(lines).replace("smooth,,0", "other,,0"), sweep)
