"""A pipeline that imports its loops by name, as all of 1.0.0 do."""

import torch

from ltx_pipelines.utils.helpers import (
    denoise_audio_video,
    multi_modal_guider_denoising_func,
    simple_denoising_func,
)
from ltx_pipelines.utils.samplers import euler_denoising_loop, res2s_audio_video_denoising_loop
from tests.recorder.runners.lightricks.toy import DISTILLED, EulerDiffusionStep, Model, Res2sDiffusionStep, state


class DistilledPipeline:
    def __init__(self, second_order=False, guiders=None, model=None):
        self.device, self.model = torch.device("cpu"), model or Model()
        self.second_order, self.guiders = second_order, guiders

    def __call__(self, prompt, seed, height=128, width=192, num_frames=17, change=None):
        generator = torch.Generator().manual_seed(seed)
        transformer = self.model
        grid = (num_frames - 1) // 8 + 1, height // 32, width // 32
        video_state, audio_state = state(grid, generator), state((9,), generator)
        if change is not None:
            video_state, audio_state = change(video_state, audio_state)

        def denoising_loop(sigmas, video_state, audio_state, stepper):
            loop = res2s_audio_video_denoising_loop if self.second_order else euler_denoising_loop
            denoise_fn = (
                multi_modal_guider_denoising_func(*self.guiders, transformer)
                if self.guiders
                else simple_denoising_func(transformer=transformer)
            )
            return loop(
                sigmas=sigmas,
                video_state=video_state,
                audio_state=audio_state,
                stepper=stepper,
                denoise_fn=denoise_fn,
            )

        stepper = Res2sDiffusionStep() if self.second_order else EulerDiffusionStep()
        return denoise_audio_video(grid, torch.tensor(DISTILLED), stepper, denoising_loop, video_state, audio_state)
