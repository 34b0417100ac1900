"""The nano LTX 2.3: a real `LTX2Pipeline`, small enough to ship and to denoise on a CPU. See docs/nano.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recorder.format.events import reason_of
from recorder.format.locations import user_folder
from recorder.nano.names import NANO as NANO
from recorder.nano.names import YOUNG as YOUNG
from recorder.nano.names import is_nano as is_nano
from recorder.sampling.guidance_presets import GUIDED as GUIDED
from recorder.sampling.guidance_presets import UNGUIDED as UNGUIDED

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

DATA_EIGENVALUE = 489.0
"""Λ, the top eigenvalue of the covariance of the clips it was trained on, over 960 of them: its speciation point."""


def weights_of(model: str) -> Path:
    """The folder of a nano model by its name. That of the young one is in the user's data directory, once trained.

    Raises:
        FileNotFoundError: if the user has no such directory.
    """
    if model == NANO:
        return WEIGHTS
    folder = _young_folder()
    if folder is None:
        raise FileNotFoundError(f"no home directory is known, so {YOUNG} has no folder; set HOME or XDG_DATA_HOME")
    return folder


def _young_folder() -> Path | None:
    folder = user_folder("data")
    return folder / "nano-young" if folder else None


class MissingExtra(ImportError):
    """The libraries that run a model are not installed."""


def load(device: str | torch.device = "cpu", dtype: torch.dtype | None = None, weights: Path = WEIGHTS) -> LTX2Pipeline:
    """The nano pipeline, by the ordinary `from_pretrained` and without a network; float32 unless told otherwise.

    Raises:
        FileNotFoundError: if there are no weights; it says how to get them.
        MissingExtra: if a library is not installed.
    """
    is_young = weights == _young_folder()
    if not (weights / "model_index.json").is_file():
        if is_young:
            raise FileNotFoundError(f"{YOUNG} is not in {weights}; train it, in minutes: python -m recorder.nano young")
        raise FileNotFoundError(
            f"no nano weights in {weights}; reinstall the package, or train them: python -m recorder.nano.train"
        )
    try:
        import torch
        from diffusers import LTX2Pipeline
        from transformers import Gemma3ForConditionalGeneration  # noqa: F401 - diffusers offers an empty class without
    except ImportError as error:
        raise MissingExtra(
            f"the nano model needs torch, diffusers and transformers ({reason_of(error)}); "
            "install them: pip install 'ltxtui[ltx]'"
        ) from error
    pipe = LTX2Pipeline.from_pretrained(weights, dtype=dtype or torch.float32, local_files_only=True)
    # Runs should name the model, not a folder of this machine.
    pipe.register_to_config(_name_or_path=YOUNG if is_young else NANO)
    return pipe.to(device)
