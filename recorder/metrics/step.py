"""One scheduler step as metrics see it: its latents on their grid, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from recorder.metrics.constants import fixed_places, frame_index, nans
from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.spectra import Grid, grid_for, mean_square_


@dataclass(frozen=True)
class Drift:
    """The part of a step without fresh noise: `keep`·x + `move`·v; NaN if unknown."""

    keep: float
    move: float

    @property
    def known(self) -> bool:
        return math.isfinite(self.keep) and math.isfinite(self.move)


UNKNOWN: Final = Drift(math.nan, math.nan)
"""For a sampler whose steps are not known."""


@dataclass
class Step:
    """One scheduler step of one stream: its inputs, its result, and the previous step.

    `x`, `velocity` and `x_next` lie on the grid ([B, F′, H, W, C] or [B, L, C]), in the sampler's precision; `sigma` is
    a host number. `passes` are the model's raw velocities before guidance: `conditional`, and those of `cfg`, `stg` and
    `modality` that were run. `fresh` is the noise that a shock added to `x_next`, `drift` the step without the noise
    that the sampler itself adds, if it adds any. `given_change` is how far the given frames are from what they were,
    [B]; None if no frame is given. Values that several metrics share are cached properties.

    Latents are large, so only x0 and the spectra of one step are kept while a step is measured; the rest is temporary.
    """

    layout: LatentLayout
    sigma: float
    x: Tensor
    velocity: Tensor
    x_next: Tensor
    previous: Step | None = None
    passes: Mapping[str, Tensor] = field(default_factory=dict)
    fresh: Tensor | None = None
    drift: Drift | None = None
    given_change: Tensor | None = None
    _memory: Tensor | None = field(default=None, init=False, repr=False)

    @cached_property
    def x0(self) -> Tensor:
        # At σ = 0 the sample is x0, whatever the velocity: it may be NaN there, since samplers divide by σ.
        return torch.sub(self.x.float(), self.velocity, alpha=self.sigma) if self.sigma else self.x.float()

    @cached_property
    def noise(self) -> Tensor:
        return torch.add(self.x.float(), self.velocity, alpha=1 - self.sigma)

    @cached_property
    def result(self) -> Tensor:
        """The sample after the step in float32: `x_next` itself where it is."""
        return self.x_next.float()

    @property
    def displacement(self) -> Tensor:
        """The movement of the sample; not cached, since it is a whole latent."""
        return torch.sub(self.result, self.x)

    @cached_property
    def device(self) -> torch.device:
        return self.x.device

    @cached_property
    def grid(self) -> Grid:
        return grid_for(self.layout.axes, self.device)

    @cached_property
    def _binned(self) -> tuple[Tensor, Tensor, Tensor]:
        grid = self.grid
        powers = self._powers(grid.transform(self.x, self.velocity, windowed=True))
        before = None if self.previous is None else self.previous.recalled()
        spectra = grid.transform(self.x, self.velocity)
        powers += self._powers(spectra, before)
        self._memory = spectra
        averaged = self.x.shape[-1] * (len(self.layout.generated_frames) if self.layout.stream == "video" else 1)
        return grid.bin(torch.cat(powers).div_(averaged))

    def _powers(self, spectra: Tensor, before: Tensor | None = None) -> list[Tensor]:
        """Summed powers of x, v, x0 and ε, and of the differences of x0 and v from `before`; x0 overwrites x."""
        grid, scratch = self.grid, spectra.square()
        powers = [grid.summed(scratch)]
        (x0, velocity), half = spectra.split(1), scratch.narrow(0, 0, 1)
        if self.sigma:
            x0.sub_(velocity, alpha=self.sigma)
        powers.append(grid.summed(torch.mul(x0, x0, out=half)))
        powers.append(grid.summed(torch.add(x0, velocity, out=half).square_()))
        if before is not None:
            powers.append(grid.summed(torch.sub(spectra, before, out=scratch).square_()))
        return powers

    def recalled(self) -> Tensor:
        """The spectra of x0 and v that the next step compares with: [2, B, C, …, 2].

        A forgotten step hands them over once, so that the spectra of two steps are held only for a moment.

        Raises:
            RuntimeError: if they were handed over already.
        """
        if self._memory is None and self.x.numel():
            _ = self._binned
        memory = self._memory
        if memory is None:
            raise RuntimeError("this step was forgotten, and a later one has been compared with it already")
        if not self.x.numel():
            self._memory = None
        return memory

    @cached_property
    def radial(self) -> dict[str, Tensor]:
        """Radially averaged, windowed power [B, bins] of `x`, `velocity`, `x0` and `noise`."""
        return dict(zip(("x", "velocity", "x0", "noise"), self._binned[0].unbind(), strict=False))

    @cached_property
    def bands(self) -> dict[str, Tensor]:
        """Band energies [B, 3]; those of changes only if there is a previous step."""
        return self._by_name(self._binned[1])

    @cached_property
    def band(self) -> dict[str, tuple[Tensor, ...]]:
        """The band energies and the `whiteness`, one [B] for each of the three bands."""
        found = [self._by_name(energies) for energies in self._binned[1].unbind(-1)]
        by_band = {name: tuple(energies[name] for energies in found) for name in found[0]}
        return {**by_band, "whiteness": self.whiteness.unbind(1)}

    @cached_property
    def mean_square(self) -> dict[str, Tensor]:
        """Mean squares [B], by Parseval from the spectra."""
        return self._by_name(self._binned[2])

    def _by_name(self, found: Tensor) -> dict[str, Tensor]:
        # The windowed ones come first.
        names = ("x", "velocity", "x0", "noise", "x0_change", "velocity_change")
        return dict(zip(names, found.unbind()[4:], strict=False))

    @cached_property
    def whiteness(self) -> Tensor:
        """Share of ε in each band, relative to that of white noise: [B, 3]."""
        share: Tensor = self.bands["noise"] / self.mean_square["noise"].unsqueeze(1)
        return share.div_(self.grid.white_share)

    @cached_property
    def guidance(self) -> dict[str, Tensor]:
        """RMS [B] of the `conditional` velocity, and of its difference from each of the other passes, by name."""
        if "conditional" not in self.passes:
            return {}
        conditional = self.passes["conditional"].float()
        scratch = conditional.clone()
        found = {"conditional": mean_square_(scratch).sqrt_()}
        for name, other in self.passes.items():
            if name != "conditional":
                found[name] = mean_square_(torch.sub(conditional, other, out=scratch)).sqrt_()
        return found

    @cached_property
    def _pooled(self) -> tuple[Tensor, Tensor]:
        """Variance over space and mean of every channel of video's x0, of every generated frame: [B, F′, C] each."""
        found: tuple[Tensor, Tensor] = torch.var_mean(self.x0, dim=(2, 3), correction=0)
        return found

    @property
    def pooled_x0(self) -> Tensor:
        """Spatial channel means of video's x0, of every generated frame: [B, F′, C]."""
        return self._pooled[1]

    @cached_property
    def channels(self) -> tuple[Tensor, Tensor]:
        """Standard deviation and mean of every channel of x0: [B, C] each."""
        found: tuple[Tensor, Tensor] = torch.std_mean(self.x0, dim=self.per_item[:-1], correction=0)
        return found

    @cached_property
    def by_frame(self) -> tuple[Tensor, ...]:
        """`frame_identity`, `frame_contrast`, `frame_coherence`, `motion` and `jerk`, each [B, F]; NaN if undefined."""
        layout = self.layout
        frames, generated = layout.grid[0], layout.generated_frames
        directions = self.pooled_x0 / torch.linalg.vector_norm(self.pooled_x0, dim=2, keepdim=True)
        # Frame 0 stands for one pixel frame and the others for eight, so the reference is the first one after it.
        reference = next((i for i, frame in enumerate(generated) if frame > 0), None)
        if reference is None:
            identity = nans((layout.batch, len(generated)), self.device)
        else:
            identity = (directions * directions.narrow(1, reference, 1)).sum(dim=2)
        contrast = self._pooled[0].mean(dim=2).sqrt_()
        count = len(generated) - 1
        coherence = (directions.narrow(1, 1, count) * directions.narrow(1, 0, count)).sum(dim=2)
        first = self.x0.diff(dim=1)
        squares = [first.diff(dim=1).square_().mean(dim=(2, 3, 4))] if count > 0 else []
        squares.insert(0, first.square_().mean(dim=(2, 3, 4)))
        moved = torch.cat(squares, dim=1).sqrt_()
        values = torch.cat([identity, contrast, coherence, moved, nans((layout.batch, 1), self.device)], dim=1)
        spread = values.index_select(1, frame_index(frames, generated, self.device))
        return tuple(spread.split(frames, dim=1))

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Standard deviation and mean [B] of the sample after the step."""
        found: tuple[Tensor, Tensor] = torch.std_mean(self.result, dim=self.per_item, correction=0)
        return found

    def picked(self, sample: Tensor) -> Tensor:
        """Values at fixed places of a sample, [B, at most 4,096]: what two steps are compared by."""
        return sample.take(fixed_places(len(sample), sample.numel() // max(1, len(sample)), self.device))

    @cached_property
    def left(self) -> Tensor:
        """Those of the sample after the step."""
        return self.picked(self.result)

    @property
    def per_item(self) -> tuple[int, ...]:
        """The dimensions of one batch item."""
        return tuple(range(1, self.x_next.ndim))

    def measure_passes(self) -> None:
        """Measure the passes and free them: together they are the largest part of a step."""
        _ = self.guidance
        self.passes = {}

    def forget(self) -> None:
        """Drop everything that the next step is not compared with; steps before this one are freed too."""
        kept = {"mean_square": self.mean_square, "device": self.device, "left": self.left}
        self.previous, self.passes, self.fresh = None, {}, None
        nothing = self.x.new_empty(0)
        self.__dict__.update({"x": nothing, "velocity": nothing, "x_next": nothing})
        for name in [n for n in self.__dict__ if isinstance(getattr(type(self), n, None), cached_property)]:
            del self.__dict__[name]
        self.__dict__.update(kept)
