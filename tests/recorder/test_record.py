"""`record` around the real LTX2Pipeline: nothing it generates changes, and everything about it is kept."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray
from diffusers import FlowMatchEulerDiscreteScheduler

from recorder import record
from recorder.format import declarations
from recorder.metrics.measures import MEASURES
from replay.sources.open import load
from tests.conftest import UNGUIDED, nano_call
from tests.recorder.test_measures import make_step, reference

CALLS: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []


NOT_HERE = {
    "gpu_ms",
    "vram_peak",
    "given_change",
    "velocity_conditional_rms",
    *(m for m in declarations.METRICS if "guidance" in m),
}
"""What an unguided run on the CPU may lack altogether."""
FIRST_FRAMES_WITHOUT = {"frame_coherence": 1, "motion": 1, "jerk": 2}
"""Frames of a clip that have nothing before them to be compared with."""


class CapturingScheduler(FlowMatchEulerDiscreteScheduler):
    """Keeps what every step saw: sample, velocity, result; video and audio in turn."""

    def step(self, model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        result = super().step(model_output, timestep, sample, *args, **kwargs)
        CALLS.append((sample.clone(), model_output.clone(), result[0].clone()))
        return result


@pytest.mark.parametrize("guidance", [{}, UNGUIDED], ids=["full 2.3 guidance", "unguided"])
def test_latents_are_bit_identical_with_and_without_recording(pipe: Any, tmp_path: Path, guidance: dict) -> None:
    plain = pipe(**nano_call(**guidance))
    with record(pipe, runs_dir=tmp_path):
        recorded = pipe(**nano_call(**guidance))
    again = pipe(**nano_call(**guidance))
    assert torch.equal(plain.frames, recorded.frames) and torch.equal(plain.audio, recorded.audio)
    assert torch.equal(plain.frames, again.frames) and torch.equal(plain.audio, again.audio)


def test_archive_opens_in_xarray_with_named_dimensions_and_finite_metrics(pipe: Any, tmp_path: Path) -> None:
    with record(pipe, runs_dir=tmp_path) as run:
        pipe(**nano_call(steps=20, **UNGUIDED))
    tree = xarray.open_datatree(run.path, engine="zarr")
    video, audio = tree["stage_0/video"], tree["stage_0/audio"]
    assert tree.attrs["status"] == "complete" and not (run.path.with_suffix(".journal")).exists()
    np.testing.assert_array_equal(video["sigma"].values, pipe.scheduler.sigmas[:-1].numpy())
    assert video["sigma"].dims == ("step",) and video.sizes["step"] == 20
    assert video["spectrum_x0"].dims == ("step", "batch", "spatial_frequency")
    assert video["frame_identity"].dims == ("step", "batch", "frame")
    assert audio["spectrum_noise"].dims == ("step", "batch", "temporal_frequency")
    for stream, data in (("video", video), ("audio", audio)):
        for metric in declarations.on_stream(stream):
            values = data[metric.name].values
            defined = values if metric.first_step else values[1:]
            if metric.name.endswith("_cosine") and metric.name.startswith(
                "sample_"
            ):  # of the first row; one clip has no other
                assert np.isnan(values[1:]).all() and np.isnan(values[0]).all() == (metric.name == "sample_clip_cosine")
                continue
            assert data[metric.name].attrs["units"] == metric.unit
            if metric.name in NOT_HERE:
                assert np.isfinite(defined).all() or np.isnan(defined).all(), metric.name
                continue
            if metric.name in FIRST_FRAMES_WITHOUT:
                without = FIRST_FRAMES_WITHOUT[metric.name]
                assert np.isnan(defined[..., :without]).all(), metric.name
                defined = defined[..., without:]
            if metric.name.startswith("snr_"):
                assert np.all(np.isneginf(defined[0]))  # σ = 1: no signal yet
                defined = defined[1:]
            assert np.isfinite(defined).all() or metric.name.startswith(("energy_", "noise_whiteness_")), metric.name
            assert np.isfinite(defined).any(), metric.name


def test_recorded_metrics_agree_with_float64_on_captured_latents(pipe: Any, tmp_path: Path) -> None:
    pipe.scheduler = CapturingScheduler.from_config(pipe.scheduler.config)
    CALLS.clear()
    with record(pipe, runs_dir=tmp_path) as run:
        pipe(**nano_call(steps=5))
    stage = load(run.path).stages[0]
    for offset, (name, grid) in enumerate((("video", (5, 4, 5)), ("audio", (34,)))):
        stream = stage.streams[name]
        assert stream.grid == grid
        previous = None
        for i, (x, v, after) in enumerate(CALLS[offset::2]):
            on = lambda t, g=grid: t.reshape(1, *g, -1)  # noqa: E731
            step = make_step(stage.sigmas[i], grid, 1, x=on(x), velocity=on(v), x_next=on(after), previous=previous)
            expected = reference(step)
            for metric, value in expected.items():
                recorded = stream.values(metric)[i].astype(np.float64)
                if stage.sigmas[i] < 1 or metric != "snr_measured_db":
                    np.testing.assert_allclose(recorded, value, rtol=1e-4, atol=2e-6, err_msg=f"{name} {metric} {i}")
            previous = step


def test_batch_and_prompts(pipe: Any, tmp_path: Path) -> None:
    prompts = ["a red ball moving left", "a blue box moving up"]
    with record(pipe, runs_dir=tmp_path) as run:
        pipe(**nano_call(steps=2, prompt=prompts, **UNGUIDED))
    loaded = load(run.path)
    assert loaded.stages[0].metadata["prompt"] == prompts
    assert loaded.stages[0].streams["video"].values("velocity_rms").shape == (2, 2)


def test_metadata_says_what_was_asked_for_and_with_what(pipe: Any, tmp_path: Path) -> None:
    with record(pipe, runs_dir=tmp_path, name="my run/../x", metadata={"note": "ü", "bad": float("nan")}) as run:
        pipe(**nano_call(steps=2, seed=7, negative_prompt="blue", **UNGUIDED))
    loaded = load(run.path)
    assert loaded.name == run.name and run.name.endswith("-my-run-..-x") and run.path.parent == tmp_path
    header, stage = loaded.metadata, loaded.stages[0].metadata
    assert header["user"] == {"note": "ü", "bad": None}
    assert {"torch", "diffusers", "ltxtui", "python"} <= set(header["versions"])
    assert header["host"] and header["device"] and header["pipelines"] == ["LTX2Pipeline"]
    assert (stage["prompt"], stage["negative_prompt"], stage["seed"]) == ("a red ball moving left", "blue", 7)
    assert stage["arguments"]["num_inference_steps"] == 2 and stage["arguments"]["height"] == 128
    assert stage["scheduler"]["class"] == "FlowMatchEulerDiscreteScheduler"
    assert stage["scheduler"]["config"]["shift_terminal"] == 0.1
    assert loaded.stages[0].sigmas == pytest.approx(pipe.scheduler.sigmas[:-1].tolist())
    assert loaded.end is not None and loaded.end["time"] >= loaded.header["time"]


def test_two_stage_recipe_with_a_replaced_scheduler_gives_two_stages(pipe: Any, tmp_path: Path) -> None:
    with record(pipe, runs_dir=tmp_path) as run:
        first = pipe(**nano_call(steps=3, **UNGUIDED))
        pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config(
            pipe.scheduler.config, use_dynamic_shifting=False, shift_terminal=None
        )
        sigmas = [0.909375, 0.725, 0.421875]
        pipe(
            **nano_call(
                steps=3,
                sigmas=sigmas,
                latents=first.frames,
                audio_latents=first.audio,
                noise_scale=sigmas[0],
                **UNGUIDED,
            )
        )
    stages = load(run.path).stages
    assert [(s.index, s.call) for s in stages] == [(0, 0), (1, 1)]
    np.testing.assert_allclose(stages[1].streams["video"].series("sigma"), sigmas, rtol=1e-6)
    assert stages[1].streams["audio"].rows == 3
    assert all(s.ended for s in stages)


def test_several_pipelines_in_one_run(pipe: Any, tmp_path: Path) -> None:
    other = copy.copy(pipe)
    other.scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipe.scheduler.config)
    with record([pipe, other], runs_dir=tmp_path) as run:
        pipe(**nano_call(steps=2, **UNGUIDED))
        other(**nano_call(steps=3, **UNGUIDED))
    assert [s.steps for s in load(run.path).stages] == [2, 3]


def test_pipelines_and_schedulers_are_themselves_again_afterwards(pipe: Any, tmp_path: Path) -> None:
    classes = type(pipe), type(pipe.scheduler)
    before = dict(pipe.scheduler.__dict__), set(pipe.__dict__)
    with record(pipe, runs_dir=tmp_path):
        assert isinstance(pipe, classes[0]) and isinstance(pipe.scheduler, classes[1])
        assert type(pipe).__name__ == "LTX2Pipeline"
        with pytest.raises(RuntimeError, match="already"), record(pipe, runs_dir=tmp_path):
            raise AssertionError("recorded twice")
    assert (type(pipe), type(pipe.scheduler)) == classes
    assert set(pipe.scheduler.__dict__) == set(before[0]) and set(pipe.__dict__) == before[1]
    assert not pipe.transformer._forward_pre_hooks


def test_a_failing_generation_leaves_a_failed_archive_with_its_steps(pipe: Any, tmp_path: Path) -> None:
    def fail(pipe: Any, step: int, timestep: Any, kwargs: dict) -> dict:
        if step == 1:
            raise ValueError("out of cheese")
        return kwargs

    with pytest.raises(ValueError, match="cheese"), record(pipe, runs_dir=tmp_path) as run:
        pipe(**nano_call(callback_on_step_end=fail, **UNGUIDED))
    loaded = load(run.path)
    assert loaded.end == loaded.end | {"status": "failed", "error": "ValueError: out of cheese"}
    assert loaded.stages[0].steps == 2 and run.status == "failed"


def test_ctrl_c_leaves_an_interrupted_archive(pipe: Any, tmp_path: Path) -> None:
    def interrupt(*_: Any) -> dict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), record(pipe, runs_dir=tmp_path) as run:
        pipe(**nano_call(callback_on_step_end=interrupt, **UNGUIDED))
    loaded = load(run.path)
    assert loaded.end is not None and loaded.end["status"] == "interrupted"
    assert loaded.stages[0].steps == 1


def test_an_error_inside_a_metric_is_an_event_and_the_generation_goes_on(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(step: Any) -> torch.Tensor:
        raise RuntimeError("a metric broke")

    plain = pipe(**nano_call(**UNGUIDED))
    monkeypatch.setitem(MEASURES, "velocity_rms", broken)
    with caplog.at_level(logging.ERROR), record(pipe, runs_dir=tmp_path) as run:
        recorded = pipe(**nano_call(**UNGUIDED))
    assert torch.equal(plain.frames, recorded.frames)
    events = [e for e in load(run.path).events if e["kind"] == "error"]
    assert [e["text"] for e in events] == [
        "a step of video could not be recorded: a metric broke",
        "a step of audio could not be recorded: a metric broke",
    ]
    assert len([r for r in caplog.records if "could not be recorded" in r.message]) == 2


def test_nan_in_the_sample_is_an_event(pipe: Any, tmp_path: Path) -> None:
    def poison(pipe: Any, step: int, timestep: Any, kwargs: dict) -> dict:
        return {"latents": kwargs["latents"] * float("nan")} if step == 1 else kwargs

    with record(pipe, runs_dir=tmp_path) as run:
        pipe(**nano_call(callback_on_step_end=poison, **UNGUIDED))
    found = [e for e in load(run.path).events if e["kind"] == "nan" and e["stream"] == "video"]
    assert [(e["stage"], e["step"]) for e in found] == [(0, 2)]


def test_latents_and_x0_are_kept_when_asked_for(pipe: Any, tmp_path: Path) -> None:
    pipe.scheduler = CapturingScheduler.from_config(pipe.scheduler.config)
    CALLS.clear()
    with record(pipe, runs_dir=tmp_path, save_latents=True) as run:
        pipe(**nano_call(steps=3, **UNGUIDED))
    video = xarray.open_zarr(run.path, group="stage_0/video")
    assert video["latents"].dims == ("step", "batch", "frame", "row", "column", "channel")
    assert video["latents"].dtype == np.float16 and video["latents"].sizes["step"] == 3
    for i, (x, v, _) in enumerate(CALLS[0::2]):
        np.testing.assert_array_equal(video["latents"][i], x.reshape(1, 5, 4, 5, 8).half())
        x0 = (x - float(video["sigma"][i]) * v).reshape(1, 5, 4, 5, 8)
        np.testing.assert_allclose(video["x0"][i], x0, rtol=2e-3, atol=2e-3)
    assert "latents" in xarray.open_zarr(run.path, group="stage_0/audio")


def test_a_runs_directory_that_cannot_be_made_is_said_before_anything_runs(pipe: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), record(pipe, runs_dir=tmp_path / "file" / "runs"):
        raise AssertionError("the block must not run")
    assert type(pipe).__name__ == "LTX2Pipeline" and "_ltxtui_observer" not in pipe.__dict__


def test_two_runs_in_the_same_second_do_not_meet(pipe: Any, tmp_path: Path) -> None:
    paths = set()
    for _ in range(3):
        with record(pipe, runs_dir=tmp_path, name="same") as run:
            pipe(**nano_call(steps=1, **UNGUIDED))
        paths.add(run.path)
    assert len(paths) == 3
