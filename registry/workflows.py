"""Writes the example workflows of this package in the form of ComfyUI's editor: `python registry/workflows.py`.

Each is described by its nodes: title, class, links and values. Links are checked against the sockets of `SOCKETS`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "example_workflows"

CHECKPOINT = "ltx-2.3-22b-dev-fp8.safetensors"
DISTILLED_LORA = "ltx-2.3-22b-distilled-lora-384.safetensors"
TEXT_ENCODER = "gemma_3_12B_it_fp4_mixed.safetensors"
UPSCALER = "ltx-2.3-spatial-upscaler-x2-1.1.safetensors"

SOCKETS: dict[str, tuple[dict[str, str], list[tuple[str, str]]]] = {
    "CheckpointLoaderSimple": ({}, [("MODEL", "MODEL"), ("CLIP", "CLIP"), ("VAE", "VAE")]),
    "LTXAVTextEncoderLoader": ({}, [("CLIP", "CLIP")]),
    "LTXVAudioVAELoader": ({}, [("Audio VAE", "VAE")]),
    "LatentUpscaleModelLoader": ({}, [("LATENT_UPSCALE_MODEL", "LATENT_UPSCALE_MODEL")]),
    "LoraLoaderModelOnly": ({"model": "MODEL"}, [("MODEL", "MODEL")]),
    "LTXTelemetry": ({"model": "MODEL"}, [("MODEL", "MODEL")]),
    "LTXShock": ({"sampler": "SAMPLER"}, [("SAMPLER", "SAMPLER")]),
    "CLIPTextEncode": ({"clip": "CLIP"}, [("CONDITIONING", "CONDITIONING")]),
    "LTXVConditioning": (
        {"positive": "CONDITIONING", "negative": "CONDITIONING"},
        [("positive", "CONDITIONING"), ("negative", "CONDITIONING")],
    ),
    "EmptyLTXVLatentVideo": ({}, [("LATENT", "LATENT")]),
    "LTXVEmptyLatentAudio": ({"audio_vae": "VAE"}, [("Latent", "LATENT")]),
    "LTXVConcatAVLatent": ({"video_latent": "LATENT", "audio_latent": "LATENT"}, [("latent", "LATENT")]),
    "LTXVSeparateAVLatent": ({"av_latent": "LATENT"}, [("video_latent", "LATENT"), ("audio_latent", "LATENT")]),
    "LTXVLatentUpsampler": (
        {"samples": "LATENT", "upscale_model": "LATENT_UPSCALE_MODEL", "vae": "VAE"},
        [("LATENT", "LATENT")],
    ),
    "LTXVScheduler": ({"latent": "LATENT"}, [("SIGMAS", "SIGMAS")]),
    "ManualSigmas": ({}, [("SIGMAS", "SIGMAS")]),
    "RandomNoise": ({}, [("NOISE", "NOISE")]),
    "KSamplerSelect": ({}, [("SAMPLER", "SAMPLER")]),
    "CFGGuider": (
        {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING"},
        [("GUIDER", "GUIDER")],
    ),
    "SamplerCustomAdvanced": (
        {"noise": "NOISE", "guider": "GUIDER", "sampler": "SAMPLER", "sigmas": "SIGMAS", "latent_image": "LATENT"},
        [("output", "LATENT"), ("denoised_output", "LATENT")],
    ),
    "VAEDecodeTiled": ({"samples": "LATENT", "vae": "VAE"}, [("IMAGE", "IMAGE")]),
    "LTXVAudioVAEDecode": ({"samples": "LATENT", "audio_vae": "VAE"}, [("Audio", "AUDIO")]),
    "CreateVideo": ({"images": "IMAGE", "audio": "AUDIO"}, [("VIDEO", "VIDEO")]),
    "SaveVideo": ({"video": "VIDEO"}, []),
}
"""Inputs that are linked, and outputs, of every class of node in use: name and type."""


@dataclass
class Graph:
    """A workflow that is being described."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)
    _where: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, name: str, kind: str, values: list[Any] | None = None, /, **inputs: str) -> None:
        """Add a node.

        Args:
            name: to refer to it.
            kind: its class.
            values: those of its widgets, in order.
            inputs: for each linked input `NODE` or `NODE.OUTPUT`.

        Raises:
            ValueError: if inputs are missing, unknown or of another type.
        """
        wanted, outputs = SOCKETS[kind]
        if set(inputs) != set(wanted):
            raise ValueError(f"{kind} has the inputs {sorted(wanted)}, not {sorted(inputs)}")
        number = len(self.nodes) + 1
        sockets = []
        for slot, (socket, kind_of) in enumerate(wanted.items()):
            source, _, output = inputs[socket].partition(".")
            from_node = self._where[source]
            from_slot = next(i for i, o in enumerate(from_node["outputs"]) if not output or o["name"] == output)
            given = from_node["outputs"][from_slot]
            if given["type"] != kind_of:
                raise ValueError(f"{kind}.{socket} takes {kind_of}, and {inputs[socket]} gives {given['type']}")
            link = len(self.links) + 1
            self.links.append([link, from_node["id"], from_slot, number, slot, kind_of])
            given["links"].append(link)
            sockets.append({"name": socket, "type": kind_of, "link": link})
        column, row = divmod(number - 1, 5)
        made = {
            "id": number,
            "type": kind,
            "pos": [60 + 380 * column, 80 + 220 * row],
            "size": [330, 150],
            "flags": {},
            "order": number - 1,
            "mode": 0,
            "inputs": sockets,
            "outputs": [{"name": n, "type": t, "links": []} for n, t in outputs],
            "properties": {"Node name for S&R": kind},
            "widgets_values": values or [],
        }
        self.nodes.append(made)
        self._where[name] = made

    def document(self) -> dict[str, Any]:
        """The workflow as ComfyUI's editor stores it."""
        return {
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": self.nodes,
            "links": self.links,
            "groups": [],
            "config": {},
            "extra": {},
            "version": 0.4,
        }


def _begin(prompt: str, width: int, height: int, name: str) -> Graph:
    """Loaders, prompts, and empty latents of both streams; the model is recorded."""
    graph = Graph()
    graph.add("loader", "CheckpointLoaderSimple", [CHECKPOINT])
    graph.add("encoder", "LTXAVTextEncoderLoader", [TEXT_ENCODER, CHECKPOINT, "default"])
    graph.add("audio_vae", "LTXVAudioVAELoader", [CHECKPOINT])
    graph.add("recorded", "LTXTelemetry", [name, False, True], model="loader.MODEL")
    graph.add("yes", "CLIPTextEncode", [prompt], clip="encoder")
    graph.add("no", "CLIPTextEncode", ["worst quality, blurry, jittery, distorted"], clip="encoder")
    graph.add("texts", "LTXVConditioning", [24.0], positive="yes", negative="no")
    graph.add("video", "EmptyLTXVLatentVideo", [width, height, 121, 1])
    graph.add("audio", "LTXVEmptyLatentAudio", [121, 24, 1], audio_vae="audio_vae")
    graph.add("empty", "LTXVConcatAVLatent", video_latent="video", audio_latent="audio")
    return graph


def _sample(graph: Graph, name: str, model: str, sampler: str, sigmas: str, latent: str, cfg: float, seed: int) -> None:
    """Guider, noise and sampler; the result is split into its streams as `NAME_split`."""
    graph.add(f"{name}_guider", "CFGGuider", [cfg], model=model, positive="texts.positive", negative="texts.negative")
    graph.add(f"{name}_noise", "RandomNoise", [seed, "fixed"])
    graph.add(
        name,
        "SamplerCustomAdvanced",
        noise=f"{name}_noise",
        guider=f"{name}_guider",
        sampler=sampler,
        sigmas=sigmas,
        latent_image=latent,
    )
    graph.add(f"{name}_split", "LTXVSeparateAVLatent", av_latent=f"{name}.output")


def _finish(graph: Graph, name: str, file: str) -> dict[str, Any]:
    """Decode a sampler's result and save the clip."""
    graph.add("frames", "VAEDecodeTiled", [512, 64, 4096, 8], samples=f"{name}_split.video_latent", vae="loader.VAE")
    graph.add("sound", "LTXVAudioVAEDecode", samples=f"{name}_split.audio_latent", audio_vae="audio_vae")
    graph.add("clip", "CreateVideo", [24.0], images="frames", audio="sound")
    graph.add("save", "SaveVideo", [f"ltxtui/{file}", "auto", "auto"], video="clip")
    return graph.document()


def distilled_two_stage() -> dict[str, Any]:
    """Eight steps of the distilled model at half size, three more after the upscaler: two stages of one run."""
    graph = _begin("a fox walks through deep snow, its steps crunch, wind", 640, 352, "distilled")
    graph.add("fast", "LoraLoaderModelOnly", [DISTILLED_LORA, 0.5], model="recorded")
    graph.add("sampler_1", "KSamplerSelect", ["euler_ancestral_cfg_pp"])
    levels = "1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0"
    graph.add("sigmas_1", "ManualSigmas", [levels])
    _sample(graph, "first", "fast", "sampler_1", "sigmas_1", "empty", 1.0, 42)
    graph.add("upscaler", "LatentUpscaleModelLoader", [UPSCALER])
    graph.add(
        "larger", "LTXVLatentUpsampler", samples="first_split.video_latent", upscale_model="upscaler", vae="loader.VAE"
    )
    graph.add("both", "LTXVConcatAVLatent", video_latent="larger", audio_latent="first_split.audio_latent")
    graph.add("sampler_2", "KSamplerSelect", ["euler_cfg_pp"])
    graph.add("sigmas_2", "ManualSigmas", ["0.85, 0.7250, 0.4219, 0.0"])
    _sample(graph, "second", "fast", "sampler_2", "sigmas_2", "both", 1.0, 43)
    return _finish(graph, "second", "distilled")


def guided() -> dict[str, Any]:
    """Twenty guided steps of the full model."""
    graph = _begin("a red kite above a stormy sea, gusts of wind", 768, 512, "guided")
    graph.add("sampler", "KSamplerSelect", ["euler"])
    graph.add("sigmas", "LTXVScheduler", [20, 2.05, 0.95, True, 0.1], latent="empty")
    _sample(graph, "only", "recorded", "sampler", "sigmas", "empty", 3.0, 42)
    return _finish(graph, "only", "guided")


def shocked() -> dict[str, Any]:
    """The same with a restart on arrival at σ 0.93."""
    graph = _begin("a red kite above a stormy sea, gusts of wind", 768, 512, "shocked")
    graph.add("euler", "KSamplerSelect", ["euler"])
    graph.add("sampler", "LTXShock", ["restart", 0.93, 3.0, 0, "fixed", ""], sampler="euler")
    graph.add("sigmas", "LTXVScheduler", [20, 2.05, 0.95, True, 0.1], latent="empty")
    _sample(graph, "only", "recorded", "sampler", "sigmas", "empty", 3.0, 42)
    return _finish(graph, "only", "shocked")


WORKFLOWS = {"distilled-two-stage": distilled_two_stage, "guided": guided, "shocked": shocked}


def text_of(name: str) -> str:
    """The file of a workflow."""
    return json.dumps(WORKFLOWS[name](), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in WORKFLOWS:
        (FOLDER / f"{name}.json").write_text(text_of(name), encoding="utf-8")
