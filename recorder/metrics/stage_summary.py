"""The summary of one stream of a stage: `SUMMARIES` in `recorder/format/declarations.py`, per batch item.

It has two parts. `StageSummary` runs on the host, on the rows that go to the journal, and needs no torch.
`PathTracker` runs on the device that holds the latents, since it sums whole latents. It never waits for the device,
and hands over two small tensors when the stage ends. For one stream:

    tracker, summary = PathTracker(), StageSummary(batch)
    for each step:
        tracker.add(step, sigma_next)      # sampling thread; before step.forget()
        summary.add({name: row[name] for name in StageSummary.NEEDS})      # wherever rows are on the host
    measured = tracker.finish()            # copy to the host as rows are
    summary.finish({name: tensor.numpy() for name, tensor in measured.items()})
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from recorder.metrics.content_drift import FINISHED, content_drift
from recorder.metrics.full_precision import full_precision
from recorder.metrics.spectra import mean_square, mean_square_

if TYPE_CHECKING:
    from torch import Tensor

    from recorder.metrics.step import Step

Values = NDArray[np.floating[Any]]


class StageSummary:
    """Sums over the rows of one stream of a stage, in constant memory."""

    NEEDS: ClassVar[tuple[str, ...]] = ("snr_schedule_db", "displacement_rms", "low_frequency_wander")
    """The metrics that `add` reads: the first a number, the others one per batch item."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._rows = 0
        self._steps = {"above": 0, "below": 0}
        self._wander = {"above": np.zeros(batch), "below": np.zeros(batch)}
        self._path = np.zeros(batch)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row: its values of `NEEDS`."""
        side = "above" if float(np.squeeze(row["snr_schedule_db"])) >= 0 else "below"
        self._steps[side] += 1
        self._path += np.asarray(row["displacement_rms"], np.float64)
        if self._rows:  # the first row of a stage has no predecessor, and so no wander
            self._wander[side] += np.asarray(row["low_frequency_wander"], np.float64)
        self._rows += 1

    def finish(self, measured: Mapping[str, Values]) -> dict[str, Values]:
        """Every summary by name, one value per batch item; `measured` is the result of `PathTracker.finish`.

        NaN where undefined: without a step, with a shock in the path, with too few frames. A broken row makes the
        sums over it NaN.
        """
        found: dict[str, Values] = {
            "path_length": self._path,
            "steps_above_0db": np.full(self._batch, float(self._steps["above"])),
            "steps_below_0db": np.full(self._batch, float(self._steps["below"])),
            "wander_total": self._wander["above"] + self._wander["below"],
            "wander_above_0db": self._wander["above"],
            "wander_below_0db": self._wander["below"],
        }
        return {name: np.asarray(values, np.float64) for name, values in {**measured, **found}.items()}


class PathTracker:
    """The path of one stream's latents through a stage, on their device: straightness, and drift of the last x0.

    It holds two latents until it is dropped, or the path is broken, and after the last step of a video the clip as
    well: the sampler may change its own in place before the stage ends.
    """

    def __init__(self) -> None:
        self._sum_of_steps = 0.0  # Σ|Δσ|
        self._first_sigma: float | None = None
        self._last_sigma = 0.0
        self._whole = True
        self._square: Tensor | None = None  # Σ mean(v²)·|Δσ|
        self._velocity: Tensor | None = None  # Σ v·|Δσ|
        self._moved: Tensor | None = None  # x_N − x_0
        self._drift: tuple[Tensor, Tensor, tuple[int, ...]] | None = None
        self._frames: tuple[int, ...] = ()
        self._clip: Tensor | None = None  # what came out of the last step, where that is a finished clip

    def add(self, step: Step, sigma_next: float) -> None:
        """Add one step that went to `sigma_next`; call it before the step forgets its latents."""
        size = abs(sigma_next - step.sigma)
        if self._first_sigma is None:
            self._first_sigma = step.sigma
        # A step of length 0 adds nothing to the path; its velocity may be NaN at σ = 0.
        if size or self._square is None:
            self._square = _added(self._square, step.mean_square["velocity"], size)
        if self._whole:
            if size or self._velocity is None:
                self._velocity = _added(self._velocity, step.velocity, size)
            self._moved = _added(self._moved, step.displacement)
        self._sum_of_steps += size
        self._last_sigma = sigma_next
        if step.layout.stream == "video":
            frames = self._frames = step.layout.generated_frames
            self._clip = step.x_next.clone() if sigma_next <= FINISHED else None
            if step.sigma:
                self._drift = step.pooled_x0, first_frame_rms(step.x0, frames), frames
            else:  # the sample is the clip, and the caller gets the result of this step
                x0 = step.x_next.float()
                self._drift = x0.mean(dim=(2, 3)), first_frame_rms(x0, frames), frames

    def broken(self) -> None:
        """The path was broken, as by a shock: it has no straightness then, and its latents are freed."""
        self._whole = False
        self._velocity = self._moved = self._clip = None

    def finish(self) -> dict[str, Tensor]:
        """`straightness` and, for video, every drift, each [B] on the latents' device; empty without a step.

        The mean over the path of (d − v)², d = (x_N−x_0)/(σ_N−σ_0), is (d − mean v)² plus the variance of v: sums over
        steps are sufficient, and no velocity is kept.
        """
        if self._square is None:
            return {}
        span = self._last_sigma - (self._first_sigma or 0.0)
        if self._velocity is not None and self._moved is not None and span:
            mean = self._velocity / self._sum_of_steps
            spread = self._square / self._sum_of_steps - mean_square(mean)
            miss = mean_square_((self._moved / span).sub_(mean))
            found = {"straightness": miss + spread.clamp(min=0)}
        else:
            found = {"straightness": self._square.new_full(self._square.shape, float("nan"))}
        if self._drift is not None:
            found["drift_index"] = drift_of_means(*self._drift)
            clip = self._clip if self._clip is not None else self._square.new_full((len(self._square), 0), float("nan"))
            with torch.no_grad(), full_precision(clip.device.type):
                found |= content_drift(clip, self._frames if self._clip is not None else ())
        return found


def _added(total: Tensor | None, values: Tensor, weight: float = 1.0) -> Tensor:
    """total + weight·values, in place if possible, since totals are whole latents."""
    if total is None:
        return values.float() * weight
    if total.is_inference() and not torch.is_inference_mode_enabled():  # inference tensors may not be changed outside
        return total.add(values, alpha=weight)
    return total.add_(values, alpha=weight)


def drift_index(x0: Tensor, frames: tuple[int, ...]) -> Tensor:
    """How far the later frames' channel means are from those of the first: [B], of x0 [B, F′, H, W, C].

    Mean over frames f ≥ 2 of ‖p_f − p_1‖ / ‖x0_1‖, p_f the means over space of frame f, and ‖x0_1‖² the mean over
    space of frame 1's squared norm. The denominator is that of the whole frame, because ‖p_1‖ alone may be close to 0,
    and clean motion would score as drift. `frames` are the latent frames that x0 holds; they are compared with the
    first of them after frame 0, which stands for a single pixel frame.
    """
    return drift_of_means(x0.mean(dim=(2, 3)), first_frame_rms(x0, frames), frames)


def _later(frames: tuple[int, ...]) -> list[int]:
    """Indices of the frames after frame 0."""
    return [i for i, frame in enumerate(frames) if frame > 0]


def first_frame_rms(x0: Tensor, frames: tuple[int, ...]) -> Tensor:
    """RMS [B] of the frame that others are compared with; 0 if there is none."""
    later = _later(frames)
    if not later:
        return x0.new_zeros(x0.shape[0])
    return mean_square(x0.select(1, later[0])).sqrt_()


def drift_of_means(pooled: Tensor, first: Tensor, frames: tuple[int, ...]) -> Tensor:
    """The drift index [B] from p_f [B, F′, C] of all frames, and the RMS [B] of frame 1: ‖x0_1‖ is √C times that."""
    later = _later(frames)
    if len(later) < 2:
        return first.new_full(first.shape, float("nan"))
    means = pooled[:, later[0] :]
    return torch.linalg.vector_norm(means[:, 1:] - means[:, :1], dim=2).mean(dim=1) / (first * pooled.shape[2] ** 0.5)
