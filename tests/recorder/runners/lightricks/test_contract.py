"""What is recorded of ltx-pipelines' loops in both of its interfaces, on small fakes of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recorder import record
from recorder.format import protocol
from recorder.recording import RunHandle
from recorder.runners.lightricks import frames
from recorder.runners.stop import GenerationStopped
from replay.findings import RunFindings
from replay.model.run import Run
from replay.sources.open import load
from tests.recorder.runners.lightricks import toy
from tests.waiting import until

PROMPT = {"prompt": "a fox", "seed": 3}
LEVELS = list(toy.DISTILLED[:-1])
NAME = "ltx-pipelines"


def both(
    runs: Path, pipe: Any, what: Any = None, call: dict[str, Any] | None = None, **options: Any
) -> tuple[Run, RunHandle]:
    """Generate without and with the recorder, compare bit by bit, and return what was recorded."""
    asked = {**PROMPT, **(call or {})}
    plain = pipe(**asked)
    with record(pipe if what is None else what, runs_dir=runs, **options) as run:
        seen = pipe(**asked)
    for one, other in zip(plain, seen, strict=True):
        assert (one is None and other is None) or torch.equal(one.latent, other.latent)
    return load(run.path), run


def errors(read: Run) -> list[str]:
    return [e["text"] for e in read.events if e["kind"] == "error"]


def events(read: Run, kind: str) -> list[dict[str, Any]]:
    return [e for e in read.events if e["kind"] == kind]


def series(read: Run, metric: str, stream: str = "video", stage: int = 0) -> list[float]:
    return read.stages[stage].streams[stream].series(metric).tolist()  # type: ignore[no-any-return]


def is_chain(read: Run) -> None:
    """Every row goes to the level that the next one begins at."""
    for stage in read.stages:
        for stream in stage.streams.values():
            np.testing.assert_array_equal(stream.series("sigma_next")[:-1], stream.series("sigma")[1:])


# -- every loop


def loops(stage_api: Any) -> dict[str, dict[str, Any]]:
    samplers = stage_api.samplers
    return {
        "euler": {},
        "gradient": {"loop": samplers.gradient_estimating_euler_denoising_loop},
        "ancestral": {
            "loop": functools.partial(samplers.euler_ancestral_denoising_loop, noise_seed=5),
            "stepper": toy.EulerAncestralDiffusionStep(eta=0.5),
        },
        "cfg_pp": {"loop": samplers.euler_cfg_pp_denoising_loop, "stepper": toy.EulerCfgPpDiffusionStep()},
        "res_2s": {"loop": samplers.res2s_audio_video_denoising_loop, "stepper": toy.Res2sDiffusionStep()},
    }


@pytest.mark.parametrize("what", [None, NAME])
@pytest.mark.parametrize("loop", ["euler", "gradient", "ancestral", "cfg_pp", "res_2s"])
def test_every_loop_of_a_stage_is_recorded(stage_api: Any, tmp_path: Path, loop: str, what: str | None) -> None:
    """One row per step of the schedule, in video and audio; second-order evaluations are counted."""
    blocks = stage_api.blocks
    guided = blocks.GuidedDenoiser(blocks.Guider(3.0), blocks.Guider(7.0)) if loop == "cfg_pp" else None
    pipe = stage_api.distilled.DistilledPipeline(**loops(stage_api)[loop])
    read, _ = both(tmp_path, pipe, what, {"denoiser": guided})
    assert not errors(read)
    (stage,) = read.stages
    steps = LEVELS + ([0.0011] if loop == "res_2s" else [])
    assert set(stage.streams) == {"video", "audio"} and list(stage.sigmas) == pytest.approx(steps)
    for stream in stage.streams:
        np.testing.assert_allclose(series(read, "sigma", stream), steps, rtol=1e-6)
        counted = [2, 2, 2, 2, 1] if loop == "res_2s" else [1] * 4
        assert series(read, "evaluations", stream) == counted
        noise = stage.streams[stream].values("noise_injected")[:, 0]
        if loop in ("euler", "gradient"):
            assert (noise == 0).all()
        elif loop == "ancestral":
            assert (noise[:-1] > 0.01).all() and noise[-1] == 0
        else:
            assert np.isnan(noise).all()
    is_chain(read)
    assert stage.streams["video"].grid == (3, 4, 6) and stage.streams["audio"].grid == (9,)


@pytest.mark.parametrize("second_order", [False, True])
@pytest.mark.parametrize("what", [None, NAME])
def test_loops_that_are_imported_by_name_are_recorded(
    loop_api: Any, tmp_path: Path, second_order: bool, what: str | None
) -> None:
    pipe = loop_api.distilled.DistilledPipeline(second_order)
    original = loop_api.distilled.euler_denoising_loop
    read, _ = both(tmp_path, pipe, what)
    assert not errors(read) and loop_api.distilled.euler_denoising_loop is original
    steps = LEVELS + ([0.0011] if second_order else [])
    for stream in ("video", "audio"):
        np.testing.assert_allclose(series(read, "sigma", stream), steps, rtol=1e-6)
        assert series(read, "evaluations", stream) == ([2, 2, 2, 2, 1] if second_order else [1] * 4)
    is_chain(read)
    assert read.stages[0].streams["video"].grid == (3, 4, 6)
    # Without guidance the model's only pass is the velocity itself, as it is in diffusers.
    video = read.stages[0].streams["video"]
    np.testing.assert_allclose(video.values("velocity_conditional_rms"), video.values("velocity_rms"), rtol=1e-6)


def test_both_interfaces_give_the_same_rows(stage_api: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    first, _ = both(tmp_path / "stage", stage_api.distilled.DistilledPipeline())
    second, _ = both(tmp_path / "loop", request.getfixturevalue("loop_api").distilled.DistilledPipeline())
    left = {"step_seconds", "recorder_seconds", "gpu_ms", "vram_peak"}
    for stream in ("video", "audio"):
        one, two = first.stages[0].streams[stream], second.stages[0].streams[stream]
        for name in set(one.metrics) - left:
            np.testing.assert_array_equal(one.values(name), two.values(name), err_msg=name)


# -- guidance


def test_guidance_passes_and_scales_are_recorded(
    stage_api: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The new interface returns the passes with the result; in 1.0.0 they are seen at the model."""
    blocks = stage_api.blocks
    guiders = blocks.Guider(3.0), blocks.Guider(7.0)
    first, _ = both(
        tmp_path / "a", stage_api.distilled.DistilledPipeline(), None, {"denoiser": blocks.GuidedDenoiser(*guiders)}
    )
    old = request.getfixturevalue("loop_api").distilled.DistilledPipeline(guiders=guiders)
    second, _ = both(tmp_path / "b", old)
    for stream, scale in (("video", 3.0), ("audio", 7.0)):
        for read in (first, second):
            assert series(read, "guidance_scale", stream) == [scale] * 4
            assert (read.stages[0].streams[stream].values("guidance_gap_cfg") > 0.1).all()
            assert np.isnan(read.stages[0].streams[stream].values("guidance_gap_stg")).all()
        gaps = [read.stages[0].streams[stream].values("guidance_gap_cfg") for read in (first, second)]
        np.testing.assert_array_equal(*gaps)


def test_a_skipped_step_counts_no_evaluation(stage_api: Any, tmp_path: Path) -> None:
    blocks = stage_api.blocks
    denoiser = blocks.GuidedDenoiser(blocks.Guider(3.0), blocks.Guider(7.0), skipped=(1, 2))
    with record(NAME, runs_dir=tmp_path) as run:
        stage_api.distilled.DistilledPipeline()(**PROMPT, denoiser=denoiser)
    read = load(run.path)
    assert series(read, "evaluations") == [1, 0, 0, 1] and denoiser.evaluations == 2
    assert series(read, "evaluations", "audio") == [1, 0, 0, 1] and not errors(read)


def test_a_denoiser_keeps_its_attributes(stage_api: Any, tmp_path: Path) -> None:
    """A loop may ask its denoiser for more than an evaluation."""
    seen = []

    def loop(**arguments: Any) -> Any:
        seen.append(arguments["denoiser"].context)
        return stage_api.samplers.euler_denoising_loop(**arguments)

    read, _ = both(tmp_path, stage_api.distilled.DistilledPipeline(loop=loop))
    assert seen == [0.0, 0.0] and series(read, "evaluations") == [1] * 4
    assert np.isnan(read.stages[0].streams["video"].values("noise_injected")).all()  # an unknown loop


# -- conditioning


def masked(free: Callable[[Any], None], audio_free: Callable[[Any], None] | None = None) -> Callable[..., Any]:
    def change(video: Any, audio: Any) -> Any:
        for one, edit in ((video, free), (audio, audio_free)):
            if edit is not None:
                edit(one.denoise_mask)
        return video, audio

    return change


def first_frame(mask: Any) -> None:
    mask[:, :24] = 0


def first_frame_in_part(mask: Any) -> None:
    mask[:, :24] = 0.5


def test_conditioned_frames_are_left_out(stage_api: Any, tmp_path: Path) -> None:
    for name, edit in (("whole", first_frame), ("part", first_frame_in_part)):
        read, _ = both(tmp_path / name, stage_api.distilled.DistilledPipeline(), None, {"change": masked(edit)})
        video = read.stages[0].streams["video"]
        identity = video.values("frame_identity")[:, 0]
        assert np.isnan(identity[:, 0]).all() and np.isfinite(identity[:, 1:]).all() and not errors(read)


def test_audio_that_is_kept_in_part_is_measured_where_it_is_made(stage_api: Any, tmp_path: Path) -> None:
    def keep(mask: Any) -> None:
        mask[:, 3:6] = 0

    change = masked(lambda mask: None, keep)
    read, _ = both(tmp_path, stage_api.distilled.DistilledPipeline(), None, {"change": change})
    audio = read.stages[0].streams["audio"]
    assert audio.grid == (9,) and np.isfinite(audio.values("velocity_rms")).all() and not errors(read)


def test_frozen_audio_has_no_rows(stage_api: Any, tmp_path: Path) -> None:
    change = masked(lambda mask: None, lambda mask: mask.zero_())
    read, _ = both(tmp_path, stage_api.distilled.DistilledPipeline(), None, {"change": change})
    assert set(read.stages[0].streams) == {"video"} and not errors(read)


def test_a_video_without_audio_and_guidance(stage_api: Any, tmp_path: Path) -> None:
    """The guided denoiser returns a scalar for the stream that is not there."""
    blocks = stage_api.blocks
    denoiser = blocks.GuidedDenoiser(blocks.Guider(3.0), blocks.Guider(3.0))
    call = {"audio": False, "denoiser": denoiser}
    read, _ = both(tmp_path, stage_api.distilled.DistilledPipeline(), None, call)
    assert set(read.stages[0].streams) == {"video"} and not errors(read)


def test_an_appended_keyframe_is_not_a_part_of_the_clip(stage_api: Any, tmp_path: Path) -> None:
    def change(video: Any, audio: Any) -> Any:
        more = toy.state((1, 4, 6), torch.Generator().manual_seed(9))
        mask = torch.cat([video.denoise_mask, 0 * more.denoise_mask], dim=1)
        parts = {
            name: torch.cat([getattr(video, name), getattr(more, name)], dim=2 if name == "positions" else 1)
            for name in ("latent", "clean_latent", "positions")
        }
        return replace(video, denoise_mask=mask, **parts), audio

    read, _ = both(tmp_path, stage_api.distilled.DistilledPipeline(), None, {"change": change})
    assert read.stages[0].streams["video"].grid == (3, 4, 6) and not errors(read)


def test_a_loop_that_is_called_alone_is_laid_out_by_positions(loop_api: Any, tmp_path: Path) -> None:
    """No function around it tells the grid."""
    generator = torch.Generator().manual_seed(0)
    model = toy.Model()
    with record(NAME, runs_dir=tmp_path) as run:
        loop_api.samplers.euler_denoising_loop(
            torch.tensor(toy.DISTILLED),
            toy.state((3, 4, 6), generator),
            toy.state((9,), generator),
            toy.EulerDiffusionStep(),
            loop_api.helpers.simple_denoising_func(transformer=model),
        )
    read = load(run.path)
    assert read.stages[0].streams["video"].grid == (3, 4, 6) and not errors(read)


def test_positions_tell_the_grid() -> None:
    for grid in ((3, 4, 6), (1, 4, 4), (2, 3, 5), (3, 2, 2)):
        assert frames.grid_of_positions(toy.state(grid, torch.Generator()).positions) == grid


def test_variables_of_other_functions_are_not_kept_alive(stage_api: Any, tmp_path: Path) -> None:
    """A pipeline deletes its model after a loop, and the memory is free again before its call ends."""
    import weakref

    left = []

    class Pipeline(stage_api.distilled.DistilledPipeline):  # type: ignore[misc, name-defined]
        def __call__(self, prompt: str, seed: int) -> Any:
            model = toy.Model()
            gone = weakref.ref(model)
            found = super().__call__(prompt, seed)
            del model
            left.append(gone())
            return found

    read, _ = both(tmp_path, Pipeline())
    assert left == [None, None] and read.stages[0].metadata["prompt"] == "a fox"


# -- what a stage keeps


def test_stages_keep_their_call(stage_api: Any, tmp_path: Path) -> None:
    pipe = stage_api.distilled.DistilledPipeline()
    pipe.stage._transformer_builder.loras = (type("Lora", (), {"path": "/models/a.safetensors", "strength": 0.5}),)
    with record(pipe, runs_dir=tmp_path) as run:
        for _ in range(2):
            pipe(**PROMPT, second=True)
    read = load(run.path)
    pipe.stage._transformer_builder.loras = ()
    assert [s.call for s in read.stages] == [0, 0, 1, 1] and not errors(read)
    kept = read.stages[0].metadata
    assert (kept["prompt"], kept["seed"], kept["pipeline"]) == ("a fox", 3, "DistilledPipeline")
    assert kept["model"].endswith("distilled.safetensors") and kept["sampler"] == "euler_denoising_loop"
    assert kept["loras"] == [{"path": "/models/a.safetensors", "strength": 0.5}]
    assert kept["scheduler"]["class"] == "EulerDiffusionStep" and kept["denoiser"] == "SimpleDenoiser"
    assert kept["arguments"]["height"] == 128 and "ltx-core" in kept["versions"]
    header = read.header["metadata"]
    assert header["pipelines"] == ["DistilledPipeline"] and header["runner"] == NAME
    assert header["model"] == kept["model"] and "ltx-pipelines" in header["versions"]


def test_two_runs_at_once_record_their_own_pipelines(stage_api: Any, tmp_path: Path) -> None:
    one, two = stage_api.distilled.DistilledPipeline(), stage_api.distilled.DistilledPipeline()
    with record(one, runs_dir=tmp_path) as first, record(two, runs_dir=tmp_path) as second:
        one(**PROMPT)
        two(**PROMPT, second=True)
        with pytest.raises(RuntimeError, match="recorded already"), record(one, runs_dir=tmp_path):
            pass
    assert [len(load(run.path).stages) for run in (first, second)] == [1, 2]


def test_a_pipeline_joins_a_run(stage_api: Any, tmp_path: Path) -> None:
    pipe = stage_api.distilled.DistilledPipeline()
    with record(runs_dir=tmp_path) as run:
        run.join(pipe)
        pipe(**PROMPT)
    kind = type(pipe)
    assert len(load(run.path).stages) == 1 and kind is stage_api.distilled.DistilledPipeline


# -- stop


def ask(run: RunHandle, command: str, **more: Any) -> bool:
    return run.control.take({"t": protocol.CONTROL, "id": command, "command": command, **more})


def asking(stage_api: Any, at: int, ask_for: Callable[[], None]) -> Any:
    """A denoiser that asks for something while the model is called for step `at`."""

    class Asking(stage_api.blocks.SimpleDenoiser):  # type: ignore[misc, name-defined]
        def __call__(self, transformer: Any, video_state: Any, audio_state: Any, sigmas: Any, step_index: int) -> Any:
            if step_index == at:
                ask_for()
            return super().__call__(transformer, video_state, audio_state, sigmas, step_index)

    return Asking()


def test_a_stop_ends_the_generation(stage_api: Any, tmp_path: Path) -> None:
    """After the step under way, with an exception, since these loops cannot be ended otherwise."""
    pipe = stage_api.distilled.DistilledPipeline()
    with pytest.raises(GenerationStopped), record(pipe, runs_dir=tmp_path, allow_control=True) as run:
        pipe(**PROMPT, denoiser=asking(stage_api, 1, lambda: ask(run, "stop")), second=True)
    read = load(run.path)
    assert run.status == "interrupted" and len(read.stages) == 1
    assert series(read, "sigma") == pytest.approx(LEVELS[:2]) and series(read, "sigma", "audio") == pytest.approx(
        LEVELS[:2]
    )
    (answer,) = events(read, "control")
    assert answer["payload"]["accepted"]


@pytest.mark.parametrize("loop", ["gradient", "ancestral", "res_2s"])
def test_a_stop_works_in_every_loop(stage_api: Any, tmp_path: Path, loop: str) -> None:
    pipe = stage_api.distilled.DistilledPipeline(**loops(stage_api)[loop])
    with pytest.raises(GenerationStopped), record(NAME, runs_dir=tmp_path, allow_control=True) as run:
        pipe(**PROMPT, denoiser=asking(stage_api, 1, lambda: ask(run, "stop")))
    assert run.status == "interrupted" and series(load(run.path), "sigma") == pytest.approx(LEVELS[:2])


def test_a_rule_stops_the_generation(stage_api: Any, tmp_path: Path) -> None:
    def breaks(one: Any, other: Any) -> Any:
        one.latent[:, 0, 0] = float("nan")
        return one, other

    pipe = stage_api.distilled.DistilledPipeline()
    denoiser = asking(stage_api, 3, lambda: until(lambda: bool(run.control._due)))
    with pytest.raises(GenerationStopped), record(pipe, runs_dir=tmp_path, stop_if="not-finite") as run:
        pipe(**PROMPT, change=breaks, denoiser=denoiser, second=True)
    assert run.status == "interrupted" and run.rule_met is not None


def test_an_error_of_the_generation_is_the_callers(stage_api: Any, tmp_path: Path) -> None:
    def fails() -> None:
        raise KeyboardInterrupt

    pipe = stage_api.distilled.DistilledPipeline()
    with pytest.raises(KeyboardInterrupt), record(pipe, runs_dir=tmp_path) as run:
        pipe(**PROMPT, denoiser=asking(stage_api, 2, fails))
    assert run.status == "interrupted" and series(load(run.path), "sigma") == pytest.approx(LEVELS[:2])


# -- shocks


@pytest.mark.parametrize("api", ["stage_api", "loop_api"])
@pytest.mark.parametrize("kind", ["restart", "renoise"])
def test_shocks_act_in_the_euler_loop(api: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    pipe = request.getfixturevalue(api).distilled.DistilledPipeline()
    shock = {"kind": kind, "at": 0.7, "strength_db": 3.0, "seed": 1}
    plain = pipe(**PROMPT)
    found = []
    for name in ("a", "b"):
        with record(pipe, runs_dir=tmp_path / name, shocks=[shock]) as run:
            found.append(pipe(**PROMPT))
    read = load(run.path)
    assert torch.equal(found[0][0].latent, found[1][0].latent) and not errors(read)
    assert not torch.equal(found[0][0].latent, plain[0].latent)
    assert not torch.equal(found[0][1].latent, plain[1].latent)
    levels = series(read, "sigma")
    assert list(read.stages[0].sigmas) == pytest.approx(levels)
    assert len(levels) == (5 if kind == "restart" else 4)
    noise = read.stages[0].streams["video"].values("noise_injected")[:, 0]
    assert (noise > 0).sum() == 1
    (event,) = events(read, "shock")
    assert event["step"] == int(noise.argmax()) and event["payload"]["shock"]["kind"] == kind


def test_without_a_shock_the_shocked_stepper_changes_nothing(stage_api: Any, tmp_path: Path) -> None:
    read, _ = both(tmp_path, stage_api.distilled.DistilledPipeline(), allow_control=True)
    assert len(series(read, "sigma")) == 4 and not errors(read)


@pytest.mark.parametrize("loop", ["gradient", "ancestral", "res_2s"])
def test_a_shock_is_refused_where_it_is_not_exact(stage_api: Any, tmp_path: Path, loop: str) -> None:
    pipe = stage_api.distilled.DistilledPipeline(**loops(stage_api)[loop])
    with (
        pytest.raises(ValueError, match="not exact; it is in euler_denoising_loop"),
        record(pipe, runs_dir=tmp_path, shocks=[{"kind": "restart", "at": 0.7, "strength_db": 3}]),
    ):
        pipe(**PROMPT)


def live(run: RunHandle) -> None:
    assert ask(run, "shock", shock={"kind": "renoise", "strength_db": 3.0})


def test_a_live_shock_acts_at_the_next_step(stage_api: Any, tmp_path: Path) -> None:
    pipe = stage_api.distilled.DistilledPipeline()
    with record(pipe, runs_dir=tmp_path, allow_control=True) as run:
        pipe(**PROMPT, denoiser=asking(stage_api, 1, lambda: live(run)))
    read = load(run.path)
    (answer,) = events(read, "control")
    assert answer["payload"]["accepted"], answer
    assert (read.stages[0].streams["video"].values("noise_injected")[:, 0] > 0).sum() == 1
    assert len(events(read, "shock")) == 1 and not errors(read)


def test_a_live_shock_is_refused_with_the_reason(stage_api: Any, tmp_path: Path) -> None:
    pipe = stage_api.distilled.DistilledPipeline(**loops(stage_api)["res_2s"])
    with record(pipe, runs_dir=tmp_path, allow_control=True) as run:
        pipe(**PROMPT, denoiser=asking(stage_api, 1, lambda: live(run)))
    (answer,) = events(load(run.path), "control")
    assert not answer["payload"]["accepted"] and "not exact" in answer["text"]


# -- other programs, and other versions


def test_a_hook_over_ours_passes_calls_on(stage_api: Any, tmp_path: Path) -> None:
    """As a Cancel button's hook does, put before or during a recording."""
    stage = stage_api.blocks.DiffusionStage
    original = stage.__call__

    def over(self: Any, *args: Any, **kwargs: Any) -> Any:
        return inner(self, *args, **kwargs)

    pipe = stage_api.distilled.DistilledPipeline()
    with record(pipe, runs_dir=tmp_path) as run:
        inner = stage.__call__
        stage.__call__ = over
        pipe(**PROMPT)
    read = load(run.path)
    assert read.stages[0].streams["video"].rows == 4 and not events(read, "warning")
    assert stage.__call__ is over
    assert torch.equal(pipe(**PROMPT)[0].latent, pipe(**PROMPT)[0].latent)
    stage.__call__ = original


@pytest.mark.parametrize("what", [None, NAME])
def test_a_replaced_hook_ends_the_recording_with_an_event(stage_api: Any, tmp_path: Path, what: str | None) -> None:
    stage = stage_api.blocks.DiffusionStage
    original = stage.__call__
    pipe = stage_api.distilled.DistilledPipeline()
    plain = pipe(**PROMPT)
    with record(what or pipe, runs_dir=tmp_path) as run:
        pipe(**PROMPT)
        stage.__call__ = original
        again = pipe(**PROMPT)
    read = load(run.path)
    assert torch.equal(plain[0].latent, again[0].latent) and len(read.stages) == 1
    (warning,) = events(read, "warning")
    assert "another program has replaced a hook" in warning["text"]
    assert stage.__call__ is original


def test_everything_is_restored(stage_api: Any, tmp_path: Path) -> None:
    stage, pipe = stage_api.blocks.DiffusionStage, stage_api.distilled.DistilledPipeline()
    before = stage.__call__, type(pipe), dict(pipe.__dict__)
    with record([pipe, NAME], runs_dir=tmp_path):
        pipe(**PROMPT)
        assert stage.__call__ is not before[0]
    assert (stage.__call__, type(pipe), pipe.__dict__) == before


def test_a_version_with_other_loops_is_refused(stage_api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_api.samplers, "euler_denoising_loop", lambda states, model: states)
    with (
        pytest.raises(
            ValueError, match=r"^ltx-pipelines .* cannot be recorded: its denoising loops have changed; 1\.0\.0"
        ) as e,
        record(NAME, runs_dir=tmp_path),
    ):
        pass
    assert "\n" not in str(e.value) and not list(tmp_path.iterdir())


def test_a_failure_of_the_recorder_does_not_reach_the_generation(
    stage_api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recorder.runners import chain

    def fails(*_: Any) -> None:
        raise RuntimeError("mine")

    monkeypatch.setattr(chain.Chain, "evaluated", fails)
    pipe = stage_api.distilled.DistilledPipeline()
    plain = pipe(**PROMPT)
    with record(pipe, runs_dir=tmp_path) as run:
        assert torch.equal(pipe(**PROMPT)[0].latent, plain[0].latent)
    assert run.status == "complete"


def test_a_loop_with_other_arguments_runs_without_rows(stage_api: Any, tmp_path: Path) -> None:
    """Such as one that calls its denoiser with a level of its own in place of the list."""

    def loop(sigmas: Any, video_state: Any, audio_state: Any, transformer: Any, denoiser: Any, **_: Any) -> Any:
        for i, _ in enumerate(sigmas[:-1]):
            video, audio = denoiser(
                transformer, video_state, audio_state, sigmas[: i + 1].reshape(1, -1)[0].tolist(), i
            )
            video_state, audio_state = (
                replace(video_state, latent=video.denoised),
                replace(audio_state, latent=audio.denoised),
            )
        return video_state, audio_state

    pipe = stage_api.distilled.DistilledPipeline(loop=loop)
    plain = pipe(**PROMPT)
    with record(pipe, runs_dir=tmp_path) as run:
        again = pipe(**PROMPT)
    assert torch.equal(plain[0].latent, again[0].latent) and run.status == "complete"
    (error,) = errors(load(run.path))
    assert run.rows == 0 and "calls its denoiser with arguments that are not known" in error


# -- findings


def found_in(read: Run) -> set[str]:
    return {finding.id for finding in RunFindings(read).update()}


def recorded(runs: Path, pipe: Any, **call: Any) -> Run:
    with record(pipe, runs_dir=runs) as run:
        pipe(**{**PROMPT, "height": 256, "width": 384, **call})
    return load(run.path)


def test_findings_name_what_is_wrong(stage_api: Any, tmp_path: Path) -> None:
    """NaN, guidance that does nothing, noise that is left, and a start that is not noise."""
    blocks, make = stage_api.blocks, stage_api.distilled.DistilledPipeline

    def broken(video: Any, audio: Any) -> Any:
        video.latent[:, 5] = float("nan")
        return video, audio

    def quiet(video: Any, audio: Any) -> Any:
        video.latent.mul_(0.3)
        return video, audio

    def early(**arguments: Any) -> Any:
        return stage_api.samplers.euler_denoising_loop(**{**arguments, "sigmas": arguments["sigmas"][:-1]})

    dead = blocks.GuidedDenoiser(blocks.Guider(3.0, dead=True), blocks.Guider(7.0, dead=True))
    found = {
        "healthy": found_in(recorded(tmp_path / "a", make())),
        "nan": found_in(recorded(tmp_path / "b", make(), change=broken)),
        "dead": found_in(recorded(tmp_path / "c", make(), denoiser=dead)),
        "left": found_in(recorded(tmp_path / "d", make(loop=early))),
        "quiet": found_in(recorded(tmp_path / "e", make(), change=quiet)),
    }
    named = {"nan": "not-finite", "dead": "pass-without-effect", "left": "noise-left", "quiet": "start-noise-power"}
    for name, finding in named.items():
        assert finding in found[name] and finding not in found["healthy"], (name, found)
