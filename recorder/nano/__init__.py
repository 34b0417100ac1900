"""The nano LTX 2.3: a real `LTX2Pipeline`, small enough to ship and to denoise on a CPU. See docs/nano.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from diffusers import LTX2Pipeline

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of trained weights that comes with the package."""

HOME = {"height": 320, "width": 384, "num_frames": 65}
"""The size of clip that the nano model was trained on most; the arguments of a pipeline call."""

CALL: dict[str, Any] = {
    "spatio_temporal_guidance_blocks": [2],
    "use_cross_timestep": True,
    "max_sequence_length": 16,
    "frame_rate": 24.0,
}
"""What every call of the nano pipeline needs: it has four blocks and knows short prompts, as it was trained."""

GUIDED: dict[str, Any] = {
    "guidance_scale": 3.0,
    "stg_scale": 1.0,
    "modality_scale": 3.0,
    "guidance_rescale": 0.7,
    "audio_guidance_scale": 7.0,
    "audio_stg_scale": 1.0,
    "audio_modality_scale": 3.0,
    "audio_guidance_rescale": 0.7,
}
"""The full guidance that is suggested for LTX-2.3; every step then runs the transformer three times."""

UNGUIDED: dict[str, Any] = {
    "guidance_scale": 1.0,
    "stg_scale": 0.0,
    "modality_scale": 1.0,
    "guidance_rescale": 0.0,
    "audio_guidance_scale": 1.0,
    "audio_stg_scale": 0.0,
    "audio_modality_scale": 1.0,
    "audio_guidance_rescale": 0.0,
}
"""No guidance: every step runs the transformer once."""


class MissingExtra(ImportError):
    """The libraries that run a model are not installed."""


def load(device: str | torch.device = "cpu", dtype: torch.dtype | None = None, weights: Path = WEIGHTS) -> LTX2Pipeline:
    """The nano pipeline, by the ordinary `from_pretrained` and without a network; float32 unless told otherwise."""
    if not (weights / "model_index.json").is_file():
        raise FileNotFoundError(
            f"no nano weights in {weights}; reinstall the package, or train them: python -m recorder.nano.train"
        )
    try:
        import torch
        from diffusers import LTX2Pipeline
        from transformers import Gemma3ForConditionalGeneration  # noqa: F401 - diffusers offers an empty class without
    except ImportError as error:
        raise MissingExtra("running the nano model needs more packages: pip install 'ltxtui[ltx]'") from error
    pipe = LTX2Pipeline.from_pretrained(weights, dtype=dtype or torch.float32, local_files_only=True)
    return pipe.to(device)
