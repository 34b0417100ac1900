"""The model's raw predictions and guidance scales of one evaluation, in both interfaces of ltx-pipelines."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from torch import Tensor

from recorder.format import protocol
from recorder.sampling.model_calls import watch_model

_FIELDS: Final = {"conditional": "cond", "cfg": "uncond", "stg": "ptb", "modality": "mod"}


def of_result(result: Any) -> tuple[Tensor | None, dict[str, Tensor]]:
    """The predicted clean sample of one stream, and that of each guidance pass; both are empty for an absent stream.

    A guided denoiser returns for an absent stream a result with a scalar, and without guidance only the prediction.
    """
    if isinstance(result, Tensor):  # the interface of 1.0.0
        return (result, {}) if result.ndim == 3 else (None, {})
    denoised = getattr(result, "denoised", None)
    if not isinstance(denoised, Tensor) or denoised.ndim != 3:
        return None, {}
    found = {name: getattr(result, field, None) for name, field in _FIELDS.items()}
    passes = {name: one for name, one in found.items() if isinstance(one, Tensor) and one.shape == denoised.shape}
    return denoised, passes


def guidance_scale(denoiser: Any, stream: str, sigma: float) -> float:
    """The scale of classifier-free guidance of a stream; NaN if the denoiser does not tell."""
    try:
        guider = held(denoiser, f"{stream}_guider")
        if guider is None:
            factory = held(denoiser, f"{stream}_guider_factory") or held(denoiser, "video_guider_factory")
            guider = None if factory is None else factory.build_from_sigma(sigma)
        if guider is None:
            return 1.0 if is_simple(denoiser) else math.nan
        return float(guider.params.cfg_scale)
    except Exception:  # noqa: BLE001 - any object may be a denoiser, and must not cost the row
        return math.nan


def is_simple(denoiser: Any) -> bool:
    """Whether a denoiser calls the model once, without guidance."""
    name = str(getattr(denoiser, "__qualname__", type(denoiser).__name__))
    return name == "SimpleDenoiser" or name.startswith("simple_denoising_func")


def held(denoiser: Any, name: str) -> Any:
    """An attribute of a denoiser, or in 1.0.0 a variable of the function that it is; None if there is none."""
    code = getattr(denoiser, "__code__", None)
    if code is None:
        return getattr(denoiser, name, None)
    if name not in code.co_freevars or denoiser.__closure__ is None:
        return None
    try:
        return denoiser.__closure__[code.co_freevars.index(name)].cell_contents
    except ValueError:  # not assigned yet
        return None


def forget_levels(denoiser: Any) -> None:
    """Let a denoiser that keeps the σ list read it again: its levels have changed in the loop."""
    if getattr(denoiser, "_sigma_vals_cached", None) is not None:
        denoiser._sigma_vals_cached = None
    name = "sigma_vals_cached"
    if held(denoiser, name) is not None:
        denoiser.__closure__[denoiser.__code__.co_freevars.index(name)].cell_contents = None


class ModelPasses:
    """Collects the passes of one evaluation from the calls of the model, where the denoiser does not return them."""

    def __init__(self, denoiser: Any) -> None:
        self._plain: list[tuple[Any, ...]] = []
        self._perturbed: dict[str, tuple[Any, ...]] = {}
        self.calls = 0
        """Calls of the model since `clear`."""
        self.end: Callable[[], None] = lambda: None
        """Ends the watch."""
        model = held(denoiser, "transformer")
        if hasattr(model, "register_forward_hook"):
            self.end = watch_model(model, lambda arguments: None, self._called)

    def clear(self) -> None:
        """Forget the calls so far."""
        self._plain, self._perturbed, self.calls = [], {}, 0

    def _called(self, arguments: dict[str, Any], result: Any) -> None:
        self.calls += 1
        kind = _kind(arguments.get("perturbations"))
        pair = tuple(result) if isinstance(result, tuple | list) else (result,)
        if kind == "plain":
            self._plain.append(pair)
        else:
            self._perturbed[kind] = pair

    def of(self, stream: str, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """The passes of a stream: the first plain call is the conditional one, the second has no prompt."""
        place = [*protocol.STREAMS].index(stream)  # type: ignore[arg-type]
        calls = dict(zip(("conditional", "cfg"), self._plain[:2], strict=False)) | self._perturbed
        found = {name: pair[place] for name, pair in calls.items() if len(pair) > place}
        passes = {name: one for name, one in found.items() if isinstance(one, Tensor) and tuple(one.shape) == shape}
        return passes if "conditional" in passes else {}


def _kind(perturbations: Any) -> str:
    """The kind of a model call by its perturbations."""
    try:
        if perturbations is None:
            return "plain"
        kinds = [one.type.name for config in perturbations.perturbations for one in config.perturbations or ()]
    except AttributeError:
        return "unknown"
    if not kinds:
        return "plain"
    return "modality" if any("CROSS_ATTN" in kind for kind in kinds) else "stg"
