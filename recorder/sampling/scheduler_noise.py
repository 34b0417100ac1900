"""The step of each scheduler without fresh noise, so that the noise that it added can be measured.

Every observed scheduler takes steps that are linear in sample and velocity, apart from its noise:
x_next = keep·x + move·v + noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from recorder.format.sigma_math import ancestral_down
from recorder.metrics.step import UNKNOWN, Drift
from recorder.sampling.hooks import stepping_class

_OURS: Final = ("diffusers.", "recorder.")


def _euler(config: Any, sigma: float, sigma_next: float) -> Drift | None:
    """FlowMatchEulerDiscreteScheduler: Euler's step, or x0 and new noise at the next level."""
    if not config.get("stochastic_sampling") or sigma_next == 0:
        return None
    return Drift(1 - sigma_next, -(1 - sigma_next) * sigma)


def _ancestral(config: Any, sigma: float, sigma_next: float) -> Drift | None:
    """LTXEulerAncestralRFScheduler: Euler's step to a lower level, scaled so that noise takes it to the next one."""
    eta, strength = float(config.get("eta", 1.0)), float(config.get("s_noise", 1.0))
    if not (eta > 0 and strength > 0) or abs(sigma_next) < 1e-8:
        return None
    down = ancestral_down(sigma, sigma_next, eta)
    scale = (1 - sigma_next) / (1 - down + 1e-12)
    return Drift(scale, scale * (down - sigma))


_RULES: Final[dict[str, Callable[[Any, float, float], Drift | None]]] = {
    "ShockScheduler": _euler,
    "FlowMatchEulerDiscreteScheduler": _euler,
    "LTXEulerAncestralRFScheduler": _ancestral,
}
"""By class. Noise that a shock adds is known separately."""


def drift_of(scheduler: Any, sigma: float, sigma_next: float) -> Drift | None:
    """How a scheduler steps from one level to the next; None if it adds no noise there.

    A class derived from a known one may add its own noise; then the difference from the known step is measured.
    `UNKNOWN` for any other class, and for invalid levels.
    """
    if hasattr(scheduler, "noise_free_step"):  # a `recorder.recipes.step_scheduler.StepScheduler`
        if not scheduler.adds_noise or sigma_next == 0:
            return None
        found = scheduler.noise_free_step(sigma, sigma_next)
        return UNKNOWN if found is None else Drift(*found)
    known = next((c for c in type(scheduler).__mro__ if c.__module__.startswith(_OURS) and c.__name__ in _RULES), None)
    if known is None:
        return UNKNOWN
    try:
        drift = _RULES[known.__name__](scheduler.config, sigma, sigma_next)
    except ZeroDivisionError:
        return UNKNOWN
    if drift is None and not issubclass(known, stepping_class(scheduler)):
        return Drift(1.0, sigma_next - sigma)
    return drift
