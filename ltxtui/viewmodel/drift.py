"""The drift of the selected clip in words, with what its value means. No Textual."""

from __future__ import annotations

import math

from ltxtui.plot.text import number
from ltxtui.viewmodel.selection import Selection
from recorder.format.declarations import DRIFT, DRIFT_REFERENCES, drift_hint


def drift_forms(look: Selection) -> tuple[str, ...]:
    """The drift of the selected stage and clip, the longest form first; none before all its steps are seen."""
    stage = look.stage
    if stage is None or not stage.ended or look.visible < stage.steps:
        return ()
    values = next((given for given in stage.summary.values() if DRIFT in given), {})

    def value(name: str) -> float:
        clips = values.get(name, ())
        found = clips[min(look.item, len(clips) - 1)] if len(clips) else None
        return math.nan if found is None else float(found)

    if not math.isfinite(value(DRIFT)):
        return ("no drift: nothing to judge",) if values else ()
    said, first, motion = f"drift {number(value(DRIFT))}", value("drift_first_frame"), value("motion_relative")
    where = f" from frame {first:.0f}" if math.isfinite(first) else ""
    more = f" · motion {number(motion)}" if math.isfinite(motion) else ""
    hints, clean = (drift_hint(), drift_hint(short=True)), f"clean {DRIFT_REFERENCES['clean']:g}"
    return (
        *(f"{said}{where}{more} ({hint})" for hint in hints),
        f"{said}{where} ({hints[1]})",
        f"{said} ({hints[1]})",
        f"{said} ({clean}; lower is steadier)",
        f"{said} ({clean})",
        said,
    )
