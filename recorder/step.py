"""One scheduler step as metrics see it: where its latents lie on their grid, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from recorder.declarations import Metric
from recorder.spectra import Grid, bin_centres, grid_for


@dataclass(frozen=True)
class Layout:
    """Where a stream's latents lie on their grid: (F, H, W) for video, (L,) for audio.

    `frames` are the latent frames that are being generated, in order, where that is not all of them: conditioning
    frames (a given first frame, keyframes) are no part of what is measured, but keep their places in frame metrics.
    """

    stream: str
    batch: int
    grid: tuple[int, ...]
    frames: tuple[int, ...] | None = None

    @property
    def axes(self) -> tuple[int, ...]:
        """The side lengths that spectra are taken over."""
        return self.grid[1:] if self.stream == "video" else self.grid

    @property
    def places(self) -> tuple[int, ...]:
        """The latent frames that are generated; those of a video."""
        return self.frames if self.frames is not None else tuple(range(self.grid[0]))

    @property
    def shape(self) -> tuple[int, ...]:
        """Grid of what is generated: (F′, H, W) or (L,)."""
        return (len(self.places), *self.grid[1:]) if self.stream == "video" else self.grid

    def on_grid(self, tokens: Tensor) -> Tensor:
        """Packed tokens [B, F′·H·W, C] as [B, F′, H, W, C]; audio tokens [B, L, C] stay as they are."""
        return tokens.float().reshape(self.batch, *self.shape, tokens.shape[-1])

    def lengths(self) -> dict[str, int]:
        """Length of every dimension that a metric may have."""
        frequency = len(bin_centres(self.axes))
        found = {"batch": self.batch, "spatial_frequency": frequency, "temporal_frequency": frequency}
        if self.stream == "video":
            found["frame"] = self.grid[0]
        return found

    def row_shape(self, metric: Metric) -> tuple[int, ...]:
        """Shape of one row of a metric on this stream."""
        lengths = self.lengths()
        return tuple(lengths[d] for d in metric.dims_on(self.stream) if d != "step")


@dataclass
class Step:
    """One scheduler step of one stream: what went in, what came out, and the step before.

    `x`, `velocity` and `x_next` lie on the grid ([B, F′, H, W, C] or [B, L, C]); `sigma` is a host number. `passes`
    are the model's raw velocities before guidance, on the same grid: `conditional`, and whichever of `cfg`, `stg` and
    `modality` were run.
    """

    layout: Layout
    sigma: float
    x: Tensor
    velocity: Tensor
    x_next: Tensor
    previous: Step | None = None
    passes: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def x0(self) -> Tensor:
        return self.x - self.sigma * self.velocity

    @cached_property
    def noise(self) -> Tensor:
        return self.x + (1 - self.sigma) * self.velocity

    @cached_property
    def grid(self) -> Grid:
        return grid_for(self.layout.axes, self.x.device)

    @cached_property
    def bands_x0(self) -> Tensor:
        return self.grid.bands(self.grid.power(self.x0))

    @cached_property
    def bands_noise(self) -> Tensor:
        return self.grid.bands(self.grid.power(self.noise))

    @cached_property
    def bands_velocity(self) -> Tensor:
        return self.grid.bands(self.grid.power(self.velocity))

    @cached_property
    def whiteness(self) -> Tensor:
        bands = self.bands_noise
        return bands / bands.nansum(dim=1, keepdim=True) / self.grid.white_share

    @cached_property
    def pooled_x0(self) -> Tensor:
        """Channel means over space of every generated frame: [B, F′, C]."""
        return self.x0.mean(dim=(2, 3))

    def forget(self) -> None:
        """Drop everything but what the next step compares with, so that one step back is all that stays alive."""
        self.previous = None
        self.passes = {}
        for name in ("noise", "pooled_x0", "bands_x0", "bands_noise", "bands_velocity", "whiteness"):
            self.__dict__.pop(name, None)
