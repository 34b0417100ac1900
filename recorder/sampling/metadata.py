"""The metadata of a run: call arguments, prompt, seed, versions, machine."""

from __future__ import annotations

import inspect
import itertools
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from recorder.format import events
from recorder.format.events import MAX_ITEMS, MAX_TEXT
from recorder.format.version import VERSION

MAX_KEY = 200
MAX_NESTING = 8
"""Nesting of a user's metadata: readers refuse messages that are nested too deeply."""
MAX_VALUES = 8_192
MAX_CHARACTERS = 60_000
"""Values and characters of one description over all levels, so that its message stays within the limits."""
LEFT_OUT = "…"
"""Replaces values beyond `MAX_VALUES`."""


def versions() -> dict[str, str]:
    """Versions of the software that decides a result: Python, torch, diffusers, transformers and ltxtui."""
    found = {"python": platform.python_version()}
    for package in ("torch", "diffusers", "transformers"):
        try:
            found[package] = _version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return {**found, "ltxtui": VERSION}


def _version(package: str) -> str:
    """The version of an installed package. `importlib.metadata` parses all its metadata for that: seven times slower.

    Raises:
        PackageNotFoundError: if it is not installed.
    """
    known = distribution(package)
    line = re.search(r"^Version:[ \t]*(\S+)", known.read_text("METADATA") or "", re.MULTILINE)
    return line[1] if line else known.version


def device_name(device: Any) -> str:
    """The product name of a torch device."""
    import torch

    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{device.type} ({platform.processor() or platform.machine()})"


def brief(value: Any) -> Any:
    """A value as JSON-like data of bounded size: tensors become their shape, pictures their size.

    Never raises: for an object that fails when it is inspected, the type is kept.
    """
    return _Budget().brief(value, MAX_NESTING)


class _Budget:
    """The values and characters that one description may still use."""

    def __init__(self) -> None:
        self._values = MAX_VALUES
        self._characters = MAX_CHARACTERS

    def brief(self, value: Any, nesting: int) -> Any:
        self._values -= 1
        try:
            return self._brief(value, nesting)
        except Exception:  # noqa: BLE001 - `__len__`, `shape` and others may be user code
            return self._text(type(value).__name__)

    def _inside(self, value: Any, nesting: int) -> Any:
        """A value among others: it may use half of the rest, so that values after it are kept too."""
        values, characters = self._values // 2, self._characters // 2
        self._values -= values
        self._characters -= characters
        found = self.brief(value, nesting - 1)
        self._values += values
        self._characters += characters
        return found

    def _brief(self, value: Any, nesting: int) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict | list | tuple) and not nesting:
            return f"{type(value).__name__} of {len(value)}"
        if isinstance(value, dict):
            found: dict[str, Any] = {}
            for key, inner in itertools.islice(value.items(), MAX_ITEMS):
                if self._values <= 0:
                    return {**found, LEFT_OUT: LEFT_OUT}
                found[events.cut(self._text(events.text_of(key)), MAX_KEY)] = self._inside(inner, nesting)
            return found
        if isinstance(value, list | tuple):
            kept = [self._inside(v, nesting) for v in itertools.islice(value, MAX_ITEMS) if self._values > 0]
            return kept if len(kept) == min(len(value), MAX_ITEMS) else [*kept, LEFT_OUT]
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            if getattr(value, "ndim", None) == 1 and 0 < len(value) <= MAX_ITEMS:
                return [self.brief(v, nesting) for v in value.tolist()]
            return self._text(f"{type(value).__name__} {list(value.shape)} {value.dtype}")
        if hasattr(value, "initial_seed"):
            return {"seed": value.initial_seed(), "device": self._text(str(value.device))}
        if hasattr(value, "size") and hasattr(value, "mode"):
            return self._text(f"{type(value).__name__} {value.size} {value.mode}")
        return self._text(str(getattr(value, "__name__", type(value).__name__)))

    def _text(self, text: str) -> str:
        kept = events.cut(text, max(0, min(MAX_TEXT, self._characters)))
        self._characters -= len(kept)
        return kept


def call_arguments(pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of one pipeline call with defaults filled in, uncut."""
    signature, bound = _bound(pipe, args, kwargs)
    if bound is None:
        return dict(kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    arguments.pop("self", None)
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:  # modular pipelines take all arguments so
            arguments.update(arguments.pop(name))
    return arguments


def given_names(pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> frozenset[str]:
    """Names of the arguments that a caller gave, by position or by keyword."""
    bound = _bound(pipe, args, kwargs)[1]
    return frozenset(kwargs) if bound is None else frozenset({*bound.arguments, *kwargs} - {"self"})


def _bound(
    pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[inspect.Signature, inspect.BoundArguments | None]:
    """A call's arguments by name; None if they do not fit and the pipeline is about to refuse them."""
    signature = inspect.signature(type(pipe).__call__)
    try:
        return signature, signature.bind(pipe, *args, **kwargs)
    except TypeError:
        return signature, None


def seed_of(generator: Any) -> Any:
    """The seed or seeds of a call; None without a generator, or if the generator does not expose its seed."""
    try:
        if isinstance(generator, list | tuple):
            return brief([g.initial_seed() for g in generator])
        return None if generator is None else brief(generator.initial_seed())
    except Exception:  # noqa: BLE001 - any object may be passed
        return None


def model_id(pipe: Any) -> str:
    """The repository id or folder that a pipeline was loaded from; empty if it was built in memory."""
    return events.text_of(getattr(pipe, "name_or_path", "") or getattr(pipe.config, "_name_or_path", "") or "")


def call_metadata(pipe: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """The part of a `stage` message about its pipeline call."""
    return {
        "prompt": brief(arguments.get("prompt")),
        "negative_prompt": brief(arguments.get("negative_prompt")),
        "seed": seed_of(arguments.get("generator")),
        "pipeline": type(pipe).__name__,
        "model": model_id(pipe),
        "transformer": transformer_metadata(pipe),
        "arguments": brief({k: v for k, v in arguments.items() if k not in ("prompt", "negative_prompt")}),
    }


def transformer_metadata(pipe: Any) -> dict[str, Any]:
    """Class of the denoising model and its number of blocks; what cannot be told is left out."""
    try:
        model = pipe.transformer
        found: dict[str, Any] = {"class": type(model).__name__}
        blocks = getattr(model, "transformer_blocks", None)
        return found if blocks is None else {**found, "blocks": len(blocks)}
    except Exception:  # noqa: BLE001 - any object may be a pipeline's model, such as a compiled or wrapped one
        return {}


def scheduler_metadata(scheduler: Any) -> dict[str, Any]:
    """Class and configuration of a scheduler."""
    config = brief({k: v for k, v in dict(scheduler.config).items() if not k.startswith("_")})
    return {"class": type(scheduler).__name__, "config": config}


def command() -> list[str]:
    """The command line of this process, to identify and repeat a run."""
    kept: list[str] = brief(sys.argv)
    return kept
