"""Which of its two interfaces the installed ltx-pipelines has, and what the hooks need of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, Final

PACKAGE: Final = "ltx_pipelines"
NAME: Final = "ltx-pipelines"
"""What is recorded by this name: all that ltx-pipelines runs in a block."""
WORKS: Final = "1.0.0 of the package index and the repository Lightricks/LTX-2 from 30 March 2026 to tag v1.2.0 can be"
_STAGE: Final = {"denoiser", "sigmas", "width", "height", "frames", "fps", "video", "audio", "stepper", "loop"}
_NEW_LOOP: Final = ("sigmas", "video_state", "audio_state", "stepper", "transformer", "denoiser")
_OLD_LOOP: Final = ("sigmas", "video_state", "audio_state", "stepper", "denoise_fn")
EULER: Final = "euler_denoising_loop"
LOOPS: Final = (EULER, "gradient_estimating_euler_denoising_loop", "res2s_audio_video_denoising_loop")
"""Loops of 1.0.0. Later ones reach their loops through `DiffusionStage` alone."""


@dataclass(frozen=True)
class Api:
    """What is hooked: `DiffusionStage.__call__`, or in 1.0.0 the loops, which the pipelines import by name."""

    samplers: ModuleType
    stage: type[Any] | None
    """The class whose `__call__` runs every loop; None in 1.0.0."""

    @property
    def denoiser(self) -> str:
        """The argument of a loop that evaluates the model."""
        return _NEW_LOOP[-1] if self.stage is not None else _OLD_LOOP[-1]


def versions() -> dict[str, str]:
    """Versions of Lightricks' packages; code that is imported from a folder has none."""
    found = {}
    for package in ("ltx-core", NAME):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def read_api() -> Api:
    """The interface of the installed ltx-pipelines.

    Raises:
        ValueError: in one line, if it is not installed or cannot be observed correctly.
    """
    try:
        from ltx_pipelines.utils import samplers
    except ImportError as error:
        raise ValueError(f"{NAME} cannot be recorded: {error}") from error
    euler = getattr(samplers, EULER, None)
    stage = _stage_class()
    if stage is not None and set(_parameters(stage.__call__)) >= _STAGE and _parameters(euler)[:6] == _NEW_LOOP:
        return Api(samplers, stage)
    if stage is None and _parameters(euler)[:5] == _OLD_LOOP:
        return Api(samplers, None)
    raise ValueError(f"{NAME} {versions()[NAME]} cannot be recorded: its denoising loops have changed; {WORKS}")


def _stage_class() -> type[Any] | None:
    try:
        from ltx_pipelines.utils import blocks
    except ImportError:
        return None
    found: type[Any] | None = getattr(blocks, "DiffusionStage", None)
    return found


def _parameters(function: Callable[..., Any] | None) -> tuple[str, ...]:
    try:
        return () if function is None else tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return ()


def is_pipeline(thing: Any) -> bool:
    """Whether an object is a pipeline of ltx-pipelines, or derived from one."""
    return callable(thing) and any(_is_pipelines(cls) for cls in type(thing).__mro__)


def _is_pipelines(cls: type[Any]) -> bool:
    module = cls.__module__
    inside = module == PACKAGE or module.startswith(f"{PACKAGE}.")
    return inside and not module.startswith(f"{PACKAGE}.utils") and "__call__" in vars(cls)
