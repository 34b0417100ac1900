"""Every metric, declared once: name, unit, dimensions, label, meaning. Light: no torch here.

The function that computes a metric is in `recorder/measures.py` under the same name; the two tables are held equal by
a test. A run's messages and its archive carry these declarations, so a reader needs no table of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Dimension = Literal["step", "batch", "spatial_frequency", "temporal_frequency", "frequency", "frame"]

BANDS: dict[str, tuple[float, float]] = {"low": (0.0, 0.25), "mid": (0.25, 0.5), "high": (0.5, 2**0.5)}
"""Bands of radial frequency in parts of the Nyquist frequency; the last one is closed at √2, the grid's corner."""


@dataclass(frozen=True)
class Metric:
    """One named quantity per step.

    `dims` begin with `step`; a leading `batch` follows for whatever is measured on latents. The dimension `frequency`
    stands for `spatial_frequency` on video and `temporal_frequency` on audio. `first_step` is False where a metric
    compares with the step before and so is NaN in a stage's first row.
    """

    name: str
    unit: str
    label: str
    description: str
    dims: tuple[Dimension, ...] = ("step", "batch")
    streams: tuple[str, ...] = ("video", "audio")
    first_step: bool = True

    @property
    def on_host(self) -> bool:
        """True for schedule and timing, which the host knows without asking the device."""
        return self.dims == ("step",)

    def dims_on(self, stream: str) -> tuple[Dimension, ...]:
        """Dimensions with `frequency` resolved for one stream."""
        axis: Dimension = "spatial_frequency" if stream == "video" else "temporal_frequency"
        return tuple(axis if d == "frequency" else d for d in self.dims)

    def as_message(self, stream: str, shape: tuple[int, ...]) -> dict[str, Any]:
        """What a `stream` message says of this metric; `shape` is that of one row."""
        return {
            "name": self.name,
            "unit": self.unit,
            "dims": list(self.dims_on(stream)),
            "shape": list(shape),
            "label": self.label,
            "description": self.description,
        }


_SCHEDULE: tuple[Dimension, ...] = ("step",)
_SPECTRUM: tuple[Dimension, ...] = ("step", "batch", "frequency")
_FRAMES: tuple[Dimension, ...] = ("step", "batch", "frame")


def _bands(quantity: str, of: str) -> list[Metric]:
    return [
        Metric(
            f"energy_{band}_{quantity}",
            "power",
            f"{of} {band}",
            f"power of {of} at {lo:g} to {hi:.3g} of the Nyquist frequency, per coefficient, summed over the band",
        )
        for band, (lo, hi) in BANDS.items()
    ]


_DECLARED: list[Metric] = [
    Metric("sigma", "1", "σ", "noise level the model is called at, as the scheduler has it", _SCHEDULE),
    Metric("sigma_next", "1", "σ next", "noise level this step goes to", _SCHEDULE),
    Metric("timestep", "1", "timestep", "what the model is told of the noise level, σ times 1,000", _SCHEDULE),
    Metric(
        "snr_schedule_db",
        "dB",
        "SNR schedule",
        "20·log10((1−σ)/σ): signal to noise that the schedule sets for latents of unit power",
        _SCHEDULE,
    ),
    Metric(
        "step_seconds",
        "s",
        "step time",
        "seconds since this stream's last step, on the host; in the first row since the schedule was set",
        _SCHEDULE,
    ),
    Metric(
        "snr_measured_db",
        "dB",
        "SNR measured",
        "10·log10((1−σ)²·mean(x0²) / (σ²·mean(ε²))) of the model's own x0 and noise",
    ),
    Metric("velocity_rms", "1", "velocity RMS", "root mean square of the velocity v = ε − x0 after guidance"),
    Metric(
        "velocity_cosine",
        "1",
        "velocity cosine",
        "cosine between this step's velocity and the last one's: 1 is a straight path",
        first_step=False,
    ),
    Metric("displacement_rms", "1", "displacement", "root mean square of how far this step moves the sample"),
    Metric(
        "x0_change_rms",
        "1",
        "x0 change",
        "root mean square of the change of the predicted clean sample since the last step",
        first_step=False,
    ),
    Metric("spectrum_x0", "power", "x0 spectrum", "radially averaged power of the predicted clean sample", _SPECTRUM),
    Metric("spectrum_noise", "power", "noise spectrum", "radially averaged power of the predicted noise", _SPECTRUM),
    *_bands("noise", "noise"),
    *_bands("x0", "x0"),
    *_bands("velocity", "velocity"),
    *[
        Metric(
            f"noise_whiteness_{band}",
            "1",
            f"whiteness {band}",
            f"share of the predicted noise's power in the {band} band, divided by white noise's share on this grid",
        )
        for band in BANDS
    ],
    Metric(
        "frame_identity",
        "1",
        "frame identity",
        "per latent frame, cosine of the spatially pooled channel means of x0 to those of frame 1",
        _FRAMES,
        ("video",),
    ),
    Metric("mean", "1", "mean", "mean of the sample after the step"),
    Metric("std", "1", "std", "standard deviation of the sample after the step"),
    Metric("max_abs", "1", "max |x|", "largest absolute value of the sample after the step"),
    Metric("nan_count", "1", "NaN count", "values of the sample after the step that are not a number"),
    Metric("inf_count", "1", "Inf count", "values of the sample after the step that are infinite"),
]

METRICS: dict[str, Metric] = {m.name: m for m in _DECLARED}
"""Every metric by name, in the order in which rows carry them: what the host knows first, then what is measured."""


def on_stream(stream: str) -> list[Metric]:
    """The metrics that a stream has, in row order."""
    chosen = [m for m in METRICS.values() if stream in m.streams]
    return [m for m in chosen if m.on_host] + [m for m in chosen if not m.on_host]
