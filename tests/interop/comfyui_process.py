"""What a process of ComfyUI does with the nano checkpoint: it loads it as any other, and corrects a known fault.

`comfyui_call.py` and `comfyui_sampling.py` are run in such processes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

from tests.recorder.runners.comfyui.real import starting

CROSS = ("audio_scale_shift", "video_scale_shift", "a2v_gate", "v2a_gate")
"""The embeddings of noise levels for attention between the streams: `av_ca_…_adaln_single`."""


class Loaded:
    """The nano model in ComfyUI, with the timestep fault corrected where this ComfyUI has it."""

    def __init__(self, root: str, checkpoint: str) -> None:
        starting.start(root)
        import comfy.sd
        import comfy.utils
        import torch
        from comfy.ldm.lightricks import av_model

        missing: list[str] = []
        load = torch.nn.Module.load_state_dict

        def watched(module: Any, *arguments: Any, **more: Any) -> Any:
            answer = load(module, *arguments, **more)
            if isinstance(module, av_model.LTXAVModel):
                missing.extend([*answer.missing_keys, *answer.unexpected_keys])
            return answer

        weights, metadata = comfy.utils.load_torch_file(checkpoint, return_metadata=True)
        with mock.patch.object(torch.nn.Module, "load_state_dict", watched):
            self.patcher = comfy.sd.load_diffusion_model_state_dict(
                weights, model_options={"dtype": torch.float32}, metadata=metadata
            )
        self.network = self.patcher.model.diffusion_model
        self._about = {"version": starting.version(Path(root)), "missing_or_unexpected": missing}
        self._faulty: set[str] = set()
        self._correct()

    def _correct(self) -> None:
        """Let the embeddings between the streams get 1000 σ, where this ComfyUI gives them σ.

        ComfyUI did so until its pull request 14097. The first call, at a high level, shows it.
        """
        scale = self.network.timestep_scale_multiplier

        def correct(name: str) -> Any:
            given: list[bool] = []

            def hook(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
                level, *others = arguments
                if not given:
                    given.append(float(level.max()) > 1)
                if given[0]:
                    return arguments
                self._faulty.add(name)
                return (level * scale, *others)

            return hook

        for name in CROSS:
            getattr(self.network, f"av_ca_{name}_adaln_single").register_forward_pre_hook(correct(name))

    def about(self) -> dict[str, Any]:
        """The classes, weights missing, and whether the timestep fault was corrected in calls so far."""
        classes = {"model": type(self.patcher.model).__name__, "network": type(self.network).__name__}
        return {**classes, **self._about, "timestep_fault_corrected": bool(self._faulty)}
