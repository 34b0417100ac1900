"""Headless telemetry of LTX 2.3 runs. What is heavy is resolved on first use, so that this import stays light."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recorder.recording import RunHandle
    from recorder.session import record
    from recorder.shocks.scheduler import ShockScheduler
    from recorder.shocks.schedules import ancestral, spikes
    from recorder.shocks.spec import Shock

__all__ = ["RunHandle", "Shock", "ShockScheduler", "ancestral", "record", "spikes"]

_PLACES = {
    "RunHandle": "recorder.recording",
    "Shock": "recorder.shocks.spec",
    "ShockScheduler": "recorder.shocks.scheduler",
    "ancestral": "recorder.shocks.schedules",
    "record": "recorder.session",
    "spikes": "recorder.shocks.schedules",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'recorder' has no attribute {name!r}")
