"""Pipelines that call their stages as those of ltx-pipelines do."""

import torch

from ltx_pipelines.utils.blocks import DiffusionStage, SimpleDenoiser
from tests.recorder.runners.lightricks.toy import DISTILLED, SECOND, state


class Builder:
    checkpoint = "/models/ltx-2.3-distilled.safetensors"
    loras = ()


class DistilledPipeline:
    """One call of a stage, or two if `second`; `change` edits the states, `more` goes to the stage."""

    def __init__(self, **more):
        self.stage = DiffusionStage(Builder())
        self.device = torch.device("cpu")
        self.more = more

    def __call__(
        self, prompt, seed, height=128, width=192, num_frames=17, denoiser=None, second=False, change=None, audio=True
    ):
        generator = torch.Generator().manual_seed(seed)
        video_state = state(((num_frames - 1) // 8 + 1, height // 32, width // 32), generator)
        audio_state = state((9,), generator) if audio else None
        if change is not None:
            video_state, audio_state = change(video_state, audio_state)
        size = {"width": width, "height": height, "frames": num_frames, "fps": 24.0}
        denoiser = denoiser or SimpleDenoiser()
        found = self.stage(
            denoiser=denoiser,
            sigmas=torch.tensor(DISTILLED),
            noiser=None,
            video=video_state,
            audio=audio_state,
            **size,
            **self.more,
        )
        if not second:
            return found
        noisy = state(((num_frames - 1) // 8 + 1, height // 32, width // 32), generator, SECOND[0])
        return self.stage(
            denoiser=denoiser, sigmas=torch.tensor(SECOND), noiser=None, video=noisy, audio=found[1], **size
        )
