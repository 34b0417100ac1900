"""Loops that call `denoise_fn(video_state, audio_state, sigmas, step_index)`, as in 1.0.0."""

from dataclasses import replace

import torch

from tests.recorder.runners.lightricks.toy import blend


def euler_denoising_loop(sigmas, video_state, audio_state, stepper, denoise_fn):
    for i, _ in enumerate(sigmas[:-1]):
        video, audio = denoise_fn(video_state, audio_state, sigmas, i)
        video_state = replace(
            video_state, latent=stepper.step(video_state.latent, blend(video, video_state), sigmas, i)
        )
        audio_state = replace(
            audio_state, latent=stepper.step(audio_state.latent, blend(audio, audio_state), sigmas, i)
        )
    return video_state, audio_state


def gradient_estimating_euler_denoising_loop(sigmas, video_state, audio_state, stepper, denoise_fn, ge_gamma=2.0):
    return euler_denoising_loop(sigmas, video_state, audio_state, stepper, denoise_fn)


def res2s_audio_video_denoising_loop(sigmas, video_state, audio_state, stepper, denoise_fn, noise_seed=-1):
    steps = len(sigmas) - 1
    sigmas = torch.cat([sigmas[:-1], torch.tensor([0.0011, 0.0])])
    states = [video_state, audio_state]
    for i in range(steps):
        pair = denoise_fn(states[0], states[1], sigmas, i)
        middle = torch.sqrt(sigmas[i] * sigmas[i + 1])
        between = [
            replace(one, latent=one.latent + (middle - sigmas[i]) * (one.latent - blend(x0, one)) / sigmas[i])
            for one, x0 in zip(states, pair, strict=True)
        ]
        pair = denoise_fn(video_state=between[0], audio_state=between[1], sigmas=torch.stack([middle]), step_index=0)
        states = [
            replace(one, latent=one.latent + (sigmas[i + 1] - sigmas[i]) * (one.latent - blend(x0, one)) / sigmas[i])
            for one, x0 in zip(states, pair, strict=True)
        ]
    pair = denoise_fn(states[0], states[1], sigmas, steps)
    return tuple(replace(one, latent=blend(x0, one)) for one, x0 in zip(states, pair, strict=True))
