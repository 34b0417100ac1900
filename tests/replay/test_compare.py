"""Runs side by side: equal levels are found however a schedule winds, differences are exact, unfair pairs are named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import replay
from recorder.format import protocol
from replay.comparison.alignment import ALIGNMENTS, at_levels, descent
from replay.comparison.compare import CannotCompare, Comparison, UnknownMetric, compare
from replay.comparison.run_differences import Mismatch
from replay.model.run import Run
from tests.whole.test_imports import loaded_after

Columns = dict[str, Sequence[Any]]


def snr(sigma: float) -> float:
    return -math.inf if sigma >= 1 else 20 * math.log10((1 - sigma) / sigma)


def made(
    *stages: Columns, end: str | None = "complete", ended: bool = True, shocks: Sequence[str] = (), **known: Any
) -> Run:
    """A run of which every stage has one video stream with these columns: [rows], or [rows][batch]."""
    run = Run()
    run.feed(
        {
            "t": protocol.HEADER,
            "format": protocol.FORMAT,
            "version": protocol.FORMAT_VERSION,
            "run": "made",
            "time": 0.0,
            "archive": "",
            "metadata": {},
        }
    )
    for index, given_columns in enumerate(stages):
        columns = {**given_columns, "snr_schedule_db": [snr(s) for s in given_columns["sigma"]]}
        metadata = {"prompt": "a red ball", "seed": 0, **known}
        run.feed(
            {"t": protocol.STAGE, "stage": index, "call": index, "tile": None, "time": float(index),
             "sigmas": [float(s) for s in columns["sigma"]], "metadata": metadata}
        )  # fmt: skip
        arrays = {name: np.array(values, "<f4") for name, values in columns.items()}
        batch = max((a.shape[1] for a in arrays.values() if a.ndim == 2), default=1)
        metrics = [
            {"name": name, "unit": "s" if name == "step_seconds" else "1", "label": name, "description": "",
             "dims": ["step"] if a.ndim == 1 else ["step", "batch"], "shape": list(a.shape[1:])}
            for name, a in arrays.items()
        ]  # fmt: skip
        metrics.append(
            {"name": "vector", "unit": "1", "label": "v", "description": "", "dims": ["step", "frame"], "shape": [3]}
        )
        run.feed(
            {"t": protocol.STREAM, "stage": index, "stream": "video", "grid": [2, 2, 2], "shape": [batch, 8, 1],
             "metrics": metrics, "coordinates": {}}
        )  # fmt: skip
        for step in range(len(columns["sigma"])):
            row = np.concatenate([*(a[step].ravel() for a in arrays.values()), np.zeros(3, "<f4")])
            run.feed(
                {"t": protocol.STEP, "stage": index, "stream": "video", "step": step, "time": index + step / 10,
                 "data": row.astype("<f4").tobytes()}
            )  # fmt: skip
        for text in shocks:
            run.feed(event(index, "shock", text))
        if ended:
            summary = {"video": {"drift_index": [float(index + len(columns["sigma"])), None], "own": [1.0, 3.0]}}
            run.feed({**event(index, "stage_end", ""), "payload": {"summary": summary}})
    if end is not None:
        run.feed({"t": protocol.END, "time": 9.0, "status": end, "error": None})
    return run


def event(stage: int, kind: str, text: str) -> dict[str, Any]:
    return {"t": protocol.EVENT, "time": 0.0, "stage": stage, "step": 1, "stream": None, "kind": kind, "text": text,
            "payload": {}}  # fmt: skip


def unfair(comparison: Comparison) -> list[Mismatch]:
    return [m for m in comparison.mismatches if m.decides]


def one(comparison: Comparison, name: str = "value") -> Any:
    return next(s for s in comparison.series if s.name == name)


SMOOTH = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
SPIKE = (1.0, 0.9, 0.8, 0.7, 0.95, 0.7, 0.6, 0.5)  # a restart on arrival at .7, up to .95


def rows(sigmas: Sequence[float]) -> Columns:
    """A run whose `value` is the number of the row: it shows which row was looked up."""
    return {"sigma": sigmas, "value": np.arange(len(sigmas))}


# -- equal levels


def test_a_level_visited_twice_is_compared_as_it_is_left_for_good() -> None:
    found = compare([made(rows(SMOOTH)), made(rows(SPIKE))], align="sigma", metrics=["value"])
    np.testing.assert_allclose(found.axis, SMOOTH, rtol=1e-6)
    a, b = one(found).values
    assert_array_equal(a, [0, 1, 2, 3, 4, 5])
    # .9 and .8 lie on the way down from the spike (.95 is row 4, .7 row 5); the visits before it are passed over.
    np.testing.assert_allclose(b, [0, 4.2, 4.6, 5, 6, 7], atol=1e-5)


def test_above_the_spike_the_step_before_it_counts_and_never_a_mixture() -> None:
    levels, values = np.array(SPIKE), np.array([0.0, 1, 2, 3, 100, 101, 102, 103])
    np.testing.assert_allclose(at_levels(levels, values, np.array([0.96, 0.951])), [0.4, 0.49])
    np.testing.assert_allclose(at_levels(levels, values, np.array([0.95, 0.949])), [100, 100.004])


def test_the_reference_is_never_interpolated_even_if_it_has_the_spike() -> None:
    found = compare([made(rows(SPIKE)), made(rows(SMOOTH))], align="sigma", metrics=["value"])
    np.testing.assert_allclose(found.axis, [1, 0.95, 0.7, 0.6, 0.5], rtol=1e-6)
    assert_array_equal(one(found).values[0], [0, 4, 5, 6, 7])
    np.testing.assert_allclose(one(found).values[1], [0, 0.5, 3, 4, 5], atol=1e-5)


def test_outside_the_range_and_at_infinite_values_there_is_nothing() -> None:
    values = at_levels(np.array([0.9, 0.5, 0.4]), np.array([-np.inf, 1, 2]), np.array([1, 0.9, 0.6, 0.45, 0.4, 0.3]))
    assert_array_equal(values, [np.nan, -np.inf, np.nan, values[3], 2, np.nan])
    assert values[3] == pytest.approx(1.5)
    assert np.isnan(at_levels(np.array([np.nan]), np.array([1.0]), np.array([0.5, np.nan]))).all()
    assert len(at_levels(np.empty(0), np.empty(0), np.array([0.5]))) == 1


def test_snr_is_interpolated_in_decibels_and_equal_infinities_do_not_differ() -> None:
    other = [1.0, 0.85, 0.75, 0.65, 0.55, 0.5]
    found = compare([made(rows(SMOOTH)), made(rows(other))], align="snr", metrics=["value", "snr_schedule_db"])
    assert found.axis[0] == -np.inf and one(found).residuals[0, 0] == 0
    assert one(found, "snr_schedule_db").residuals[0, 0] == 0
    expected = 1 + (snr(0.8) - snr(0.85)) / (snr(0.75) - snr(0.85))
    assert one(found).values[1, 2] == pytest.approx(expected, rel=1e-5)
    assert np.isnan(one(found).values[1, 1]), "between −inf dB and the next row there is no middle"
    assert not np.signbit(found.axis[-1]), "0 dB, not −0"


levels = st.lists(st.integers(1, 100).map(lambda n: n / 100), min_size=1, max_size=12)
finite = st.floats(-1e6, 1e6, width=32)


@given(sigmas=levels, data=st.data())
@settings(max_examples=20, deadline=None)
def test_a_run_compared_with_itself_has_no_residual(sigmas: list[float], data: st.DataObject) -> None:
    values = data.draw(st.lists(finite | st.just(math.nan), min_size=len(sigmas), max_size=len(sigmas)))
    run = made({"sigma": sigmas, "value": values})
    for align in ALIGNMENTS:
        found = compare([run, run, run], align=align, metrics=["value"])
        series = one(found)
        assert len(found.axis) == (len(descent(np.array(sigmas))) if align in ("sigma", "snr") else len(sigmas))
        assert_array_equal(series.values[1], series.values[0])
        known = ~np.isnan(series.values[0])
        assert np.all(series.residuals[:, known] == 0) and np.isnan(series.residuals[:, ~known]).all()
        assert found.divergences == (None, None) and found.plans == (None, None) and not found.mismatches


@given(first=levels, second=levels)
@settings(max_examples=60, deadline=None)
def test_what_depends_on_the_level_alone_is_equal_at_equal_levels(first: list[float], second: list[float]) -> None:
    """However two schedules wind: a linear function of σ agrees where both have been, and only there."""
    a, b = (np.array(s) for s in (first, second))
    wanted = a[descent(a)]
    assert np.all(np.diff(wanted) < 0) and wanted[0] == a.max() and wanted[-1] == a[-1]
    found = at_levels(b, 2 * b + 1, wanted)
    inside = (wanted <= b.max()) & (wanted >= b[-1])
    assert_array_equal(np.isnan(found), ~inside)
    np.testing.assert_allclose(found[inside], 2 * wanted[inside] + 1, rtol=1e-12)


@given(sigmas=levels)
@settings(max_examples=60, deadline=None)
def test_equal_levels_take_rows_exactly_and_the_last_ones(sigmas: list[float]) -> None:
    at = np.array(sigmas)
    branch = descent(at)
    noise = np.random.default_rng(0).standard_normal(len(at))
    assert_array_equal(at_levels(at, noise, at[branch]), noise[branch])
    for row in branch:
        assert (at[row + 1 :] < at[row]).all()


# -- steps, evaluations, batches


def test_steps_and_evaluations_pair_rows_by_number() -> None:
    first = made(rows(SMOOTH), rows(SMOOTH))
    second = made(rows(SPIKE), rows(SMOOTH))
    by_step = compare([first, second], metrics=["value"])
    assert_array_equal(by_step.axis, np.arange(8))
    assert_array_equal(one(by_step).values[0], [0, 1, 2, 3, 4, 5, np.nan, np.nan])
    assert_array_equal(one(by_step).residuals[0, :6], np.zeros(6))
    later = compare([first, second], align="evaluations", stage=1, metrics=["value"])
    assert_array_equal(later.axis, np.arange(7, 15))  # the first stage took 6 evaluations of one, 8 of the other
    assert_array_equal(one(later).values[0], [0, 1, 2, 3, 4, 5, np.nan, np.nan])
    assert_array_equal(one(later).values[1], [np.nan, np.nan, 0, 1, 2, 3, 4, 5])
    assert_array_equal(one(later).residuals[0, 2:6], [-2, -2, -2, -2])


def test_evaluations_are_those_that_the_rows_record() -> None:
    once = made(rows(SMOOTH), rows(SMOOTH))
    twice = made({**rows(SMOOTH[:3]), "evaluations": [2, 2, 2]}, {**rows(SMOOTH[:3]), "evaluations": [1, np.nan, 2]})
    assert once.stages[0].evaluations.tolist() == [1] * 6 and once.evaluations == 12
    assert [s.evaluations.tolist() for s in twice.stages] == [[2, 2, 2], [1, 1, 2]] and twice.evaluations == 10
    found = compare([once, twice], align="evaluations", stage=0, metrics=["value"])
    assert_array_equal(found.axis, np.arange(1, 7))
    assert_array_equal(one(found).values[1], [np.nan, 0, np.nan, 1, np.nan, 2])
    assert [r.evaluations for r in found.runs] == [12, 10]
    assert {r.name: r.values.tolist() for r in found.spent}["evaluations"] == [6, 6]
    later = compare([once, twice], align="evaluations", stage=1, metrics=["value"])
    assert_array_equal(later.axis, np.arange(7, 13))
    assert_array_equal(one(later).values[1], [0, 1, np.nan, 2, np.nan, np.nan])
    assert {m.what for m in unfair(found)} == {"model evaluations"}


@pytest.mark.parametrize(
    ("recorded", "counted"),
    [(None, [1, 1, 1]), ([2, 1, 3], [2, 1, 3]), ([np.nan, 0, -1], [1, 0, 1]), ([np.inf, 1.6, 1e30], [1, 2, 1 << 16])],
)
def test_what_is_not_a_count_of_evaluations_counts_as_one(recorded: list[float] | None, counted: list[int]) -> None:
    columns = rows(SMOOTH[:3]) if recorded is None else {**rows(SMOOTH[:3]), "evaluations": recorded}
    assert made(columns).stages[0].evaluations.tolist() == counted


def test_a_batch_is_averaged_or_one_item_is_taken() -> None:
    a = made({"sigma": [1.0, 0.5], "value": [[1, 3], [2, 4]]})
    b = made({"sigma": [1.0, 0.5], "value": [[1, 4], [2, np.nan]]})
    found = compare([a, b])
    assert [s.name for s in found.series] == ["sigma"], "the default metrics that both have"
    mean = compare([a, b], metrics=["value", "value"])
    assert len(mean.series) == 1
    assert_array_equal(one(mean).values, [[2, 3], [2.5, np.nan]])
    assert_array_equal(one(mean).residuals, [[0.5, np.nan]])
    item = compare([a, b], metrics=["value"], item=0)
    assert_array_equal(one(item).residuals, [[0, 0]])
    assert item.divergences == (None,)
    parting = mean.divergences[0]
    assert parting is not None and (parting.step, parting.reference, parting.value) == (0, 3.0, 4.0)


# -- where runs part


def test_the_first_different_row_is_named_with_its_metric() -> None:
    base = {"sigma": SMOOTH, "value": np.ones(6), "later": np.ones(6), "step_seconds": np.arange(6.0)}
    off = {**base, "value": [1, 1, 1, 1, 1 + 1e-6, 5], "later": [1, 1, 1, np.nan, 1, 1], "step_seconds": np.ones(6)}
    names = ["value", "later", "step_seconds"]
    runs = [made(base, base), made(base, off), made(base, base)]
    found = compare(runs, metrics=names)
    parting, none = found.divergences
    assert none is None and parting is not None
    assert (parting.run, parting.stage, parting.step, parting.metric) == (1, 1, 3, "later")
    without = [{k: v for k, v in columns.items() if k != "later"} for columns in (base, off)]
    pair = [made(base, columns) for columns in without]
    loose = compare(pair, tolerance=1e-5).divergences[0]
    assert loose is not None and (loose.step, loose.value) == (5, 5.0)
    exact = compare(pair).divergences[0]
    assert exact is not None and exact.step == 4, "bit for bit unless told otherwise"
    assert compare(pair, tolerance=0.9).divergences == (None,)
    slower = {**base, "step_seconds": np.ones(6)}
    assert compare([made(base), made(slower)]).divergences == (None,), "no two runs take the same time"


def test_plans_are_told_apart_from_what_happened() -> None:
    found = compare([made(rows(SMOOTH)), made(rows(SPIKE)), made(rows(SMOOTH[:4]))])
    spike, short = found.plans
    assert spike is not None and (spike.stage, spike.step) == (0, 4)
    assert (spike.reference, spike.value) == (0.6, 0.95)
    assert short is not None and (short.step, short.reference, short.value) == (4, 0.6, None)


@pytest.mark.parametrize("finished", [True, False])
def test_a_missing_row_counts_once_its_run_can_no_longer_get_it(finished: bool) -> None:
    end = "complete" if finished else None
    full, part = made(rows(SMOOTH), rows(SMOOTH)), made(rows(SMOOTH[:3]), end=end, ended=finished)
    for runs in ([full, part], [part, full]):
        parting = compare(runs, metrics=["value"]).divergences[0]
        if finished:
            assert parting is not None and (parting.stage, parting.step, parting.metric) == (0, 3, None)
        else:
            assert parting is None
    one_stage = made(rows(SMOOTH), end=end)
    parting = compare([one_stage, full], metrics=["value"]).divergences[0]
    assert (parting is not None and (parting.stage, parting.step) == (1, 0)) == finished


# -- fair pairs and summaries


def test_fair_pairs_differ_in_the_schedule_only() -> None:
    arguments = {"guidance_scale": 3.0, "num_inference_steps": 8, "sigmas": None, "output_type": "latent"}
    a = made(rows(SMOOTH), arguments=arguments)
    scheduled = {**arguments, "num_inference_steps": 9, "sigmas": [1.0], "output_type": "np"}
    same = made(rows([1.0, 0.9, 0.8, 0.95, 0.8, 0.5]), arguments=scheduled, scheduler={"class": "ShockScheduler"})
    found = compare([a, same])
    assert found.as_json()["fair"] is True
    assert {m.what for m in found.mismatches} == {"num_inference_steps", "sigmas"}
    unlike = made(
        rows(SPIKE), rows(SMOOTH), prompt="a cat", seed=1, model="other", arguments={**arguments, "guidance_scale": 1.0}
    )
    reasons = {m.what: (m.reference, m.value) for m in unfair(compare([a, same, unlike])) if m.run == 2}
    assert reasons == {
        "model evaluations": (6, 14),
        "stages": (1, 2),
        "prompt": ("a red ball", "a cat"),
        "seed": (0, 1),
        "model": (None, "other"),
        "guidance_scale": (3.0, 1.0),
    }
    wide = made({"sigma": SMOOTH, "value": np.ones((6, 2))})
    assert [m.what for m in unfair(compare([a, wide], metrics=[]))] == ["video size"]
    unknown = made(rows(SMOOTH), seed=None)
    assert [m.what for m in unfair(compare([unknown, unknown]))] == ["seed"], "chance does not make a pair"


def sampled_by(kind: str, **config: Any) -> Run:
    return made(rows(SMOOTH), scheduler={"class": kind, "config": config})


EULER = "FlowMatchEulerDiscreteScheduler"
ANCESTRAL = "LTXEulerAncestralRFScheduler"


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        (sampled_by(EULER), sampled_by(ANCESTRAL), "scheduler"),
        (sampled_by(EULER, stochastic_sampling=False), sampled_by(EULER, stochastic_sampling=True),
         "scheduler stochastic_sampling"),
        (sampled_by(ANCESTRAL, eta=1.0), sampled_by(ANCESTRAL, eta=0.5), "scheduler eta"),
    ],
)  # fmt: skip
def test_two_samplers_are_not_a_fair_pair(one: Run, other: Run, what: str) -> None:
    (found,) = unfair(compare([one, other]))
    assert found.what == what and found.cure == "use one sampler for both; only its schedule is compared"


def test_every_other_setting_that_differs_is_shown_and_is_not_a_reason() -> None:
    one, other = sampled_by(EULER, shift=1.0, base_shift=0.95), sampled_by(EULER, shift=1.0, base_shift=2.05)
    for run, device, torch in ((one, "cpu", "2.13.0"), (other, "NVIDIA H100", "2.14.0")):
        run.header["metadata"] = {"device": device, "versions": {"torch": torch}, "user": {"study": device}}
    found = {m.what: (m.reference, m.value, m.decides) for m in compare([one, other]).mismatches}
    assert found == {
        "scheduler base_shift": (0.95, 2.05, False),
        "device": ("cpu", "NVIDIA H100", False),
        "torch version": ("2.13.0", "2.14.0", False),
        "user study": ("cpu", "NVIDIA H100", False),
    }
    assert compare([one, other]).as_json()["fair"] is True


def kept_with(**user: Any) -> Run:
    run = made(rows(SMOOTH))
    run.header["metadata"] = {"user": user}
    return run


def test_tables_are_compared_key_by_key_so_that_long_ones_show_what_differs() -> None:
    long = {"model": "nano", "prompt": "a red ball " * 40, "shocks": [{"kind": "restart", "at": 0.9}], "steps": 8}
    one = kept_with(request={**long, "scheduler": {"shift": 1.0, "eta": 0.5}}, note="a")
    other = kept_with(request={**long, "steps": 9, "scheduler": {"shift": 3.0, "eta": 0.5}, "offload": "none"})
    found = {m.what: (m.reference, m.value, m.decides) for m in compare([one, other]).mismatches}
    assert found == {
        "user request.steps": (8, 9, False),
        "user request.scheduler.shift": (1.0, 3.0, False),
        "user request.offload": (None, "none", False),
    }
    assert compare([one, kept_with(request=dict(one.metadata["user"]["request"]))]).mismatches == ()
    arguments = made(rows(SMOOTH), arguments={"kw": {"scale": 1}}), made(rows(SMOOTH), arguments={"kw": {"scale": 2}})
    (unlike,) = unfair(compare(arguments))
    assert (unlike.what, unlike.reference, unlike.value) == ("kw.scale", 1, 2) and unlike.cure


def starting_with(noise: float, sigma: float = 1.0, **known: Any) -> Run:
    """A run whose first sample has this power."""
    return made({**rows([sigma, 0.5]), "spectrum_x": [[noise], [1.0]]}, **known)


def test_the_same_seed_with_other_start_noise_is_not_a_fair_pair() -> None:
    (found,) = unfair(compare([starting_with(1.0), starting_with(1.05)]))
    assert (found.what, found.value) == ("start noise", "video") and "new generator" in found.cure
    assert not unfair(compare([starting_with(1.0), starting_with(1.0 + 1e-5)])), "rounded to bfloat16"
    assert [m.what for m in unfair(compare([starting_with(1.0), starting_with(1.05, seed=1)]))] == ["seed"]
    assert not unfair(compare([starting_with(1.0), starting_with(0.9, sigma=0.9)])), "another level has another power"


def test_guidance_that_was_changed_in_one_of_two_runs_is_not_fair() -> None:
    steady = made({**rows(SMOOTH), "guidance_scale": [3.0] * 6})
    dropped = made({**rows(SMOOTH), "guidance_scale": [3.0, 3.0, 1.0, 1.0, 1.0, 1.0]})
    (found,) = unfair(compare([steady, dropped]))
    assert (found.what, found.reference, found.value) == ("guidance_scale at step 2 of video", 3.0, 1.0)
    assert found.cure == "guide both by the same values at every step"


def test_levels_of_the_audio_are_compared_too() -> None:
    def with_audio(shift: float) -> Run:
        run = made(rows(SMOOTH), end=None, ended=False)
        metrics = [{"name": "sigma", "unit": "1", "label": "", "description": "", "dims": ["step"], "shape": []}]
        stream = {"stage": 0, "stream": "audio", "grid": [4], "shape": [1, 4, 1], "metrics": metrics}
        run.feed({"t": protocol.STREAM, **stream, "coordinates": {}})
        for step, sigma in enumerate(SMOOTH):
            data = np.array([sigma - shift * (step > 1)], "<f4").tobytes()
            run.feed({"t": protocol.STEP, "stage": 0, "stream": "audio", "step": step, "time": 1.0, "data": data})
        return run

    assert compare([with_audio(0), with_audio(0)]).plans == (None,)
    (plan,) = compare([with_audio(0), with_audio(0.2)]).plans
    assert plan is not None and (plan.streams, plan.step) == (("audio",), 2)
    assert plan.reference == pytest.approx(0.8) and plan.value == pytest.approx(0.6)


def test_the_stage_that_differs_first_is_compared_with_what_it_took() -> None:
    late = {**rows(SMOOTH), "value": np.arange(6) + 1.0}
    found = compare([made(rows(SMOOTH), rows(SMOOTH)), made(rows(SMOOTH), late)])
    assert found.stage == 1
    spent = {row.name: row.values.tolist() for row in found.spent}
    assert spent["evaluations"] == [6, 6] and spent["shocks"] == [0, 0]
    assert spent["seconds"] == pytest.approx([0.5, 0.5])
    assert [r.evaluations for r in found.runs] == [12, 12] and [r.stages for r in found.runs] == [2, 2]
    assert compare([made(rows(SMOOTH)), made(rows(SMOOTH))]).stage == 0


def test_summaries_of_every_run_with_their_differences() -> None:
    running = made(rows(SMOOTH[:2]), end=None, ended=False)
    found = compare([made(rows(SMOOTH), shocks=["restart at .7"]), made(rows(SPIKE)), running], item=0)
    by_name = {row.name: row for row in found.summaries}
    assert list(by_name) == ["drift_index", "own"]
    assert_array_equal(by_name["drift_index"].values, [6, 8, np.nan])
    assert_array_equal(by_name["drift_index"].differences, [2, np.nan])
    assert by_name["drift_index"].label == "drift index"
    mean = {row.name: row.values for row in compare([made(rows(SMOOTH)), running]).summaries}
    assert_array_equal(mean["drift_index"], [np.nan, np.nan])  # its second item is unknown
    assert_array_equal(mean["own"], [2, np.nan])
    assert [r.evaluations for r in found.runs] == [6, 8, 2]
    assert [r.status for r in found.runs] == ["complete", "complete", "unfinished"]
    assert found.runs[0].shocks == ("restart at .7",) and found.runs[1].shocks == ()
    assert found.runs[0].seconds == pytest.approx(0.5)


# -- what cannot be compared


def test_what_is_missing_is_said() -> None:
    a, b = made(rows(SMOOTH)), made({"sigma": SMOOTH, "other": np.ones(6)})
    for options, says in [
        ({"stage": 1}, "run A has no stage 1: its stages are 0 to 0"),
        ({"stream": "audio"}, "run A has no stream 'audio'.*video"),
        ({"item": 1}, "run A has no batch item 1"),
        ({"align": "time"}, "step, sigma, snr, evaluations"),
        ({"metrics": ["vector"]}, "'vector' is not a scalar metric of every run; there are: sigma, snr_schedule_db"),
    ]:
        with pytest.raises(CannotCompare, match=says):
            compare([a, b], **cast(dict[str, Any], options))
    with pytest.raises(UnknownMetric) as unknown:
        compare([a, b], metrics=["value"])
    assert unknown.value.available == ("sigma", "snr_schedule_db")
    for runs, says in [([a], "not 1"), ([a] * 27, "not 27"), ([a, made()], "run B has no stage 0: none has begun")]:
        with pytest.raises(CannotCompare, match=says):
            compare(runs)


def test_the_library_is_light_until_it_is_used() -> None:
    assert replay.compare is compare
    assert loaded_after("from replay import compare") == set()
    assert loaded_after("import ltxtui.cli.compare") == set()
    with pytest.raises(AttributeError, match="nothing"):
        _ = replay.nothing
