"""A tiny random LTXAV model of the layout of LTX 2.3, and latents and contexts of its size.

Imported by ComfyUI's process only. Stand-ins take the place of torchvision and torchaudio where these are missing:
ComfyUI imports both at its start and needs neither for sampling latents.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
import types
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
VIDEO, AUDIO = (8, 3, 4, 5), (8, 6, 16)
WIDTH = CONFIG["cross_attention_dim"] + CONFIG["audio_cross_attention_dim"]


class _Anything(types.ModuleType):
    """A module in which every name is there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        full = f"{self.__name__}.{name}"
        return sys.modules.get(full) or _made(full)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self


def _made(name: str) -> types.ModuleType:
    module = _Anything(name)
    module.__path__ = []
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    sys.modules[name] = module
    return module


class _Finder:
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in MISSING:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        return _made(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


MISSING = {n for n in ("torchvision", "torchaudio") if importlib.util.find_spec(n) is None}


def stand_in() -> None:
    """Put the stand-ins in place."""
    sys.meta_path.append(_Finder())  # type: ignore[arg-type]


def model() -> Any:
    """The model as ComfyUI loads one from a file."""
    import comfy.ops
    import comfy.sd
    import torch
    from comfy.ldm.lightricks.av_model import LTXAVModel

    generator = torch.Generator().manual_seed(0)
    net = LTXAVModel(**CONFIG, dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init)
    weights = {k: torch.randn(v.shape, generator=generator) * 0.2 for k, v in net.state_dict().items()}
    metadata = {"config": json.dumps({"transformer": CONFIG})}
    return comfy.sd.load_diffusion_model_state_dict(weights, model_options={"dtype": torch.float32}, metadata=metadata)


def latents(batch: int = 1, audio: bool = True) -> Any:
    """Empty latents as nodes give them."""
    import comfy.nested_tensor
    import torch

    video = torch.zeros(batch, *VIDEO)
    return comfy.nested_tensor.NestedTensor([video, torch.zeros(batch, *AUDIO)]) if audio else video


def conditioning(seed: int) -> Any:
    """A context as text encoders give it."""
    import torch

    context = torch.randn(1, 7, WIDTH, generator=torch.Generator().manual_seed(seed))
    return [[context, {"frame_rate": 24}]]
