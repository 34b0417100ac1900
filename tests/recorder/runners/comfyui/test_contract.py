"""What the adapter owes every sampling, against a small fake of ComfyUI: the same result, and the right rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from replay.model.run import Run
from tests.recorder.runners.comfyui.conftest import Bench
from tests.recorder.runners.comfyui.fakes import (
    KSAMPLER,
    SAMPLERS,
    VIDEO,
    Flux,
    ModelPatcher,
    MultimodalGuider,
    NestedTensor,
    flat,
    levels,
    noises,
)


def column(run: Run, name: str, stage: int = 0, stream: str = "video") -> Any:
    """A metric of one stream, of its first clip [rows]."""
    return run.stages[stage].streams[stream].series(name)


@pytest.mark.parametrize("audio", [True, False])
@pytest.mark.parametrize("cfg", [1.0, 3.0])
@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_recording_changes_no_bit_and_rows_are_steps(bench: Bench, name: str, cfg: float, audio: bool) -> None:
    plain = flat(bench.sample(ModelPatcher(), name, cfg=cfg, audio=audio))
    with bench.comfyui.prompt():
        recorded = flat(bench.sample(bench.model(), name, cfg=cfg, audio=audio))
    assert torch.equal(plain, recorded)
    run = bench.run()
    assert run.standing == "complete"
    (stage,) = run.stages
    assert set(stage.streams) == ({"video", "audio"} if audio else {"video"})
    each = SAMPLERS[name][1]
    for stream in stage.streams:
        assert column(run, "sigma", stream=stream).tolist() == pytest.approx(levels().tolist()[:-1])
        assert column(run, "sigma_next", stream=stream).tolist() == pytest.approx(levels().tolist()[1:])
        assert column(run, "evaluations", stream=stream).tolist() == [each, each, each, each, 1]
        gaps = column(run, "guidance_gap_cfg", stream=stream)
        assert np.isfinite(gaps).all() == (cfg != 1)
        assert np.isfinite(column(run, "velocity_conditional_rms", stream=stream)).all()


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_rows_follow_the_samples(bench: Bench, name: str) -> None:
    """Each row's x, and where it went, are those of the sampler itself."""
    seen: list[tuple[int, Any]] = []
    with bench.comfyui.prompt():
        bench.sample(bench.model(), name, audio=False, callback=lambda i, x0, x, n: seen.append((i, x.clone())))
    spread = column(bench.run(), "std")  # of the sample after each step
    later = [x for i, x in seen if i > 0] if name != "after" else [x for _, x in seen][:-2]
    assert len(later) == 4
    assert spread.tolist()[:4] == pytest.approx([float(x.std(correction=0)) for x in later], rel=1e-5)


def test_a_batch_and_every_pass_of_lightricks_guider(bench: Bench) -> None:
    plain = flat(bench.sample(ModelPatcher(), batch=2, kind=MultimodalGuider))
    with bench.comfyui.prompt():
        assert torch.equal(plain, flat(bench.sample(bench.model(), batch=2, kind=MultimodalGuider)))
    run = bench.run()
    for stream in ("video", "audio"):
        for gap in ("guidance_gap_cfg", "guidance_gap_stg", "guidance_gap_modality"):
            values = run.stages[0].streams[stream].values(gap)
            assert values.shape == (5, 2) and (values > 0).all()


def test_split_levels_are_two_stages_with_the_rows_of_one(bench: Bench) -> None:
    steps = levels()
    with bench.comfyui.prompt("whole"):
        whole = flat(bench.sample(bench.model(name="a-whole")))
    with bench.comfyui.prompt("split") as at:
        model = bench.model(name="b-split")
        at("6")
        noise, empty = noises()
        guider = bench.guider(model)
        half = guider.sample(noise, empty, bench.sampler("euler"), steps[:3], callback=lambda *_: None, seed=42)
        at("16")
        none = NestedTensor([torch.zeros_like(t) for t in half.unbind()])
        done = guider.sample(none, half, bench.sampler("euler"), steps[2:], callback=lambda *_: None, seed=42)
    assert torch.allclose(whole, flat(done), atol=1e-5)
    one, two = bench.runs()
    assert [len(run.stages) for run in (one, two)] == [1, 2]
    assert [stage.steps for stage in two.stages] == [2, 3]
    assert [stage.metadata["node"] for stage in two.stages] == ["6", "16"]
    assert not [e for e in two.events if e["kind"] == "warning"]
    for stream in ("video", "audio"):
        for name in (
            "sigma",
            "sigma_next",
            "std",
            "velocity_rms",
            "displacement_rms",
            "guidance_gap_cfg",
            "snr_measured_db",
        ):
            joined = np.concatenate([column(two, name, stage, stream) for stage in (0, 1)])
            np.testing.assert_allclose(joined, column(one, name, stream=stream), rtol=1e-4, atol=1e-5)


def test_a_given_first_frame_is_not_measured(bench: Bench) -> None:
    mask = torch.ones(1, 1, VIDEO[2], 1, 1)
    mask[:, :, 0] = 0
    _, empty = noises()
    given = NestedTensor([torch.full_like(empty.unbind()[0], 0.5), empty.unbind()[1]])
    plain = flat(bench.sample(ModelPatcher(), mask=mask, given=given))
    with bench.comfyui.prompt():
        assert torch.equal(plain, flat(bench.sample(bench.model(), mask=mask, given=given)))
    run = bench.run()
    motion = run.stages[0].streams["video"].values("motion")
    assert run.stages[0].streams["video"].shape[1] == (VIDEO[2] - 1) * VIDEO[3] * VIDEO[4]
    assert np.isnan(motion[:, :, 0]).all()
    assert run.stages[0].streams["audio"].rows == 5


def test_a_part_of_the_audio_that_is_kept_is_not_measured(bench: Bench) -> None:
    video = torch.ones(1, 1, VIDEO[2], 1, 1)
    audio = torch.ones(1, 1, 6, 1)
    audio[:, :, :2] = 0
    with bench.comfyui.prompt():
        bench.sample(bench.model(), mask=NestedTensor([video, audio]))
    run = bench.run()
    assert run.stages[0].streams["audio"].shape[1] == 4
    assert run.stages[0].streams["audio"].rows == 5


def test_one_run_per_prompt_and_none_without_a_sampling(bench: Bench) -> None:
    for number in range(2):
        with bench.comfyui.prompt(f"p-{number}"):
            bench.sample(bench.model())
    with bench.comfyui.prompt("served from the cache"):
        pass
    with bench.comfyui.prompt("another model"):
        model = bench.model()
        model.model = Flux()
        bench.sample(model)
    runs = bench.runs()
    assert [run.standing for run in runs] == ["complete"] * 2
    assert {run.metadata["comfyui"]["prompt_id"] for run in runs} == {"p-0", "p-1"}
    assert bench.comfyui.providers == []


def test_node_and_setting_record_once(bench: Bench) -> None:
    bench.load(record_all=True)
    plain = bench.sample(ModelPatcher())
    with bench.comfyui.prompt("setting"):
        assert torch.equal(flat(plain), flat(bench.sample(ModelPatcher())))
    with bench.comfyui.prompt("both"):
        assert torch.equal(flat(plain), flat(bench.sample(bench.model())))
    runs = [run for run in bench.runs() if run.metadata["comfyui"]["prompt_id"]]
    assert [(len(run.stages), run.stages[0].steps) for run in runs] == [(1, 5), (1, 5)]


def test_the_setting_leaves_other_models_and_options_alone(bench: Bench) -> None:
    bench.load(record_all=True)
    bench.load_again(record_all=True)  # as when the shim and the package of the registry are both there
    patcher = ModelPatcher(Flux())
    with bench.comfyui.prompt():
        bench.sample(patcher)
        assert bench.runs() == []
        guided = bench.guider(ModelPatcher())
        before = guided.model_options
        noise, empty = noises()
        guided.sample(noise, empty, bench.sampler("euler"), levels(), callback=lambda *_: None, seed=1)
        assert guided.model_options is before
        assert not before["transformer_options"].get("wrappers")
    assert len(bench.runs()) == 1


def test_without_the_end_of_prompts_every_sampling_is_a_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.comfyui.lifecycle = False
    bench.comfyui.install(monkeypatch)
    bench.load()
    with bench.comfyui.prompt():
        bench.sample(bench.model())
        bench.sample(bench.model())
    assert [run.standing for run in bench.runs()] == ["complete", "complete"]


def test_metadata_name_the_workflow(bench: Bench) -> None:
    with bench.comfyui.prompt():
        bench.sample(bench.model(name="fox"))
    run = bench.run()
    assert run.name.endswith("-fox")
    assert run.metadata["model"] == "ltx-2.3-toy.safetensors"
    assert run.metadata["versions"]["comfyui"] == "0.38.0"
    stage = run.stages[0].metadata
    assert (stage["prompt"], stage["negative_prompt"], stage["seed"]) == ("a fox in the snow", "blurry", 42)
    assert (stage["node"], stage["node_class"]) == ("6", "SamplerCustomAdvanced")
    assert stage["scheduler"]["class"] == "sample_euler"


def silent(model: Any, x: Any, sigmas: Any, extra_args: Any = None, callback: Any = None, disable: Any = None) -> Any:
    """A sampler that reports no step."""
    return SAMPLERS["heun"][0](model, x, sigmas, extra_args=extra_args)


@pytest.mark.parametrize("steps", [3, 12])
def test_a_sampler_that_reports_nothing_is_recorded_by_its_levels(bench: Bench, steps: int) -> None:
    plain = flat(bench.sample(ModelPatcher(), KSAMPLER(silent), sigmas=levels(steps)))
    with bench.comfyui.prompt():
        assert torch.equal(plain, flat(bench.sample(bench.model(), KSAMPLER(silent), sigmas=levels(steps))))
    run = bench.run()
    for stream in ("video", "audio"):
        assert column(run, "sigma", stream=stream).tolist() == pytest.approx(levels(steps).tolist()[:-1])
        assert column(run, "evaluations", stream=stream).tolist() == [2] * (steps - 1) + [1]
