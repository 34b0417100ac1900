"""Made-up messages of a run: every metric, any number of stages, no clock and no chance, so that pictures repeat."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache, lru_cache

import numpy as np

from recorder.format import declarations, protocol
from recorder.format.protocol import Message

START = 1_795_357_815.0
_SIZES = {"spatial_frequency": 6, "temporal_frequency": 34, "frame": 9, "frame_frequency": 5, "channel": 8}


def sigmas(steps: int) -> np.ndarray:
    """A shifted schedule from 1 downwards."""
    even = np.linspace(1, 1 / steps, steps)
    return np.exp(0.95) / (np.exp(0.95) + (1 / even - 1))


def messages(
    steps: int = 30,
    *,
    streams: tuple[str, ...] = ("video", "audio"),
    batch: int = 1,
    stages: int = 1,
    pace: float = 0.1,
    prompt: str = "a red ball moving left",
    name: str = "20261122-143015-red-disc",
    nan_at: int | None = None,
    end: str | None = "complete",
    error: str | None = None,
) -> Iterator[Message]:
    """A whole run, from its header to its end; without an end if `end` is None."""
    yield {
        "t": protocol.HEADER, "format": protocol.FORMAT, "version": protocol.FORMAT_VERSION, "run": name, "time": START,
        "archive": "runs/x.zarr", "metadata": {"host": "gpu-box", "device": "cpu", "model": "nano"},
    }  # fmt: skip
    time = START
    for stage in range(stages):
        levels = sigmas(steps)
        yield {
            "t": protocol.STAGE, "stage": stage, "call": stage, "tile": None, "time": time,
            "sigmas": [float(s) for s in levels], "metadata": {"prompt": prompt, "seed": 0, "model": "nano"},
        }  # fmt: skip
        yield event(stage, None, "stage_start", f"stage {stage} began: {steps} steps", time)
        for stream in streams:
            yield _stream(stage, stream, batch)
        for step in range(steps):
            time = START + (stage * steps + step) * pace
            for stream in streams:
                data = _row(stream, step, steps, batch, nan_at)
                yield {"t": protocol.STEP, "stage": stage, "stream": stream, "step": step, "time": time, "data": data}
            if step == nan_at:
                yield event(stage, step, "nan", "12 values of the velocity are not numbers", time)
        yield event(stage, steps - 1, "stage_end", f"stage {stage} ended after {steps} steps", time)
    if end is not None:
        yield {"t": protocol.END, "time": time, "status": end, "error": error}


def event(stage: int | None, step: int | None, kind: str, text: str, time: float = START) -> Message:
    """An event message."""
    return {
        "t": protocol.EVENT, "time": time, "stage": stage, "step": step, "stream": None, "kind": kind, "text": text,
        "payload": {},
    }  # fmt: skip


@cache
def _shapes(stream: str, batch: int) -> list[tuple[declarations.Metric, tuple[int, ...]]]:
    sizes = {**_SIZES, "batch": batch}
    return [(m, tuple(sizes[d] for d in m.dims_on(stream)[1:])) for m in declarations.on_stream(stream)]


def _stream(stage: int, stream: str, batch: int) -> Message:
    return {
        "t": protocol.STREAM, "stage": stage, "stream": stream, "grid": [9, 10, 12] if stream == "video" else [68, 2],
        "shape": [batch, 1080, 8], "metrics": [m.as_message(stream, shape) for m, shape in _shapes(stream, batch)],
        "coordinates": {},
    }  # fmt: skip


_X0 = {"low": 0.3, "mid": 0.1, "high": 0.1}
"""Power of the clean sample by band."""


def _noise(level: float) -> dict[str, float]:
    """Power of the predicted noise by band."""
    return {"low": 0.04 + 0.02 * level, "mid": 0.14 + 0.02 * (1 - level), "high": 0.8 - 0.1 * (1 - level)}


def _power(level: float) -> float:
    """Mean square of the sample at a level, for noise and clean sample that have nothing in common."""
    return (1 - level) ** 2 * sum(_X0.values()) + level**2 * sum(_noise(level).values())


@lru_cache(10_000)
def _row(stream: str, step: int, steps: int, batch: int, nan_at: int | None) -> bytes:
    levels = sigmas(steps)
    level, after = levels[step], levels[step + 1] if step + 1 < len(levels) else 0.0
    broken, spoiled = step == nan_at, nan_at is not None and step >= nan_at
    noise = _noise(level)
    signal = -np.inf if level >= 1 else 20 * np.log10((1 - level) / level)
    known = {
        "sigma": level,
        "sigma_next": after,
        "sigma_down": after,
        "noise_injected": 0.0,
        "timestep": level * 1000,
        "evaluations": 1.0,
        "snr_schedule_db": signal,
        "snr_measured_db": signal - 3 * level**2 if np.isfinite(signal) else signal,
        "velocity_rms": 1.4 - 0.5 * level,
        "velocity_cosine": 0.99 - 0.2 * (1 - level) ** 2,
        "velocity_conditional_rms": 1.4 - 0.5 * level,
        **{f"energy_{band}_noise": power for band, power in noise.items()},
        **{f"energy_{band}_x0": power for band, power in _X0.items()},
        **{f"energy_{band}_velocity": power + _X0[band] for band, power in noise.items()},
        "motion": 0.7 + 0.1 * np.sin(step / 5),
        "mean": 0.0,
        "sample_frame_cosine": 0.0 if step == 0 else np.nan,
        "sample_clip_cosine": 0.0 if step == 0 and batch > 1 else np.nan,
        "sample_change": 0.0 if step else np.nan,
        "std": np.sqrt(_power(after)),
        "nan_count": 12.0 if spoiled else 0.0,
        "inf_count": 0.0,
        "given_change": np.nan,
        **({f"noise_whiteness_{band}": 1.0 for band in noise} if step == 0 else {}),  # it starts from white noise
    }
    values = []
    for metric, shape in _shapes(stream, batch):
        other = 1 + 0.3 * np.sin(step / 5 + zlib.crc32(metric.name.encode()) % 7)
        row = np.full(shape, known.get(metric.name, other), np.float32)
        if metric.dims[1:2] == ("batch",):
            more = 1 + 0.1 * np.arange(batch, dtype=np.float32).reshape(batch, *(1 for _ in shape[1:]))
            row *= np.sqrt(more) if metric.name == "std" else more
        if stream == "audio" and metric.name in ("velocity_rms", "velocity_conditional_rms"):
            row *= 2
        if (step == 0 and not metric.first_step) or (broken and metric.name.startswith("velocity")):
            row[...] = np.nan
        values.append(row.ravel())
    return np.concatenate(values).astype("<f4").tobytes()
