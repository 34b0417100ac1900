"""Records telemetry of LTX 2.3 runs, without a user interface.

The names below are what programs use. Each is imported on first use, so that `import recorder` loads neither torch nor
diffusers. `recorder.generate`, `recorder.recipes.native_schedule` and `recorder.reserve` are separate modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recorder.recording import RunHandle as RunHandle
    from recorder.session import Recording as Recording
    from recorder.session import record as record
    from recorder.shocks.scheduler import ShockScheduler as ShockScheduler
    from recorder.shocks.schedules import ancestral as ancestral
    from recorder.shocks.schedules import spikes as spikes
    from recorder.shocks.spec import Shock as Shock

__all__ = ["Recording", "RunHandle", "Shock", "ShockScheduler", "ancestral", "record", "spikes"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'recorder' has no attribute {name!r}")
    if name == "Shock":
        from recorder.shocks.spec import Shock

        return Shock
    if name in ("ancestral", "spikes"):
        from recorder.shocks import schedules

        return getattr(schedules, name)
    if name == "ShockScheduler":
        from recorder.shocks.scheduler import ShockScheduler

        return ShockScheduler
    from recorder import recording, session

    return getattr(recording if name == "RunHandle" else session, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
