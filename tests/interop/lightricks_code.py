"""The nano model in Lightricks' ltx-core, and a guided Euler run of it that is recorded as any loop of one's own.

The interfaces of the packages 1.0.0 and of v1.2.0 of the repository are known.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from recorder.nano import lightricks
from tests.interop.diffusers_run import Call

STG_BLOCKS = [2]


def configuration(checkpoint: Path) -> dict[str, Any]:
    """The configuration in a checkpoint's metadata."""
    with safe_open(checkpoint, "pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()["config"])
    return found


def transformer(checkpoint: Path) -> tuple[Any, list[str], list[str]]:
    """LTXModel by its own configurator, with the names of missing and of unexpected weights."""
    from ltx_core.model.transformer.model_configurator import LTXModelConfigurator

    config = configuration(checkpoint)
    if hasattr(LTXModelConfigurator, "from_metadata"):
        model = LTXModelConfigurator.from_metadata({"config": config})
    else:
        model = LTXModelConfigurator.from_config(config)
    weights = {
        name.removeprefix(lightricks.PREFIX): value
        for name, value in load_file(checkpoint).items()
        if name.startswith(lightricks.PREFIX) and "_embeddings_connector." not in name
    }
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    return model.eval(), list(missing), list(unexpected)


def connector(checkpoint: Path, stream: str) -> tuple[Any, list[str], list[str]]:
    """The text connector of a stream by its own configurator, with missing and unexpected weights."""
    from ltx_core.text_encoders.gemma import embeddings_connector as module

    kinds = {"video": module.Embeddings1DConnectorConfigurator, "audio": module.AudioEmbeddings1DConnectorConfigurator}
    config, kind = configuration(checkpoint), kinds[stream]
    if hasattr(kind, "from_metadata"):
        model = kind.from_metadata({"config": config})
    else:
        model = kind.from_config(config)
    prefix = f"{lightricks.PREFIX}{stream}_embeddings_connector."
    weights = {n.removeprefix(prefix): v for n, v in load_file(checkpoint).items() if n.startswith(prefix)}
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    return model.eval(), list(missing), list(unexpected)


def connectors_want_padding_last() -> bool:
    """Since v1.1 what calls the connectors moves padding to the end; before, they did so themselves."""
    from ltx_core.text_encoders.gemma import embeddings_processor

    return hasattr(embeddings_processor, "_apply_right_pad_order")


def states(call: Call, grid: tuple[int, int, int], frame_rate: float) -> tuple[Any, Any]:
    """Latent states of both streams that begin with a call's noise."""
    from ltx_core.components.patchifiers import AudioPatchifier, VideoLatentPatchifier
    from ltx_core.tools import AudioLatentTools, VideoLatentTools
    from ltx_core.types import AudioLatentShape, VideoLatentShape

    channels = call.video.shape[-1]
    video = VideoLatentTools(VideoLatentPatchifier(1), VideoLatentShape(1, channels, *grid), frame_rate)
    audio = AudioLatentTools(AudioPatchifier(1), AudioLatentShape(1, 8, call.audio.shape[1], 16))
    return (
        replace(video.create_initial_state("cpu", torch.float32), latent=call.video.clone()),
        replace(audio.create_initial_state("cpu", torch.float32), latent=call.audio.clone()),
    )


class Denoiser:
    """The passes of one evaluation, and what guidance makes of them, as ltx-pipelines asks the model for them."""

    def __init__(self, model: Any, call: Call, guidance: dict[str, float]) -> None:
        from ltx_core.components.guiders import MultiModalGuider, MultiModalGuiderParams
        from ltx_core.model.transformer.model import X0Model

        def guider(prefix: str, context: torch.Tensor) -> Any:
            parameters = MultiModalGuiderParams(
                cfg_scale=guidance[f"{prefix}guidance_scale"],
                stg_scale=guidance[f"{prefix}stg_scale"],
                stg_blocks=STG_BLOCKS,
                rescale_scale=guidance[f"{prefix}guidance_rescale"],
                modality_scale=guidance[f"{prefix}modality_scale"],
            )
            return MultiModalGuider(parameters, context[:1])

        self.blocks = len(model.transformer_blocks)
        self.model = X0Model(model)
        self.call = call
        self.guiders = (guider("", call.video_context), guider("audio_", call.audio_context))

    def __call__(self, video: Any, audio: Any, sigma: torch.Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        """x̂0 of each pass and `guided`, by name, for both streams."""
        video_guider, _ = self.guiders
        passes = {"conditional": self._pass(video, audio, sigma, -1, None)}
        if video_guider.do_unconditional_generation():
            passes["cfg"] = self._pass(video, audio, sigma, 0, None)
        if video_guider.do_perturbed_generation():
            passes["stg"] = self._pass(video, audio, sigma, -1, ("SKIP_VIDEO_SELF_ATTN", "SKIP_AUDIO_SELF_ATTN"))
        if video_guider.do_isolated_modality_generation():
            passes["modality"] = self._pass(video, audio, sigma, -1, ("SKIP_A2V_CROSS_ATTN", "SKIP_V2A_CROSS_ATTN"))
        found: list[dict[str, Any]] = []
        for stream, guider in enumerate(self.guiders):
            own = {name: streams[stream] for name, streams in passes.items()}
            others = [own.get(name, 0.0) for name in ("cfg", "stg", "modality")]
            found.append({**own, "guided": guider.calculate(own["conditional"], *others)})
        return found[0], found[1]

    def _pass(self, video: Any, audio: Any, sigma: torch.Tensor, row: int, skipped: tuple[str, str] | None) -> Any:
        from ltx_core.guidance import perturbations
        from ltx_core.model.transformer.modality import Modality

        def modality(state: Any, contexts: torch.Tensor) -> Any:
            return Modality(
                latent=state.latent,
                sigma=sigma.reshape(1),
                timesteps=state.denoise_mask * sigma,
                positions=state.positions,
                context=contexts[row].unsqueeze(0),
            )

        config = None
        if skipped is not None:
            # STG acts in some blocks, isolation in all.
            blocks = STG_BLOCKS if "SELF" in skipped[0] else None
            kinds = [perturbations.PerturbationType[name] for name in skipped]
            one = perturbations.PerturbationConfig([perturbations.Perturbation(kind, blocks) for kind in kinds])
            make = perturbations.BatchedPerturbationConfig
            counted = "num_blocks" in inspect.signature(make).parameters
            config = make([one], self.blocks) if counted else make([one])
        return self.model(
            video=modality(video, self.call.video_context),
            audio=modality(audio, self.call.audio_context),
            perturbations=config,
        )


@torch.inference_mode()
def run(
    model: Any, call: Call, grid: tuple[int, int, int], guidance: dict[str, float], recording: Any, frame_rate: float
) -> dict[str, dict[str, list[float]]]:
    """An Euler run with ltx-core's stepper and guiders, recorded step by step.

    Returns the gaps of the guidance passes, which a recorded loop of one's own does not have: RMS differences of
    velocities from the conditional one by stream and pass, and that velocity's RMS as `conditional`.
    """
    from ltx_core.components.diffusion_steps import EulerDiffusionStep

    denoise, stepper = Denoiser(model, call, guidance), EulerDiffusionStep()
    video, audio = states(call, grid, frame_rate)
    gaps: dict[str, dict[str, list[float]]] = {"video": {}, "audio": {}}
    recording.stage(call.sigmas.tolist())
    for i, sigma in enumerate(call.sigmas[:-1]):
        found = denoise(video, audio, sigma)
        after = []
        for stream, state, passes in zip(("video", "audio"), (video, audio), found, strict=True):
            result = stepper.step(state.latent, passes["guided"], call.sigmas, i)
            recording.step(
                sigma=float(sigma),
                sigma_next=float(call.sigmas[i + 1]),
                sample=state.latent,
                x0=passes["guided"],
                result=result,
                stream=stream,
                grid=grid if stream == "video" else None,
            )
            for name, x0 in passes.items():
                if name != "guided":
                    other = state.latent if name == "conditional" else x0
                    gap = (other - (x0 if name == "conditional" else passes["conditional"])) / sigma
                    gaps[stream].setdefault(name, []).append(float(gap.square().mean().sqrt()))
            after.append(replace(state, latent=result))
        video, audio = after
    return gaps
