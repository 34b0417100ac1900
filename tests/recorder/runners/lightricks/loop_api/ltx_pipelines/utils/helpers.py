"""Denoising functions, and what calls the loops."""

from tests.recorder.runners.lightricks.toy import TargetShape, Tools


def simple_denoising_func(transformer):
    def simple_denoising_step(video_state, audio_state, sigmas, step_index):
        return transformer(**inputs(video_state, audio_state, sigmas[step_index], 0.0), perturbations=None)

    return simple_denoising_step


def multi_modal_guider_denoising_func(video_guider, audio_guider, transformer):
    def guider_denoising_step(video_state, audio_state, sigmas, step_index):
        sigma = sigmas[step_index]
        cond = transformer(**inputs(video_state, audio_state, sigma, 0.3), perturbations=None)
        uncond = transformer(**inputs(video_state, audio_state, sigma, -0.3), perturbations=None)
        scales = (video_guider.params.cfg_scale, audio_guider.params.cfg_scale)
        return tuple(c + (scale - 1) * (c - u) for c, u, scale in zip(cond, uncond, scales, strict=True))

    return guider_denoising_step


def inputs(video, audio, sigma, context):
    pair = [(one.latent, sigma * one.denoise_mask, context) for one in (video, audio)]
    return {"video": pair[0], "audio": pair[1]}


def denoise_audio_video(grid, sigmas, stepper, denoising_loop_fn, video_state, audio_state):
    video_tools, audio_tools = Tools(TargetShape(*grid)), Tools(TargetShape(audio_state.latent.shape[1]))
    found = denoising_loop_fn(sigmas, video_state, audio_state, stepper)
    assert video_tools and audio_tools
    return found
