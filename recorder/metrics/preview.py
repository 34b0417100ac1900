"""A small picture of the predicted clean sample per step, in true or in false colours.

Nothing has to be decoded, and a clip is a few KB. Colours are true if a clip of the model was decoded before, see
`recorder.metrics.colours`. Otherwise three principal components of the latent channels are the colours: they show which
cells are alike, not what they look like, and can be recoloured once a clip is decoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recorder.format import protocol
from recorder.format.protocol import Message
from recorder.metrics.colours.colour_map import ColourMap, recolouring

if TYPE_CHECKING:
    from torch import Tensor

    from recorder.metrics.colours.true_colours import ModelColours
    from recorder.metrics.latent_layout import LatentLayout

MAX_FRAMES = 16
MAX_SIDE = 32
MAX_CELLS = 32 * 18
MAX_BYTES = 48 << 10

REFIT_SIGMA = 0.8
"""Colours are fixed in a stage's first row, and again, once, in the first row at or below this level (−12 dB).

Measured on nano runs of 20 steps, as the share of the finished sample's variance that three components keep: fixed at
σ = 1 they keep .82 to .96, at σ = .8 .97 to .99, the best being 1. At σ = 1 only the first component is related to
the finished sample's; the other two are noise. The new components are rotated towards the old ones to keep the hues,
and the message counts the fits.
"""


def factor_of(rows: int, columns: int) -> int:
    """The factor by which the picture of a latent frame is reduced to fit the limits; 1 if it fits."""
    factor = 1
    while True:
        small = _divided(rows, columns, factor)
        if max(small) <= MAX_SIDE and small[0] * small[1] <= MAX_CELLS:
            return factor
        factor += 1


def size_of(rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of the picture of a latent frame."""
    return _divided(rows, columns, factor_of(rows, columns))


def _divided(rows: int, columns: int, factor: int) -> tuple[int, int]:
    return -(-rows // factor), -(-columns // factor)


def frames_of(frames: tuple[int, ...]) -> tuple[int, ...]:
    """Which of the generated frames are shown, as indices into `frames`: all, or evenly spaced with both ends."""
    count = min(len(frames), MAX_FRAMES)
    return tuple(round(i * (len(frames) - 1) / max(1, count - 1)) for i in range(count))


def shrunk(x0: Tensor, layout: LatentLayout) -> Tensor:
    """The first clip of a batch, [F′, H, W, C], as float16 [frames, rows, columns, C] on the same device.

    Only this runs in the sampling thread. It reads no number, so nothing waits for the device.
    """
    import torch

    clip = x0[0]
    frames = frames_of(layout.generated_frames)
    if len(frames) < len(clip):
        # One view per frame: an index tensor would have to be copied to the device first.
        clip = torch.stack([frame for i, frame in enumerate(clip.unbind()) if i in frames])
    factor = factor_of(*clip.shape[1:3])
    if factor > 1:
        # Not `adaptive_avg_pool2d`, which MPS has only for sizes that divide. Edge cells average what they cover.
        averaged = torch.nn.functional.avg_pool2d(
            clip.permute(0, 3, 1, 2), factor, ceil_mode=True, count_include_pad=False
        )
        clip = averaged.permute(0, 2, 3, 1)
    return clip.half().contiguous()


class Filmstrip:
    """Turns the shrunken samples of one stage's video into pictures; used in the pump's thread."""

    def __init__(self, stage: int, layout: LatentLayout, model: ModelColours | None = None) -> None:
        """`model` knows the colours of the model, or will; without it colours stay false."""
        self.stage = stage
        self._model = model
        self._map: ColourMap | None = None
        self._begun = False
        self._kept: list[tuple[NDArray[np.float16], NDArray[np.uint8]]] = []
        """For each time that colours were fixed, the last sample and its picture, to recolour the others by."""
        self._frames = [layout.generated_frames[i] for i in frames_of(layout.generated_frames)]
        self._centre: NDArray[np.float32] | None = None
        self._axes: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._reach: NDArray[np.float32] = np.zeros(3, np.float32)
        self._fits = 0
        self._last_sigma = 2.0

    def message(self, step: int, sigma: float, shrunken: NDArray[np.float16]) -> Message:
        """The `preview` message of one step; cells that are not finite are black."""
        if not self._begun:
            self._begun = True
            self._map = self._model.map_of(shrunken.shape[-1]) if self._model is not None else None
            if self._model is not None and self._map is None:
                self._model.waits(self)
        rgb = self.picture(sigma, shrunken) if self._map is None else self._map.picture(shrunken)
        if self._map is not None:
            self._fits = 1
        elif self._model is not None and self._fits:
            self._kept[self._fits - 1 :] = [(shrunken.copy(), rgb)]
        return {
            "t": protocol.PREVIEW,
            "stage": self.stage,
            "stream": "video",
            "step": step,
            "shape": list(rgb.shape),
            "frames": self._frames,
            "fit": self._fits,
            "colours": protocol.FALSE_COLOURS if self._map is None else protocol.FITTED_COLOURS,
            "data": rgb.tobytes(),
        }

    def recolouring(self, colours: ColourMap) -> list[list[list[float]]]:
        """Weights that turn the false colours of its pictures into true ones, for each time that they were fixed.

        What they are made of is not kept any longer. Empty if the map is for another number of channels.
        """
        kept, self._kept = self._kept, []
        return [
            recolouring(picture, colours.colours(latents.astype(np.float32)))
            for latents, picture in kept
            if latents.shape[-1] == colours.channels
        ]

    def picture(self, sigma: float, shrunken: NDArray[np.float16]) -> NDArray[np.uint8]:
        """Colours of one step: [frames, rows, columns, 3]."""
        values = shrunken.astype(np.float32)
        cells = values.reshape(-1, values.shape[-1])
        finite = np.isfinite(cells).all(axis=1)
        if not finite.any():
            return np.zeros((*values.shape[:-1], 3), np.uint8)
        if self._centre is None or (sigma <= REFIT_SIGMA < self._last_sigma and self._fits == 1):
            self._fit(cells[finite])
        assert self._centre is not None
        self._last_sigma = sigma
        points = np.zeros((len(cells), 3), np.float32)
        points[finite] = (cells[finite] - self._centre) @ self._axes
        # The range only widens: a range per step would fluctuate, and hide that the sample gains contrast.
        self._reach = np.maximum(self._reach, points[finite].std(axis=0))
        rgb = colours(points, self._reach)
        rgb[~finite] = 0
        return rgb.reshape(*values.shape[:-1], 3)

    def _fit(self, cells: NDArray[np.float32]) -> None:
        """Fix centre and axes: the three strongest components of the channels' covariance."""
        centre = cells.mean(axis=0)
        spread = cells - centre
        axes = principal_axes(spread.T @ spread / len(cells))
        if self._centre is not None:
            left, _, right = np.linalg.svd(axes.T @ self._axes)
            axes = axes @ (left @ right)
        self._centre, self._axes, self._reach = centre, axes, np.zeros(3, np.float32)
        self._fits += 1


def principal_axes(covariance: NDArray[Any]) -> NDArray[np.float32]:
    """The three strongest eigenvectors [C, 3], each with its largest entry positive; zeros if there are fewer."""
    _, vectors = np.linalg.eigh(covariance.astype(np.float64))
    strongest = vectors[:, ::-1][:, :3]
    signs = np.sign(strongest[np.abs(strongest).argmax(axis=0), np.arange(strongest.shape[1])])
    axes = np.zeros((len(vectors), 3), np.float32)
    axes[:, : strongest.shape[1]] = strongest * signs
    return axes


def colours(points: NDArray[np.float32], reach: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Points along three axes [n, 3] as colours. The first is brightness, which a terminal without colours shows.

    The other two are blue to yellow and red to cyan. Weak components are not amplified to full strength: below a third
    of the first one's reach they are mostly noise.
    """
    floor = np.array([1e-6, reach[0] / 3 + 1e-6, reach[0] / 3 + 1e-6], np.float32)
    # tanh instead of a hard limit: a small bright object on a wide calm background keeps its hues.
    light, blue, red = np.tanh(points / (2.5 * np.maximum(reach, floor))).T
    light = 0.5 + 0.45 * light
    blue, red = 0.4 * blue, 0.4 * red
    rgb = np.stack([light + 1.402 * red, light - 0.344 * blue - 0.714 * red, light + 1.772 * blue], axis=1)
    found: NDArray[np.uint8] = (np.clip(rgb, 0, 1) * 255).round().astype(np.uint8)
    return found
