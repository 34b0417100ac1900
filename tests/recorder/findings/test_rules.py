"""Each rule on rows that a right model gives, and on the same rows with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recorder.findings.examine import Examiner
from recorder.findings.facts import Block, RunFacts, StageFacts, StreamFacts
from recorder.findings.finding import verdict_of
from recorder.findings.rule import Check
from recorder.findings.rules import BY_ID, RULES
from tests.recorder.findings.rows import SIGMAS, X0_POWER, examined, powers, right

Rows = dict[str, NDArray[Any]]


def changed(**metrics: Any) -> Callable[[], dict[str, Any]]:
    """A right run with other metrics; a value that can be called is given the right one."""

    def make() -> dict[str, Any]:
        rows = right()
        for name, value in metrics.items():
            rows[name] = value(rows[name].copy()) if callable(value) else value
        return {"rows": [rows]}

    return make


def asked(planned: tuple[float, ...] = SIGMAS, scheduler: dict[str, Any] | None = None, **arguments: Any) -> Any:
    """A right run whose call had these arguments."""
    metadata = {"arguments": arguments, "scheduler": {"class": "FlowMatchEulerDiscreteScheduler", **(scheduler or {})}}
    return lambda: {"rows": [right()], "metadata": metadata, "sigmas": planned}


def guided(gap: float, raw: float = 1.0, **more: Any) -> Any:
    shape = (len(SIGMAS), 1)
    return changed(guidance_gap_cfg=np.full(shape, gap), velocity_conditional_rms=np.full(shape, raw), **more)


def stg(blocks: list[int], scale: float = 1.0) -> Any:
    def make() -> dict[str, Any]:
        made = asked(spatio_temporal_guidance_blocks=blocks, stg_scale=scale)()
        made["metadata"]["transformer"] = {"class": "LTX2VideoTransformer3DModel", "blocks": 4}
        return made

    return make


def from_row(first: int, value: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def change(rows: NDArray[Any]) -> NDArray[Any]:
        rows[first:] = value
        return rows

    return change


def frame(number: int, factor: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def change(rows: NDArray[Any]) -> NDArray[Any]:
        rows[:, :, number] *= factor
        return rows

    return change


def frame_by(factor: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Every frame moves by another amount."""
    return lambda rows: rows * factor


def channel(rows: NDArray[Any]) -> NDArray[Any]:
    rows[:, :, 3] = 20
    return rows


def noise(power: float) -> Any:
    """A start of noise of another power, which the model calls noise all the same."""
    slope = power * np.ones((len(SIGMAS), 1))
    return changed(**powers("noise", slope), **powers("velocity", slope + X0_POWER))


def audio(**metrics: Any) -> Any:
    def make() -> dict[str, Any]:
        return {"rows": [right(), right() | {k: v(right()[k]) for k, v in metrics.items()}]}

    return make


def weighed(*weights: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Frames that are multiplied by weights."""
    return lambda rows: rows * np.array(weights)


def opposed(growth: float, model: str = "nano") -> Any:
    def make() -> dict[str, Any]:
        gap = 0.3 * np.array([1, 1.1, 1.2, 1, growth, growth, 0.8, 0.5])[:, None]
        made = changed(guidance_gap_cfg=gap, velocity_conditional_rms=np.ones((8, 1)))()
        return {**made, "metadata": {"model": model}}

    return make


def loud(power: float) -> Any:
    """A stage that starts at σ .7 from a clip of this power."""

    def make() -> dict[str, Any]:
        rows = right(SIGMAS[4:])
        clip = np.full((4, 1), power)
        after = rows["sigma_next"][:, None]
        std = np.sqrt((1 - after) ** 2 * clip + after**2)
        return {"rows": [{**rows, **powers("x0", clip), **powers("velocity", 1 + clip), "std": std}]}

    return make


def handed(spread: float, first: float = 0.9) -> Any:
    """A stage whose call was given latents of this spread."""
    return lambda: {"rows": [right()], "metadata": {"given_std": {"latents": spread}}, "sigmas": (first, *SIGMAS[5:])}


def drifting(drift: list[float | None], first: list[float | None]) -> Any:
    return lambda: {
        "rows": [right(clips=len(drift))],
        "summary": {"content_drift": drift, "drift_first_frame": first},
        "frames": tuple(range(9)),
    }


SHAPED = (1.0, 0.99, 0.98, 0.9, 0.7, 0.4)
FAULTS: dict[str, list[tuple[str, Any, int | None]]] = {
    "levels-changed": [("shifted again", asked((1.0, 0.99, 0.97, 0.92, 0.8, 0.5), sigmas=list(SHAPED)), 2)],
    "step-count": [("one lost", asked(SIGMAS[:-1], num_inference_steps=8), None)],
    "level-invalid": [("nan", asked((*SIGMAS[:3], float("nan"))), 3), ("thousands", asked((1000.0, 500.0)), 0)],
    "level-zero": [("closing", asked((*SIGMAS, 0.0)), 8)],
    "levels-rise": [("unasked", asked((1.0, 0.8, 0.9, 0.5)), 2)],
    "step-too-long": [("to .999", changed(sigma_next=from_row(4, 0.01)), 4)],
    "timestep-mismatch": [("linear", changed(timestep=from_row(3, 400.0)), 3)],
    "timestep-scale": [("0 to 1", changed(timestep=lambda t: t / 1000), 0)],
    "noise-left": [("not closed", changed(sigma_next=from_row(7, 0.1)), None)],
    "constant-shift": [
        ("", asked(scheduler={"config": {"use_dynamic_shifting": True, "base_shift": 2.05, "max_shift": 2.05}}), None)
    ],
    "start-noise-power": [("weak", noise(0.25), 0), ("strong", noise(1.7), 0)],
    "noise-repeated": [("frames", changed(sample_frame_cosine=from_row(0, 0.99)), 0)],
    "start-noise-coloured": [
        ("coarse", changed(noise_whiteness_low=from_row(0, 1.9)), 0),
        ("fine", changed(noise_whiteness_high=from_row(0, 1.3)), 0),
    ],
    "prediction-empty": [("zeros", changed(velocity_rms=from_row(0, 0.0)), 0)],
    "clip-empty": [("black", changed(channel_std=from_row(0, 0.001)), 7)],
    "result-is-noise": [("white", changed(motion=frame_by(1.5), **powers("x0", np.full((8, 1), 0.6))), 7)],
    "fades": [
        ("out", changed(frame_contrast=weighed(1, 1, 0.9, 0.8, 0.7, 0.55, 0.4, 0.3, 0.2)), 7),
        ("in", changed(frame_contrast=weighed(1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1)), 7),
    ],
    "frames-blank": [("one", changed(frame_contrast=weighed(1, 1, 1, 1, 0.05, 1, 1, 1, 1)), 7)],
    "pulses": [("odd ones", changed(frame_contrast=weighed(1, 1, 0.6, 1, 0.6, 1, 0.6, 1, 0.6)), 7)],
    "given-latents-power": [("three times as large", loud(9 * X0_POWER), 0)],
    "given-latents-empty": [("zeros", handed(0.0), 0)],
    "drifts": [("from 3", drifting([0.8], [3.0]), 7), ("slightly", drifting([0.2], [2.0]), 7)],
    "given-frame-changed": [("from 4", changed(given_change=from_row(4, 0.3)), 4)],
    "guidance-opposed": [("nano", opposed(1.6), 4), ("another model", opposed(1.6, "LTX"), 4)],
    "near-overflow": [("large", changed(max_abs=from_row(6, 1e6)), 6)],
    "values-too-large": [("burned", changed(**powers("x0", np.full((8, 1), 5.0))), 7)],
    "channel-runs-away": [("third", changed(channel_std=channel), 7)],
    "hard-cut": [("in the middle", changed(motion=frame(6, 3.0)), 7)],
    "frames-repeated": [("one", changed(motion=frame(6, 0.01)), 7)],
    "flicker": [("alternate", changed(jerk=lambda j: j / 1.7 * 1.98), 7)],
    "prediction-mismatch": [("x0 read as v", changed(**powers("velocity", np.full((8, 1), 0.1))), 0)],
    "noise-power": [("too much noise on the way", changed(**powers("noise", np.full((8, 1), 1.6))), 0)],
    "noise-not-white": [("coarse", changed(noise_whiteness_low=from_row(2, 1.9)), 2)],
    "outputs-reused": [("cached", changed(velocity_cosine=from_row(4, 1.0)), 4)],
    "pass-without-effect": [("same prompts", guided(0.0), 0)],
    "stg-block-missing": [("28 of 4", stg([28]), None)],
    "stg-every-block": [("all", stg([0, 1, 2, 3]), None)],
    "condition-lost": [("", lambda: {"rows": [right()], "seen": {"condition-lost"}}, None)],
    "setting-replaced": [("0", lambda: {**asked(guidance_scale=0.0)(), "in_effect": {"guidance_scale": 4.0}}, None)],
    "guidance-strong": [("no rescale", guided(0.5, 0.4), 0)],
    "guidance-too-strong": [("burned", guided(0.5, 0.4, noise_whiteness_low=from_row(1, 1.8)), 1)],
    "frame-count": [("40", asked(num_frames=40), None)],
    "frame-rate": [("8", asked(frame_rate=8.0), None)],
    "motion-speed": [(".05", asked(motion_speed=0.05), None)],
    "not-finite": [("nan", changed(nan_count=from_row(5, 7.0)), 5), ("inf", changed(inf_count=from_row(0, 1.0)), 0)],
    "changed-between-steps": [
        ("scaled", changed(std=from_row(3, 1.3)), 4),
        ("moved", changed(sample_change=np.array([np.nan, 0, 0, 0, 1.4, 0, 0, 0])[:, None]), 4),
    ],
    "audio-out-of-step": [("other shift", audio(sigma=from_row(2, 0.77)), 2)],
    "little-motion": [("still", changed(motion=lambda m: m * 0.01), 7)],
}


def run(make: Any, **more: Any) -> list[Any]:
    made = make()
    return examined(*made.pop("rows"), **made, **more)


def test_a_right_run_has_no_finding() -> None:
    assert examined(right()) == [] and verdict_of([]).severity == "ok"
    assert examined(right(), right(clips=3)) == []


CASES = [
    pytest.param(rule, make, step, id=f"{rule} {name}") for rule, cases in FAULTS.items() for name, make, step in cases
]


@pytest.mark.parametrize(("rule", "make", "step"), CASES)
def test_a_fault_is_named_with_the_step_it_begins_at(rule: str, make: Any, step: int | None) -> None:
    found = [f for f in run(make) if f.id == rule]
    assert found, [f.id for f in run(make)]
    assert found[0].step == step and found[0].text and found[0].advice
    assert all("{" not in text for text in (found[0].text, found[0].short, found[0].advice))


@pytest.mark.parametrize(("rule", "make", "step"), CASES)
def test_blocks_of_any_size_give_the_same(rule: str, make: Any, step: int | None) -> None:
    assert run(make, blocks=1) == run(make, blocks=3) == run(make)


def test_every_rule_has_a_case_and_a_name_of_its_own() -> None:
    ids = [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids)
    elsewhere = {"stage-noise-power", "latents-scale"} | {r.id for r in RULES if r.run}  # two stages; test_recording
    assert set(ids) - set(FAULTS) <= elsewhere
    for rule in RULES:
        assert rule.reason and rule.formula and rule.advice and [rule.rows, rule.stage, rule.run].count(None) == 2


@pytest.mark.parametrize(
    "make",
    [
        asked((1.0, 0.93, 0.8, 0.5), sigmas=[1.0, 0.75, 0.5, 0.25]),  # evenly spaced: meant to be shifted
        asked(SIGMAS[:-1], num_inference_steps=20, strength=0.35),
        asked(SIGMAS, num_inference_steps=4),  # second order: two rows a step
        asked(num_frames=33, frame_rate=24.0, motion_speed=1.0),
        stg([2]),
        stg([28], scale=0.0),  # the default of a pipeline that does not use it
        guided(0.3, 1.2),
        opposed(1.05),
        loud(2.0),
        changed(given_change=from_row(0, 0.004)),
        changed(frame_contrast=weighed(1, 1, 0.95, 0.9, 0.9, 0.85, 0.8, 0.75, 0.7)),  # a thing that leaves the picture
        changed(sample_frame_cosine=from_row(0, 0.3)),  # frames of noise that were mixed on purpose
        handed(0.4),
        handed(0.0, first=1.0),
        handed(0.0, first=0.9975),
        drifting([0.3], [4.0]),
        drifting([None], [None]),
        changed(timestep=lambda t: np.round(t * 1.0005)),
        changed(std=lambda s: s * 1.00001),
        changed(sample_change=np.full((len(SIGMAS), 1), 0.0017)),  # a loop that rounds its float32 to bfloat16
    ],
)
def test_what_people_do_on_purpose_is_no_warning(make: Any) -> None:
    assert [f for f in run(make) if f.severity != "note"] == []


def test_a_run_that_goes_on_or_was_stopped_has_no_noise_left() -> None:
    make = changed(sigma_next=from_row(7, 0.1))
    for status in ("", "interrupted", "failed"):
        assert "noise-left" not in [f.id for f in run(make, status=status)]


def test_a_run_with_missing_rows_does_not_say_what_its_last_row_leaves() -> None:
    stage = StageFacts(0, last_level=0.5)
    (check,) = BY_ID["noise-left"].stage(RunFacts(stages=[stage], status="complete"), stage)
    assert check.high == 0.01
    missing = RunFacts(stages=[stage], status="complete", missed={"stage_0/video": 3})
    assert not list(BY_ID["noise-left"].stage(missing, stage))


def test_levels_that_are_none_are_named_and_nothing_is_worked_out_from_them() -> None:
    thousands = tuple(1000 * sigma for sigma in SIGMAS)
    rows = right() | {"sigma": np.array(thousands), "sigma_next": np.array([*thousands[1:], 0.0])}
    assert [f.id for f in examined(rows)] == ["level-invalid"]


def test_a_verdict_on_the_sound_says_so() -> None:
    quiet = right()
    rows = quiet | powers("noise", 0.2 * quiet["energy_low_noise"] / quiet["energy_low_noise"])
    assert verdict_of(examined(right(), rows)).text.startswith("audio: ")
    assert not verdict_of(examined(rows, right())).text.startswith("audio")


def test_a_run_without_rows_gives_the_reason_that_the_recorder_gave() -> None:
    (check,) = BY_ID["nothing-recorded"].run(RunFacts(status="complete"))
    assert check.words == {"why": "", "cure": "call the pipeline inside the recorded block"}
    (check,) = BY_ID["nothing-recorded"].run(RunFacts(status="complete", troubles=["every frame is conditioned"]))
    assert check.words["why"] == ": every frame is conditioned" and "mend" in check.words["cure"]


@pytest.mark.parametrize(("values", "right_power"), [(40, (0.4, 2.3)), (112, (0.45, 1.9)), (4800, (0.9, 1.1))])
def test_the_start_of_a_few_values_may_vary_more_but_half_the_noise_is_named(
    values: int, right_power: tuple[float, float]
) -> None:
    def found(power: float) -> list[str]:
        noisy = noise(power)()["rows"][0]
        facts = RunFacts(stages=[stage := StageFacts(0, sigmas=SIGMAS)])
        stream = stage.streams["audio"] = StreamFacts("audio", 1, values, (values,), metrics=frozenset(noisy))
        (check,) = BY_ID["start-noise-power"].rows(Block(facts, stage, stream, 0, 1, lambda m, a, b: noisy[m][a:b]))
        return ["found"] if not check.low <= check.values.item() <= check.high else []

    assert [found(power) for power in right_power] == [[], []]
    assert found(0.25) == (["found"] if values > 100 else []) and found(4.0) == ["found"]


def test_formulas_are_shown_as_they_are_written() -> None:
    assert not [rule.id for rule in RULES if "{{" in rule.formula or "}}" in rule.formula]


def test_a_drift_names_clip_and_frames_and_is_the_verdict() -> None:
    found = run(drifting([0.01, 0.9, None], [None, 5.0, None]))
    assert [(f.id, f.clip, f.frames, f.severity) for f in found] == [("drifts", 1, (5, 8), "warning")]
    assert verdict_of(found).text == "drifts from frame 5"


def test_a_named_cause_makes_a_note_of_what_follows() -> None:
    faded = weighed(1, 1, 0.9, 0.8, 0.7, 0.55, 0.4, 0.3, 0.2)
    rows = right()
    rows["frame_contrast"] = faded(rows["frame_contrast"])
    rows["motion"] = frame(6, 3.0)(rows["motion"])
    found = examined(rows, summary={"content_drift": [0.9], "drift_first_frame": [3.0]})
    assert [(f.id, f.severity) for f in found] == [("fades", "warning"), ("drifts", "note"), ("hard-cut", "note")]


def test_silence_is_a_note() -> None:
    silent = audio(channel_std=from_row(0, 0.0))
    assert [(f.id, f.stream, f.severity) for f in run(silent)] == [("clip-empty", "audio", "note")]


def test_one_clip_of_a_batch_is_named() -> None:
    rows = right(clips=3)
    rows["nan_count"][4:, 1] = 12
    found = examined(rows)
    assert [(f.id, f.clip, f.step) for f in found] == [("not-finite", 1, 4)]
    assert verdict_of(found).as_json() == {"severity": "error", "text": "NaN since step 4"}


def test_without_the_metrics_a_rule_says_nothing() -> None:
    rows = right()
    for name in ("energy_low_noise", "std", "noise_whiteness_low"):
        del rows[name]
    rows["std_"] = np.ones((8, 1))
    rows["std"] = np.full((8, 1), np.nan)
    assert examined(rows) == []


def test_rules_over_a_stage_look_once_however_many_rows_come() -> None:
    looked: list[int] = []

    def look(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
        looked.append(len(stage.plan))
        yield Check(np.array([0.0]), high=1)

    rule = replace(BY_ID["levels-rise"], stage=look)
    stage = StageFacts(0, sigmas=SIGMAS)
    facts = RunFacts(stages=[stage])
    examiner = Examiner(facts, [rule])
    rows = right()
    stage.streams["video"] = StreamFacts("video", 1, 4800, (9, 10, 12), metrics=frozenset(rows))
    for first in range(8):
        examiner.rows(Block(facts, stage, stage.streams["video"], first, 1, lambda m, a, b: rows[m][a:b]))
        examiner.findings()
    assert looked == [8]
    stage.sigmas, stage.changed = SIGMAS[:5], True
    examiner.findings()
    assert looked == [8, 5]
    facts.status = "complete"
    examiner.findings()
    assert looked == [8, 5, 5]


def test_the_plan_is_an_array_that_is_made_once() -> None:
    stage = StageFacts(0, sigmas=(1.0, 0.5))
    assert stage.plan is stage.plan and stage.plan.tolist() == [1, 0.5] and not stage.plans_zero
    stage.sigmas = (1.0, 0.0)
    assert stage.plan.tolist() == [1, 0] and stage.plans_zero
