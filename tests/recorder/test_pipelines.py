"""Every LTX 2.x pipeline is recorded bit-identically, with the tokens that are generated and the right noise levels."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTXEulerAncestralRFScheduler

from recorder.nano import components, sound
from recorder.sampling.guidance_presets import UNGUIDED
from tests.pipelines import (
    GRID,
    GUIDED,
    VIDEO_UNGUIDED,
    Observed,
    build,
    check_euler,
    check_result,
    check_unguided,
    condition,
    modular,
    observe,
    picture,
    transformer,
)


@pytest.fixture
def watch(nano_pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Observe a call of a pipeline class, each time on a new pipeline."""

    def run(name: str, parts: dict[str, Any] | None = None, **call: Any) -> Observed:
        def make() -> Any:
            fresh = {k: v() if callable(v) and k.endswith("scheduler") else v for k, v in (parts or {}).items()}
            return modular(nano_pipe, **fresh) if name == "modular" else build(nano_pipe, name, **fresh)

        observed = observe(make, tmp_path, monkeypatch, **call)
        assert observed.errors() == []
        return observed

    return run


def frames_of(observed: Observed) -> set[Any]:
    return {row.layout.frames for row in observed.rows["video"]}


def test_text_to_video(watch: Any, nano_pipe: Any) -> None:
    seen = watch("LTX2Pipeline", num_inference_steps=3, **UNGUIDED)
    for rows in seen.rows.values():
        assert len(rows) == 3
        check_euler(rows)
        check_unguided(rows)
    assert [r.sigma for r in seen.rows["video"]] == [r.sigma for r in seen.rows["audio"]]
    assert [r.sigma for r in seen.rows["video"]] == pytest.approx(seen.stages[0].sigmas)
    check_result(seen, nano_pipe)
    assert frames_of(seen) == {None}


@pytest.mark.parametrize("guidance", [UNGUIDED, GUIDED], ids=["unguided", "guided"])
def test_image_to_video_leaves_the_given_frame_out(watch: Any, nano_pipe: Any, guidance: dict) -> None:
    seen = watch("LTX2ImageToVideoPipeline", image=picture(), image_crf=0, num_inference_steps=3, **guidance)
    assert frames_of(seen) == {(1, 2, 3, 4)}
    assert len(seen.rows["video"]) == len(seen.rows["audio"]) == 3
    check_euler(seen.rows["video"])
    check_result(seen, nano_pipe)
    stream = seen.stages[0].streams["video"]
    assert stream.grid == GRID and stream.rows == 3
    if guidance is UNGUIDED:
        check_unguided(seen.rows["video"])


def test_image_to_video_with_a_batch(watch: Any, nano_pipe: Any) -> None:
    seen = watch(
        "LTX2ImageToVideoPipeline",
        image=picture(),
        image_crf=0,
        num_videos_per_prompt=2,
        num_inference_steps=2,
        latents=torch.randn(2, 8, *GRID, generator=torch.Generator().manual_seed(1)),
        noise_scale=1.0,
        **UNGUIDED,
    )
    assert seen.rows["video"][0].layout.batch == 2
    check_unguided(seen.rows["video"])
    check_result(seen, nano_pipe)


CONDITIONS: dict[str, tuple[list[Any], Any]] = {
    "none": ([], None),
    "first frame": ([condition(0)], (1, 2, 3, 4)),
    "first frame half": ([condition(0, 0.5)], (1, 2, 3, 4)),
    "keyframe appended": ([condition(2, 0.6)], None),
    "both": ([condition(0), condition(3), condition(1, 0.3, seed=1)], (1, 2, 3, 4)),
}


@pytest.mark.parametrize("case", CONDITIONS)
def test_conditions_are_not_measured(watch: Any, nano_pipe: Any, case: str) -> None:
    given, frames = CONDITIONS[case]
    seen = watch("LTX2ConditionPipeline", conditions=given, num_inference_steps=3, **UNGUIDED)
    assert frames_of(seen) == {frames}
    assert len(seen.rows["video"]) == len(seen.rows["audio"]) == 3
    for rows in seen.rows.values():
        check_euler(rows)
        check_unguided(rows)  # fails for any token with a noise level other than the row's
    check_result(seen, nano_pipe)


def test_conditions_with_guidance_and_a_scheduler_for_audio(watch: Any, nano_pipe: Any) -> None:
    parts = {"audio_scheduler": lambda: FlowMatchEulerDiscreteScheduler(shift=3.0)}
    parts["scheduler"] = lambda: FlowMatchEulerDiscreteScheduler()
    seen = watch("LTX2ConditionPipeline", parts, conditions=[condition(0)], num_inference_steps=3, **GUIDED)
    video, audio = seen.rows["video"], seen.rows["audio"]
    assert len(video) == len(audio) == 3
    assert audio[1].sigma > video[1].sigma  # each row has its own scheduler's level
    check_euler(video)
    check_euler(audio)
    check_result(seen, nano_pipe)
    np.testing.assert_allclose(seen.stages[0].streams["audio"].series("sigma"), [r.sigma for r in audio], rtol=1e-6)


@pytest.mark.parametrize("guidance", [UNGUIDED, GUIDED], ids=["unguided", "guided"])
def test_in_context_references_are_not_measured(watch: Any, nano_pipe: Any, guidance: dict) -> None:
    from diffusers.pipelines.ltx2 import LTX2ReferenceCondition

    seen = watch(
        "LTX2InContextPipeline",
        reference_conditions=[LTX2ReferenceCondition(frames=[picture()] * 9, strength=0.8)],
        conditions=[condition(0), condition(2)],
        num_inference_steps=3,
        **{**UNGUIDED, **guidance},
    )
    assert frames_of(seen) == {(1, 2, 3, 4)} and len(seen.rows["audio"]) == 3
    check_euler(seen.rows["video"])
    check_result(seen, nano_pipe)
    if guidance is UNGUIDED:
        check_unguided(seen.rows["video"])


def test_in_context_without_anything_given(watch: Any, nano_pipe: Any) -> None:
    seen = watch("LTX2InContextPipeline", num_inference_steps=2, **UNGUIDED)
    assert frames_of(seen) == {None}
    check_unguided(seen.rows["video"])
    check_result(seen, nano_pipe)


@pytest.mark.parametrize("own_audio", [False, True])
def test_hdr_has_no_audio_rows(watch: Any, nano_pipe: Any, own_audio: bool) -> None:
    from diffusers.pipelines.ltx2 import LTX2HDRReferenceCondition

    parts = {"audio_scheduler": components.scheduler} if own_audio else None
    reference = LTX2HDRReferenceCondition(frames=[picture()] * 9)
    seen = watch("LTX2HDRPipeline", parts, reference_conditions=[reference], num_inference_steps=3, **VIDEO_UNGUIDED)
    assert seen.rows["audio"] == [] and "audio" not in seen.stages[0].streams
    assert len(seen.rows["video"]) == 3 and frames_of(seen) == {None}
    check_euler(seen.rows["video"])
    check_unguided(seen.rows["video"])
    check_result(seen, nano_pipe)


@functools.cache
def keyframe_transformer() -> Any:
    """As LTX 2.5 has it: marks generated keyframes by a learned embedding."""
    return transformer(use_keyframes_abs_pos_embedding=True)


DFR: dict[str, Any] = {"num_frames": 25, "sigmas": [1.0, 0.7, 0.4]}


@pytest.mark.parametrize("stochastic", [False, True], ids=["euler", "ancestral"])
@pytest.mark.parametrize("conditions", [None, "first"], ids=["free", "first frame"])
def test_dfr(watch: Any, nano_pipe: Any, conditions: Any, stochastic: bool) -> None:
    scheduler = functools.partial(LTXEulerAncestralRFScheduler, eta=0.5)
    parts = {
        "transformer": keyframe_transformer(),
        "scheduler": scheduler if stochastic else FlowMatchEulerDiscreteScheduler,
    }
    given = [condition(0, 0.9), condition(1)] if conditions else None
    seen = watch("LTX2DFRPipeline", parts, conditions=given, **DFR)
    assert frames_of(seen) == ({(1, 2, 3)} if conditions else {None})
    assert [s.tile for s in seen.stages] == [None]
    for rows in seen.rows.values():
        assert [round(r.sigma, 5) for r in rows] == DFR["sigmas"]
        check_unguided(rows)
        if not stochastic:
            check_euler(rows)
    check_result(seen, nano_pipe)


def test_dfr_with_spatial_tiles_and_frozen_audio(watch: Any, nano_pipe: Any) -> None:
    from diffusers.pipelines.ltx2 import dfr_layout

    ramp = torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0])
    tiles = []
    for widths, weight in ((slice(0, 3), ramp[:3]), (slice(2, 5), (1 - ramp)[2:])):
        blend = weight.expand(4, 4, 3).contiguous()
        tiles.append(dfr_layout.LTX2DFREpilogueTile(slice(0, 4), slice(0, 4), widths, blend))
    seen = watch(
        "LTX2DFRPipeline",
        {"transformer": keyframe_transformer(), "scheduler": FlowMatchEulerDiscreteScheduler},
        video_tiles=tiles,
        generate_slots=False,
        audio_latents=torch.randn(1, sound.CHANNELS, 26, sound.BINS, generator=torch.Generator().manual_seed(3)),
        freeze_audio=True,
        **DFR,
    )
    assert seen.rows["audio"] == [] and len(seen.rows["video"]) == 3
    assert all(row.passes == {} for row in seen.rows["video"])  # each model call saw one tile of the canvas
    check_euler(seen.rows["video"])
    check_result(seen, nano_pipe)


def test_dfr_temporal_refine_gives_a_stage_per_tile(watch: Any, nano_pipe: Any) -> None:
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

    torch.manual_seed(0)
    upsampler = LTX2LatentUpsamplerModel(
        in_channels=8, mid_channels=32, num_blocks_per_stage=1, spatial_upsample=False, temporal_upsample=True
    ).eval()
    draw = functools.partial(torch.randn, generator=torch.Generator().manual_seed(2))
    seen = watch(
        "LTX2DFRTemporalRefinePipeline",
        {
            "transformer": keyframe_transformer(),
            "temporal_latent_upsampler": upsampler,
            "scheduler": functools.partial(LTXEulerAncestralRFScheduler, eta=0.5),
        },
        latents=draw(1, 8, 7, 4, 5),
        keyframes_latents=draw(1, 8, 2, 4, 5),
        keyframe_positions=[24, 48],
        audio_latents=draw(1, sound.CHANNELS, 51, sound.BINS),
        conditions=[condition(0)],
        num_frames=49,
        sigmas=[0.9, 0.5],
    )
    assert [s.tile for s in seen.stages] == [0, 1] and [s.call for s in seen.stages] == [0, 0]
    assert seen.rows["audio"] == []
    assert [(r.stage, round(r.sigma, 5)) for r in seen.rows["video"]] == [(0, 0.9), (0, 0.5), (1, 0.9), (1, 0.5)]
    check_unguided(seen.rows["video"])
    first, second = (seen.stages[i].streams["video"].grid[0] for i in (0, 1))
    for row, length in zip(seen.rows["video"], (first, first, second, second), strict=True):
        assert row.layout.frames == tuple(range(1, length))  # both tiles begin with the given picture
    clip = seen.video.movedim(1, -1)
    last = [seen.rows["video"][i].layout.on_grid(seen.rows["video"][i].result) for i in (1, 3)]
    torch.testing.assert_close(last[0], clip[:, 1:first], rtol=1e-4, atol=1e-4)
    new = clip.shape[1] - first  # the second tile's first frames repeat the end of the first tile
    torch.testing.assert_close(last[1][:, -new:], clip[:, first:], rtol=1e-4, atol=1e-4)


MODULAR: dict[str, tuple[dict[str, Any], Any]] = {
    "text": ({}, None),
    "image": ({"image": picture(), "image_crf": 0}, (1, 2, 3, 4)),
    "conditions": ({"conditions": [condition(0, 0.7), condition(2)]}, (1, 2, 3, 4)),
    "references": ({}, None),
}


@pytest.mark.parametrize("case", MODULAR)
def test_modular_blocks(watch: Any, nano_pipe: Any, case: str) -> None:
    given, frames = MODULAR[case]
    if case == "references":
        from diffusers.pipelines.ltx2 import LTX2ReferenceCondition

        given = {"reference_conditions": [LTX2ReferenceCondition(frames=[picture()] * 9)]}
    seen = watch("modular", num_inference_steps=3, **given)
    assert frames_of(seen) == {frames}
    for rows in seen.rows.values():
        assert len(rows) == 3
        assert set(rows[0].passes) == {"conditional", "cfg", "stg", "modality"}
        check_euler(rows)
    assert [r.sigma for r in seen.rows["video"]] == [r.sigma for r in seen.rows["audio"]]
    check_result(seen, nano_pipe)
    assert seen.stages[0].metadata["arguments"]["num_inference_steps"] == 3


def test_modular_blocks_of_2_5(nano_pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"version": "LTX25", "transformer": keyframe_transformer()}
    seen = observe(lambda: modular(nano_pipe, **parts), tmp_path, monkeypatch, num_inference_steps=2)
    assert seen.errors() == [] and seen.stages[0].metadata["pipeline"] == "LTX25ModularPipeline"
    assert [len(rows) for rows in seen.rows.values()] == [2, 2]
    check_result(seen, nano_pipe)


def test_two_stages_with_upsampled_latents(nano_pipe: Any, tmp_path: Path) -> None:
    from diffusers.pipelines.ltx2 import LTX2LatentUpsamplePipeline
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

    from recorder import record
    from replay.sources.open import load
    from tests.pipelines import CALL

    torch.manual_seed(0)
    model = LTX2LatentUpsamplerModel(in_channels=8, mid_channels=32, num_blocks_per_stage=1).eval()
    upsample = LTX2LatentUpsamplePipeline(vae=nano_pipe.vae, latent_upsampler=model)
    upsample.set_progress_bar_config(disable=True)
    sigmas = [0.909375, 0.725, 0.421875]

    def both(pipe: Any) -> Any:
        first = pipe(**CALL, num_inference_steps=2, generator=torch.Generator().manual_seed(0), **UNGUIDED)
        larger = upsample(latents=first.frames, output_type="latent", return_dict=False)[0]
        pipe.scheduler = FlowMatchEulerDiscreteScheduler()
        second = {**CALL, "height": 256, "width": 320, "latents": larger, "audio_latents": first.audio}
        noise = {"sigmas": sigmas, "noise_scale": sigmas[0], "num_inference_steps": 3}
        return pipe(**second, **noise, generator=torch.Generator().manual_seed(1), **UNGUIDED)

    plain = both(build(nano_pipe, "LTX2Pipeline"))
    pipe = build(nano_pipe, "LTX2Pipeline")
    with record(pipe, runs_dir=tmp_path) as run:
        recorded = both(pipe)
    assert torch.equal(plain.frames, recorded.frames) and torch.equal(plain.audio, recorded.audio)
    stages = load(run.path).stages
    assert [s.streams["video"].grid for s in stages] == [GRID, (5, 8, 10)]
    assert [(s.streams["video"].rows, s.streams["audio"].rows) for s in stages] == [(2, 2), (3, 3)]
    np.testing.assert_allclose(stages[1].streams["video"].series("sigma"), sigmas, rtol=1e-6)
    given = [stage.metadata["given_std"] for stage in stages]
    assert given[0] == {} and set(given[1]) == {"latents", "audio_latents"} and min(given[1].values()) > 0.1


FLAGS_2_0 = {
    "gated_attn": False,
    "audio_gated_attn": False,
    "cross_attn_mod": False,
    "audio_cross_attn_mod": False,
    "perturbed_attn": False,
    "use_prompt_embeddings": True,
}


def test_a_2_0_transformer(watch: Any, nano_pipe: Any) -> None:
    from recorder.nano.components import TEXT_WIDTH

    config = {k: v for k, v in nano_pipe.connectors.config.items() if not k.startswith("_")}
    config |= {
        "per_modality_projections": False,
        "proj_bias": False,
        "video_gated_attn": False,
        "audio_gated_attn": False,
        "video_connector_attention_head_dim": TEXT_WIDTH // config["video_connector_num_attention_heads"],
        "audio_connector_attention_head_dim": TEXT_WIDTH // config["audio_connector_num_attention_heads"],
    }
    torch.manual_seed(0)
    parts = {
        "transformer": transformer(**FLAGS_2_0),
        "connectors": type(nano_pipe.connectors).from_config(config).eval(),
    }
    call = {"num_inference_steps": 3, "use_cross_timestep": False}
    seen = watch("LTX2Pipeline", parts, **call, **{**GUIDED, "guidance_rescale": 0.0})
    for rows in seen.rows.values():
        check_euler(rows)
        assert set(rows[0].passes) == {"conditional", "cfg", "stg", "modality"}
    check_result(seen, nano_pipe)
