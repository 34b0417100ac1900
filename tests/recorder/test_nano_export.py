"""The nano model in Lightricks' layout: names, shapes and configuration as in LTX 2.3 checkpoints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from safetensors import safe_open  # noqa: E402

from recorder.nano import __main__, clips, components, lightricks, train  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model, and its export through the command."""
    path = tmp_path_factory.mktemp("export")
    train.save(components.build(0), path / "weights")
    with pytest.MonkeyPatch.context() as patch:
        more = ["--weights", str(path / "weights"), "--contexts", str(path / "contexts.safetensors")]
        patch.setattr(sys, "argv", ["nano", "export", str(path / "nano.safetensors"), "--layout", "lightricks", *more])
        __main__.main()
    return path


def read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118 - no mapping


def test_every_weight_is_there_by_its_name_in_real_checkpoints(folder: Path) -> None:
    found, metadata = read(folder / "nano.safetensors")
    assert metadata["model_version"] == "2.3.0"
    for name in (
        "model.diffusion_model.patchify_proj.weight",
        "model.diffusion_model.audio_patchify_proj.weight",
        "model.diffusion_model.adaln_single.emb.timestep_embedder.linear_1.bias",
        "model.diffusion_model.audio_prompt_adaln_single.linear.weight",
        "model.diffusion_model.av_ca_a2v_gate_adaln_single.linear.weight",
        "model.diffusion_model.transformer_blocks.3.attn1.q_norm.weight",
        "model.diffusion_model.transformer_blocks.0.scale_shift_table_a2v_ca_video",
        "model.diffusion_model.video_embeddings_connector.transformer_1d_blocks.0.attn1.to_gate_logits.weight",
        "text_embedding_projection.audio_aggregate_embed.bias",
    ):
        assert name in found, name
    pipe = components.build(0)
    own = [*pipe.transformer.state_dict(), *pipe.connectors.state_dict()]
    assert len(found) == len(own) == len({lightricks.renamed(name) for name in own})


def test_registers_are_128_and_repeat(folder: Path) -> None:
    found, _ = read(folder / "nano.safetensors")
    registers = found["model.diffusion_model.audio_embeddings_connector.learnable_registers"]
    assert registers.shape == (128, components.AUDIO_WIDTH)
    assert torch.equal(registers[: components.TEXT_LENGTH], registers[-components.TEXT_LENGTH :])


def test_the_configuration_says_what_the_loaders_ask(folder: Path) -> None:
    _, metadata = read(folder / "nano.safetensors")
    told = json.loads(metadata["config"])["transformer"]
    assert (told["num_layers"], told["in_channels"], told["audio_in_channels"]) == (4, 8, 128)
    assert told["num_attention_heads"] == told["audio_num_attention_heads"]
    assert told["connector_positional_embedding_max_pos"] == [4096]
    assert (
        told["cross_attention_adaln"] is told["apply_gated_attention"] is told["caption_proj_before_connector"] is True
    )
    assert (told["rope_type"], told["frequencies_precision"]) == ("split", "float64")


def test_contexts_of_every_prompt_come_along(folder: Path) -> None:
    found, metadata = read(folder / "contexts.safetensors")
    prompts = json.loads(metadata["prompts"])
    assert prompts == [*clips.all_prompts(), ""]
    assert found["video"].shape == (len(prompts), components.TEXT_LENGTH, components.VIDEO_WIDTH)
    assert found["audio"].shape == (len(prompts), components.TEXT_LENGTH, components.AUDIO_WIDTH)
    assert not torch.equal(found["video"][0], found["video"][1])


def test_missing_weights_are_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nano", "export", str(tmp_path / "x"), "--weights", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == 2 and "no nano weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["folder"], "is a folder; name a file"),
        (["x", "--contexts", "folder"], "is a folder; name a file"),
        (["file", "--layout", "diffusers"], "is a file; name a folder"),
        (["file/x"], "File exists"),
    ],
)
def test_a_place_that_cannot_be_written_is_a_usage_error(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["nano", "export", *arguments])
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == 2 and said in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"
