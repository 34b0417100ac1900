"""What each step of a stage has of an axis (its number, σ, SNR, seconds, evaluations), and where that puts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from recorder.format import sigma_math
from replay.model.run import StageData

Mode = Literal["step", "sigma", "snr", "seconds", "evaluations", "run"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)

Floats = NDArray[np.float64]


class Info(NamedTuple):
    """How an axis is called, in full and on the axis itself, and whether its values fall to the right."""

    name: str
    unit: str
    falls: bool = False


INFO: Final[dict[Mode, Info]] = {
    "step": Info("step", "step"),
    "sigma": Info("noise level σ, high to low", "σ", falls=True),
    "snr": Info("SNR of the schedule", "dB"),
    "seconds": Info("seconds since the stage began", "s"),
    "evaluations": Info("model evaluations", "evals"),
    "run": Info("steps of the run, through all stages", "run"),
}


def values_of(mode: Mode, stage: StageData, steps: int, pace: float) -> Floats:
    """What every step has of an axis, planned ones among them [steps]; may be infinite, NaN, and go back.

    Args:
        mode: the axis.
        stage: whose steps.
        steps: how many.
        pace: seconds per step that are expected of steps to come.
    """
    return _VALUES[mode](stage, steps, pace)


def placed(values: Floats, *, falls: bool) -> Floats:
    """Values rising to the right; infinite ones one usual distance beyond the last finite one."""
    places = -values if falls else values.copy()
    if np.isfinite(places).all():
        return places
    known = np.unique(places[np.isfinite(places)])
    if not known.size:
        return np.where(np.isinf(places), 0.0, np.nan)
    beyond = float(np.median(np.diff(known))) if known.size > 1 else 1.0
    places[places == -np.inf] = known[0] - beyond
    places[places == np.inf] = known[-1] + beyond
    return places


def _steps(stage: StageData, steps: int, pace: float) -> Floats:
    return np.arange(steps, dtype=np.float64)


def _sigma(stage: StageData, steps: int, pace: float) -> Floats:
    """The level that each step's model call was or will be made at: recorded, else planned."""
    values = np.full(steps, np.nan)
    planned = np.asarray(stage.sigmas[:steps], np.float64)
    values[: len(planned)] = planned
    stream = stage.furthest
    if stream is not None and "sigma" in stream.metrics and stream.metrics["sigma"].shape == ():
        recorded = stream.series("sigma")[:steps]
        values[: len(recorded)] = np.where(np.isfinite(recorded), recorded, values[: len(recorded)])
    return values


def _snr(stage: StageData, steps: int, pace: float) -> Floats:
    """What the schedule sets, 20·log10((1−σ)/σ), whatever was measured: −∞ at σ = 1."""
    return sigma_math.snr_db_of(_sigma(stage, steps, pace))


def _seconds(stage: StageData, steps: int, pace: float) -> Floats:
    """When each step was done, on the recorder's clock; steps to come are expected at the present pace."""
    values = np.full(steps, np.nan)
    stream = stage.furthest
    done = stream.times[:steps] - stage.time if stream is not None else np.empty(0)
    values[: len(done)] = done
    last = float(done[-1]) if len(done) and np.isfinite(done[-1]) else 0.0
    values[len(done) :] = last + pace * np.arange(1, steps - len(done) + 1)
    return values


def _evaluations(stage: StageData, steps: int, pace: float) -> Floats:
    """Model evaluations spent when each step is done; steps to come are expected to take as many as the last one."""
    spent = np.ones(steps)
    known = stage.evaluations[:steps]
    if len(known):
        spent[: len(known)], spent[len(known) :] = known, known[-1]
    return np.cumsum(spent)


_VALUES: Final[dict[Mode, Callable[[StageData, int, float], Floats]]] = {
    "step": _steps,
    "sigma": _sigma,
    "snr": _snr,
    "seconds": _seconds,
    "evaluations": _evaluations,
    "run": _steps,
}
