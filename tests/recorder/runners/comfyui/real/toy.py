"""A tiny random LTXAV model of the layout of LTX 2.3, and latents and contexts of its size.

Imported by ComfyUI's process only. A ComfyUI that does not know LTXAV gets an LTXV model: video alone.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

CONFIG: dict[str, Any] = {
    "in_channels": 8,
    "audio_in_channels": 128,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "audio_attention_head_dim": 8,
    "audio_num_attention_heads": 2,
    "cross_attention_dim": 32,
    "audio_cross_attention_dim": 16,
    "caption_channels": 24,
    "num_layers": 2,
    "positional_embedding_max_pos": [20, 2048, 2048],
    "audio_positional_embedding_max_pos": [20],
    "causal_temporal_positioning": True,
    "use_middle_indices_grid": True,
    "apply_gated_attention": True,
    "caption_proj_before_connector": True,
    "caption_projection_first_linear": False,
    "cross_attention_adaln": True,
    "rope_type": "split",
    "connector_attention_head_dim": 16,
    "connector_num_attention_heads": 2,
    "audio_connector_attention_head_dim": 8,
    "audio_connector_num_attention_heads": 2,
    "connector_num_layers": 1,
}
OLD: dict[str, Any] = {
    "in_channels": 128,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "cross_attention_dim": 32,
    "caption_channels": 24,
    "num_layers": 2,
    "positional_embedding_max_pos": [20, 2048, 2048],
    "causal_temporal_positioning": True,
}
"""Of LTXV, the video model before LTX 2. ComfyUI's nodes give plain latents the channels of the real one."""
VIDEO, AUDIO = (8, 3, 4, 5), (8, 6, 16)
WIDTH = CONFIG["cross_attention_dim"] + CONFIG["audio_cross_attention_dim"]


def hears() -> bool:
    """Whether this ComfyUI knows models of video and audio."""
    return find_spec("comfy.ldm.lightricks.av_model") is not None


def model() -> Any:
    """The model as ComfyUI loads one from a file."""
    import comfy.ldm.lightricks.model
    import comfy.ops
    import comfy.sd
    import torch

    config = CONFIG if hears() else OLD
    kind = comfy.ldm.lightricks.model.LTXVModel
    if hears():
        from comfy.ldm.lightricks.av_model import LTXAVModel as kind
    generator = torch.Generator().manual_seed(0)
    net = kind(**config, dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init)
    weights = {k: torch.randn(v.shape, generator=generator) * 0.2 for k, v in net.state_dict().items()}
    metadata = {"config": json.dumps({"transformer": config})}
    return comfy.sd.load_diffusion_model_state_dict(weights, model_options={"dtype": torch.float32}, metadata=metadata)


def latents(batch: int = 1, audio: bool = True) -> Any:
    """Empty latents as nodes give them."""
    import comfy.nested_tensor
    import torch

    video = torch.zeros(batch, VIDEO[0] if hears() else OLD["in_channels"], *VIDEO[1:])
    heard = audio and hears()
    return comfy.nested_tensor.NestedTensor([video, torch.zeros(batch, *AUDIO)]) if heard else video


def conditioning(seed: int) -> Any:
    """A context as text encoders give it."""
    import torch

    width = WIDTH if hears() else OLD["caption_channels"]
    context = torch.randn(1, 7, width, generator=torch.Generator().manual_seed(seed))
    more = {} if hears() else {"attention_mask": torch.ones(1, 7, dtype=torch.long)}
    return [[context, {"frame_rate": 24, **more}]]
