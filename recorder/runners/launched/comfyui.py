"""Records ComfyUI without a file in its folder `custom_nodes`: from the first sampling on, one run per prompt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from recorder.format.events import reason_of
from recorder.runners.comfyui.host import Host, is_ltx
from recorder.runners.comfyui.outer import Adapter
from recorder.runners.comfyui.prompt_runs import RecordingOptions
from recorder.runners.launched.notes import note
from recorder.runners.launched.process import LaunchedProcess, say, this_process

_lock = threading.Lock()
_recorded: set[type[Any]] = set()


def sample(
    owner: type[Any], original: Callable[..., Any], guider: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Make a guider's call of `sample`; the first one lets ComfyUI be recorded."""
    if not is_ltx(guider):
        return original(guider, *args, **kwargs)
    with _lock:
        first = owner not in _recorded
        _recorded.add(owner)
    if first and not getattr(vars(owner)["sample"], "_ltxtui", False):  # else its own nodes record everything
        try:
            note("called", "ComfyUI")
            _record(this_process())
        except Exception as error:  # noqa: BLE001 - ComfyUI continues
            reason = f"ComfyUI is not recorded: {reason_of(error)}"
            note("trouble", reason)
            say(f"ltxtui run: {reason}")
        else:
            return vars(owner)["sample"](guider, *args, **kwargs)
    return original(guider, *args, **kwargs)


def _record(process: LaunchedProcess) -> None:
    options = process.options
    if options.shocks:
        say("ltxtui run: --shock does not act in ComfyUI; use its node LTX Shock")
    adapter = Adapter(Host())
    adapter.runs.kept = process.kept
    adapter.record_everything(
        RecordingOptions(name=options.name, allow_control=options.allow_control, runs_dir=options.runs_dir)
    )
