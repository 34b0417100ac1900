"""What the functions around a loop of ltx-pipelines know and do not pass on: the grid, and the pipeline."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final

from torch import Tensor

from recorder.runners.lightricks.api import is_pipeline

_TOOLS: Final = {"video": "video_tools", "audio": "audio_tools"}
_DEEPEST: Final = 64


@dataclass
class Surroundings:
    """Grids by stream, and the pipeline whose call is under way with the arguments of that call."""

    grids: dict[str, tuple[int, ...]] = field(default_factory=dict)
    pipe: Any = None
    arguments: dict[str, Any] = field(default_factory=dict)


def surroundings() -> Surroundings:
    """What is known of the loop that is about to begin, from the functions that call it."""
    found = Surroundings()
    for frame in _callers():
        code = frame.f_code
        if not found.grids and (names := set(_TOOLS.values()) & set(code.co_varnames + code.co_cellvars)):
            tools = _locals(frame, names)
            grids = {stream: grid_of(tools.get(name)) for stream, name in _TOOLS.items()}
            found.grids = {stream: grid for stream, grid in grids.items() if grid is not None}
        if code.co_name == "__call__" and code.co_argcount and code.co_varnames[0] == "self":
            here = _locals(frame, {"self"})["self"]
            if is_pipeline(here):  # the outermost one: a subclass calls its parent
                count = code.co_argcount + code.co_kwonlyargcount
                found.pipe, found.arguments = here, _locals(frame, set(code.co_varnames[1:count]))
    return found


def _callers() -> Iterator[FrameType]:
    frame, deep = sys._getframe(2), 0
    while (outer := frame.f_back) is not None and deep < _DEEPEST:
        frame, deep = outer, deep + 1
        if frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            yield frame


def _locals(frame: FrameType, names: set[str]) -> dict[str, Any]:
    """Some local variables of a function that is under way.

    Before Python 3.13 the frame keeps the dictionary, and with it every local variable, even those that the function
    deletes later: a model, for one. So it is emptied.
    """
    kept = frame.f_locals
    found = {name: kept[name] for name in names if name in kept}
    if type(kept) is dict:
        kept.clear()
    return found


def grid_of(tools: Any) -> tuple[int, ...] | None:
    """(F, H, W) or (L,) of the latents that some tools are for; None if they do not tell."""
    shape = getattr(tools, "target_shape", None)
    sides = [getattr(shape, name, None) for name in ("frames", "height", "width")]
    match sides:
        case [int(frames), int(height), int(width)]:
            return frames, height, width
        case [int(frames), None, None]:
            return (frames,)
    return None


def grid_of_positions(positions: Tensor) -> tuple[int, int, int]:
    """(F, H, W) of a clip from the positions [B, 3, S, 2] of its tokens, which come first in the order F, H, W.

    What is appended begins where time goes back. Ambiguous for a clip of one row, column or frame. Waits for the
    device.
    """
    starts = positions[0, :, :, 0].float().cpu() if positions.ndim == 4 else positions[0].float().cpu()
    width = _until(starts[2], lambda now, last: now <= last)
    height = _until(starts[1, ::width], lambda now, last: now < last)
    return _until(starts[0, :: width * height], lambda now, last: now <= last), height, width


def _until(values: Tensor, turns: Any) -> int:
    """How many values come before the first that turns back."""
    places = turns(values[1:], values[:-1]).nonzero()
    return int(places[0, 0]) + 1 if len(places) else len(values)
