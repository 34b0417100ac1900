"""The nano weights in Lightricks' layout: one safetensors file whose metadata hold its configuration.

ltx-core and ComfyUI load such files. The names and the configuration are those of LTX 2.3 checkpoints; the values are
those that the diffusers folder holds.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from diffusers import LTX2Pipeline
from safetensors import SafetensorError
from safetensors.torch import save_file

from recorder.nano import clips, flow

PREFIX = "model.diffusion_model."
REGISTERS = 128
"""Learnable registers of a connector in Lightricks' code and in ComfyUI, which know no other number."""

RENAMED: tuple[tuple[str, str], ...] = (
    (r"^audio_proj_in\b", "audio_patchify_proj"),
    (r"^proj_in\b", "patchify_proj"),
    (r"^av_cross_attn_video_scale_shift\b", "av_ca_video_scale_shift_adaln_single"),
    (r"^av_cross_attn_video_a2v_gate\b", "av_ca_a2v_gate_adaln_single"),
    (r"^av_cross_attn_audio_scale_shift\b", "av_ca_audio_scale_shift_adaln_single"),
    (r"^av_cross_attn_audio_v2a_gate\b", "av_ca_v2a_gate_adaln_single"),
    (r"\bvideo_a2v_cross_attn_scale_shift_table\b", "scale_shift_table_a2v_ca_video"),
    (r"\baudio_a2v_cross_attn_scale_shift_table\b", "scale_shift_table_a2v_ca_audio"),
    (r"^(audio_)?time_embed\b", r"\1adaln_single"),
    (r"^(audio_)?prompt_adaln\b", r"\1prompt_adaln_single"),
    (r"\bnorm_([qk])\b", r"\1_norm"),
    (r"^(video|audio)_connector\.", rf"{PREFIX}\1_embeddings_connector."),
    (r"(_connector)\.transformer_blocks\b", r"\1.transformer_1d_blocks"),
    (r"^(video|audio)_text_proj_in\b", r"text_embedding_projection.\1_aggregate_embed"),
)
"""Names in diffusers, as patterns, and what Lightricks calls them."""


def renamed(name: str) -> str:
    """Lightricks' name for a weight of the transformer or the connectors of diffusers."""
    for pattern, new in RENAMED:
        name = re.sub(pattern, new, name)
    return name


def weights(pipe: LTX2Pipeline) -> dict[str, torch.Tensor]:
    """The weights of transformer and connectors by Lightricks' names."""
    found = {PREFIX + renamed(name): value for name, value in pipe.transformer.state_dict().items()}
    for name, value in pipe.connectors.state_dict().items():
        if name.endswith("learnable_registers"):
            # Registers repeat along a prompt, so repeated ones are the same model.
            value = value.repeat(REGISTERS // len(value), 1)
        found[renamed(name)] = value
    return {name: value.contiguous() for name, value in found.items()}


def configuration(pipe: LTX2Pipeline) -> dict[str, Any]:
    """What the metadata of a checkpoint say of the transformer and the connectors."""
    model, text = pipe.transformer.config, pipe.connectors.config
    scheduler = dict(pipe.scheduler.config)
    return {
        "transformer": {
            "_class_name": "AVTransformer3DModel",
            "activation_fn": model.activation_fn,
            "attention_bias": model.attention_bias,
            "dropout": 0.0,
            "norm_elementwise_affine": model.norm_elementwise_affine,
            "norm_eps": model.norm_eps,
            "qk_norm": "rms_norm",
            "standardization_norm": "rms_norm",
            "positional_embedding_type": "rope",
            "rope_type": model.rope_type,
            "frequencies_precision": _precision(model.rope_double_precision),
            "use_middle_indices_grid": True,
            "causal_temporal_positioning": True,
            "cross_attention_norm": True,
            "num_embeds_ada_norm": 1000,
            "num_vector_embeds": None,
            "only_cross_attention": False,
            "double_self_attention": False,
            "upcast_attention": False,
            "use_linear_projection": False,
            "share_ff": False,
            "use_audio_video_cross_attention": True,
            "av_cross_ada_norm": True,
            "apply_gated_attention": model.gated_attn,
            "cross_attention_adaln": model.cross_attn_mod,
            "num_layers": model.num_layers,
            "in_channels": model.in_channels,
            "out_channels": model.out_channels,
            "num_attention_heads": model.num_attention_heads,
            "attention_head_dim": model.attention_head_dim,
            "cross_attention_dim": model.cross_attention_dim,
            "audio_in_channels": model.audio_in_channels,
            "audio_out_channels": model.audio_out_channels,
            "audio_num_attention_heads": model.audio_num_attention_heads,
            "audio_attention_head_dim": model.audio_attention_head_dim,
            "audio_cross_attention_dim": model.audio_cross_attention_dim,
            "positional_embedding_theta": model.rope_theta,
            "positional_embedding_max_pos": [model.pos_embed_max_pos, model.base_height, model.base_width],
            "audio_positional_embedding_max_pos": [model.audio_pos_embed_max_pos],
            "timestep_scale_multiplier": model.timestep_scale_multiplier,
            "av_ca_timestep_scale_multiplier": model.cross_attn_timestep_scale_multiplier,
            "caption_channels": text.caption_channels,
            "caption_proj_before_connector": True,
            "caption_projection_first_linear": False,
            "caption_proj_input_norm": False,
            "caption_projection_second_linear": False,
            "connector_apply_gated_attention": text.video_gated_attn,
            "connector_num_layers": text.video_connector_num_layers,
            "connector_num_attention_heads": text.video_connector_num_attention_heads,
            "connector_attention_head_dim": text.video_connector_attention_head_dim,
            "connector_num_learnable_registers": REGISTERS,
            "connector_positional_embedding_max_pos": [text.connector_rope_base_seq_len],
            "connector_rope_type": text.rope_type,
            "audio_connector_num_layers": text.audio_connector_num_layers,
            "audio_connector_num_attention_heads": text.audio_connector_num_attention_heads,
            "audio_connector_attention_head_dim": text.audio_connector_attention_head_dim,
        },
        "scheduler": {"_class_name": "RectifiedFlowScheduler", "sampler": "LinearQuadratic", "diffusers": scheduler},
    }


def _precision(double: bool) -> str:
    return "float64" if double else "float32"


def export(pipe: LTX2Pipeline, path: Path) -> int:
    """Write the checkpoint and return the number of its weights.

    Raises:
        OSError: if the file cannot be written.
    """
    found = weights(pipe)
    _write(found, path, {"config": json.dumps(configuration(pipe)), "model_version": "2.3.0"})
    return len(found)


def _write(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:  # it stands for the errors of the system too
        raise OSError(f"{path} cannot be written: {error}") from error


def export_contexts(pipe: LTX2Pipeline, path: Path) -> list[str]:
    """Write what the connectors make of every prompt and of the empty one, for code without the nano's tokenizer.

    The safetensors file holds `video` [prompts, tokens, width], `audio` [prompts, tokens, width] and `mask`
    [prompts, tokens] (1 where a token counts); its metadata the prompts, as a JSON list. Returns the prompts.

    Raises:
        OSError: if the file cannot be written.
    """
    conditioning = flow.Conditioning(pipe)
    prompts = [*clips.all_prompts(), ""]
    with torch.no_grad():
        video, audio, mask = conditioning(pipe, prompts)
    tensors = {"video": video.contiguous(), "audio": audio.contiguous(), "mask": mask.to(torch.int64).contiguous()}
    _write(tensors, path, {"prompts": json.dumps(prompts)})
    return prompts
