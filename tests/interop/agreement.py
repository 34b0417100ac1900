"""Whether the runs of two codes have the same metrics."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recorder import nano
from replay.sources.open import load

RELATIVE = 1e-4
NEAR_ZERO_DB = 1e-3
"""Allowed difference of a signal-to-noise ratio in dB, which has no relative one near 0 dB."""
CLOCKS = frozenset({"time", "step_seconds", "gpu_ms", "vram_peak", "recorder_seconds"})


def metrics(path: Path, stream: str) -> dict[str, Any]:
    """Every metric of a stream's only stage."""
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(path), mode="r")[f"stage_0/{stream}"]
    return {name: group[name][:] for name in group.array_keys() if group[name].dtype.kind == "f"}


def difference(name: str, ours: Any, theirs: Any) -> float:
    """The worst difference of a metric, relative to the bound that holds for it: 1 is as much as is allowed."""
    assert ours.shape == theirs.shape, name
    if not np.array_equal(np.isnan(ours), np.isnan(theirs)):
        return np.inf
    held = np.isfinite(ours)
    assert np.array_equal(ours[~held], theirs[~held], equal_nan=True), name
    apart, size = np.abs(ours[held] - theirs[held]), np.abs(ours[held])
    allowed = RELATIVE * size
    if name == "snr_spectrum_db":
        allowed = np.where(size < 10, NEAR_ZERO_DB, allowed)
    # What is next to nothing among the metric's values, as a mean that crosses 0, is rounding.
    allowed = np.maximum(allowed, 5e-6 * (size.max() if size.size else 0))
    with np.errstate(invalid="ignore"):
        return float(np.nan_to_num(apart / allowed).max()) if apart.size else 0.0


def differences(ours: Path, theirs: Path, without: Container[str] = CLOCKS) -> dict[str, float]:
    """The difference of every metric that both runs have, by stream and name.

    The settings of guidance are no measurements. `without` names what else is not compared.
    """
    found: dict[str, float] = {}
    for stream in ("video", "audio"):
        one, other = metrics(ours, stream), metrics(theirs, stream)
        for name in sorted(one.keys() & other.keys()):
            if name not in without and name not in nano.GUIDED:
                found[f"{stream}/{name}"] = difference(name, one[name], other[name])
    return found


def assert_same_levels(ours: Path, theirs: Path, rows: int) -> None:
    """The rows of both runs, in which one restart acts, have the same levels in both streams."""
    for stream in ("video", "audio"):
        one, other = (load(path).stages[0].streams[stream] for path in (ours, theirs))
        assert one.rows == rows
        for level in ("sigma", "sigma_next", "sigma_down"):
            np.testing.assert_array_equal(other.series(level), one.series(level), err_msg=f"{stream}/{level}")
        assert (one.series("sigma_down") < one.series("sigma_next")).sum() == 1


def told(worst: dict[str, float], by: str) -> str:
    """How many metrics were compared, and which are nearest to their bounds."""
    nearest = sorted(worst.items(), key=lambda item: -item[1])[:3]
    return f"\n{len(worst)} metrics agree ({by}); nearest to its bound: " + ", ".join(
        f"{n} {w:.2f}" for n, w in nearest
    )
