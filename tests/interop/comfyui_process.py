"""Run in a process of its own: ComfyUI loads the nano checkpoint as any other, and calls it once.

`python -m tests.interop.comfyui_process COMFYUI CHECKPOINT CALL OUT`: CALL is a safetensors file with latents `video`
[B, C, F, H, W] and `audio` [B, C, L, M], `sigma` [B] and `context` [B, tokens, video + audio width]; OUT gets the
velocities. Prints one JSON object: the classes, weights missing, and whether the timestep fault was corrected.
"""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file, save_file

CROSS = ("audio_scale_shift", "video_scale_shift", "a2v_gate", "v2a_gate")
"""The embeddings of noise levels for attention between the streams: `av_ca_…_adaln_single`."""
FRAME_RATE = 24


class Absent:
    """Finds empty stand-ins for libraries that ComfyUI imports and that a call of LTX does not use."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in ("torchvision", "torchaudio"):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__getattr__ = self.attribute  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass

    @staticmethod
    def attribute(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return mock.MagicMock()


def corrected(model: Any) -> dict[str, bool]:
    """Let the embeddings between the streams get 1000 σ, where this ComfyUI gives them σ; says so in the answer.

    ComfyUI did so until its pull request 14097.
    """
    seen = {"faulty": False}

    def correct(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        level, *others = arguments
        if float(level.max()) > 1:
            return arguments
        seen["faulty"] = True
        return (level * model.timestep_scale_multiplier, *others)

    for name in CROSS:
        getattr(model, f"av_ca_{name}_adaln_single").register_forward_pre_hook(correct)
    return seen


def main() -> None:
    root, checkpoint, call, out = sys.argv[1:]
    sys.argv = [sys.argv[0], "--cpu", "--use-pytorch-cross-attention"]  # ComfyUI reads its options from there
    sys.path.insert(0, root)
    sys.meta_path.insert(0, Absent())  # type: ignore[arg-type]
    torch.set_num_threads(1)
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.sd
    import comfy.utils
    from comfy.ldm.lightricks import av_model

    missing: list[str] = []
    load = torch.nn.Module.load_state_dict

    def watched(self: Any, *arguments: Any, **more: Any) -> Any:
        answer = load(self, *arguments, **more)
        if isinstance(self, av_model.LTXAVModel):
            missing.extend([*answer.missing_keys, *answer.unexpected_keys])
        return answer

    weights, metadata = comfy.utils.load_torch_file(checkpoint, return_metadata=True)
    with mock.patch.object(torch.nn.Module, "load_state_dict", watched):
        patcher = comfy.sd.load_diffusion_model_state_dict(
            weights, model_options={"dtype": torch.float32}, metadata=metadata
        )
    model = patcher.model.diffusion_model
    given = load_file(call)
    seen = corrected(model)
    with torch.no_grad():
        video, audio = model([given["video"], given["audio"]], given["sigma"], given["context"], frame_rate=FRAME_RATE)
    save_file({"video": video.contiguous(), "audio": audio.contiguous()}, out)
    answer = {
        "model": type(patcher.model).__name__,
        "network": type(model).__name__,
        "missing_or_unexpected": missing,
        "timestep_fault_corrected": seen["faulty"],
        "version": _version(Path(root)),
    }
    print(json.dumps(answer))


def _version(root: Path) -> str:
    found: dict[str, str] = {}
    path = root / "comfyui_version.py"
    if path.is_file():
        exec(path.read_text(encoding="utf-8"), found)
    return found.get("__version__", "?")


if __name__ == "__main__":
    main()
