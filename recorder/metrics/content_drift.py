"""How far a finished clip's content departs from where it began: `content_drift`, where it begins, and motion.

Four parts are measured on cells of a coarse grid, the same for a clip on any latent grid, and the largest one counts:

- texture: the change of the energy of fine detail, against the first frame;
- level: the shift and the loss of contrast that most cells share, against the first frame;
- flicker: what returns from frame to frame, in strength and in level;
- jump: areas of a frame that no mixture of cells of the frames around it explains, beyond what is usual in the clip.

Motion leaves the first two as they are, is smooth in the third, and is what the mixtures of the fourth allow for.
docs/metrics.md has the formulas, what they give on clips with known faults, and what they cannot see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from recorder.format.declarations import DRIFT, DRIFT_BOUND

CELLS: Final = 8
"""Cells of the coarse grid along the shorter side of a frame."""
MOST_CELLS: Final = 20
"""The same along the longer side."""
FINISHED: Final = 0.02
"""Noise level up to which a sample counts as a finished clip."""
_WHITE: Final = 0.45
"""Share of noise above which the clip is not judged."""
_STILL: Final = 0.005
"""Relative motion up to which a clip is frozen."""
_DETAIL: Final = 0.3
"""Quantile over cells that represents a frame's detail. A low one, since moving things cover only some of the cells."""
_FLOOR: Final = 1e-4
"""Energy that detail is measured against, in parts of the clip's variance."""
_TAIL: Final = 0.05
"""Share of cells that a jump is read from: the least explained ones."""
_FILLED: Final = 3
"""Cells that have to be unexplained among a cell and its eight neighbours. Latents say where in a cell an edge lies: a
moving edge is a row of cells that nothing explains, a thing that changes is an area of them."""
_FINE: Final = 3
"""Latents along the side of a cell at which an edge within one latent covers too little of the cell to count."""
_REACH: Final = 1.5
"""How far a mixture of two cells may go from one to the other and beyond it."""
_USUAL: Final = 1.5
"""A jump is what exceeds this many times the usual."""
_LEAST: Final = 0.25
"""Excess at which a jump has half its severity in a clip without motion, in parts of the variance of cells."""
_PER_MOTION: Final = 0.1
"""What that rises by with the largest changes from frame to frame: what moves far is not explained as well."""
_UNRELATED: Final = 0.2
"""Part of the difference between unrelated contents that their common shift has by chance."""
_DISPLACED: Final = 3.0
"""The same for a common loss of contrast: displaced contents have little in common, which looks like a loss."""
_GRAIN: Final = 0.02
"""Unexplained part of the median cell at which half of the apparent noise is noise, and half is moving texture."""


@dataclass(frozen=True)
class Part:
    """How a measured quantity becomes a severity: weight · q^power / (q^power + half^power)."""

    weight: float
    half: float
    power: float

    def severity(self, quantity: Tensor) -> Tensor:
        """Severity 0 to `weight`, in the shape of what was measured."""
        raised = quantity**self.power
        return self.weight * raised / (raised + self.half**self.power)


TEXTURE: Final = Part(0.25, 0.4, 3)
LEVEL: Final = Part(0.5, 0.4, 2)
FLICKER: Final = Part(0.8, 0.14, 2)
JUMP: Final = Part(1.0, 1.0, 4)
WHOLE: Final = Part(0.35, 0.05, 1)
"""What a jump loses when it takes the whole picture: a cut may be meant, a thing that changes in its scene is not."""


def content_drift(x0: Tensor, places: Sequence[int]) -> dict[str, Tensor]:
    """The drift of finished clips, by the names of their summaries, each [B].

    Args:
        x0: clips [B, F′, H, W, C] in any precision.
        places: the latent frames that x0 holds. Frame 0 stands for a single pixel frame and does not count.

    NaN where there is nothing to judge: fewer than two frames, a frame that is not finite, a clip without contrast,
    one in which nothing moves, and white noise. `drift_first_frame` is NaN too where the drift stays below the bound.
    """
    later = [i for i, place in enumerate(places) if place > 0]
    if len(later) < 2:
        unknown = x0.new_full((x0.shape[0],), float("nan"), dtype=torch.float32)
        return {DRIFT: unknown, "drift_first_frame": unknown, "motion_relative": unknown}
    x = x0[:, later[0] :].float()
    square = x.square().mean(dim=(2, 3, 4))
    moved = x.diff(dim=1).square_().mean(dim=(2, 3, 4)).sqrt_().mean(dim=1)
    motion = moved / (2 * square.mean(dim=1)).sqrt()
    centred = x - x.mean(dim=(1, 2, 3), keepdim=True)
    variance = centred.square().mean(dim=(1, 2, 3, 4))
    white = _white(centred) / variance
    cells, smooth, detail = _cells(centred, variance)
    parts, most = _parts(square, cells, smooth, detail, x.shape[2:4])
    measured = torch.stack(parts, dim=1)
    by_part = measured.mean(dim=2)
    ranked = measured.sort(dim=2).values
    by_part[:, :2] = ranked[:, :2, -max(1, measured.shape[2] // 3) :].mean(dim=2)
    by_part[:, 3] = ranked[:, 3, -1]
    worst, which = _severities(by_part).max(dim=1)
    noisy = most.mean(dim=1)
    drift = worst + 0.2 * white.square() * noisy / (noisy + _GRAIN)
    withheld = ~(((white <= _WHITE) | (noisy < 2.5 * _GRAIN)) & (motion > _STILL) & drift.isfinite())
    drift = drift.masked_fill(withheld, float("nan"))
    course = _severities(measured).gather(1, which[:, None, None].expand(-1, 1, len(later)))[:, 0]
    numbers = _numbers(tuple(places[i] for i in later), x.device)
    reached = torch.where(course >= DRIFT_BOUND, numbers, float("inf")).amin(dim=1)
    first = reached.masked_fill(~((drift >= DRIFT_BOUND) & reached.isfinite()), float("nan"))
    return {DRIFT: drift, "drift_first_frame": first, "motion_relative": motion}


def _severities(measured: Tensor) -> Tensor:
    """Severities [B, 4, …] of the four parts; that of a jump was found with it."""
    found = [part.severity(measured[:, i]) for i, part in enumerate((TEXTURE, LEVEL, FLICKER))]
    return torch.stack([*found, measured[:, 3]], dim=1)


def coarse_grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the coarse grid for frames of this size."""
    side = min(height, width) / min(CELLS, height, width)
    return min(MOST_CELLS, round(height / side)), min(MOST_CELLS, round(width / side))


@lru_cache(maxsize=64)
def _numbers(values: tuple[int, ...], device: torch.device) -> Tensor:
    """Numbers on a device, copied there once."""
    return torch.tensor(values, dtype=torch.float32, device=device)


@lru_cache(maxsize=64)
def _pooling(length: int, cells: int, device: torch.device) -> Tensor:
    """The matrix [cells, length] that takes means over cells of equal size, which may cut through samples."""
    edges = torch.arange(cells + 1, device=device) * (length / cells)
    samples = torch.arange(length, device=device)
    ends = torch.minimum(edges[1:, None], samples + 1)
    starts = torch.maximum(edges[:-1, None], samples)
    return (ends - starts).clamp(min=0) * (cells / length)


def _pooled(values: Tensor) -> Tensor:
    """[B, F, H, W, C] on the coarse grid."""
    height, width = values.shape[2:4]
    rows, columns = coarse_grid(height, width)
    values = torch.einsum("hH,bfHWc->bfhWc", _pooling(height, rows, values.device), values)
    return torch.einsum("wW,bfhWc->bfhwc", _pooling(width, columns, values.device), values)


def _quantile(values: Tensor, part: float) -> Tensor:
    """The value at a quantile of the last dimension, without interpolation."""
    return values.sort(dim=-1).values[..., int(part * (values.shape[-1] - 1))]


def _white(x: Tensor) -> Tensor:
    """Power [B] of what is new in every frame and cell: the lower quartile over cells of a mixed difference."""
    mixed = x.diff(dim=1)
    if x.shape[2] > 1:
        mixed = mixed.diff(dim=2) / 2**0.5
    if x.shape[3] > 1:
        mixed = mixed.diff(dim=3) / 2**0.5
    return _quantile(mixed.square().mean(dim=(1, 4)).flatten(1), 0.25) / 2


def _cells(x: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cells [B, F, M, C] of clips in units of their standard deviation, the same smoothed, and every frame's detail.

    Detail is half the logarithm of energy: of what lies within cells, and of how cells differ from their neighbours.
    """
    unit = variance.reshape(-1, 1, 1, 1)
    pooled = _pooled(x)
    inside = _pooled(x.square().mean(dim=-1, keepdim=True)).squeeze(-1) - pooled.square().mean(dim=-1)
    cells = pooled / unit.sqrt().unsqueeze(-1)
    wide = torch.cat([cells[:, :, :1], cells, cells[:, :, -1:]], dim=2)
    wide = torch.cat([wide[:, :, :, :1], wide, wide[:, :, :, -1:]], dim=3)
    around = wide[:, :, :-2, 1:-1] + wide[:, :, 2:, 1:-1] + wide[:, :, 1:-1, :-2] + wide[:, :, 1:-1, 2:]
    energy = (cells - around / 4).square().mean(dim=-1) + (inside / unit).clamp(min=0)
    smooth = (cells + around) / 5
    return cells.flatten(2, 3), smooth.flatten(2, 3), (_quantile(energy.flatten(2), _DETAIL) + _FLOOR).log() / 2


def _parts(
    square: Tensor, cells: Tensor, smooth: Tensor, detail: Tensor, size: Sequence[int]
) -> tuple[list[Tensor], Tensor]:
    """Texture, level, flicker and the severity of jumps, frame by frame: [B, F] each; and what `_jumps` gives.

    `size` is the height and width of the clips.
    """
    texture = (detail - detail[:, :1]).abs()
    level = torch.hypot(_shift(cells - cells[:, :1]), _faded(smooth))
    flicker, jump = torch.zeros_like(level), torch.zeros_like(level)
    if cells.shape[1] > 2:
        strength = square.log() / 2
        bent = (strength[:, 2:] - 2 * strength[:, 1:-1] + strength[:, :-2]) / 4
        shifted = _shift(cells[:, 2:] - 2 * cells[:, 1:-1] + cells[:, :-2]) / 4
        found = torch.hypot(bent, shifted)
        # The ends have one neighbour: their flicker is that of the frames next to them.
        flicker = torch.cat([found[:, :1], found, found[:, -1:]], dim=1)
    jump[:, 1:], most = _jumps(cells, size)
    return [texture, level, flicker, jump], most


def _shift(difference: Tensor) -> Tensor:
    """RMS [B, F] of the shift that most cells share, beyond that of unrelated contents; of [B, F, M, C]."""
    common = _quantile(difference.transpose(2, 3), 0.5)
    rest = _quantile((difference - common.unsqueeze(2)).square().mean(dim=-1), 0.5)
    return (common.square().mean(dim=-1) - _UNRELATED * rest).clamp(min=0).sqrt()


def _faded(smooth: Tensor) -> Tensor:
    """Contrast [B, F] that a still picture has lost or gained against frame 0, RMS over channels; of [B, F, M, C]."""
    centred = smooth - _quantile(smooth.transpose(2, 3), 0.5).unsqueeze(2)
    first = centred[:, :1]
    power = first.square().sum(dim=-1)
    gain = _quantile((centred * first).sum(dim=-1) / power.clamp(min=1e-6), 0.5)
    rest = _quantile((centred - gain[..., None, None] * first).square().mean(dim=-1), 0.5)
    contrast = _quantile(power, 0.5) / smooth.shape[-1]
    return ((1 - gain).square() * contrast - _DISPLACED * rest).clamp(min=0).sqrt()


def _jumps(cells: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Severity [B, F − 1] of the jump from each frame to the next, and the unexplained part of the median cell.

    Changes as large as the clip's usual ones do not count as jumps. Both results are fractions of the cells' variance.
    """
    usual = _quantile(cells.transpose(1, 3), 0.5).transpose(1, 2).unsqueeze(1)
    variance = cells.square().mean(dim=(1, 2, 3)).unsqueeze(1)
    ways = [_unexplained(cells, usual), _unexplained(cells.flip(1), usual).flip(1)]
    most = torch.minimum(*(_quantile(way, 0.5) for way in ways)) / variance
    whole = WHOLE.severity(most)
    # Where the whole picture changes, cells at edges change with it.
    areas, all_cells = (torch.minimum(*map(_highest, found)) for found in ([_areas(w, *size) for w in ways], ways))
    tail = areas.lerp(all_cells, whole / WHOLE.weight) / variance
    moved = _highest(cells.diff(dim=1).square().mean(dim=-1)) / variance
    level = _quantile(tail, 0.5).unsqueeze(1)
    half = (_LEAST + _PER_MOTION * _quantile(moved, 0.5).unsqueeze(1) + _USUAL * level).clamp(max=1)
    excess = (tail - _USUAL * level).clamp(min=0) if tail.shape[1] > 1 else tail
    return JUMP.severity(excess / half) * (1 - whole), most


def _areas(unexplained: Tensor, height: int, width: int) -> Tensor:
    """What is unexplained [B, F, M] of clips of this size, without single cells and rows of them."""
    rows, columns = coarse_grid(height, width)
    if height >= _FINE * rows:
        return unexplained
    wide = torch.nn.functional.pad(unexplained.unflatten(2, (rows, columns)), (1, 1, 1, 1))
    around = torch.stack([wide[..., r : r + rows, c : c + columns] for r in range(3) for c in range(3)])
    return unexplained.minimum(around.topk(_FILLED, dim=0).values[-1].flatten(2))


def _highest(values: Tensor) -> Tensor:
    """Mean of the highest values along the last dimension."""
    count = max(1, round(_TAIL * values.shape[-1]))
    return values.sort(dim=-1).values[..., -count:].mean(dim=-1)


def _unexplained(cells: Tensor, usual: Tensor) -> Tensor:
    """The part of each cell that no mixture explains, from frame 1: mean square over channels, [B, F − 1, M].

    A mixture goes from what was in its place, in the frame before or usually (`usual` [B, 1, M, C]), towards any cell
    of the two frames before: a thing that moves covers a part of a cell.
    """
    before, now = cells[:, :-1], cells[:, 1:]
    others = torch.cat([before, torch.cat([cells[:, :1], cells[:, :-2]], dim=1)], dim=2)
    power = others.square().sum(dim=-1).unsqueeze(-2)
    with_now = now @ others.mT
    found: list[Tensor] = []
    for base in (before, usual.expand_as(before)):
        with_base = base @ others.mT
        own = base.square().sum(dim=-1, keepdim=True)
        along = with_now - with_base - (now * base).sum(dim=-1, keepdim=True) + own
        length = (power - 2 * with_base + own).clamp(min=1e-6)
        part = (along / length).clamp(0, _REACH)
        explained = (2 * part * along - part.square() * length).amax(dim=-1)
        found.append((now - base).square().sum(dim=-1) - explained)
    return torch.minimum(*found).clamp(min=0) / cells.shape[-1]
