"""What a stage was generated under: every recorded setting by name, and which of them a fair pair must share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from recorder.shocks.spec import EULER, EULER_STEPS
from replay.model.run import Run, StageData, StreamData

_OF_THE_OUTPUT: Final = frozenset(
    {"generator", "output_type", "return_dict", "callback_on_step_end", "callback_on_step_end_tensor_inputs", "output"}
)
"""Arguments that do not change the latents, and the generator, which is compared by its seed."""
_OF_THE_SCHEDULE: Final = frozenset({"num_inference_steps", "sigmas", "timesteps", "scheduler"})
"""Arguments that set the schedule. Schedules are what runs are compared for, so they may differ."""
_OF_THE_SAMPLER: Final = frozenset({"stochastic_sampling", "eta", "s_noise", "invert_sigmas", "num_train_timesteps"})
"""Keys of a scheduler's configuration that decide how a step is taken; all others shape the schedule."""
_EULER: Final = dict.fromkeys(EULER_STEPS, EULER)
"""Schedulers that take the steps of another one; a shock is part of the schedule."""
_PER_STEP: Final = ("guidance_scale",)
"""Recorded per step, and decided by the caller rather than by the model."""
_MOST_ROWS: Final = 1 << 13
_NOISE_TOLERANCE: Final = 1e-3
"""Relative difference of a bin of two start spectra up to which the noise is the same: rounding to bfloat16 moves a bin
by some 1e-5, another draw moves at least one bin by more at every size that LTX generates."""


@dataclass(frozen=True)
class Setting:
    """One recorded setting; `decides` is true if a fair pair must share it."""

    value: Any
    decides: bool = True


def settings(run: Run, stage: StageData) -> dict[str, Setting]:
    """Every setting that a stage was recorded with, by name."""
    known = stage.metadata
    user = _table(run.metadata.get("user"))
    found = {what: Setting(known.get(what)) for what in ("prompt", "negative_prompt", "seed", "pipeline")}
    found["model"] = Setting(user.get("model") or known.get("model") or run.metadata.get("model"))
    for name, stream in stage.streams.items():
        found[f"{name} size"] = Setting("×".join(str(n) for n in (*stream.shape[:1], *stream.grid)))
        if isinstance(kind := stream.declaration.get("dtype"), str):
            found[f"{name} dtype"] = Setting(kind)
    # Two arguments with the same effect are equal.
    for name, value in {**_table(known.get("arguments")), **_table(known.get("in_effect"))}.items():
        if name not in _OF_THE_OUTPUT:
            found[str(name)] = Setting(value, name not in _OF_THE_SCHEDULE)
    found |= _scheduler(known)
    found["device"] = Setting(run.metadata.get("device"), decides=False)
    for package, version in _table(run.metadata.get("versions")).items():
        found[f"{package} version"] = Setting(version, decides=False)
    for name, value in user.items():
        if name != "model":
            found[f"user {name}"] = Setting(value, decides=False)
    return found


def _scheduler(known: Mapping[str, Any]) -> dict[str, Setting]:
    scheduler = _table(known.get("scheduler"))
    if not scheduler:
        return {}
    kind = scheduler.get("class")
    found = {"scheduler": Setting(_EULER.get(kind, kind) if isinstance(kind, str) else kind)}
    for name, value in _table(scheduler.get("config")).items():
        found[f"scheduler {name}"] = Setting(value, name in _OF_THE_SAMPLER)
    return found


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def other_start(one: StreamData, other: StreamData) -> bool:
    """Whether two streams begin at the same noise level with other noise, by the spectrum of their first samples."""
    names = ("sigma", "spectrum_x")
    if not all(name in s.metrics and s.rows for s in (one, other) for name in names):
        return False
    (level, spectrum), (its_level, its_spectrum) = ([s.at(name, 0) for name in names] for s in (one, other))
    if spectrum.shape != its_spectrum.shape or not np.array_equal(level, its_level):
        return False
    with np.errstate(invalid="ignore"):
        away = np.abs(spectrum - its_spectrum) > _NOISE_TOLERANCE * np.maximum(np.abs(spectrum), np.abs(its_spectrum))
    return bool(away.any())


def changed_guidance(one: StreamData, other: StreamData) -> tuple[int, str, float, float] | None:
    """The first step at which a setting that is recorded per step differs: step, metric, and the two values.

    None if there is no such step, or if a stream is so long that reading a column of it takes a while.
    """
    for name in _PER_STEP:
        if name not in one.metrics or name not in other.metrics or max(one.rows, other.rows) > _MOST_ROWS:
            continue
        values = [s.values(name).reshape(s.rows, math.prod(s.metrics[name].shape))[:, :1] for s in (one, other)]
        count = min(map(len, values))
        a, b = (v[:count, 0] for v in values)
        places = np.flatnonzero((a != b) & ~(np.isnan(a) & np.isnan(b)))
        if places.size:
            step = int(places[0])
            return step, name, float(a[step]), float(b[step])
    return None


def differing_values(what: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name and both values of each part in which two values of a setting differ.

    Tables are compared key by key, a part of `user request` is then called `user request.steps`; a key that only one of
    them has is None in the other. Anything else is one part.
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys([*one, *other]):
            yield from differing_values(f"{what}.{key}", one.get(key), other.get(key))
    elif one != other:
        yield what, one, other


_CURES: Final = {
    "model evaluations": "give both as many: --steps of the smooth run, or `respace` of the shock",
    "stages": "record the same pipeline calls in both",
    "seed": "give both the same seed, with --seed or separate generators with one seed",
    "start noise": "make a new generator from the seed for every call, on the same device",
    "scheduler": "use one sampler for both; only its schedule is compared",
    "guidance": "guide both by the same values at every step",
}
_CURE: Final = "record both with the same value; `ltxtui record --like RUN` repeats a run"


def cure(what: str) -> str:
    """How a difference that makes a pair unfair is removed, in a few words."""
    if what.startswith(_PER_STEP):
        return _CURES["guidance"]
    return _CURES["scheduler"] if what.startswith("scheduler") else _CURES.get(what, _CURE)
