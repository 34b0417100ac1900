"""Noise levels of every row come from the scheduler as it steps; what cannot be observed rightly is refused."""

from __future__ import annotations

import contextlib
import copy
import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    LTXEulerAncestralRFScheduler,
    UniPCMultistepScheduler,
)

from recorder import record
from recorder.nano import components
from recorder.sampling import supported_pipelines
from recorder.sampling.guidance_presets import UNGUIDED
from replay.sources.open import load
from tests.pipelines import build, check_euler, check_result, condition, generate, modular, observe, picture

PIPELINES: dict[str, dict[str, Any]] = {
    "LTX2Pipeline": {},
    "LTX2ImageToVideoPipeline": {"image": picture(), "image_crf": 0},
    "LTX2ConditionPipeline": {"conditions": [condition(0)]},
}
STEPPED_FROM = [1.0, 0.8, 0.4]


@pytest.fixture
def seen_with(nano_pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Observe an unguided call of a pipeline class with a scheduler of its own."""

    def run(name: str, scheduler: Any, **call: Any) -> Any:
        def make() -> Any:
            return build(nano_pipe, name, scheduler=scheduler())

        return observe(make, tmp_path, monkeypatch, **{"num_inference_steps": 3, **PIPELINES[name], **UNGUIDED, **call})

    return run


@pytest.mark.parametrize("name", PIPELINES)
def test_stochastic_sampling(seen_with: Any, nano_pipe: Any, name: str) -> None:
    # No generator reaches `step`: it draws from the global one, and so would any metric that draws.
    seen = seen_with(name, functools.partial(FlowMatchEulerDiscreteScheduler, stochastic_sampling=True), generator=None)
    assert seen.errors() == []
    for row in seen.rows["video"][-1:] + seen.rows["audio"][-1:]:
        torch.testing.assert_close(row.result, row.sample - row.sigma * row.velocity, rtol=1e-4, atol=1e-5)
    assert len(seen.rows["video"]) == len(seen.rows["audio"]) == 3
    check_result(seen, nano_pipe)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("name", PIPELINES)
def test_ancestral_scheduler_with_a_trailing_zero(seen_with: Any, nano_pipe: Any, name: str, eta: float) -> None:
    scheduler = functools.partial(LTXEulerAncestralRFScheduler, eta=eta)
    seen = seen_with(name, scheduler, sigmas=[*STEPPED_FROM, 0.0], noise_scale=1.0, generator=None)
    assert seen.errors() == []
    for rows in seen.rows.values():
        assert [r.sigma for r in rows] == pytest.approx(STEPPED_FROM)
        assert [r.sigma_next for r in rows] == pytest.approx([0.8, 0.4, 0.0])
        assert all(r.velocity.isfinite().all() for r in rows)
        if eta == 0:
            check_euler(rows)
    check_result(seen, nano_pipe)
    (stage,) = seen.stages
    assert stage.sigmas == pytest.approx([*STEPPED_FROM, 0.0]) and stage.steps == 4
    for recorded in stage.streams.values():
        assert (recorded.series("sigma")[3], recorded.series("sigma_next")[3]) == (0, 0)
        assert (recorded.series("displacement_rms")[3], recorded.series("nan_count")[3]) == (0, 0)
        assert np.isfinite(stage.summary[recorded.name]["straightness"][0])
    assert not [e for e in seen.events if e["kind"] in ("warning", "nan") and "noise" in e["text"]]


@pytest.mark.parametrize("name", PIPELINES)
def test_a_trailing_zero_is_a_row_whose_health_is_known_with_euler(seen_with: Any, name: str) -> None:
    seen = seen_with(name, FlowMatchEulerDiscreteScheduler, sigmas=[*STEPPED_FROM, 0.0], check_plain=False)
    (stage,) = seen.stages
    assert stage.sigmas == pytest.approx([*STEPPED_FROM, 0.0])
    for stream in ("video", "audio"):
        recorded = stage.streams[stream]
        np.testing.assert_allclose(recorded.series("sigma"), [*STEPPED_FROM, 0.0])
        # The scheduler divides by σ: velocity and result are NaN, and the sample before it is x0.
        broken = recorded.series("nan_count") + recorded.series("inf_count")
        assert broken.tolist() == [0, 0, 0, recorded.shape[1] * recorded.shape[2]]
        assert np.isnan(recorded.series("velocity_rms")[3]) and np.isnan(recorded.series("displacement_rms")[3])
        assert np.isfinite(recorded.series("x0_mean")).all()
        np.testing.assert_array_equal(recorded.series("snr_schedule_db")[[0, 3]], [-np.inf, np.inf])
    assert seen.errors() == []
    told = [e for e in seen.events if e["kind"] == "nan"]
    assert {e["stream"] for e in told} == {"video", "audio"} and all("all of the values" in e["text"] for e in told)
    assert all(e["step"] == 3 and e["payload"]["items"] == [0] and e["payload"]["share"] == [1.0] for e in told)
    assert stage.summary["video"]["drift_index"] == [None]


def test_a_repeated_first_sigma(seen_with: Any) -> None:
    repeated = [1.0, 1.0, 0.5]
    seen = seen_with("LTX2Pipeline", FlowMatchEulerDiscreteScheduler, sigmas=repeated)
    assert [r.sigma for r in seen.rows["video"]] == repeated and seen.errors() == []
    check_euler(seen.rows["video"])
    # Here the scheduler starts at the second of them, and the model is told the wrong level from then on.
    seen = seen_with(
        "LTX2ConditionPipeline",
        functools.partial(LTXEulerAncestralRFScheduler, eta=0.0),
        sigmas=[*repeated, 0.0],
        noise_scale=1.0,
    )
    assert [(r.sigma, r.sigma_next) for r in seen.rows["video"]] == [(1.0, 0.5)]
    assert len(seen.errors()) == 2 and "the same σ twice" in seen.errors()[0]


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        (FlowMatchHeunDiscreteScheduler, "FlowMatchHeunDiscreteScheduler cannot be recorded"),
        (UniPCMultistepScheduler, "UniPCMultistepScheduler cannot be recorded"),
        (functools.partial(FlowMatchEulerDiscreteScheduler, invert_sigmas=True), "invert_sigmas"),
    ],
)
def test_other_schedulers_are_refused(nano_pipe: Any, tmp_path: Path, scheduler: Any, words: str) -> None:
    for make in (functools.partial(build, name="LTX2Pipeline"), modular):
        pipe = make(nano_pipe, scheduler=scheduler())
        with pytest.raises(ValueError, match=words), record(pipe, runs_dir=tmp_path):
            raise AssertionError("the block must not run")
        assert list(tmp_path.iterdir()) == [] and "_ltxtui_observer" not in vars(pipe)


def test_a_scheduler_that_is_put_in_later_is_an_error_event(nano_pipe: Any, tmp_path: Path) -> None:
    plain = build(nano_pipe, "LTX2Pipeline", scheduler=FlowMatchEulerDiscreteScheduler(invert_sigmas=True))
    expected = generate(plain, num_inference_steps=2, **UNGUIDED)
    pipe = build(nano_pipe, "LTX2Pipeline")
    with record(pipe, runs_dir=tmp_path) as run:
        pipe.scheduler = FlowMatchEulerDiscreteScheduler(invert_sigmas=True)
        got = generate(pipe, num_inference_steps=2, **UNGUIDED)
        pipe.scheduler = components.scheduler()
        generate(pipe, num_inference_steps=2, **UNGUIDED)
    torch.testing.assert_close(expected, got, rtol=0, atol=0, equal_nan=True)
    loaded = load(run.path)
    assert [e["text"] for e in loaded.events if e["kind"] == "error"] == [
        "the beginning of a call could not be recorded: FlowMatchEulerDiscreteScheduler with invert_sigmas cannot be "
        "recorded: its noise levels run from 0 to 1"
    ]
    assert [(s.call, s.steps) for s in loaded.stages] == [(1, 2)]


def test_other_pipelines_are_refused(nano_pipe: Any, tmp_path: Path) -> None:
    from diffusers import DiffusionPipeline, LTXPipeline
    from diffusers.pipelines.ltx2 import LTX2LatentUpsamplePipeline, LTX2VideoDiffusionDecodePipeline

    class OfTheUser(LTX2VideoDiffusionDecodePipeline):
        pass

    for kind, words in (
        (LTXPipeline, "LTXPipeline cannot be recorded: it runs LTX-Video"),
        (LTX2VideoDiffusionDecodePipeline, "its decoder denoises pixels in a loop that calls no scheduler"),
        (OfTheUser, "OfTheUser cannot be recorded: its decoder denoises pixels"),
        (DiffusionPipeline, "its loop is not known; the pipelines that can be are LTX2Pipeline, "),
    ):
        with pytest.raises(ValueError, match=words), record(object.__new__(kind), runs_dir=tmp_path):
            raise AssertionError("the block must not run")
    upsample = LTX2LatentUpsamplePipeline(vae=nano_pipe.vae, latent_upsampler=None)
    with (
        pytest.raises(ValueError, match="it denoises nothing, it upsamples in one pass"),
        record([nano_pipe, upsample], runs_dir=tmp_path),
    ):
        raise AssertionError("the block must not run")


def test_every_ltx_pipeline_of_diffusers_is_recorded_or_refused_with_its_own_reason() -> None:
    """One that a newer diffusers adds is to be looked at: `REFUSED` says only what has been read in its loop."""
    import diffusers

    found = {name for name in dir(diffusers) if re.fullmatch(r"LTX\w*Pipeline", name)}
    assert found == supported_pipelines.FAMILIES.keys() | supported_pipelines.REFUSED.keys()


def test_one_scheduler_for_both_streams_is_refused(nano_pipe: Any, tmp_path: Path) -> None:
    scheduler = components.scheduler()
    pipe = build(nano_pipe, "LTX2ConditionPipeline", scheduler=scheduler, audio_scheduler=scheduler)
    with pytest.raises(ValueError, match="one scheduler object"), record(pipe, runs_dir=tmp_path):
        raise AssertionError("the block must not run")


def test_a_subclass_is_its_parent(nano_pipe: Any, tmp_path: Path) -> None:
    class Mine(type(nano_pipe)):  # type: ignore[misc]
        """A pipeline of somebody's own."""

    pipe = copy.copy(nano_pipe)
    pipe.__class__ = Mine
    pipe.scheduler = components.scheduler()
    with record(pipe, runs_dir=tmp_path) as run:
        generate(pipe, num_inference_steps=2, **UNGUIDED)
    assert load(run.path).stages[0].steps == 2


def test_pipelines_that_share_a_model_and_a_scheduler(nano_pipe: Any, tmp_path: Path) -> None:
    shared = components.scheduler()
    text = build(nano_pipe, "LTX2Pipeline", scheduler=shared)
    image = build(nano_pipe, "LTX2ImageToVideoPipeline", scheduler=shared)
    outside = build(nano_pipe, "LTX2ConditionPipeline", scheduler=shared)
    call = {"num_inference_steps": 2, **UNGUIDED}
    before = set(vars(shared)), type(shared)
    with record([text, image], runs_dir=tmp_path) as run:
        generate(text, **call)
        generate(outside, **call)  # not recorded, though its scheduler and its model are
        generate(image, image=picture(), image_crf=0, **call)
        generate(text, **call)
    loaded = load(run.path)
    assert [s.metadata["pipeline"] for s in loaded.stages] == [type(p).__name__ for p in (text, image, text)]
    assert [s.steps for s in loaded.stages] == [2, 2, 2]
    assert not [e for e in loaded.events if e["kind"] == "error"]
    assert type(shared) is before[1] and {k for k in vars(shared) if k.startswith("_ltxtui")} == set()
    assert not nano_pipe.transformer._forward_hooks and not nano_pipe.transformer._forward_pre_hooks


def test_a_call_inside_a_call_is_a_call_of_its_own(nano_pipe: Any, tmp_path: Path) -> None:
    outer, inner = build(nano_pipe, "LTX2Pipeline"), build(nano_pipe, "LTX2Pipeline")

    def inside(pipe: Any, step: int, timestep: Any, kwargs: dict) -> dict:
        if step == 0:
            generate(inner, num_inference_steps=2, **UNGUIDED)
        return kwargs

    with record([outer, inner], runs_dir=tmp_path) as run:
        generate(outer, num_inference_steps=3, callback_on_step_end=inside, **UNGUIDED)
        generate(outer, num_inference_steps=3, **UNGUIDED)
    loaded = load(run.path)
    assert [(s.call, s.steps) for s in loaded.stages] == [(0, 3), (1, 2), (2, 3)]
    assert not [e for e in loaded.events if e["kind"] == "error"]
    first, again = (loaded.stages[i].streams["video"] for i in (0, 2))
    for name in ("velocity_rms", "velocity_conditional_rms", "x0_change_rms"):
        np.testing.assert_array_equal(first.values(name), again.values(name))


def test_a_call_inside_a_call_of_the_same_pipeline_is_said(nano_pipe: Any, tmp_path: Path) -> None:
    pipe = build(nano_pipe, "LTX2Pipeline")

    def inside(pipe: Any, step: int, timestep: Any, kwargs: dict) -> dict:
        if step == 0:
            generate(pipe, num_inference_steps=2, **UNGUIDED)
        return kwargs

    # The outer call meets the scheduler at the end of the inner one's list, with and without a recorder.
    with record(pipe, runs_dir=tmp_path) as run, contextlib.suppress(IndexError):
        generate(pipe, num_inference_steps=3, callback_on_step_end=inside, **UNGUIDED)
    loaded = load(run.path)
    assert [s.steps for s in loaded.stages] == [1, 2]
    errors = [e for e in loaded.events if e["kind"] == "error"]
    assert ["inside a call" in e["text"] for e in errors] == [True] and errors[0]["stage"] == 0


def test_a_state_that_outlives_the_recording_keeps_no_hook(nano_pipe: Any, tmp_path: Path) -> None:
    pipe = modular(nano_pipe)
    with record(pipe, runs_dir=tmp_path):
        state = pipe(prompt="a red ball moving left", height=128, width=160, num_frames=33, num_inference_steps=1,
                     max_sequence_length=16, output_type="latent")  # fmt: skip
    audio = state.values["audio_scheduler"]
    assert type(audio) is FlowMatchEulerDiscreteScheduler and "_ltxtui_observer" not in vars(audio)
