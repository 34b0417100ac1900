"""The nano LTX 2.3 as it is shipped: the real classes, small, offline, and making what it is asked for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ltxtui.cli import cli
from recorder import nano
from recorder.generate import Request, generate
from recorder.nano import clips, measure
from recorder.sweep.spec import SweepSettings
from replay.baseline import model_of
from replay.sources.open import load as load_run

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from recorder.nano import lightricks, train  # noqa: E402


@pytest.fixture(scope="module")
def pipe() -> Iterator[Any]:
    """The shipped pipeline, loaded where no network and no cache of any hub can help."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        loaded = nano.load()
        loaded.set_progress_bar_config(disable=True)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield loaded
        torch.set_num_threads(threads)


def sample(pipe: Any, prompt: str, seed: int, steps: int, **arguments: Any) -> Any:
    fixed = {"prompt": prompt, "num_inference_steps": steps, "output_type": "latent"}
    generator = torch.Generator().manual_seed(seed)
    return pipe(generator=generator, **{**fixed, **nano.HOME, **nano.CALL, **nano.UNGUIDED, **arguments})


def test_every_component_is_of_the_real_class(pipe: Any) -> None:
    assert type(pipe).__name__ == "LTX2Pipeline"
    assert {name: type(part).__name__ for name, part in pipe.components.items() if part is not None} == {
        "scheduler": "FlowMatchEulerDiscreteScheduler",
        "vae": "AutoencoderKLLTX2Video",
        "audio_vae": "AutoencoderKLLTX2Audio",
        "text_encoder": "Gemma3ForConditionalGeneration",
        "tokenizer": type(pipe.tokenizer).__name__,
        "connectors": "LTX2TextConnectors",
        "transformer": "LTX2VideoTransformer3DModel",
        "vocoder": "LTX2Vocoder",
    }
    assert all(
        type(part).__module__.startswith(("diffusers.", "transformers."))
        for part in pipe.components.values()
        if part is not None
    )


def test_the_flags_of_2_3_are_on(pipe: Any) -> None:
    transformer, connectors = pipe.transformer.config, pipe.connectors.config
    for flag in ("gated_attn", "audio_gated_attn", "cross_attn_mod", "audio_cross_attn_mod", "perturbed_attn"):
        assert transformer[flag] is True, flag
    assert transformer["use_prompt_embeddings"] is False
    for flag in ("per_modality_projections", "proj_bias", "video_gated_attn", "audio_gated_attn"):
        assert connectors[flag] is True, flag


def test_its_shapes_are_those_that_other_codes_know(pipe: Any) -> None:
    """ComfyUI and Lightricks' code fix them: equal heads in both streams, and audio latents of 8 × 16."""
    transformer, connectors = pipe.transformer.config, pipe.connectors.config
    assert transformer.num_attention_heads == transformer.audio_num_attention_heads
    assert transformer.num_layers >= 4
    assert transformer.in_channels == clips.CHANNELS == 8
    assert (pipe.audio_vae.config.latent_channels, pipe.audio_vae.config.mel_bins) == (8, 64)
    assert transformer.audio_in_channels == 8 * 16
    for stream in ("video", "audio"):
        assert lightricks.REGISTERS % connectors[f"{stream}_connector_num_learnable_registers"] == 0
        assert nano.CALL["max_sequence_length"] % connectors[f"{stream}_connector_num_learnable_registers"] == 0


def test_the_weights_are_stored_in_half_precision_and_loaded_in_float32(pipe: Any) -> None:
    for name in train.HALVED:
        assert {p.dtype for p in getattr(pipe, name).parameters()} == {torch.float32}, name
        assert torch.equal(*[f(next(getattr(pipe, name).parameters())) for f in (rounded, torch.Tensor.float)]), name


def rounded(tensor: Any) -> Any:
    return tensor.half().float()


def test_the_weights_are_small_and_safe() -> None:
    files = [path for path in nano.WEIGHTS.rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in files if path.suffix == ".safetensors") <= 6e6
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".jinja", ".txt"}


def test_every_word_of_the_vocabulary_is_known(pipe: Any) -> None:
    for prompt in clips.all_prompts():
        rows = pipe.tokenizer(prompt)["input_ids"]
        assert pipe.tokenizer.unk_token_id not in rows
        assert len(rows) == 1 + len(prompt.split())
    assert pipe.tokenizer.unk_token_id in pipe.tokenizer("a purple ball")["input_ids"]


@pytest.mark.parametrize(("prompt", "seed"), [("a red ball moving right", 0), ("a blue box moving left", 1)])
def test_it_makes_what_the_prompt_says(pipe: Any, prompt: str, seed: int) -> None:
    made = sample(pipe, prompt, seed, steps=12)
    video = made.frames[0].numpy()
    assert video.shape == (clips.CHANNELS, *clips.HOME_GRID)
    assert np.isfinite(video).all() and torch.isfinite(made.audio).all()
    found = measure.measure(video, prompt)
    assert found.colour
    assert found.identity > 0.8


def test_full_guidance_runs_at_other_sizes(pipe: Any) -> None:
    made = sample(pipe, "a green ball moving up", 0, steps=2, height=256, width=256, **nano.GUIDED)
    assert made.frames.shape == (1, clips.CHANNELS, 9, 8, 8)
    assert torch.isfinite(made.frames).all() and torch.isfinite(made.audio).all()


def test_it_makes_pixels_and_sound(pipe: Any) -> None:
    made = sample(pipe, "a green ball moving up", 0, steps=2, height=64, width=64, num_frames=9, output_type="np")
    assert made.frames.shape == (1, 9, 64, 64, 3)
    assert np.isfinite(made.frames).all() and torch.isfinite(made.audio).all()


def test_the_decoder_shows_a_drawn_clip(pipe: Any) -> None:
    latents, pixels = clips.draw_pixels("a red ball moving right", 7)
    with torch.no_grad():
        decoded = pipe.vae.decode(torch.from_numpy(latents)[None], return_dict=False)[0][0].numpy()
    assert decoded.shape == pixels.shape
    assert np.abs(decoded - pixels).mean() < 0.15


def test_importing_it_is_light() -> None:
    script = (
        "import sys, recorder.nano, recorder.nano.measure\n"
        "print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_missing_weights_are_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"python -m recorder\.nano\.train"):
        nano.load(weights=tmp_path)


def test_the_young_model_is_named_and_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert nano.is_nano("nano") and nano.is_nano("nano:young") and not nano.is_nano("nano:other")
    assert nano.weights_of("nano") == nano.WEIGHTS
    with pytest.raises(FileNotFoundError, match=r"python -m recorder\.nano young"):
        nano.load(weights=nano.weights_of("nano:young"))
    shutil.copytree(nano.WEIGHTS, nano.weights_of("nano:young"))
    assert nano.load(weights=nano.weights_of("nano:young")).config._name_or_path == "nano:young"


def test_commands_know_the_young_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    plans = [CliRunner().invoke(cli, ["plan", "--model", model, "--steps", "5"]) for model in ("nano", "nano:young")]
    assert plans[1].exit_code == 0 and plans[1].output.replace("nano:young", "nano") == plans[0].output
    done = CliRunner().invoke(cli, ["record", "--model", "nano:young"])
    assert done.exit_code == 1 and "python -m recorder.nano young" in done.output, done.output
    assert SweepSettings("nano:young", ("a",)).has_measures and not SweepSettings("another", ("a",)).has_measures


def test_a_run_of_the_young_model_is_that_of_a_nano_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    shutil.copytree(nano.WEIGHTS, nano.weights_of("nano:young"))
    asked = {"prompt": "a red ball moving up", "height": 64, "width": 64, "frames": 9}
    done = generate(Request(model="nano:young", steps=2, runs_dir=tmp_path / "runs", **asked))
    run = load_run(done.archive)
    assert model_of(run) == "nano:young" and done.rows == 4


@pytest.mark.parametrize("missing", ["torch", "diffusers", "transformers"])
def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(nano.MissingExtra, match=r"pip install 'ltxtui\[ltx\]'"):
        nano.load()


def test_its_data_eigenvalue_is_that_of_its_clips() -> None:
    prompts = clips.all_prompts()
    drawn = np.stack([clips.draw(prompts[i % len(prompts)], i).video.ravel() for i in range(480)])
    drawn = drawn - drawn.mean(axis=0)
    # The non-zero eigenvalues of the covariance are those of the much smaller matrix of inner products.
    top = float(np.linalg.eigvalsh(drawn @ drawn.T / len(drawn))[-1])
    assert top == pytest.approx(nano.DATA_EIGENVALUE, rel=0.1)
