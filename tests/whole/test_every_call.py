"""Every model call of a loop is a row, and a run says what is wrong with its levels and with its result."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTXEulerAncestralRFScheduler

from ltxtui.home import columns
from ltxtui.panels import header
from recorder import record
from recorder.format import protocol
from recorder.format.declarations import on_stream
from recorder.format.run_status import noise_left_of, noise_percent, standing
from recorder.metrics.row_events import StreamWatch
from recorder.nano import components
from recorder.shocks.plan_warnings import of_list
from recorder.shocks.spec import Shock
from replay.library import listing
from replay.library.cache import ListingCache
from replay.model.run import Run
from replay.sources.open import Liveness, load
from tests.conftest import UNGUIDED, nano_call
from tests.pipelines import build, modular, picture

LEVELS = [1.0, 0.8, 0.4]


def ancestral(pipe: Any) -> Any:
    pipe.scheduler = LTXEulerAncestralRFScheduler()
    return pipe


def call(pipe: Any, sigmas: list[float], **more: Any) -> Any:
    return pipe(**nano_call(steps=len(sigmas), sigmas=sigmas, **{**UNGUIDED, **more}))


def told(run: Run, kind: str = "warning") -> list[dict[str, Any]]:
    return [e for e in run.events if e["kind"] == kind]


# -- noise that is left


def test_noise_that_is_left_is_said_everywhere(pipe: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with record(ancestral(pipe), runs_dir=tmp_path / "runs") as run:
        call(pipe, LEVELS)
    said = "complete, 40 % noise left"
    found = load(run.path)
    assert run.standing == found.standing == said
    stage = found.stages[0]
    assert stage.steps == len(stage.sigmas) == 3
    assert [s.series("sigma_next").tolist() for s in stage.streams.values()] == [pytest.approx([0.8, 0.4, 0.4])] * 2
    (warning,) = told(found)
    assert (warning["stage"], warning["step"]) == (0, 2) and warning["payload"]["noise_left"] == pytest.approx(0.4)
    assert "40 % of noise is left" in warning["text"] and "end with 0" in warning["text"]
    assert any("40 % of noise" in r.getMessage() for r in caplog.records)
    cache = ListingCache(tmp_path / "runs", tmp_path / "cache")
    for _ in range(2):
        (line,) = listing.list_runs(tmp_path / "runs", cache)
        assert line.standing == said and line.as_json()["noise_left"] == pytest.approx(0.4)
        assert columns.status(line) == "noise 40 %"
    deck: Any = SimpleNamespace(liveness=Liveness.FINISHED, loading=False, total=3, run=found)
    assert header.outcome(deck) == (said, "alert")


@pytest.mark.parametrize(
    ("second", "left"), [([0.4, 0.2, 0.0], []), ([0.4005, 0.0], []), ([0.7, 0.0], [(0, 0.4)]), ([0.4, 0.3], [(1, 0.3)])]
)
def test_a_stage_that_goes_on_where_noise_was_left_takes_it(
    pipe: Any, tmp_path: Path, second: list[float], left: list[tuple[int, float]]
) -> None:
    with record(ancestral(pipe), runs_dir=tmp_path) as run:
        call(pipe, LEVELS)
        call(pipe, second)
    found = [(e["stage"], e["payload"]["noise_left"]) for e in told(load(run.path)) if "noise_left" in e["payload"]]
    assert found == [(stage, pytest.approx(level)) for stage, level in left]


def test_a_loop_that_is_interrupted_is_no_loop_that_leaves_noise(pipe: Any, tmp_path: Path) -> None:
    def stop(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        pipe._interrupt = step == 1
        return kwargs

    with record(pipe, runs_dir=tmp_path) as run:
        pipe(**nano_call(**UNGUIDED, callback_on_step_end=stop))
    assert run.standing == "complete" and told(load(run.path)) == []


@pytest.mark.parametrize(
    ("planned", "levels", "says"),
    [
        ([1.0, 0.6, 0.3], [1.0, 0.6, 0.3, 0.1], "complete, 10 % noise left"),
        ([1.0, 0.6, 0.3], [1.0, 0.6, 0.3, 0.0], "complete"),
        ([1.0, 0.6, 0.3, 0.0], [1.0, 0.6, 0.3, 0.0], "complete"),
        ([1.0, 0.6, 0.3], [1.0, 0.6, 0.3], "complete"),  # a step of the plan is not taken
        (None, [1.0, 0.6, 0.3], "complete"),  # nobody said where it ends
        ([1.0, 0.6, 0.3, 0.0], [1.0, 0.6, 0.3, 0.0, 0.0], "complete"),  # a call at 0
    ],
)
def test_loops_of_ones_own(tmp_path: Path, planned: list[float] | None, levels: list[float], says: str) -> None:
    x = torch.randn(1, 4, 3, 4, 4)
    with record(runs_dir=tmp_path) as run:
        run.stage(planned)
        for sigma, after in itertools.pairwise(levels):
            run.step(sigma=sigma, sigma_next=after, sample=x, x0=0.5 * x)
    found = load(run.path)
    assert found.standing == run.standing == says
    video = found.stages[0].streams["video"]
    assert video.rows == len(levels) - 1 and not video.series("nan_count").any()
    assert len(found.stages[0].sigmas) == (3 if planned else 0)


# -- levels that make no sense


def test_one_step_of_a_stretched_schedule_is_a_row_of_nan(pipe: Any, tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="divide"), record(pipe, runs_dir=tmp_path) as run:
        pipe(**nano_call(steps=1, **UNGUIDED))
    found = load(run.path)
    assert run.standing == found.standing == "complete, NaN in video item 0 (all), audio item 0 (all)"
    (stage,) = found.stages
    assert len(stage.sigmas) == 1 and math.isnan(stage.sigmas[0]) and stage.steps == 1
    video = stage.streams["video"]
    assert np.isnan(video.series("sigma")[0]) and video.series("nan_count")[0] == 800
    (warning,) = told(found)
    assert "not a number at step 0 of 1" in warning["text"] and "two steps" in warning["text"]
    assert [e["text"] for e in found.events if e["kind"] == "error"] == []
    (line,) = listing.list_runs(tmp_path)
    assert (line.steps, line.planned, line.standing) == (1, 1, run.standing)


@pytest.mark.parametrize(
    ("sigmas", "says"),
    [
        ([1.0, 0.5, 0.75, 0.25], "rises at step 2: no fresh noise"),
        ([1.2, 0.9, 0.5], "goes up to 1.2: at σ = 1"),
        ([1000.0, 750.0, 250.0], "divide them by 1,000"),
        ([1.0, 0.0, 0.5], "0 or less at step 1 of 3"),
    ],
)
def test_levels_are_told_in_the_run(pipe: Any, tmp_path: Path, sigmas: list[float], says: str) -> None:
    pipe.scheduler = FlowMatchEulerDiscreteScheduler()
    with record(pipe, runs_dir=tmp_path) as run:
        call(pipe, sigmas)
        call(pipe, [1.0, 0.5])
    found = load(run.path)
    texts = [e["text"] for e in told(found) if e["stage"] == 0]
    assert [says in text for text in texts].count(True) == 1, texts
    assert [e for e in told(found) if e["stage"] == 1] == []
    assert found.stages[0].steps == len(sigmas) and found.missed == {}


def test_levels_of_a_loop_of_ones_own_are_told_too(tmp_path: Path) -> None:
    with record(runs_dir=tmp_path) as run:
        run.stage([1.0, 0.5, 0.7, 0.2])
        run.step(sigma=1.0, sigma_next=0.5, sample=torch.randn(1, 4, 3, 4, 4), velocity=torch.randn(1, 4, 3, 4, 4))
    (warning,) = told(load(run.path))
    assert "rises at step 2" in warning["text"] and "adds fresh noise" in warning["text"]


def test_a_rise_that_a_shock_plans_is_no_rise_of_the_list(pipe: Any, tmp_path: Path) -> None:
    pipe.scheduler = FlowMatchEulerDiscreteScheduler()
    with record(pipe, runs_dir=tmp_path, shocks=[Shock("restart", at=2, strength_db=9)]) as run:
        call(pipe, [1.0, 0.8, 0.6, 0.3])
    found = load(run.path)
    assert max(np.diff(found.stages[0].sigmas)) > 0 and told(found) == []


def test_cautions_of_a_list() -> None:
    assert of_list([]) == of_list([1.0, 0.5, 0.1]) == of_list([1.0, 1.0, 0.5]) == []
    assert of_list([0.5, 0.7], "stochastic") == []
    assert "ancestral" in of_list([0.5, 0.7], "ancestral")[0] and "fresh noise" in of_list([0.5, 0.7], "own")[0]
    broken = of_list([1.0, math.nan, -0.1, 0.5, 2000.0])
    assert [word in text for word, text in zip(("number", "0 or less", "1,000", "rises"), broken, strict=True)]


# -- health


def test_a_nan_event_says_which_clip_of_a_batch_and_how_much() -> None:
    columns, width = {}, 0
    for metric in on_stream("video"):
        if metric.dims[1:] in ((), ("batch",)):
            size = 3 if metric.dims[1:] else 1
            columns[metric.name] = slice(width, width + size)
            width += size
    watch = StreamWatch(0, "video", 3, columns, size=200)

    def health(step: int, nans: list[float], infs: list[float]) -> list[protocol.Message]:
        row = np.zeros(width, np.float32)
        row[columns["nan_count"]], row[columns["inf_count"]] = nans, infs
        return [e for e in watch.take(step, row) if e["kind"] == "nan"]

    assert health(0, [0, 0, 0], [0, 0, 0]) == []
    (first,) = health(1, [0, 40, 0], [0, 10, 0])
    assert first["payload"] == {"items": [1], "share": [0.25], "count": 50}
    assert "clip 2 of 3 (item 1): 25 % of the values" in first["text"]
    assert health(2, [0, 90, 0], [0, 10, 0]) == []
    (second,) = health(3, [200, 200, 1], [0, 0, 0])
    assert second["payload"] == {"items": [0, 1, 2], "share": [1.0, 1.0, 0.005], "count": 401}
    assert "clip 1 of 3 (item 0): all" in second["text"] and "0.5 %" in second["text"]


def test_standings() -> None:
    left = noise_left_of({"kind": "warning", "payload": {"noise_left": 0.421875}})
    for payload in ({"noise_left": "much"}, {"noise_left": math.nan}, {}, None):
        assert noise_left_of({"kind": "warning", "payload": payload}) == 0
    assert noise_left_of({"kind": "nan", "payload": {"noise_left": 0.5}}) == 0
    assert standing("complete", 5, 0, noise_left=left) == "complete, 42 % noise left"
    assert standing("failed", 5, 1, "NaN", left) == "failed, 1 step not recorded, 42 % noise left, NaN"
    assert standing("live", 5, 1) == "live" and standing("complete", 0, 0) == "complete, nothing recorded"
    assert [noise_percent(level) for level in (1.0, 1.5, 0.07, 0.004)] == ["100 %", "100 %", "7 %", "0.4 %"]


# -- image to video without its mask


@pytest.mark.parametrize("guided", [False, True])
def test_image_to_video_without_its_mask_keeps_its_video(nano_pipe: Any, tmp_path: Path, guided: bool) -> None:
    pipe = build(nano_pipe, "LTX2ImageToVideoPipeline")

    class Lost(type(pipe)):  # type: ignore[misc]
        def prepare_latents(self, *args: Any, **kwargs: Any) -> Any:
            latents, mask = super().prepare_latents(*args, **kwargs)
            return latents, torch.zeros_like(mask)

    pipe.__class__ = Lost
    more = {"guidance_scale": 3.0} if guided else {}
    with record(pipe, runs_dir=tmp_path) as run:
        pipe(**nano_call(steps=2, image=picture(), image_crf=0, **{**UNGUIDED, **more}))
    found = load(run.path)
    assert found.missed == {} and run.standing == "complete"
    video = found.stages[0].streams["video"]
    assert video.rows == 2 and video.declaration["conditioning_frames"] == [0] and video.shape[1] == 4 * 4 * 5
    assert np.isfinite(video.series("velocity_conditional_rms")).all()
    assert np.isfinite(video.series("guidance_gap_cfg")).all() == guided
    (warning,) = told(found)
    assert "the conditioning mask is lost" in warning["text"]


def test_a_stream_that_is_lost_as_a_whole_is_told_at_the_end_of_its_stage(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recorder.sampling import tokens

    real = tokens.clip_layout

    def misfit(stream: str, *rest: Any) -> Any:
        if stream == "video":
            raise ValueError("does not fit")
        return real(stream, *rest)

    monkeypatch.setattr(tokens, "clip_layout", misfit)
    with record(pipe, runs_dir=tmp_path) as run:
        pipe(**nano_call(steps=3, **UNGUIDED))
    (end,) = told(load(run.path), "stage_end")
    assert end["text"] == "stage 0 ends after 3 of 3 steps, 3 of them not recorded of video"
    assert run.standing == "complete, 3 steps not recorded"


# -- fresh noise of samplers, and guidance


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The noise that the schedulers draw."""
    import importlib

    found: list[torch.Tensor] = []
    for name in ("scheduling_flow_match_euler_discrete", "scheduling_ltx_euler_ancestral_rf"):
        module = importlib.import_module(f"diffusers.schedulers.{name}")
        real = module.randn_tensor

        def keeping(*args: Any, real: Any = real, **kwargs: Any) -> torch.Tensor:
            found.append(real(*args, **kwargs))
            return found[-1]

        monkeypatch.setattr(module, "randn_tensor", keeping)
    return found


def power(noise: torch.Tensor) -> float:
    return float(noise.double().square().mean())


@pytest.mark.parametrize(("eta", "s_noise"), [(1.0, 1.0), (0.5, 1.3), (0.0, 1.0)])
def test_fresh_noise_of_the_ancestral_scheduler(
    pipe: Any, tmp_path: Path, drawn: list[torch.Tensor], eta: float, s_noise: float
) -> None:
    pipe.scheduler = LTXEulerAncestralRFScheduler(eta=eta, s_noise=s_noise)
    with record(pipe, runs_dir=tmp_path) as run:
        call(pipe, [*LEVELS, 0.0])
    expected = []
    for sigma, after in itertools.pairwise(LEVELS):
        down = after * (1 + (after / sigma - 1) * eta)
        expected.append(s_noise**2 * (after**2 - down**2 * (1 - after) ** 2 / (1 - down) ** 2))
    streams = load(run.path).stages[0].streams
    for offset, stream in enumerate(("video", "audio")):
        powers = [power(noise) for noise in drawn[offset::2]] or [0.0, 0.0]
        want = [beta2 * p for beta2, p in zip(expected, powers, strict=True)]
        np.testing.assert_allclose(streams[stream].series("noise_injected"), [*want, 0, 0], rtol=1e-4, atol=1e-12)


def test_fresh_noise_of_stochastic_sampling(pipe: Any, tmp_path: Path, drawn: list[torch.Tensor]) -> None:
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    with record(pipe, runs_dir=tmp_path) as run:
        call(pipe, LEVELS)
    streams = load(run.path).stages[0].streams
    for offset, stream in enumerate(("video", "audio")):
        want = [after**2 * power(noise) for after, noise in zip((0.8, 0.4), drawn[offset::2], strict=False)]
        np.testing.assert_allclose(streams[stream].series("noise_injected"), [*want, 0], rtol=1e-4, atol=1e-12)


def test_noise_of_a_scheduler_of_ones_own_is_measured_and_of_a_loop_of_ones_own_not_known(
    pipe: Any, tmp_path: Path
) -> None:
    class Mine(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
        def step(self, model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
            (after,) = super().step(model_output, timestep, sample, *args, **{**kwargs, "return_dict": False})
            return (after + 0.1,)

    pipe.scheduler = Mine.from_config(components.scheduler().config)
    with record(pipe, runs_dir=tmp_path) as run:
        pipe(**nano_call(steps=2, **UNGUIDED))
        run.stage()
        x = torch.randn(1, 4, 3, 4, 4)
        run.step(sigma=0.5, sigma_next=0.3, sample=x, x0=x)
        run.step(sigma=0.3, sigma_next=0.1, sample=x, x0=x, result=x)
    found = [stage.streams["video"].series("noise_injected") for stage in load(run.path).stages]
    np.testing.assert_allclose(found[0], 0.01, rtol=1e-4)
    assert found[1][0] == 0 and np.isnan(found[1][1])


def test_the_guidance_scale_of_every_step_is_the_one_that_it_was_taken_with(pipe: Any, tmp_path: Path) -> None:
    def drop(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        pipe._guidance_scale = 2.0 if step == 1 else pipe._guidance_scale
        return kwargs

    scales = {"guidance_scale": 3.0, "audio_guidance_scale": 5.0}
    with record(pipe, runs_dir=tmp_path) as run:
        pipe(**nano_call(steps=4, **{**UNGUIDED, **scales}, callback_on_step_end=drop))
    streams = load(run.path).stages[0].streams
    assert streams["video"].series("guidance_scale").tolist() == [3, 3, 2, 2]
    assert streams["audio"].series("guidance_scale").tolist() == [5, 5, 5, 5]


def test_the_guidance_scale_of_modular_blocks_and_of_loops_of_ones_own(nano_pipe: Any, tmp_path: Path) -> None:
    pipe = modular(nano_pipe)
    pipe.guider.guidance_scale, pipe.audio_guider.guidance_scale = 2.5, 4.0
    with record(pipe, runs_dir=tmp_path) as run:
        pipe(prompt="a red ball", height=128, width=160, num_frames=33, num_inference_steps=2, max_sequence_length=16,
             output_type="latent")  # fmt: skip
        run.step(sigma=0.5, sigma_next=0.3, sample=torch.randn(1, 4, 3, 4, 4), x0=torch.randn(1, 4, 3, 4, 4))
    first, own = load(run.path).stages
    assert first.streams["video"].series("guidance_scale").tolist() == [2.5, 2.5]
    assert first.streams["audio"].series("guidance_scale").tolist() == [4.0, 4.0]
    assert np.isnan(own.streams["video"].series("guidance_scale")).all()


# -- arguments that are asked for and in effect


def test_arguments_that_are_not_in_effect_are_kept_and_told_once_per_call(pipe: Any, tmp_path: Path) -> None:
    asked = {**UNGUIDED, "guidance_scale": 3.0, "audio_guidance_scale": 0, "num_frames": 40}
    with record(pipe, runs_dir=tmp_path) as run:
        pipe(**nano_call(steps=2, **asked))
    found = load(run.path)
    metadata = found.stages[0].metadata
    assert metadata["in_effect"] == {"audio_guidance_scale": 3.0, "num_frames": 33}
    assert (metadata["arguments"]["audio_guidance_scale"], metadata["arguments"]["num_frames"]) == (0, 40)
    texts = sorted(e["text"] for e in told(found))
    assert len(texts) == 2 and "audio_guidance_scale=0 was requested and 3 is in effect" in texts[0]
    assert "num_frames=40 was requested and 33 is in effect" in texts[1] and "whole number of latents" in texts[1]


def test_defaults_that_others_replace_are_kept_and_not_told(pipe: Any, tmp_path: Path) -> None:
    pipe.scheduler = FlowMatchEulerDiscreteScheduler()
    more = {k: v for k, v in nano_call(sigmas=LEVELS, **UNGUIDED).items() if k != "num_inference_steps"}
    with record(pipe, runs_dir=tmp_path) as run:
        pipe(**more)
        pipe(**nano_call(steps=2, **UNGUIDED))
    found = load(run.path)
    assert found.stages[0].metadata["in_effect"] == {"num_inference_steps": 3} and told(found) == []
    assert "in_effect" not in found.stages[1].metadata
