"""Settings that a pipeline uses where they differ from the arguments of the call, such as the size of a clip."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from recorder.sampling.metadata import brief

_GUIDERS = {"video": "guider", "audio": "audio_guider"}
"""Where the blocks of a modular pipeline keep the guidance of a stream."""
_REPLACED = "the pipeline treats some values, such as 0, as not given and uses another value; 1 means no guidance"
_ROUNDED = "a clip has a whole number of latents, so its size is rounded down"
_WHY = {
    "num_inference_steps": "the list of levels decides the number of steps",
    **dict.fromkeys(("num_frames", "height", "width"), _ROUNDED),
}
_SCALES = {"video": ("guidance_scale",), "audio": ("audio_guidance_scale", "guidance_scale")}


def guidance_scale(pipe: Any, stream: str) -> float:
    """The current scale of classifier-free guidance of a stream; NaN if the pipeline does not expose one."""
    try:
        guider = getattr(pipe, _GUIDERS[stream], None)
        found = [getattr(guider, "guidance_scale", None), *(getattr(pipe, name, None) for name in _SCALES[stream])]
        return next((float(value) for value in found if isinstance(value, int | float)), math.nan)
    except Exception:  # noqa: BLE001 - properties may be user code, and must not cost the row
        return math.nan


def settings(pipe: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that the pipeline keeps with another value than it was given, by name.

    The pipelines keep an argument `x` as `_x` before their loop, after their defaults: `audio_x or x`, for one.
    """
    kept = vars(pipe)
    found = {name: kept[f"_{name}"] for name, asked in arguments.items() if f"_{name}" in kept and _plain(asked)}
    return {name: brief(value) for name, value in found.items() if _plain(value) and value != arguments[name]}


def size(pipe: Any, arguments: Mapping[str, Any], grid: tuple[int, ...]) -> dict[str, Any]:
    """Frames, height and width that latents of a grid (F, H, W) decode to, where another size was requested."""
    space = getattr(pipe, "vae_spatial_compression_ratio", None)
    time = getattr(pipe, "vae_temporal_compression_ratio", None)
    if not (isinstance(space, int) and isinstance(time, int)):
        return {}
    real = {"num_frames": (grid[0] - 1) * time + 1, "height": grid[1] * space, "width": grid[2] * space}
    return {name: value for name, value in real.items() if name in arguments and arguments[name] != value}


def steps(arguments: Mapping[str, Any], calls: int) -> dict[str, Any]:
    """The number of steps of the schedule, where another number was requested; explicit levels decide it."""
    return {} if arguments["num_inference_steps"] in (calls, None) else {"num_inference_steps": calls}


def cautions(arguments: Mapping[str, Any], given: Collection[str], in_effect: Mapping[str, Any]) -> list[str]:
    """Warnings about arguments that the caller gave and that are not used as given."""
    return [
        f"{name}={arguments[name]:g} was requested and {value:g} is in effect: {_WHY.get(name, _REPLACED)}"
        for name, value in in_effect.items()
        if name in given and _number(arguments.get(name)) and _number(value)
    ]


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
