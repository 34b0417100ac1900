"""Lightricks' own pipelines at toy size: a random model, real loops and denoisers, stubs for text, VAE and upsampler.

Knows the interfaces of the packages 1.0.0 and of v1.2.0 of the repository.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

CONFIG: dict[str, Any] = {
    "dropout": 0.0,
    "attention_bias": True,
    "num_vector_embeds": None,
    "activation_fn": "gelu-approximate",
    "num_embeds_ada_norm": 1000,
    "use_linear_projection": False,
    "only_cross_attention": False,
    "cross_attention_norm": True,
    "double_self_attention": False,
    "upcast_attention": False,
    "standardization_norm": "rms_norm",
    "norm_elementwise_affine": False,
    "qk_norm": "rms_norm",
    "positional_embedding_type": "rope",
    "use_audio_video_cross_attention": True,
    "share_ff": False,
    "av_cross_ada_norm": True,
    "use_middle_indices_grid": True,
    "num_attention_heads": 4,
    "audio_num_attention_heads": 4,
    "attention_head_dim": 16,
    "audio_attention_head_dim": 8,
    "in_channels": 128,
    "out_channels": 128,
    "audio_in_channels": 128,
    "audio_out_channels": 128,
    "num_layers": 2,
    "cross_attention_dim": 64,
    "audio_cross_attention_dim": 32,
    "positional_embedding_max_pos": [20, 2048, 2048],
    "audio_positional_embedding_max_pos": [20],
    "rope_type": "split",
    "apply_gated_attention": True,
    "cross_attention_adaln": True,
    "caption_proj_before_connector": True,
    "av_ca_timestep_scale_multiplier": 1000,
}
CALL: dict[str, Any] = {
    "prompt": "a fox",
    "seed": 3,
    "height": 128,
    "width": 192,
    "num_frames": 17,
    "frame_rate": 24.0,
    "images": [],
}
CPU = torch.device("cpu")


def is_new() -> bool:
    """Whether the interface is the one with `DiffusionStage`."""
    try:
        from ltx_pipelines.utils import blocks  # noqa: F401
    except ImportError:
        return False
    return True


def random_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """Random weights of a model, small enough that its predictions stay finite."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, value in model.state_dict().items():
        spread = 0.3 / max(1, value.shape[-1]) ** 0.5 if value.ndim > 1 else 0.05
        offset = 1.0 if "norm" in name and value.ndim == 1 else 0.0
        found[name] = (torch.randn(value.shape, generator=generator) * spread + offset).bfloat16().contiguous()
    return found


def contexts(number: int = 0) -> SimpleNamespace:
    """What a text encoder would give for a prompt."""
    generator = torch.Generator().manual_seed(1 + number)
    shapes = {"video_encoding": (1, 16, 64), "audio_encoding": (1, 16, 32)}
    return SimpleNamespace(**{k: torch.randn(s, generator=generator).bfloat16() for k, s in shapes.items()})


def broken() -> SimpleNamespace:
    """What a text encoder gives that has overflowed."""
    return SimpleNamespace(**{name: value * float("nan") for name, value in vars(contexts()).items()})


class NoNoise:
    """A noiser that gives a state the same value everywhere."""

    def __call__(self, state: Any, noise_scale: float = 1.0) -> Any:
        return replace(state, latent=torch.full_like(state.latent, 0.3))


def upsampled(latent: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(latent.float(), scale_factor=(1, 2, 2)).to(latent.dtype)


def guidance(**more: Any) -> Any:
    from ltx_core.components.guiders import MultiModalGuiderParams

    scales = {"cfg_scale": 3.0, "stg_scale": 1.0, "stg_blocks": [1], "rescale_scale": 0.7, "modality_scale": 3.0}
    return MultiModalGuiderParams(**{**scales, **more})


LEVELS = (1.0, 0.9, 0.6, 0.0)
"""Of a loop alone."""
GUIDED: dict[str, Any] = {"negative_prompt": "bad", "num_inference_steps": 4}


def guided() -> dict[str, Any]:
    """Arguments of a guided pipeline call."""
    return {**CALL, **GUIDED, "video_guider_params": guidance(), "audio_guider_params": guidance(cfg_scale=7.0)}


# -- v1.2.0: everything through DiffusionStage


class NewPipelines:
    """Real pipelines with a real DiffusionStage on a random checkpoint."""

    def __init__(self, folder: Path) -> None:
        from ltx_core.loader.registry import ModelRegistry
        from ltx_core.model.transformer.model_configurator import LTXModelConfigurator
        from ltx_pipelines.utils.blocks import DiffusionStage
        from safetensors.torch import save_file

        path = folder / "toy-ltx-2.3.safetensors"
        weights = random_weights(LTXModelConfigurator.from_metadata({"config": {"transformer": CONFIG}}))
        named = {f"model.diffusion_model.{name}": value for name, value in weights.items()}
        save_file(named, str(path), {"config": json.dumps({"transformer": CONFIG}), "model_version": "2.3.0"})
        self.checkpoint = str(path)
        registry = ModelRegistry(cache_models=True, cache_weights=True)
        self.stage = DiffusionStage.from_checkpoint(str(path), torch.bfloat16, CPU, registry=registry)

    def pipeline(self, cls: type[Any], **more: Any) -> Any:
        class Decoder:
            checkpoint_path, diffvae_optimization = self.checkpoint, None

            def __call__(self, latent: Tensor, *args: Any, **kwargs: Any) -> Tensor:
                return latent

        class Images:
            def resolve_crf(self, images: Any) -> Any:
                return images

            def __call__(self, make: Any) -> list[Any]:
                return []

        made = object.__new__(cls)
        made.__dict__.update(
            device=CPU,
            dtype=torch.bfloat16,
            prompt_encoder=lambda prompts, **_: [contexts(i) for i, _ in enumerate(prompts)],
            image_conditioner=Images(),
            stage=self.stage,
            stage_1=self.stage,
            stage_2=self.stage,
            upsampler=upsampled,
            video_decoder=Decoder(),
            audio_decoder=Decoder(),
            duration_predictor=None,
            **more,
        )
        return made

    def staged(self, conditionings: Any = (), loop: Any = None, audio: str = "yes", **more: Any) -> Callable[[], Any]:
        """A call of the stage alone."""
        from ltx_core.components.noisers import GaussianNoiser
        from ltx_pipelines.utils.blocks import ModalitySpec
        from ltx_pipelines.utils.denoisers import SimpleDenoiser

        text = contexts()

        def call() -> Any:
            frozen = (
                {"frozen": True, "initial_latent": torch.ones(1, 8, 18, 16).bfloat16()} if audio == "frozen" else {}
            )
            video, heard = self.stage(
                **{
                    "denoiser": SimpleDenoiser(text.video_encoding, text.audio_encoding),
                    "sigmas": torch.tensor(LEVELS),
                    "noiser": GaussianNoiser(generator=torch.Generator().manual_seed(1)),
                    "width": 192,
                    "height": 128,
                    "frames": 17,
                    "fps": 24.0,
                    "video": ModalitySpec(context=text.video_encoding, conditionings=list(conditionings)),
                    "audio": None if audio == "no" else ModalitySpec(context=text.audio_encoding, **frozen),
                    "loop": loop,
                    **more,
                }
            )
            return video.latent, None if heard is None else heard.latent

        return call

    def euler(self, levels: Sequence[float] = LEVELS, text: Any = None, against: Any = None, noiser: Any = None) -> Any:
        """A guided call of the Euler loop, whatever may be wrong with it."""
        given = {"noiser": noiser} if noiser is not None else {}
        denoiser = self.guided_denoiser(text or contexts(), against or contexts(1))
        return self.staged(sigmas=torch.tensor(levels), denoiser=denoiser, **given)

    def guided_denoiser(self, text: Any = None, against: Any = None, **more: Any) -> Any:
        from ltx_core.components.guiders import MultiModalGuider
        from ltx_pipelines.utils.denoisers import GuidedDenoiser

        text, against = text or contexts(), against or contexts(1)
        pair = [
            MultiModalGuider(params=guidance(**more), negative_context=c)
            for c in (against.video_encoding, against.audio_encoding)
        ]
        return GuidedDenoiser(text.video_encoding, text.audio_encoding, *pair)

    def cases(self) -> dict[str, tuple[Any, Callable[[], Any]]]:
        """By name: the pipeline to record, or None for everything, and a call that gives video and audio."""
        from functools import partial

        from ltx_core.components.diffusion_steps import EulerAncestralDiffusionStep, EulerCfgPpDiffusionStep
        from ltx_core.components.schedulers import LTX2Scheduler
        from ltx_core.conditioning import VideoConditionByKeyframeIndex, VideoConditionByLatentIndex
        from ltx_pipelines.distilled import DistilledPipeline
        from ltx_pipelines.ti2vid_one_stage import TI2VidOneStagePipeline
        from ltx_pipelines.ti2vid_two_stages import TI2VidTwoStagesPipeline
        from ltx_pipelines.ti2vid_two_stages_hq import TI2VidTwoStagesHQPipeline
        from ltx_pipelines.utils import samplers

        schedule = {"_scheduler": LTX2Scheduler(), "scheduler": LTX2Scheduler()}
        distilled = self.pipeline(DistilledPipeline, use_ancestral_sampler=False)
        ancestral = self.pipeline(DistilledPipeline, use_ancestral_sampler=True)
        one, two = self.pipeline(TI2VidOneStagePipeline, **schedule), self.pipeline(TI2VidTwoStagesPipeline, **schedule)
        hq = self.pipeline(TI2VidTwoStagesHQPipeline, **schedule)
        picture = torch.zeros(1, 128, 1, 4, 6).bfloat16()
        first = lambda s: [VideoConditionByLatentIndex(latent=picture, strength=s, latent_idx=0)]  # noqa: E731
        keyframe = [VideoConditionByKeyframeIndex(keyframes=picture, frame_idx=8, strength=1.0)]
        plus = {"stepper": EulerCfgPpDiffusionStep(), "denoiser": self.guided_denoiser()}
        noisy = {"stepper": EulerAncestralDiffusionStep(eta=0.5)}
        ancestral_loop = partial(samplers.euler_ancestral_denoising_loop, noise_seed=2)
        skipping = self.guided_denoiser(skip_step=1)

        def skips() -> Any:
            skipping._last_denoised_video = skipping._last_denoised_audio = None
            return self.staged(denoiser=skipping)()

        return {
            "distilled": (distilled, lambda: distilled(**CALL, tiling_config=None)[:2]),
            "distilled ancestral": (ancestral, lambda: ancestral(**CALL, tiling_config=None)[:2]),
            "one stage, guided": (one, lambda: one(**guided())[:2]),
            "two stages, guided": (two, lambda: two(**guided(), tiling_config=None)[:2]),
            "HQ, res_2s": (hq, lambda: hq(**guided(), tiling_config=None)[:2]),
            "gradient estimation": (None, self.staged(loop=samplers.gradient_estimating_euler_denoising_loop)),
            "CFG++": (None, self.staged(loop=samplers.euler_cfg_pp_denoising_loop, **plus)),
            "ancestral": (None, self.staged(loop=ancestral_loop, **noisy)),
            "first frame given": (None, self.staged(first(1.0))),
            "first frame at strength .5": (None, self.staged(first(0.5))),
            "appended keyframe": (None, self.staged(keyframe)),
            "video alone": (None, self.staged(audio="no")),
            "audio given": (None, self.staged(audio="frozen")),
            "skipped steps": (None, skips),
        }


# -- 1.0.0: loops that the pipelines import by name


class OldPipelines:
    """Real pipelines of 1.0.0 with a real model; what loads weights, text and pixels is a stub."""

    def __init__(self, folder: Path, patch: Callable[[Any, str, Any], None]) -> None:
        from ltx_core.model.transformer import X0Model
        from ltx_core.model.transformer.model_configurator import LTXModelConfigurator

        model = LTXModelConfigurator.from_config({"transformer": CONFIG})
        model.load_state_dict(random_weights(model))
        self.model = X0Model(model.bfloat16()).eval()
        self._patch = patch
        patch(torch.cuda, "synchronize", lambda *_: None)

    def pipeline(self, module: Any, name: str) -> Any:
        from ltx_pipelines.utils.types import PipelineComponents

        ledger = SimpleNamespace(
            transformer=lambda: self.model,
            **dict.fromkeys(
                ("video_encoder", "spatial_upsampler", "video_decoder", "audio_decoder", "vocoder"), lambda: None
            ),
        )
        stubs = {
            "encode_prompts": lambda prompts, *_, **__: [contexts(i) for i, _ in enumerate(prompts)],
            "upsample_video": lambda latent, **_: upsampled(latent),
            "vae_decode_video": lambda latent, *_, **__: latent,
            "vae_decode_audio": lambda latent, *_, **__: latent,
            "cleanup_memory": lambda: None,
        }
        for stub, function in stubs.items():
            if hasattr(module, stub):
                self._patch(module, stub, function)
        made = object.__new__(getattr(module, name))
        ledgers = dict.fromkeys(("model_ledger", "stage_1_model_ledger", "stage_2_model_ledger"), ledger)
        components = PipelineComponents(dtype=torch.bfloat16, device=CPU)
        made.__dict__.update(device=CPU, dtype=torch.bfloat16, pipeline_components=components, **ledgers)
        return made

    def looped(self, loop: Any, denoise_fn: Any, conditionings: Any = (), video_only: bool = False, **more: Any) -> Any:
        """A loop as the pipelines call it."""
        from ltx_core.components.diffusion_steps import EulerDiffusionStep
        from ltx_core.components.noisers import GaussianNoiser
        from ltx_core.types import VideoPixelShape
        from ltx_pipelines.utils import helpers
        from ltx_pipelines.utils.types import PipelineComponents

        stepper = more.pop("stepper", None) or EulerDiffusionStep()
        sigmas = torch.tensor(more.pop("levels", LEVELS))
        noiser = more.pop("noiser", None)

        def call() -> Any:
            function = helpers.denoise_video_only if video_only else helpers.denoise_audio_video

            def inner(sigmas: Any, video_state: Any, audio_state: Any, stepper: Any) -> Any:
                # By name at the time of the call, as code that imports the module does.
                return loop()(sigmas, video_state, audio_state, stepper, denoise_fn=denoise_fn(), **more)

            found = function(
                output_shape=VideoPixelShape(batch=1, frames=17, width=192, height=128, fps=24.0),
                conditionings=list(conditionings),
                noiser=noiser or GaussianNoiser(generator=torch.Generator().manual_seed(1)),
                sigmas=sigmas,
                stepper=stepper,
                denoising_loop_fn=inner,
                components=PipelineComponents(dtype=torch.bfloat16, device=CPU),
                dtype=torch.bfloat16,
                device=CPU,
            )
            return (found.latent, None) if video_only else (found[0].latent, found[1].latent)

        return call

    def multi(self, text: Any = None, against: Any = None, **more: Any) -> Callable[[], Any]:
        """Makes guided denoising functions."""
        from ltx_core.components.guiders import MultiModalGuider
        from ltx_pipelines.utils import helpers

        text, against = text or contexts(), against or contexts(1)
        pair = [
            MultiModalGuider(params=guidance(**more), negative_context=c)
            for c in (against.video_encoding, against.audio_encoding)
        ]
        return lambda: helpers.multi_modal_guider_denoising_func(
            *pair, text.video_encoding, text.audio_encoding, self.model
        )

    def euler(self, levels: Sequence[float] = LEVELS, text: Any = None, against: Any = None, noiser: Any = None) -> Any:
        """A guided call of the Euler loop, whatever may be wrong with it."""
        from ltx_pipelines.utils import samplers

        denoise = self.multi(text, against)
        return self.looped(lambda: samplers.euler_denoising_loop, denoise, levels=levels, noiser=noiser)

    def cases(self) -> dict[str, tuple[Any, Callable[[], Any]]]:
        """By name: the pipeline to record, or None for everything, and a call that gives video and audio."""
        from ltx_core.components.diffusion_steps import Res2sDiffusionStep
        from ltx_core.conditioning import VideoConditionByKeyframeIndex, VideoConditionByLatentIndex
        from ltx_pipelines import distilled, keyframe_interpolation, ti2vid_one_stage, ti2vid_two_stages
        from ltx_pipelines import ti2vid_two_stages_hq as hq_module
        from ltx_pipelines.utils import helpers, samplers

        text = contexts()
        made = self.pipeline(distilled, "DistilledPipeline")
        one = self.pipeline(ti2vid_one_stage, "TI2VidOneStagePipeline")
        two = self.pipeline(ti2vid_two_stages, "TI2VidTwoStagesPipeline")
        hq = self.pipeline(hq_module, "TI2VidTwoStagesHQPipeline")
        between = self.pipeline(keyframe_interpolation, "KeyframeInterpolationPipeline")

        def simple() -> Any:
            return helpers.simple_denoising_func(text.video_encoding, text.audio_encoding, self.model)

        picture = torch.zeros(1, 128, 1, 4, 6).bfloat16()
        first = lambda s: [VideoConditionByLatentIndex(latent=picture, strength=s, latent_idx=0)]  # noqa: E731
        keyframe = [VideoConditionByKeyframeIndex(keyframes=picture, frame_idx=8, strength=1.0)]
        euler = lambda: samplers.euler_denoising_loop  # noqa: E731
        gradient = lambda: samplers.gradient_estimating_euler_denoising_loop  # noqa: E731
        res2s = lambda: samplers.res2s_audio_video_denoising_loop  # noqa: E731
        return {
            "distilled": (made, lambda: made(**CALL)[:2]),
            "one stage, guided": (one, lambda: one(**guided())[:2]),
            "two stages, guided": (two, lambda: two(**guided())[:2]),
            "HQ, res_2s": (hq, lambda: hq(**guided())[:2]),
            "keyframe interpolation": (between, lambda: between(**guided())[:2]),
            "gradient estimation": (None, self.looped(gradient, simple)),
            "res_2s, guided": (None, self.looped(res2s, self.multi(), stepper=Res2sDiffusionStep(), noise_seed=4)),
            "Euler, guided": (None, self.looped(euler, self.multi())),
            "first frame given": (None, self.looped(euler, simple, first(1.0))),
            "first frame at strength .5": (None, self.looped(euler, simple, first(0.5))),
            "appended keyframe": (None, self.looped(euler, simple, keyframe)),
            "audio given": (None, self.looped(euler, simple, video_only=True)),
            "skipped steps": (None, self.looped(euler, self.multi(skip_step=1))),
        }
