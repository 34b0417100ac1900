"""`DiffusionStage`, through which every loop runs."""

import torch

from ltx_pipelines.utils.samplers import euler_denoising_loop
from tests.recorder.runners.lightricks.toy import EulerDiffusionStep, Model, TargetShape, Tools


class DiffusionStage:
    def __init__(self, transformer_builder=None):
        self._transformer_builder = transformer_builder
        self.model = Model()

    def __call__(
        self,
        denoiser,
        sigmas,
        noiser,
        width,
        height,
        frames,
        fps,
        video=None,
        audio=None,
        stepper=None,
        loop=None,
        max_batch_size=1,
    ):
        if loop is None:
            loop = euler_denoising_loop
        if stepper is None:
            stepper = EulerDiffusionStep()
        if video is not None:
            video_tools = Tools(TargetShape((frames - 1) // 8 + 1, height // 32, width // 32))
            assert video_tools
        if audio is not None:
            audio_tools = Tools(TargetShape(audio.latent.shape[1]))
            assert audio_tools
        return loop(
            sigmas=sigmas,
            video_state=video,
            audio_state=audio,
            stepper=stepper,
            transformer=self.model,
            denoiser=denoiser,
        )


class SimpleDenoiser:
    def __init__(self, context=0.0):
        self.context = context

    def __call__(self, transformer, video_state, audio_state, sigmas, step_index):
        pair = transformer(*_inputs(video_state, audio_state, sigmas[step_index], self.context))
        return tuple(None if one is None else Result(one) for one in pair)


class Result:
    def __init__(self, denoised, cond=None, uncond=None, ptb=None, mod=None):
        self.denoised, self.cond, self.uncond, self.ptb, self.mod = denoised, cond, uncond, ptb, mod


class Params:
    def __init__(self, cfg_scale):
        self.cfg_scale = cfg_scale


class Guider:
    def __init__(self, cfg_scale, dead=False):
        self.params, self.dead = Params(cfg_scale), dead


class GuidedDenoiser:
    """CFG; a step in `skipped` returns the last output again, without a model call."""

    def __init__(self, video_guider, audio_guider, skipped=()):
        self.video_guider, self.audio_guider, self.skipped = video_guider, audio_guider, skipped
        self.last = None
        self.evaluations = 0

    def __call__(self, transformer, video_state, audio_state, sigmas, step_index):
        if step_index in self.skipped and self.last is not None:
            return tuple(Result(one) for one in self.last)
        self.evaluations += 1
        sigma = sigmas[step_index]
        cond = transformer(*_inputs(video_state, audio_state, sigma, 0.3))
        uncond = transformer(*_inputs(video_state, audio_state, sigma, 0.3 if self.video_guider.dead else -0.3))
        found = []
        for c, u, guider in zip(cond, uncond, (self.video_guider, self.audio_guider), strict=True):
            # For an absent stream the real denoiser returns a scalar.
            c, u = (torch.tensor(0.0), 0.0) if c is None else (c, u)
            found.append(Result(c + (guider.params.cfg_scale - 1) * (c - u), cond=c, uncond=u, ptb=0.0, mod=0.0))
        self.last = [one.denoised for one in found]
        return tuple(found)


def _inputs(video, audio, sigma, context):
    return [None if one is None else (one.latent, sigma * one.denoise_mask, context) for one in (video, audio)]
