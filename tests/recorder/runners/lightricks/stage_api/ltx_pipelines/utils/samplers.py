"""Loops that call `denoiser(transformer, video_state, audio_state, sigmas, step_index)`."""

from dataclasses import replace

import torch

from tests.recorder.runners.lightricks.toy import blend


def _stepped(one, result, do):
    return one if one is None or result is None else replace(one, latent=do(one, blend(result.denoised, one)))


def euler_denoising_loop(sigmas, video_state, audio_state, stepper, transformer, denoiser):
    for i, _ in enumerate(sigmas[:-1]):
        video, audio = denoiser(transformer, video_state, audio_state, sigmas, i)

        def do(one, x0, i=i):
            return stepper.step(one.latent, x0, sigmas, i)

        video_state, audio_state = _stepped(video_state, video, do), _stepped(audio_state, audio, do)
    return video_state, audio_state


def gradient_estimating_euler_denoising_loop(
    sigmas, video_state, audio_state, stepper, transformer, denoiser, ge_gamma=2.0
):
    last = {}
    for i, _ in enumerate(sigmas[:-1]):
        video, audio = denoiser(transformer, video_state, audio_state, sigmas, i)
        if sigmas[i + 1] == 0:
            end = lambda one, x0: x0  # noqa: E731
            return _stepped(video_state, video, end), _stepped(audio_state, audio, end)

        def do(one, x0, i=i):
            v = (one.latent - x0) / sigmas[i]
            before, last[one.latent.shape] = last.get(one.latent.shape), v
            total = v if before is None else ge_gamma * (v - before) + before
            return stepper.step(one.latent, one.latent - total * sigmas[i], sigmas, i)

        video_state, audio_state = _stepped(video_state, video, do), _stepped(audio_state, audio, do)
    return video_state, audio_state


def res2s_audio_video_denoising_loop(sigmas, video_state, audio_state, stepper, transformer, denoiser, noise_seed=-1):
    steps = len(sigmas) - 1
    if sigmas[-1] == 0:
        sigmas = torch.cat([sigmas[:-1], torch.tensor([0.0011, 0.0])])
    for i in range(steps):
        video, audio = denoiser(transformer, video_state, audio_state, sigmas, i)
        middle = torch.sqrt(sigmas[i] * sigmas[i + 1])

        def half(one, x0, i=i, middle=middle):
            return one.latent + (middle - sigmas[i]) * (one.latent - x0) / sigmas[i]

        between = _stepped(video_state, video, half), _stepped(audio_state, audio, half)
        video, audio = denoiser(
            transformer, video_state=between[0], audio_state=between[1], sigmas=torch.stack([middle]), step_index=0
        )

        def do(one, x0, i=i):
            return one.latent + (sigmas[i + 1] - sigmas[i]) * (one.latent - x0) / sigmas[i]

        video_state, audio_state = _stepped(video_state, video, do), _stepped(audio_state, audio, do)
    video, audio = denoiser(transformer, video_state, audio_state, sigmas, steps)
    end = lambda one, x0: x0  # noqa: E731
    return _stepped(video_state, video, end), _stepped(audio_state, audio, end)


def euler_ancestral_denoising_loop(sigmas, video_state, audio_state, stepper, transformer, denoiser, noise_seed=-1):
    generator = torch.Generator().manual_seed(noise_seed)
    for i, _ in enumerate(sigmas[:-1]):
        video, audio = denoiser(transformer, video_state, audio_state, sigmas, i)

        def do(one, x0, i=i):
            if sigmas[i + 1] == 0:
                return x0
            noise = torch.randn(one.latent.shape, generator=generator)
            return blend(stepper.step(one.latent, x0, sigmas, i, noise=noise), one)

        video_state, audio_state = _stepped(video_state, video, do), _stepped(audio_state, audio, do)
    return video_state, audio_state


def euler_cfg_pp_denoising_loop(sigmas, video_state, audio_state, stepper, transformer, denoiser, noise_seed=-1):
    for i, _ in enumerate(sigmas[:-1]):
        video, audio = denoiser(transformer, video_state, audio_state, sigmas, i)
        pair = []
        for one, result in ((video_state, video), (audio_state, audio)):
            direction = None if one is None else (one.latent - result.uncond) / sigmas[i]
            pair.append(one if one is None else replace(one, latent=result.denoised + sigmas[i + 1] * direction))
        video_state, audio_state = pair
    return video_state, audio_state
