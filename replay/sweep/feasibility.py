"""Limits of a sweep's verdict that are known before any run: no result is possible, or not enough. Light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from recorder.sweep.spec import Sweep

_LEAST_LATENT_FRAMES: Final = 3
"""Latent frame 0 is left out, frame 1 is the reference, and the drift index is a mean over those after it."""
_PIXEL_FRAMES: Final = 8
"""Per latent frame, but for the first."""


@dataclass(frozen=True)
class Foreseen:
    """`refused` is why no result is possible; `notes` list what is missing and may be added later."""

    refused: str = ""
    notes: tuple[str, ...] = ()


def foreseen(made: Sweep) -> Foreseen:
    """Whether a sweep, once all its runs are there, can have a verdict."""
    from replay.sweep.statistics import LEVEL, smallest_p

    least = (_LEAST_LATENT_FRAMES - 1) * _PIXEL_FRAMES + 1
    frames, arms = made.settings.frames, sum(not a.is_control for a in made.arms)
    if frames is not None and frames < least:
        return Foreseen(
            f"the drift index compares latent frames with the first generated one and needs {_LEAST_LATENT_FRAMES} "
            f"latent frames; with --frames {frames} no run has one, so no result is possible. Give --frames {least} or "
            "more"
        )
    if not arms:
        return Foreseen("no arm is left to be compared with smooth sampling, so no result is possible; name another")
    pairs = len(made.seeds)
    if pairs < 2:
        return Foreseen(notes=("with one seed no result is possible: a comparison needs two pairs; give more --seeds",))
    if smallest_p(pairs) * arms >= LEVEL:
        many = "1 arm" if arms == 1 else f"{arms} arms"
        enough = next(n for n in range(pairs, 64) if smallest_p(n) * arms < LEVEL or n == 63)
        note = f"with {pairs} seeds and {many} no difference could be found; {enough} seeds are the least that could"
        return Foreseen(notes=(note,))
    return Foreseen()
