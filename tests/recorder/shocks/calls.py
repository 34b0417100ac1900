"""Notes the level of every model call while it happens, and holds it against what the scheduler says at that moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from torch import Tensor


@contextlib.contextmanager
def levels_of_calls(pipe: Any) -> Iterator[list[float]]:
    """The level σ of every call of a pipeline's transformer, in order.

    Whatever the model is given, as `timestep` or `sigma`, of video or audio, must be `scheduler.sigmas[i]` of the step
    that this call is for. A conditioned token is given less, so of a level per token the highest counts.
    """
    found: list[float] = []

    def note(module: Any, args: Any, told: dict[str, Any]) -> None:
        scheduler = pipe.scheduler
        level = float(scheduler.sigmas[scheduler.step_index or 0])
        names = [n for n, v in told.items() if n.endswith(("timestep", "sigma")) and isinstance(v, Tensor)]
        assert {"timestep", "sigma"} <= set(names)
        for name in names:
            assert float(told[name].max()) == pytest.approx(1000 * level, rel=1e-6), name
        found.append(level)

    hook = pipe.transformer.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield found
    finally:
        hook.remove()
