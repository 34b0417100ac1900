"""Nodes of the tests: the toy model, latents and texts of its size, and a sink. Loaded into a server's custom_nodes."""

from __future__ import annotations

import time
from typing import Any

from tests.recorder.runners.comfyui.real import toy

_loaded: list[Any] = []


class ToyModel:
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"slow": ("FLOAT", {"default": 0.0})}}

    def make(self, slow: float) -> tuple[Any]:
        """A model whose every call takes this many seconds more."""
        if not _loaded:
            _loaded.append(toy.model())
        model = _loaded[0].clone()
        if slow:

            def wait(apply: Any, given: Any) -> Any:
                import comfy.model_management

                limit = time.monotonic() + slow
                while time.monotonic() < limit:
                    comfy.model_management.throw_exception_if_processing_interrupted()
                    time.sleep(0.01)
                return apply(given["input"], given["timestep"], **given["c"])

            model.set_model_unet_function_wrapper(wait)
        return (model,)


class ToyText:
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"text": ("STRING", {"default": ""}), "broken": ("BOOLEAN", {"default": False})}}

    def make(self, text: str, broken: bool) -> tuple[Any]:
        """A text's context; of a broken encoder one of NaN, as of an overflow in half precision."""
        ((context, more),) = toy.conditioning(len(text))
        return ([[context * float("nan") if broken else context, more]],)


class ToyLatents:
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"batch": ("INT", {"default": 1})}}

    def make(self, batch: int) -> tuple[Any]:
        return ({"samples": toy.latents(batch)},)


class ToySigmas:
    """Levels as ManualSigmas of newer versions gives them."""

    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"sigmas": ("STRING", {"default": "1, 0"})}}

    def make(self, sigmas: str) -> tuple[Any]:
        import torch

        return (torch.tensor([float(level) for level in sigmas.split(",")]),)


class ToySink:
    """Shows a digest of latents."""

    RETURN_TYPES = ()
    FUNCTION = "show"
    CATEGORY = "tests"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"latent": ("LATENT",)}}

    def show(self, latent: Any) -> dict[str, Any]:
        import hashlib

        parts = latent["samples"].unbind() if latent["samples"].is_nested else [latent["samples"]]
        digest = hashlib.sha256(b"".join(p.float().cpu().contiguous().numpy().tobytes() for p in parts)).hexdigest()
        return {"ui": {"digest": [digest]}}


NODE_CLASS_MAPPINGS = {kind.__name__: kind for kind in (ToyModel, ToyText, ToyLatents, ToySigmas, ToySink)}
