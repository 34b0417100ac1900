"""What a stage keeps of the call of ltx-pipelines that it is a part of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recorder.format import events
from recorder.runners.lightricks.api import versions
from recorder.sampling.metadata import brief

_LEDGERS = ("stage", "stage_1", "stage_2", "model_ledger", "stage_1_model_ledger", "stage_2_model_ledger")


def loop_name(loop: Callable[..., Any]) -> str:
    """The name of a loop; that of its function if some of its arguments are given already."""
    inner: Any = getattr(loop, "__wrapped__", loop)
    while hasattr(inner, "func"):
        inner = inner.func
    return str(getattr(inner, "__name__", type(inner).__name__))


def call_description(pipe: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """The part of a stage's metadata about its pipeline call."""
    rest = {k: v for k, v in arguments.items() if k not in ("self", "prompt", "negative_prompt", "seed")}
    return {
        "runner": "ltx-pipelines",
        "pipeline": "" if pipe is None else type(pipe).__name__,
        "prompt": brief(arguments.get("prompt")),
        "negative_prompt": brief(arguments.get("negative_prompt")),
        "seed": brief(arguments.get("seed")),
        "model": checkpoint_of(pipe),
        "loras": loras_of(pipe),
        "arguments": brief(rest),
        "versions": versions(),
    }


def loop_description(loop: Callable[..., Any], stepper: Any, denoiser: Any) -> dict[str, Any]:
    """The part of a stage's metadata about its loop."""
    options = {k: v for k, v in vars(stepper).items() if isinstance(v, int | float | str)} if _has_dict(stepper) else {}
    name = getattr(denoiser, "__qualname__", None) or type(denoiser).__name__
    return {
        "sampler": loop_name(loop),
        "scheduler": {"class": type(stepper).__name__, "config": brief(options)},
        "denoiser": str(name).split(".")[0],
    }


def _has_dict(thing: Any) -> bool:
    return hasattr(thing, "__dict__")


def checkpoint_of(pipe: Any) -> str:
    """The checkpoint that a pipeline denoises with; empty if it does not tell."""
    for builder in _builders(pipe):
        for name in ("checkpoint", "checkpoint_path", "model_path"):
            if found := getattr(builder, name, None):
                return events.text_of(found if isinstance(found, str) else brief(found))
    return ""


def loras_of(pipe: Any) -> list[Any]:
    """Paths and strengths of the LoRAs of a pipeline, each once."""
    found: list[Any] = []
    for builder in _builders(pipe):
        for lora in getattr(builder, "loras", None) or ():
            one = {
                "path": events.text_of(getattr(lora, "path", "")),
                "strength": brief(getattr(lora, "strength", None)),
            }
            if one not in found:
                found.append(one)
    return found


def _builders(pipe: Any) -> list[Any]:
    owners = [getattr(pipe, name, None) for name in _LEDGERS]
    builders = [
        getattr(owner, "_transformer_builder", None) or getattr(owner, "transformer_builder", None) for owner in owners
    ]
    return [one for one in (*builders, *owners) if one is not None]
