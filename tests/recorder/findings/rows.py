"""Rows of a stream as a right model gives them, to be changed one quantity at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recorder.findings.examine import Examiner
from recorder.findings.facts import Block, RunFacts, StageFacts, StreamFacts
from recorder.findings.finding import Finding
from recorder.findings.rules import RULES

SIGMAS = (1.0, 0.95, 0.88, 0.8, 0.7, 0.55, 0.35, 0.15)
X0_POWER = 0.6


def right(sigmas: tuple[float, ...] = SIGMAS, clips: int = 1) -> dict[str, NDArray[Any]]:
    """Rows of an unguided run: white noise of unit power, x0 of constant power that is independent of it."""
    levels = np.array([*sigmas, 0.0])
    sigma, after = levels[:-1], levels[1:]
    n, one = len(sigma), np.ones((len(sigma), clips))
    return {
        "sigma": sigma,
        "sigma_next": after,
        "timestep": 1000 * sigma,
        "guidance_scale": np.ones(n),
        **powers("noise", one),
        **powers("x0", X0_POWER * one),
        **powers("velocity", (1 + X0_POWER) * one),
        "velocity_rms": np.sqrt(1 + X0_POWER) * one,
        "velocity_conditional_rms": np.sqrt(1 + X0_POWER) * one,
        "velocity_cosine": np.concatenate([np.full((1, clips), np.nan), 0.98 * one[1:]]),
        **{f"guidance_gap_{name}": np.full((n, clips), np.nan) for name in ("cfg", "stg", "modality")},
        "noise_whiteness_low": one.copy(),
        "noise_whiteness_high": one.copy(),
        "frame_contrast": _frames(n, clips, 0, 0.8),
        "given_change": np.full((n, clips), np.nan),
        "std": np.sqrt((1 - after) ** 2 * X0_POWER + after**2)[:, None] * one,
        "mean": 0 * one,
        "nan_count": 0 * one,
        "inf_count": 0 * one,
        "max_abs": 4.5 * one,
        "motion": _frames(n, clips, 2, 0.7),
        "jerk": _frames(n, clips, 3, 0.7 * 1.7),
        "channel_std": np.full((n, clips, 16), 0.8),
        "sample_frame_cosine": np.concatenate([0 * one[:1], np.full((n - 1, clips), np.nan)]),
        "sample_clip_cosine": np.concatenate([0 * one[:1], np.full((n - 1, clips), np.nan)]),
    }


def _frames(rows: int, clips: int, first: int, value: float) -> NDArray[Any]:
    """A metric of nine frames that has values from a frame on."""
    found = np.full((rows, clips, 9), value)
    found[:, :, :first] = np.nan
    return found


def powers(quantity: str, total: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """A mean square, split over the bands."""
    parts = {"low": 0.2, "mid": 0.3, "high": 0.5}
    return {f"energy_{band}_{quantity}": part * total for band, part in parts.items()}


def examined(
    *streams: dict[str, NDArray[Any]],
    blocks: int = 1000,
    status: str = "complete",
    sigmas: tuple[float, ...] | None = None,
    metadata: dict[str, Any] | None = None,
    run: dict[str, Any] | None = None,
    seen: set[str] | None = None,
    in_effect: dict[str, Any] | None = None,
    summary: dict[str, list[float | None]] | None = None,
    **facts: Any,
) -> list[Finding]:
    """Findings of a run of one stage with a video stream and, if a second one is given, an audio stream."""
    planned = tuple(streams[0]["sigma"].tolist()) if sigmas is None else sigmas
    known = {**(metadata or {}), **({"in_effect": in_effect} if in_effect else {})}
    stage = StageFacts(0, sigmas=planned, metadata=known, ended=True, seen=seen or set())
    stage.summary = {"video": summary} if summary else {}
    whole = RunFacts(metadata=run or {}, stages=[stage])
    examiner = Examiner(whole, RULES)
    for name, rows in zip(("video", "audio"), streams, strict=False):
        clips = rows["std"].shape[1]
        grid = (9, 10, 12) if name == "video" else (34,)
        declared = StreamFacts(name, clips, 4800, grid, metrics=frozenset(rows), **facts)
        stage.streams[name] = declared
        total = len(rows["sigma"])
        for first in range(0, total, blocks):
            count = min(blocks, total - first)
            examiner.rows(Block(whole, stage, declared, first, count, lambda m, a, b, rows=rows: rows[m][a:b]))
    whole.status = status
    return examiner.findings()
