"""What is kept about a run besides its metrics: call arguments, prompt, seed, versions, machine."""

from __future__ import annotations

import inspect
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

MAX_TEXT = 4_000
"""Characters kept of a prompt or of any other text; enough for every prompt that a text encoder reads."""
MAX_ITEMS = 128
MAX_NESTING = 8
"""Levels of what a user keeps with a run: readers refuse messages that are nested too deeply."""


def versions() -> dict[str, str]:
    """Versions of what decides a result: Python, torch, diffusers, and this program."""
    found = {"python": platform.python_version()}
    for package in ("torch", "diffusers", "transformers", "ltxtui"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def device_name(device: Any) -> str:
    """The name of a torch device as its maker calls it."""
    import torch

    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{device.type} ({platform.processor() or platform.machine()})"


def brief(value: Any, nesting: int = MAX_NESTING) -> Any:
    """A value as JSON-like data of bounded size: tensors become their shape, pictures their size."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + "…"
    if isinstance(value, dict | list | tuple) and not nesting:
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, dict):
        return {str(k): brief(v, nesting - 1) for k, v in list(value.items())[:MAX_ITEMS]}
    if isinstance(value, list | tuple):
        return [brief(v, nesting - 1) for v in value[:MAX_ITEMS]]
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        if getattr(value, "ndim", None) == 1 and 0 < len(value) <= MAX_ITEMS:
            return [brief(v) for v in value.tolist()]
        return f"{type(value).__name__} {list(value.shape)} {value.dtype}"
    if hasattr(value, "initial_seed"):
        return {"seed": value.initial_seed(), "device": str(value.device)}
    if hasattr(value, "size") and hasattr(value, "mode"):
        return f"{type(value).__name__} {value.size} {value.mode}"
    return getattr(value, "__name__", type(value).__name__)


def call_arguments(pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of one pipeline call with defaults filled in, before they are made brief."""
    signature = inspect.signature(type(pipe).__call__)
    bound = signature.bind(pipe, *args, **kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    arguments.pop("self", None)
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:  # modular pipelines take everything so
            arguments.update(arguments.pop(name))
    return arguments


def seed_of(generator: Any) -> Any:
    """The seed or seeds a call was made with; None if no generator was given."""
    if generator is None:
        return None
    if isinstance(generator, list | tuple):
        return [g.initial_seed() for g in generator]
    return generator.initial_seed()


def model_id(pipe: Any) -> str:
    """What the pipeline was loaded from: a repository id or a folder; empty if it was built in memory."""
    return str(getattr(pipe, "name_or_path", "") or getattr(pipe.config, "_name_or_path", "") or "")


def call_metadata(pipe: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """What a `stage` message says about the pipeline call it belongs to."""
    known = {k: brief(v) for k, v in arguments.items() if k not in ("prompt", "negative_prompt")}
    return {
        "prompt": brief(arguments.get("prompt")),
        "negative_prompt": brief(arguments.get("negative_prompt")),
        "seed": seed_of(arguments.get("generator")),
        "pipeline": type(pipe).__name__,
        "model": model_id(pipe),
        "arguments": known,
    }


def scheduler_metadata(scheduler: Any) -> dict[str, Any]:
    """Class and configuration of a scheduler."""
    config = {k: brief(v) for k, v in dict(scheduler.config).items() if not k.startswith("_")}
    return {"class": type(scheduler).__name__, "config": config}


def command() -> list[str]:
    """The command line of this process, so that a run can be told apart and repeated."""
    return [brief(a) for a in sys.argv]
