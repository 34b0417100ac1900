"""Positions of a stream's latents on their grid, and what shape a row of each metric has there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from recorder.format.declarations import Metric
from recorder.metrics.spectra import bin_centres


@dataclass(frozen=True)
class LatentLayout:
    """Positions of a stream's latents on their grid: (F, H, W) for video, (L,) for audio.

    `frames` are the latent frames that are generated, in order, if not all of them are; those of audio are its latents
    along time. Conditioning frames (a given first frame, keyframes, kept audio) are not measured, but keep their
    positions in frame metrics. If a gap separates the generated audio, its spectra are those of the joined parts.
    """

    stream: str
    batch: int
    grid: tuple[int, ...]
    frames: tuple[int, ...] | None = None

    @property
    def axes(self) -> tuple[int, ...]:
        """The side lengths that spectra are taken over."""
        return self.grid[1:] if self.stream == "video" else self.shape

    @property
    def generated_frames(self) -> tuple[int, ...]:
        """The latent frames that are generated."""
        return self.frames if self.frames is not None else tuple(range(self.grid[0]))

    @property
    def shape(self) -> tuple[int, ...]:
        """Grid of the generated part: (F′, H, W) or (L′,)."""
        return (len(self.generated_frames), *self.grid[1:])

    @property
    def timeline(self) -> slice | None:
        """The generated frames over which the temporal spectrum is taken; None if it cannot be computed.

        Frame 0 is excluded because it covers one pixel frame and the others cover eight. Frames with a gap between them
        have no temporal spectrum.
        """
        later = [i for i, frame in enumerate(self.generated_frames) if frame > 0]
        if len(later) < 2 or self.generated_frames[later[-1]] - self.generated_frames[later[0]] != len(later) - 1:
            return None
        return slice(later[0], later[-1] + 1)

    def on_grid(self, tokens: Tensor) -> Tensor:
        """Packed tokens [B, F′·H·W, C] as [B, F′, H, W, C]; audio tokens [B, L′, C] are unchanged."""
        return tokens.reshape(self.batch, *self.shape, tokens.shape[-1])

    def coordinates(self, channels: int = 1) -> dict[str, dict[str, Any]]:
        """Coordinates of every dimension that has any, with units. `channels` is not part of the layout."""
        axis = "spatial_frequency" if self.stream == "video" else "temporal_frequency"
        found = {axis: _coordinate(bin_centres(self.axes), "Nyquist")}
        found["channel"] = _coordinate(list(range(channels)), "latent channel")
        if self.stream == "video":
            span = self.timeline
            length = 1 if span is None else span.stop - span.start
            found["frame"] = _coordinate(list(range(self.grid[0])), "latent frame")
            found["frame_frequency"] = _coordinate([k / length for k in range(length // 2 + 1)], "cycles/latent frame")
        return found

    def lengths(self, channels: int = 1) -> dict[str, int]:
        """Length of every dimension that a metric may have."""
        return {"batch": self.batch, **{name: len(c["values"]) for name, c in self.coordinates(channels).items()}}

    def row_shape(self, metric: Metric, channels: int = 1) -> tuple[int, ...]:
        """Shape of one row of a metric on this stream, for latents with this number of channels."""
        lengths = self.lengths(channels)
        return tuple(lengths[d] for d in metric.dims_on(self.stream) if d != "step")


def _coordinate(values: list[Any], units: str) -> dict[str, Any]:
    return {"values": values, "attributes": {"units": units}}
