"""Records per-step telemetry of LTX 2.3 runs. `record` is resolved on first use, so that this import stays light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recorder.session import Run, record

__all__ = ["Run", "record"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from recorder import session

        return getattr(session, name)
    raise AttributeError(f"module 'recorder' has no attribute {name!r}")
