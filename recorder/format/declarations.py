"""Every metric, declared once: name, unit, dimensions, label, formula, source. Imports no torch.

The function that computes a metric is in `recorder/metrics/measures.py` under the same name; a test holds the two
tables equal. A run's messages and its archive carry these declarations, so a reader does not need its own table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from recorder.format import protocol

Dimension = Literal[
    "step", "batch", "channel", "spatial_frequency", "temporal_frequency", "frequency", "frame", "frame_frequency"
]

BANDS: dict[str, tuple[float, float]] = {"low": (0.0, 0.25), "mid": (0.25, 0.5), "high": (0.5, 2**0.5)}
"""Bands of radial frequency in parts of the Nyquist frequency; the last one is closed at √2, the grid's corner."""


@dataclass(frozen=True)
class Metric:
    """One named quantity per step.

    `dims` begin with `step`; a leading `batch` follows for values measured on latents. The dimension `frequency`
    stands for `spatial_frequency` on video and `temporal_frequency` on audio. `first_step` is False where a metric
    compares with the step before and so is NaN in a stage's first row. `source` is the paper or file it comes from;
    empty where it is our own.
    """

    name: str
    unit: str
    label: str
    description: str
    dims: tuple[Dimension, ...] = ("step", "batch")
    streams: tuple[str, ...] = protocol.STREAMS
    first_step: bool = True
    source: str = ""

    @property
    def on_host(self) -> bool:
        """True for schedule and timing, which the host knows without asking the device."""
        return self.dims == ("step",)

    def dims_on(self, stream: str) -> tuple[Dimension, ...]:
        """Dimensions with `frequency` resolved for one stream."""
        axis: Dimension = "spatial_frequency" if stream == "video" else "temporal_frequency"
        return tuple(axis if d == "frequency" else d for d in self.dims)

    def as_message(self, stream: str, shape: tuple[int, ...]) -> dict[str, Any]:
        """This metric as declared in a `stream` message; `shape` is that of one row."""
        return {
            "name": self.name,
            "unit": self.unit,
            "dims": list(self.dims_on(stream)),
            "shape": list(shape),
            "label": self.label,
            "description": self.description,
            "source": self.source,
        }


@dataclass(frozen=True)
class Summary:
    """One number per batch item and stage; computed in `recorder/metrics/stage_summary.py`."""

    name: str
    unit: str
    label: str
    description: str
    streams: tuple[str, ...] = protocol.STREAMS
    source: str = ""

    def as_message(self) -> dict[str, Any]:
        """This quantity as declared in a message or an archive."""
        return {
            "name": self.name,
            "unit": self.unit,
            "label": self.label,
            "description": self.description,
            "source": self.source,
        }


_SCHEDULE: tuple[Dimension, ...] = ("step",)
_SPECTRUM: tuple[Dimension, ...] = ("step", "batch", "frequency")
_CHANNELS: tuple[Dimension, ...] = ("step", "batch", "channel")
_FRAMES: tuple[Dimension, ...] = ("step", "batch", "frame")
_FRAME_SPECTRUM: tuple[Dimension, ...] = ("step", "batch", "frame_frequency")

_SCHEDULER = "diffusers, the scheduler's sigmas and timesteps"
_FLOW = "Lipman et al., 2210.02747"
_RECTIFIED = "Liu et al., 2209.03003"
_VDM = "Kingma et al., 2107.00630"
_WELCH = "Welch, 1967 (windowed periodogram)"
_PARSEVAL = "Parseval's theorem"
_CFG = "Ho and Salimans, 2207.12598"
_STG = "Hyung et al., 2411.18664"
_LTX2 = "diffusers, LTX2Pipeline"


def _bands(quantity: str, of: str) -> list[Metric]:
    return [
        Metric(
            f"energy_{band}_{quantity}",
            "power",
            f"{of} {band}",
            f"Σ |FFT of {of}|²/(H·W) at {lo:g} to {hi:.3g} of the Nyquist frequency; the bands sum to the mean square",
            source=_PARSEVAL,
        )
        for band, (lo, hi) in BANDS.items()
    ]


def _spectrum(quantity: str, symbol: str, of: str) -> Metric:
    return Metric(
        f"spectrum_{quantity}",
        "power",
        f"{quantity} spectrum",
        f"mean |FFT of {symbol}|² per radial bin, Hann-windowed, frame mean removed: radially averaged power of {of}",
        _SPECTRUM,
        source=_WELCH,
    )


def _gap(name: str, of: str, source: str) -> Metric:
    return Metric(
        f"guidance_gap_{name}",
        "1",
        f"gap {name}",
        f"√mean((v_conditional − v_{name})²), before scale and rescale: what {of} changes; NaN if it was not run",
        source=source,
    )


# fmt: off
_DECLARED: list[Metric] = [
    Metric("sigma", "1", "σ", "noise level the model is called at, as the scheduler has it", _SCHEDULE,
           source=_SCHEDULER),
    Metric("sigma_next", "1", "σ next", "noise level this step goes to", _SCHEDULE, source=_SCHEDULER),
    Metric("sigma_down", "1", "σ down",
           "lowest noise level reached within this step: σ next, or less where a shock re-noised the sample to it",
           _SCHEDULE, source="Xu et al., 2306.14878"),
    Metric("timestep", "1", "timestep", "the model's time input: σ times 1,000", _SCHEDULE,
           source=_SCHEDULER),
    Metric("snr_schedule_db", "dB", "SNR schedule",
           "20·log10((1−σ)/σ): signal to noise that the schedule sets for latents of unit power", _SCHEDULE,
           source=_VDM),
    Metric("step_seconds", "s", "step time",
           "seconds since this stream's last step, on the host; in the first row since the schedule was set",
           _SCHEDULE),
    Metric("recorder_seconds", "s", "recorder time",
           "seconds that measuring this step held the sampling thread, until its row was handed over: what the "
           "recorder costs on the host", _SCHEDULE, source="time.perf_counter"),
    Metric("gpu_ms", "ms", "GPU time",
           "milliseconds of this step on the GPU, between two CUDA events; NaN without CUDA or ROCm", _SCHEDULE,
           source="torch.cuda.Event"),
    Metric("vram_peak", "bytes", "VRAM peak",
           "most GPU memory that the process had allocated so far; NaN without CUDA or ROCm", _SCHEDULE,
           source="torch.cuda.max_memory_allocated"),
    Metric("guidance_scale", "1", "guidance scale",
           "scale of classifier-free guidance of this stream that the pipeline has at this step; 1 is none, NaN "
           "where it is not known", _SCHEDULE, source=_CFG),
    Metric("evaluations", "1", "evaluations",
           "model evaluations of this step: 1, more where a sampler evaluates between two levels, 0 where it reuses "
           "the last output; guidance passes are not counted apart", _SCHEDULE),
    Metric("velocity_rms", "1", "velocity RMS", "√mean(v²) of the velocity v = ε − x0 after guidance", source=_FLOW),
    Metric("snr_measured_db", "dB", "SNR measured",
           "10·log10((1−σ)²·mean(x0²) / (σ²·mean(ε²))) of the model's own x0 and noise; −inf at σ = 1", source=_VDM),
    Metric("velocity_cosine", "1", "velocity cosine",
           "cos(v_i, v_{i−1}): cosine between this step's velocity and the last one's; 1 is a straight path",
           first_step=False, source=_RECTIFIED),
    Metric("velocity_conditional_rms", "1", "raw velocity RMS",
           "√mean(v²) of the conditional pass before guidance; NaN if the passes were not observed", source=_FLOW),
    _gap("cfg", "classifier-free guidance", _CFG),
    _gap("stg", "spatio-temporal guidance", _STG),
    _gap("modality", "hearing or seeing the other stream", _LTX2),
    Metric("displacement_rms", "1", "displacement", "√mean((x_next − x)²): how far this step moves the sample"),
    Metric("noise_injected", "power", "noise injected",
           "mean square of the fresh noise in the sample after this step: what a shock added, or what an ancestral or "
           "stochastic scheduler did; 0 where none is added, NaN where the sampler is not known"),
    Metric("x0_change_rms", "1", "x0 change",
           "√mean((x0_i − x0_{i−1})²): change of the predicted clean sample since the last step", first_step=False),
    Metric("x0_change_rate", "1", "x0 change rate",
           "x0_change_rms / |Δλ|, λ = 2·ln((1−σ)/σ): change per unit of log SNR, 0 from σ = 1; it peaks "
           "where the model decides", first_step=False, source="Biroli et al., 2402.18491"),
    Metric("low_frequency_wander", "1", "wander",
           "√mean(P_low(x0_i − x0_{i−1})²): what of x0's change is coarser than a quarter of the Nyquist frequency",
           first_step=False),
    Metric("low_frequency_wander_share", "1", "wander share",
           "‖P_low(x0_i − x0_{i−1})‖ / ‖x0_i − x0_{i−1}‖: share of the coarse part in the change", first_step=False),
    _spectrum("x", "x", "the sample before the step"),
    _spectrum("x0", "x0", "the predicted clean sample"),
    _spectrum("noise", "ε", "the predicted noise"),
    _spectrum("velocity", "v", "the velocity after guidance"),
    Metric("snr_spectrum_db", "dB", "SNR spectrum",
           "10·log10((1−σ)²·S_x0 / (σ²·S_ε)) per radial bin: which frequencies are decided already; −inf at σ = 1",
           _SPECTRUM, source="Dieleman, Diffusion is spectral autoregression, 2024"),
    *_bands("noise", "noise"),
    *_bands("x0", "x0"),
    *_bands("velocity", "velocity"),
    *[
        Metric(f"noise_whiteness_{band}", "1", f"whiteness {band}",
               f"share of the predicted noise's power in the {band} band, divided by white noise's share on this grid")
        for band in BANDS
    ],
    Metric("given_change", "1", "given frames' change",
           "√mean((g − g_1)²) / √mean(g_1²) of the latent frames g that are given, as the model sees them, against g_1 "
           "of the stage's first call; NaN where none is given entirely", streams=("video",)),
    Metric("x0_mean", "1", "x0 mean", "mean of the predicted clean sample x0"),
    Metric("channel_mean", "1", "channel mean",
           "mean of each latent channel of x0: a channel that runs away is a colour cast or an artefact", _CHANNELS),
    Metric("channel_std", "1", "channel std",
           "standard deviation of each latent channel of x0; 0 is a channel that holds nothing", _CHANNELS),
    Metric("temporal_spectrum_x0", "power", "temporal spectrum",
           "one-sided |FFT of x0|² over latent frames 1…, mean removed, averaged over space and channels: sums to the "
           "mean square of what changes over time", _FRAME_SPECTRUM, ("video",), source=_PARSEVAL),
    Metric("frame_identity", "1", "frame identity",
           "cos(p_f, p_1) of the spatially pooled channel means p of x0, per latent frame", _FRAMES, ("video",)),
    Metric("frame_coherence", "1", "frame coherence",
           "cos(p_f, p_{f−1}) of the spatially pooled channel means p of x0, per latent frame", _FRAMES, ("video",)),
    Metric("motion", "1", "motion",
           "√mean((x0[f] − x0[f−1])²) per latent frame f: how much changes from frame to frame", _FRAMES, ("video",)),
    Metric("jerk", "1", "jerk",
           "√mean((x0[f] − 2·x0[f−1] + x0[f−2])²) per latent frame f: how unevenly it changes", _FRAMES, ("video",)),
    Metric("frame_contrast", "1", "contrast",
           "standard deviation of x0 over space, RMS over channels, per latent frame: how much there is to see; 0 is a "
           "blank frame", _FRAMES, ("video",)),
    Metric("mean", "1", "mean", "mean of the sample after the step"),
    Metric("std", "1", "std", "standard deviation of the sample after the step"),
    Metric("max_abs", "1", "max |x|", "largest absolute value of the sample after the step"),
    Metric("nan_count", "1", "NaN count", "values of the sample after the step that are not a number"),
    Metric("inf_count", "1", "Inf count", "values of the sample after the step that are infinite"),
    Metric("sample_frame_cosine", "1", "frame cosine",
           "mean cosine between each latent frame of a stage's first sample and the next one: 0 for fresh noise, 1 for "
           "noise that is repeated; NaN after the first row", streams=("video",)),
    Metric("sample_clip_cosine", "1", "clip cosine",
           "largest cosine between a clip of a stage's first sample and another clip of the batch: 1 for clips that "
           "start from the same noise; NaN after the first row and for a single clip"),
    Metric("sample_change", "1", "sample change",
           "√mean((x_i − y_{i−1})²) of the sample before a step and the result y of the one before, over at most 4,096 "
           "fixed values: 0 where nothing but the sampler changed it", first_step=False),
]

METRICS: dict[str, Metric] = {m.name: m for m in _DECLARED}
"""Every metric by name, in the order in which rows carry them: what the host knows first, then what is measured."""

DRIFT = "content_drift"
"""The summary that is shown as a run's drift, and that sweeps compare."""
DRIFT_BOUND = 0.1
"""A clip drifts if its drift reaches this value; a texture that fades by half is above it."""
DRIFT_REFERENCES: dict[str, float] = {
    "clean": 0.01,
    "texture fades by half": 0.15,
    "background fades": 0.3,
    "flicker of a quarter": 0.43,
    "hard cut": 0.7,
    "identity swapped": 0.98,
}
"""Median drift of drawn clips with one known fault each; `recorder/nano/drift_study.py` measures them."""


def drift_hint(*, short: bool = False) -> str:
    """What a drift means, for the place where it is shown: which way is better, and values of known clips."""
    if short:
        return f"lower is steadier; clean {DRIFT_REFERENCES['clean']:g}, cut {DRIFT_REFERENCES['hard cut']:g}"
    named = ", ".join(f"{name} {DRIFT_REFERENCES[name]:g}" for name in ("clean", "hard cut", "identity swapped"))
    return f"lower is steadier; drawn clips have {named}"


SUMMARIES: dict[str, Summary] = {
    s.name: s
    for s in [
        Summary("straightness", "1", "straightness",
                "Σ mean(((x_N−x_0)/(σ_N−σ_0) − v_i)²)·|Δσ_i| / Σ|Δσ_i|: 0 is a straight path; NaN across a shock",
                source=_RECTIFIED),
        Summary("path_length", "1", "path length", "Σ displacement_rms: how far the sample moved, step by step"),
        Summary("steps_above_0db", "1", "steps above 0 dB", "steps whose snr_schedule_db is 0 or more (σ ≤ .5)"),
        Summary("steps_below_0db", "1", "steps below 0 dB", "steps whose snr_schedule_db is less than 0 (σ > .5)"),
        Summary("wander_total", "1", "wander", "Σ low_frequency_wander over the stage"),
        Summary("wander_above_0db", "1", "wander above 0 dB", "Σ low_frequency_wander over the steps above 0 dB"),
        Summary("wander_below_0db", "1", "wander below 0 dB", "Σ low_frequency_wander over the steps below 0 dB"),
        Summary("drift_index", "1", "drift index",
                "mean over frames f ≥ 2 of ‖p_f − p_1‖ / √mean(‖x0_1‖²), p_f the pooled channel means of the last x0",
                ("video",)),
        Summary(DRIFT, "1", "drift",
                "largest severity of texture, level, flicker and jumps of the finished clip, 0 to about 1: lower is "
                "steadier; NaN for noise, noise left, a frozen clip and values that are not finite", ("video",)),
        Summary("drift_first_frame", "latent frame", "drifts from",
                f"latent frame from which on content_drift's largest part is {DRIFT_BOUND:g} or more; NaN if none is",
                ("video",)),
        Summary("motion_relative", "1", "motion",
                "mean over frames of √mean((x0_f − x0_{f−1})²) / √(2·mean(x0²)) of the finished clip: 0 is a still, "
                "1 unrelated frames", ("video",)),
    ]
}
"""The numbers of each stream of a stage at its end, per batch item."""
# fmt: on


@dataclass(frozen=True)
class Quantity:
    """One value of a sample of the machine's load; values of quantities that a machine does not have are left out."""

    unit: str
    label: str


QUANTITIES: dict[str, Quantity] = {
    "process_cpu": Quantity("%", "process CPU, 100 % per core"),
    "process_memory": Quantity("bytes", "process resident memory"),
    "host_memory_used": Quantity("bytes", "host memory in use"),
    "gpu_utilisation": Quantity("%", "GPU utilisation"),
    "gpu_memory_used": Quantity("bytes", "GPU memory in use"),
    "gpu_memory_total": Quantity("bytes", "GPU memory"),
    "gpu_power": Quantity("W", "GPU power"),
    "gpu_temperature": Quantity("°C", "GPU temperature"),
    "gpu_sm_clock": Quantity("MHz", "GPU SM clock"),
    "gpu_memory_clock": Quantity("MHz", "GPU memory clock"),
}
"""What a `system` message may hold, by name."""


def on_stream(stream: str) -> list[Metric]:
    """The metrics that a stream has, in row order."""
    chosen = [m for m in METRICS.values() if stream in m.streams]
    return [m for m in chosen if m.on_host] + [m for m in chosen if not m.on_host]
