"""Commands to a live run whose recorder accepts them."""

from __future__ import annotations

from typing import Final

from ltxtui.actions.registry import CONTROLLED, Action, RunControls

ACTIONS: Final[tuple[Action[RunControls], ...]] = (
    Action("shock", "Control", ("s",), "Shock …", "Asks which noise to inject at the next step and draws what it will "
           "do to the σ curve, before anything is sent.", lambda c, n: c.ask_shock(), CONTROLLED, "shock",
           changes=True),
    Action("stop", "Control", ("x",), "Stop the run", "Asks first; the run ends after the current step, and what was "
           "recorded is kept.", lambda c, n: c.ask_stop(), CONTROLLED, "stop", changes=True),
    Action("snapshot", "Control", ("k",), "Snapshot of the latents", "Keeps the latents of the next step in the "
           "archive.", lambda c, n: c.ask_snapshot(), CONTROLLED, changes=True),
)  # fmt: skip
