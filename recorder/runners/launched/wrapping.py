"""Wraps the entry points of a runner's module: what the start-up hook loads, by its path, when there is one.

Imports nothing of ltxtui, which this Python may lack. The recorder is imported when an entry point is called.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

Note = Callable[[str, str], None]
_RECORDER = "recorder.runners.launched.calls"
_found: list[ModuleType | None] = []
"""The module that records calls, once it was looked for; None if this Python cannot."""


def entries(module: Any) -> list[tuple[type[Any], str, str]]:
    """What is wrapped in a module, as (owner, name of the method, kind)."""
    name = module.__name__
    own = [c for c in list(vars(module).values()) if isinstance(c, type) and c.__module__ == name]
    if name == "comfy.samplers":
        return [(c, "sample", "comfyui") for c in own if c.__name__ == "CFGGuider"]
    if name == "ltx_pipelines.utils.blocks":
        return [(c, "__call__", "stage") for c in own if c.__name__ == "DiffusionStage"]
    if name.startswith("ltx_pipelines."):
        return [(c, "__call__", "ltx-pipelines") for c in own if "__call__" in vars(c)]
    found = [c for c in own if c.__name__.startswith("LTX2") and c.__name__.endswith("Pipeline")]
    return [(c, "__call__", "diffusers") for c in found]


def wrap_all(module: Any, note: Note, recorder_on: Callable[[list[str]], str]) -> None:
    """Wrap what a module has; `note` and `recorder_on` are the start-up hook's."""
    for owner, name, kind in entries(module):
        note("imported", kind)
        wrap(owner, name, kind, note, recorder_on)


def wrap(owner: type[Any], name: str, kind: str, note: Note, recorder_on: Callable[[list[str]], str]) -> None:
    """Let a method be recorded; whatever goes wrong, the method itself is called."""
    original = getattr(owner, name, None)
    if original is None or getattr(vars(owner).get(name), "_ltxtui_run", False):
        return

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls: Any = _recorder(note, recorder_on)
        if calls is None:
            return original(self, *args, **kwargs)
        return calls.call(kind, owner, original, self, args, kwargs)

    call._ltxtui_run = True  # type: ignore[attr-defined]
    setattr(owner, name, call)


def _recorder(note: Note, recorder_on: Callable[[list[str]], str]) -> ModuleType | None:
    if not _found:
        try:
            place = recorder_on(sys.path)
            if place == "hidden":
                raise ImportError("a module of its own named recorder hides that of ltxtui")
            if not place:
                python = sys.executable
                raise ImportError(f"{python} has no ltxtui; install it there: {python} -m pip install ltxtui")
            _found.append(__import__(_RECORDER, fromlist=["call"]))
        except Exception as error:  # noqa: BLE001 - the script continues
            note("trouble", f"a call was not recorded, since {error}")
            _found.append(None)
    return _found[0]
