"""Beginning a training with the weights of an earlier model, such as the first nano, whose audio part was narrower."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import LTX2Pipeline

FROM_AUDIO = ".audio_to_video_attn.to_out.0."
"""What brings the sound into the video stream: where its input is new, it begins silent."""
REGISTERS = "learnable_registers"


def from_earlier(pipe: LTX2Pipeline, folder: Path) -> float:
    """Copy every weight of the model in `folder` whose name and shape fit; returns their share, 0 to 1.

    Registers repeat along a prompt, so fewer of them are copied several times.
    """
    earlier = LTX2Pipeline.from_pretrained(folder, dtype=torch.float32)
    copied = total = 0
    with torch.no_grad():
        for name in ("transformer", "connectors", "text_encoder", "vae"):
            found = getattr(earlier, name).state_dict()
            for key, weight in getattr(pipe, name).state_dict().items():
                old = found.get(key)
                if old is not None and key.endswith(REGISTERS) and old.shape[1:] == weight.shape[1:]:
                    old = old.repeat(weight.shape[0] // old.shape[0], 1)
                total += weight.numel()
                if old is not None and old.shape == weight.shape:
                    weight.copy_(old)
                    copied += weight.numel()
                elif FROM_AUDIO in key:
                    weight.zero_()
    return copied / total
