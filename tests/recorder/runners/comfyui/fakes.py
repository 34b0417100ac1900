"""A small stand-in for the parts of ComfyUI that the adapter uses: wrappers, guiders, samplers, prompts, masks.

It imitates the documented behaviour of ComfyUI's hooks for custom nodes, in modules of the same names, so that the
adapter can be tested without ComfyUI. The tests of `test_real.py` run the same against a real one.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

VIDEO, AUDIO = (1, 8, 4, 3, 5), (1, 2, 6, 4)
"""[B, C, F, H, W] and [B, C, L, M]."""

MODULES = (
    "comfy",
    "comfy.k_diffusion",
    "comfy.k_diffusion.sampling",
    "comfy.model_management",
    "comfy.nested_tensor",
    "comfy.patcher_extension",
    "comfy.samplers",
    "comfy.utils",
    "comfy_api",
    "comfy_api.latest",
    "comfy_api.latest._caching",
    "comfy_execution",
    "comfy_execution.cache_provider",
    "comfy_execution.progress",
    "comfy_execution.utils",
    "comfyui_version",
    "folder_paths",
)


def comfyui_folder(parent: Path) -> Path:
    """A folder with the files that a ComfyUI is recognised by."""
    folder = parent / "ComfyUI"
    for name in ("main.py", "nodes.py", "comfy/samplers.py", "comfy/model_patcher.py", "custom_nodes/example.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


# -- wrappers


class WrappersMP:
    OUTER_SAMPLE = "outer_sample"
    SAMPLER_SAMPLE = "sampler_sample"
    PREDICT_NOISE = "predict_noise"
    CALC_COND_BATCH = "calc_cond_batch"


def _table(options: dict[str, Any]) -> dict[str, dict[str, list[Any]]]:
    inner = options.setdefault("transformer_options", {})
    found: dict[str, dict[str, list[Any]]] = inner.setdefault("wrappers", {})
    return found


def add_wrapper_with_key(kind: str, key: str, wrapper: Any, options: dict[str, Any], is_model_options: bool) -> None:
    assert is_model_options
    _table(options).setdefault(kind, {}).setdefault(key, []).append(wrapper)


def get_wrappers_with_key(kind: str, key: str, options: dict[str, Any], is_model_options: bool) -> list[Any]:
    assert is_model_options
    return list(_table(options).get(kind, {}).get(key, []))


def copy_nested_dicts(given: dict[str, Any]) -> dict[str, Any]:
    def copied(value: Any) -> Any:
        if isinstance(value, dict):
            return copy_nested_dicts(value)
        return value.copy() if isinstance(value, list) else value

    return {name: copied(value) for name, value in given.items()}


class Executor:
    """Calls wrappers in their order, then what they wrap; each wrapper gets the rest as its first argument."""

    def __init__(self, original: Callable[..., Any], class_obj: Any, wrappers: list[Any]) -> None:
        self.original, self.class_obj, self._wrappers = original, class_obj, wrappers

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        if not self._wrappers:
            return self.original(*args, **kwargs)
        rest = Executor(self.original, self.class_obj, self._wrappers[1:])
        return self._wrappers[0](rest, *args, **kwargs)

    __call__ = execute


def wrapped(kind: str, original: Callable[..., Any], class_obj: Any, options: dict[str, Any]) -> Executor:
    lists = _table(options).get(kind, {}).values()
    return Executor(original, class_obj, [wrapper for each in lists for wrapper in each])


# -- latents


class NestedTensor:
    is_nested = True

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = list(tensors)

    def unbind(self) -> list[Tensor]:
        return self.tensors


def pack_latents(latents: list[Tensor]) -> tuple[Tensor, list[torch.Size]]:
    return torch.cat([t.reshape(t.shape[0], 1, -1) for t in latents], dim=-1), [t.shape for t in latents]


def unpack_latents(packed: Tensor, shapes: list[Any]) -> list[Tensor]:
    if len(shapes) < 2:
        return [packed]
    parts = packed.split([math.prod(s[1:]) for s in shapes], dim=-1)
    return [p.reshape(p.shape[0], *s[1:]) for p, s in zip(parts, shapes, strict=True)]


# -- model and guider


class ToyModel:
    """The model's wrapper: velocities from a fixed function of sample, level and context."""

    latent_format: Any = None

    def __init__(self) -> None:
        self.calls = 0
        self.fails_at: int | None = None

    def velocity(self, x: Tensor, sigma: float, context: float) -> Tensor:
        self.calls += 1
        if self.fails_at == self.calls:
            raise RuntimeError("the model failed")
        return torch.sin(1.7 * x + context) + sigma * torch.cos(x)

    def process_latent_in(self, latent: Tensor) -> Tensor:
        return latent


class LTXAV(ToyModel):
    pass


class LTXV(ToyModel):
    pass


class Flux(ToyModel):
    """Not LTX: never recorded."""


class ModelPatcher:
    def __init__(self, model: ToyModel | None = None) -> None:
        self.model = model or LTXAV()
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self.load_device = torch.device("cpu")
        self.cached_patcher_init = (len, ("/models/checkpoints/ltx-2.3-toy.safetensors", {}))

    def clone(self) -> ModelPatcher:
        made = ModelPatcher(self.model)
        made.model_options = copy_nested_dicts(self.model_options)
        return made

    def add_wrapper_with_key(self, kind: str, key: str, wrapper: Any) -> None:
        add_wrapper_with_key(kind, key, wrapper, self.model_options, True)


def calc_cond_batch(model: Any, conds: list[Any], x: Tensor, timestep: Tensor, options: dict[str, Any]) -> list[Tensor]:
    def inner(model: Any, conds: list[Any], x: Tensor, timestep: Tensor, options: dict[str, Any]) -> list[Tensor]:
        sigma = float(timestep[0])
        inside = options["transformer_options"]
        more = 0.2 * bool(inside.get("stg_indexes")) + 0.1 * (inside.get("a2v_cross_attn") is False)
        given = [None if c is None else x - sigma * model.velocity(x, sigma, c[0]["context"] + more) for c in conds]
        return [torch.zeros_like(x) if g is None else g for g in given]

    found: list[Tensor] = wrapped(WrappersMP.CALC_COND_BATCH, inner, None, options).execute(
        model, conds, x, timestep, options
    )
    return found


class CFGGuider:
    def __init__(self, patcher: ModelPatcher, cfg: float = 3.0) -> None:
        self.model_patcher = patcher
        self.model_options = patcher.model_options
        self.original_conds = {"positive": [{"context": 0.3}], "negative": [{"context": -0.8}]}
        self.cfg = cfg

    def __call__(self, x: Tensor, sigma: Tensor, model_options: dict[str, Any], seed: int | None = None) -> Tensor:
        found: Tensor = wrapped(WrappersMP.PREDICT_NOISE, self.predict_noise, self, self.model_options).execute(
            x, sigma, model_options, seed
        )
        return found

    def predict_noise(self, x: Tensor, sigma: Tensor, model_options: dict[str, Any], seed: int | None = None) -> Tensor:
        negative = self.conds["negative"] if self.cfg != 1 else None
        cond, uncond = calc_cond_batch(self.inner_model, [self.conds["positive"], negative], x, sigma, model_options)
        return cond if negative is None else uncond + (cond - uncond) * self.cfg

    def inner_sample(
        self, noise: Tensor, latent: Tensor, sampler: Any, sigmas: Tensor, mask: Tensor | None, callback: Any, seed: Any
    ) -> Tensor:
        extra = {"model_options": copy_nested_dicts(self.model_options), "seed": seed}
        found: Tensor = wrapped(WrappersMP.SAMPLER_SAMPLE, sampler.sample, sampler, extra["model_options"]).execute(
            self, sigmas, extra, callback, noise, latent, mask, True
        )
        return found

    def outer_sample(
        self,
        noise: Tensor,
        latent_image: Tensor,
        sampler: Any,
        sigmas: Tensor,
        denoise_mask: Tensor | None = None,
        callback: Any = None,
        disable_pbar: bool = False,
        seed: int | None = None,
        latent_shapes: Any = None,
    ) -> Tensor:
        self.inner_model = self.model_patcher.model
        kept = {"latent_shapes": types.SimpleNamespace(cond=latent_shapes)}
        for conds in self.conds.values():
            conds[:] = [{**cond, "model_conds": kept} for cond in conds]
        return self.inner_sample(noise.float(), latent_image, sampler, sigmas, denoise_mask, callback, seed)

    def sample(
        self,
        noise: Any,
        latent_image: Any,
        sampler: Any,
        sigmas: Tensor,
        denoise_mask: Any = None,
        callback: Any = None,
        disable_pbar: bool = False,
        seed: int | None = None,
    ) -> Any:
        if nested := getattr(latent_image, "is_nested", False):
            latent_image, shapes = pack_latents(latent_image.unbind())
            noise, _ = pack_latents(noise.unbind())
            if denoise_mask is not None:
                masks = denoise_mask.unbind() if getattr(denoise_mask, "is_nested", False) else [denoise_mask]
                masks = [*masks, *(torch.ones(s) for s in shapes[len(masks) :])]
                denoise_mask, _ = pack_latents([m.expand(s) for m, s in zip(masks, shapes, strict=True)])
        else:
            shapes = [latent_image.shape]
            denoise_mask = None if denoise_mask is None else denoise_mask.expand(shapes[0])
        self.conds = {k: list(v) for k, v in self.original_conds.items()}
        kept, self.model_options = self.model_options, copy_nested_dicts(self.model_options)
        try:
            out = wrapped(WrappersMP.OUTER_SAMPLE, self.outer_sample, self, self.model_options).execute(
                noise, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed, latent_shapes=shapes
            )
        finally:
            self.model_options = kept
        return NestedTensor(unpack_latents(out, shapes)) if nested else out


class MultimodalGuider(CFGGuider):
    """One call per pass, as the guider of Lightricks' node pack makes them."""

    def predict_noise(self, x: Tensor, sigma: Tensor, model_options: dict[str, Any], seed: int | None = None) -> Tensor:
        def one(cond: Any, **more: Any) -> Tensor:
            options = {**model_options, "transformer_options": {**model_options["transformer_options"], **more}}
            return calc_cond_batch(self.inner_model, [cond], x, sigma, options)[0]

        cond = one(self.conds["positive"])
        uncond = one(self.conds["negative"])
        stg = one(self.conds["positive"], stg_indexes=[1], ptb_index=0)
        apart = one(self.conds["positive"], a2v_cross_attn=False, v2a_cross_attn=False)
        return cond + 2 * (cond - uncond) + 0.5 * (cond - stg) + 0.3 * (cond - apart)


# -- samplers


class Inpaint:
    """The model as samplers call it: what a mask keeps is put back at every call."""

    def __init__(self, guider: CFGGuider, latent: Tensor) -> None:
        self.inner_model, self.latent_image = guider, latent

    def __call__(
        self, x: Tensor, sigma: Tensor, model_options: dict[str, Any], seed: Any = None, denoise_mask: Any = None
    ) -> Tensor:
        if denoise_mask is not None:
            x = x * denoise_mask + self.latent_image * (1 - denoise_mask)
        out = self.inner_model(x, sigma, model_options=model_options, seed=seed)
        return out if denoise_mask is None else out * denoise_mask + self.latent_image * (1 - denoise_mask)


class KSAMPLER:
    def __init__(self, sampler_function: Any, extra_options: Any = None, inpaint_options: Any = None) -> None:
        self.sampler_function = sampler_function
        self.extra_options = extra_options or {}
        self.inpaint_options = inpaint_options or {}

    def sample(
        self, guider: CFGGuider, sigmas: Tensor, extra: Any, callback: Any, noise: Tensor, latent: Tensor, mask: Any,
        disable: bool = False,
    ) -> Tensor:  # fmt: skip
        model = Inpaint(guider, latent)
        x = sigmas[0] * noise + (1 - sigmas[0]) * latent
        total = len(sigmas) - 1
        reports = None if callback is None else (lambda d: callback(d["i"], d["denoised"], d["x"], total))
        given = {**extra, "denoise_mask": mask}
        out: Tensor = self.sampler_function(model, x, sigmas, extra_args=given, callback=reports, disable=disable,
                                            **self.extra_options)  # fmt: skip
        return out / (1 - sigmas[-1])


def _of(x: Tensor, sigma: Any) -> Tensor:
    return torch.full((x.shape[0],), float(sigma))


def sample_euler(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None,
                 disable: Any = None, s_churn: float = 0.0) -> Tensor:  # fmt: skip
    for i in range(len(sigmas) - 1):
        x0 = model(x, _of(x, sigmas[i]), **extra_args)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": x0})
        x = x + (x - x0) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
    return x


def sample_in_place(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None,
                    disable: Any = None) -> Tensor:  # fmt: skip
    """Euler's method that writes to its latents, and to the model's answer."""
    for i in range(len(sigmas) - 1):
        x0 = model(x, _of(x, sigmas[i]), **extra_args)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": x0})
        x.add_(x0.sub_(x).neg_().div_(sigmas[i]), alpha=float(sigmas[i + 1] - sigmas[i]))
    return x


def sample_heun(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None,
                disable: Any = None) -> Tensor:  # fmt: skip
    for i in range(len(sigmas) - 1):
        x0 = model(x, _of(x, sigmas[i]), **extra_args)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": x0})
        d, dt = (x - x0) / sigmas[i], sigmas[i + 1] - sigmas[i]
        if sigmas[i + 1] > 0:
            tried = x + d * dt
            d = (d + (tried - model(tried, _of(x, sigmas[i + 1]), **extra_args)) / sigmas[i + 1]) / 2
        x = x + d * dt
    return x


def sample_dpm_2(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None,
                 disable: Any = None) -> Tensor:  # fmt: skip
    """Midpoints at levels of their own."""
    for i in range(len(sigmas) - 1):
        x0 = model(x, _of(x, sigmas[i]), **extra_args)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": x0})
        d = (x - x0) / sigmas[i]
        if sigmas[i + 1] > 0:
            between = (sigmas[i] * sigmas[i + 1]).sqrt()
            middle = x + d * (between - sigmas[i])
            d = (middle - model(middle, _of(x, between), **extra_args)) / between
        x = x + d * (sigmas[i + 1] - sigmas[i])
    return x


def sample_after(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None,
                 disable: Any = None) -> Tensor:  # fmt: skip
    """Two evaluations a step, reported after it, the last one twice, as RES4LYF's samplers do."""
    for i in range(len(sigmas) - 1):
        x0 = model(x, _of(x, sigmas[i]), **extra_args)
        d = (x - x0) / sigmas[i]
        if sigmas[i + 1] > 0:
            tried = x + d * (sigmas[i + 1] - sigmas[i])
            d = (d + (tried - model(tried, _of(x, sigmas[i + 1]), **extra_args)) / sigmas[i + 1]) / 2
        x = x + d * (sigmas[i + 1] - sigmas[i])
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": x0})
    if callback is not None:
        callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": x0})
    return x


def sample_euler_ancestral_RF(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None,
                              disable: Any = None, eta: float = 1.0, s_noise: float = 1.0) -> Tensor:  # fmt: skip
    generator = torch.Generator().manual_seed(extra_args["seed"] + 1)
    for i in range(len(sigmas) - 1):
        x0 = model(x, _of(x, sigmas[i]), **extra_args)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": x0})
        s, t = float(sigmas[i]), float(sigmas[i + 1])
        if t == 0:
            x = x0
            continue
        down = t * (1 + (t / s - 1) * eta)
        scale = (1 - t) / (1 - down)
        x = scale * (down / s * x + (1 - down / s) * x0)
        x = x + torch.randn(x.shape, generator=generator) * s_noise * math.sqrt(t * t - (down * scale) ** 2)
    return x


for each in (sample_euler, sample_euler_ancestral_RF, sample_heun, sample_dpm_2):
    each.__module__ = "comfy.k_diffusion.sampling"

SAMPLERS = {
    "euler": (sample_euler, 1),
    "in_place": (sample_in_place, 1),
    "heun": (sample_heun, 2),
    "dpm_2": (sample_dpm_2, 2),
    "after": (sample_after, 2),
    "euler_ancestral": (sample_euler_ancestral_RF, 1),
}
"""Name: the function, and its evaluations in every step but the last."""


# -- prompts


class InterruptProcessingException(BaseException):
    pass


class ExecutionContext(NamedTuple):
    prompt_id: str
    node_id: str
    list_index: int | None = None


class ComfyUI:
    """A fake ComfyUI in `sys.modules`, which runs prompts."""

    def __init__(self, output: Path, version: str = "0.38.0") -> None:
        self.output = output
        self.version = version
        self.context: ExecutionContext | None = None
        self.interrupted = False
        self.providers: list[Any] = []
        self.graph: dict[str, Any] = {}
        self.lifecycle = True

    @contextlib.contextmanager
    def prompt(self, prompt_id: str = "p-1", graph: dict[str, Any] | None = None) -> Iterator[Callable[[str], None]]:
        """Run a prompt; gives a function that sets the node under way."""
        self.graph = GRAPH if graph is None else graph

        def at(node: str) -> None:
            self.context = ExecutionContext(prompt_id, node)

        at("6")
        try:
            with torch.inference_mode():
                yield at
        except InterruptProcessingException:
            pass
        finally:
            self.context = None
            for provider in list(self.providers):
                provider.on_prompt_end(prompt_id)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        made = {name: types.ModuleType(name) for name in MODULES}
        for name, module in made.items():
            module.__path__ = []
            patch.setitem(sys.modules, name, module)
            parent, _, own = name.rpartition(".")
            if parent:
                setattr(made[parent], own, module)

        def fill(name: str, **values: Any) -> None:
            made[name].__dict__.update(values)

        fill(
            "comfy.patcher_extension",
            WrappersMP=WrappersMP,
            add_wrapper_with_key=add_wrapper_with_key,
            get_wrappers_with_key=get_wrappers_with_key,
            copy_nested_dicts=copy_nested_dicts,
        )
        # A class of its own for every ComfyUI, since the adapter may replace its methods.
        guider = type("CFGGuider", (CFGGuider,), {"sample": CFGGuider.sample, "outer_sample": CFGGuider.outer_sample})
        fill("comfy.samplers", CFGGuider=guider, KSAMPLER=KSAMPLER)
        fill(
            "comfy.k_diffusion.sampling", sample_euler=sample_euler, sample_euler_ancestral_RF=sample_euler_ancestral_RF
        )
        fill("comfy.utils", unpack_latents=unpack_latents)
        fill("comfy.nested_tensor", NestedTensor=NestedTensor)
        fill("comfy.model_management", InterruptProcessingException=InterruptProcessingException)
        fill("comfyui_version", __version__=self.version)
        fill("folder_paths", get_output_directory=lambda: str(self.output))
        fill("comfy_execution.utils", get_executing_context=lambda: self.context)
        prompt = types.SimpleNamespace(get_original_prompt=lambda: self.graph)
        fill("comfy_execution.progress", get_progress_state=lambda: types.SimpleNamespace(dynprompt=prompt))
        if self.lifecycle:
            fill(
                "comfy_execution.cache_provider",
                register_cache_provider=self.providers.append,
                unregister_cache_provider=self.providers.remove,
            )
            fill("comfy_api.latest._caching", CacheProvider=type("CacheProvider", (), {}))


def noises(batch: int = 1, audio: bool = True, seed: int = 3) -> tuple[Any, Any]:
    """Noise and empty latents, nested if there is audio."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, *VIDEO[1:]), *([(batch, *AUDIO[1:])] if audio else [])]
    noise = [torch.randn(s, generator=generator) for s in shapes]
    empty = [torch.zeros(s) for s in shapes]
    return (NestedTensor(noise), NestedTensor(empty)) if audio else (noise[0], empty[0])


def levels(steps: int = 5, last: float = 0.0) -> Tensor:
    """1 … `last` on a curve."""
    line = torch.linspace(1, 0, steps + 1)
    return (line * 2.3 / (1 + 1.3 * line)) * (1 - last) + last


def flat(result: Any) -> Tensor:
    """All values of a result, nested or not."""
    parts = result.unbind() if getattr(result, "is_nested", False) else [result]
    return torch.cat([p.flatten() for p in parts])


GRAPH: dict[str, Any] = json.loads(
    """{
  "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "ltx-2.3-toy.safetensors"}},
  "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": ["7", 0]}},
  "3": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "blurry"}},
  "4": {"class_type": "LTXVConditioning", "inputs": {"positive": ["2", 0], "negative": ["3", 0], "frame_rate": 24}},
  "5": {"class_type": "CFGGuider",
        "inputs": {"model": ["1", 0], "positive": ["4", 0], "negative": ["4", 1], "cfg": 3.0}},
  "6": {"class_type": "SamplerCustomAdvanced",
        "inputs": {"noise": ["8", 0], "guider": ["5", 0], "sampler": ["9", 0], "sigmas": ["10", 0]}},
  "7": {"class_type": "PrimitiveStringMultiline", "inputs": {"value": "a fox in the snow"}},
  "8": {"class_type": "RandomNoise", "inputs": {"noise_seed": 42}},
  "9": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
  "10": {"class_type": "ManualSigmas", "inputs": {"sigmas": "1, 0.9, 0.5, 0"}}
}"""
)
