"""One shock at its place: what acts on arrival at a row, as a plan has it and as events and stages keep it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from recorder.format import sigma_math
from recorder.shocks.spec import MOVES_SIGMA, Shock


@dataclass(frozen=True)
class ShockAction:
    """One shock at its place.

    On arrival at row `position` of the model calls (coming from row `position` − 1), the sample goes down to
    `sigma_down` and is taken up to `sigma_up` with fresh noise; `sigma_up` is the level the model is called at next.
    `number` counts the shocks of a plan, `step` is the native step it acts on.
    """

    number: int
    shock: Shock
    step: int
    position: int
    sigma_down: float
    sigma_up: float

    @property
    def strength_db(self) -> float:
        return sigma_math.strength_db(self.sigma_down, self.sigma_up)

    @property
    def sigma(self) -> float:
        """The native level that it acts on arrival at."""
        return self.sigma_down if self.shock.kind in MOVES_SIGMA else self.sigma_up

    @property
    def reaches(self) -> float:
        """The lowest level the sample itself is at; additive noise is only as strong as if it had gone down."""
        return self.sigma_up if self.shock.kind == "additive" else self.sigma_down

    def as_dict(self) -> dict[str, Any]:
        """JSON-like form, as kept with a stage and sent with an event."""
        db = self.strength_db
        return {
            "number": self.number,
            "shock": self.shock.as_dict(),
            "step": self.step,
            "row": self.position - 1,
            "sigma_down": self.sigma_down,
            "sigma_up": self.sigma_up,
            "strength_db": db if np.isfinite(db) else None,
            "snr_db": sigma_math.snr_db(self.sigma_up),
        }

    def describe(self) -> str:
        """One line, such as `restart: σ 0.9 up to 0.947 (+6 dB), white noise, seed 0`."""
        shock = self.shock
        down, up = f"{self.sigma_down:.4g}", f"{self.sigma_up:.4g}"
        db = f" (+{self.strength_db:.3g} dB)" if np.isfinite(self.strength_db) else ""
        if shock.kind == "sigma_bump":
            return f"sigma_bump: σ {down} up to {up}{db}, no fresh noise"
        shape = shock.shape if isinstance(shock.shape, str) else f"{shock.shape[0]:g} to {shock.shape[1]:g}"
        who = "" if len(shock.streams) > 1 else f", {shock.streams[0]} only"
        noise = f"{shape} noise{who}, seed {shock.seed}"
        if shock.kind == "predict_perturb":
            return f"predict_perturb: x0 re-noised to σ {up}, {noise}"
        if shock.kind == "additive":
            return f"additive: noise of a renoise from σ {down}{db} added at σ {up}, {noise}"
        return f"{shock.kind}: σ {down} up to {up}{db}, {noise}"
