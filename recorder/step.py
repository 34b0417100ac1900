"""One scheduler step as metrics see it: where its latents lie on their grid, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import torch
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

    @property
    def timeline(self) -> slice | None:
        """Which of the generated frames a spectrum over time is taken of; None if there is no such spectrum.

        Frame 0 stands for one pixel frame and the others for eight, so it is left out; a gap has no spectrum.
        """
        later = [i for i, place in enumerate(self.places) if place > 0]
        if len(later) < 2 or self.places[later[-1]] - self.places[later[0]] != len(later) - 1:
            return None
        return slice(later[0], later[-1] + 1)

    def on_grid(self, tokens: Tensor) -> Tensor:
        """Packed tokens [B, F′·H·W, C] as [B, F′, H, W, C]; audio tokens [B, L, C] stay as they are."""
        return tokens.float().reshape(self.batch, *self.shape, tokens.shape[-1])

    def coordinates(self) -> dict[str, dict[str, Any]]:
        """The values along every dimension that has any, with their units."""
        axis = "spatial_frequency" if self.stream == "video" else "temporal_frequency"
        found = {axis: _coordinate(bin_centres(self.axes), "Nyquist")}
        if self.stream == "video":
            span = self.timeline
            length = 1 if span is None else span.stop - span.start
            found["frame"] = _coordinate(list(range(self.grid[0])), "latent frame")
            found["frame_frequency"] = _coordinate([k / length for k in range(length // 2 + 1)], "cycles/latent frame")
        return found

    def lengths(self) -> dict[str, int]:
        """Length of every dimension that a metric may have."""
        return {"batch": self.batch, **{name: len(c["values"]) for name, c in self.coordinates().items()}}

    def row_shape(self, metric: Metric) -> tuple[int, ...]:
        """Shape of one row of a metric on this stream."""
        lengths = self.lengths()
        return tuple(lengths[d] for d in metric.dims_on(self.stream) if d != "step")


def _coordinate(values: list[Any], units: str) -> dict[str, Any]:
    return {"values": values, "attributes": {"units": units}}


@lru_cache(maxsize=64)
def nans(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """NaN in a shape, made once per device since it is asked for in every step. Not to be written to."""
    return torch.full(shape, math.nan, device=device)


@lru_cache(maxsize=64)
def nothing(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Zeros in a shape, made once per device. Not to be written to."""
    return torch.zeros(shape, device=device)


@lru_cache(maxsize=64)
def frame_index(frames: int, places: tuple[int, ...], reach: int, device: torch.device) -> Tensor:
    """For every latent frame f the number of the run of generated frames f−reach…f, or that of a NaN after them all."""
    ends = {places[i + reach]: i for i in range(len(places) - reach) if places[i + reach] - places[i] == reach}
    return torch.tensor([ends.get(f, max(0, len(places) - reach)) for f in range(frames)], device=device)


@dataclass
class Step:
    """One scheduler step of one stream: what went in, what came out, and the step before.

    `x`, `velocity` and `x_next` lie on the grid ([B, F′, H, W, C] or [B, L, C]); `sigma` is a host number. `passes`
    are the model's raw velocities before guidance, on the same grid: `conditional`, and whichever of `cfg`, `stg` and
    `modality` were run. `fresh` is the noise that a shock added to `x_next`. What several metrics share is a cached
    property, computed when the first one asks.
    """

    layout: Layout
    sigma: float
    x: Tensor
    velocity: Tensor
    x_next: Tensor
    previous: Step | None = None
    passes: Mapping[str, Tensor] = field(default_factory=dict)
    fresh: Tensor | None = None

    @cached_property
    def x0(self) -> Tensor:
        return torch.sub(self.x, self.velocity, alpha=self.sigma)

    @cached_property
    def noise(self) -> Tensor:
        return torch.add(self.x, self.velocity, alpha=1 - self.sigma)

    @cached_property
    def displacement(self) -> Tensor:
        return self.x_next - self.x

    @cached_property
    def device(self) -> torch.device:
        return self.x.device

    @cached_property
    def grid(self) -> Grid:
        return grid_for(self.layout.axes, self.device)

    @cached_property
    def spectra(self) -> Tensor:
        """Spectra [2, 2, B, n, 2K]: as they are and windowed, of x and of v."""
        return self.grid.transform(self.x, self.velocity)

    @cached_property
    def x0_spectra(self) -> Tensor:
        """Spectra of x0, as it is and windowed: [2, B, n, 2K]."""
        return torch.sub(self.spectra[:, 0], self.spectra[:, 1], alpha=self.sigma)

    @cached_property
    def memory(self) -> Tensor:
        """What the next step compares with: spectra of x0 and v, [2, B, n, 2K], in memory that nobody else writes."""
        return torch.stack((self.x0_spectra[0], self.spectra[0, 1]))

    @cached_property
    def _binned(self) -> tuple[Tensor, Tensor, Tensor]:
        grid, spectra = self.grid, self.spectra
        noise = torch.add(spectra[:, 0], spectra[:, 1], alpha=1 - self.sigma)
        powers = [grid.mean_power(spectra).flatten(0, 1), grid.mean_power(self.x0_spectra), grid.mean_power(noise)]
        if self.previous is not None:
            x0, velocity = self.previous.memory
            powers.append(grid.mean_power((self.x0_spectra[0] - x0)[None]))
            powers.append(grid.mean_power(spectra[:1, 1], velocity))
        return grid.bin(torch.cat(powers))

    @cached_property
    def radial(self) -> dict[str, Tensor]:
        """Radially averaged, windowed power [B, bins] of `x`, `velocity`, `x0` and `noise`."""
        found = self._binned[0]
        return {"x": found[2], "velocity": found[3], "x0": found[5], "noise": found[7]}

    @cached_property
    def bands(self) -> dict[str, Tensor]:
        """Band energies [B, 3]; of `x0_change` only where there is a step before."""
        return self._by_name(self._binned[1])

    @cached_property
    def mean_square(self) -> dict[str, Tensor]:
        """Mean squares [B], by Parseval from the spectra; `velocity_product` is that of v with the last step's v."""
        return self._by_name(self._binned[2])

    def _by_name(self, found: Tensor) -> dict[str, Tensor]:
        names = {"x": 0, "velocity": 1, "x0": 4, "noise": 6, "x0_change": 8, "velocity_product": 9}
        return {name: found[i] for name, i in names.items() if i < len(found)}

    @cached_property
    def whiteness(self) -> Tensor:
        return self.bands["noise"] / self.mean_square["noise"][:, None] / self.grid.white_share

    @cached_property
    def pooled_x0(self) -> Tensor:
        """Spatial channel means of x0, video's of every generated frame: [B, F′, C] (audio: [B, C])."""
        means = self.grid.means(self.x0_spectra[0])
        if self.layout.stream != "video":
            return means
        return means.reshape(self.layout.batch, self.x.shape[-1], -1).transpose(1, 2)

    @cached_property
    def pooled_squares(self) -> Tensor:
        return self.pooled_x0.square().sum(dim=2)

    @cached_property
    def x0_differences(self) -> Tensor:
        """Every generated frame of x0 minus the generated one before it: [B, F′−1, H, W, C]."""
        return self.x0[:, 1:] - self.x0[:, :-1]

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Standard deviation and mean [B] of the sample after the step."""
        found: tuple[Tensor, Tensor] = torch.std_mean(self.x_next.flatten(1), dim=1, correction=0)
        return found

    def forget(self) -> None:
        """Drop everything but what the next step compares with, so that one step back is all that stays alive."""
        kept = {"memory": self.memory, "mean_square": self.mean_square, "device": self.device}
        self.previous, self.passes, self.fresh = None, {}, None
        nothing = self.x.new_empty(0)
        self.__dict__.update({"x": nothing, "velocity": nothing, "x_next": nothing})
        for name in [n for n in self.__dict__ if isinstance(getattr(type(self), n, None), cached_property)]:
            del self.__dict__[name]
        self.__dict__.update(kept)
