"""A linear map from latents to colours, its fit to decoded clips, and colours in place of other colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recorder.format.colour_terms import TERMS, terms

PENALTY: Final = 0.01
"""Ridge: this part of the terms' mean square is added to the square of each."""
OLDER: Final = 0.9
"""Weight of all clips before, relative to their weight without the newest one."""
LEAST_SPREAD: Final = 0.02
"""Standard deviation of the strongest colour channel below which a clip says nothing about colours: it is uniform."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ColourMap:
    """Colours from 0 to 1 are `terms(latents) @ matrix + offset`; matrix [3·C, 3], offset [3]."""

    matrix: NDArray[np.float32]
    offset: NDArray[np.float32]

    @property
    def channels(self) -> int:
        """Latent channels, C."""
        return len(self.matrix) // TERMS

    def colours(self, latents: Floats) -> NDArray[np.float32]:
        """Colours of latents [frames, rows, columns, C] from 0 to 1: [frames, rows, columns, 3]; not finite: black."""
        finite = np.asarray(np.isfinite(latents).all(axis=-1))
        found = terms(np.where(finite[..., None], latents, 0).astype(np.float32)) @ self.matrix + self.offset
        rgb: NDArray[np.float32] = np.where(finite[..., None], np.clip(found, 0, 1), 0).astype(np.float32)
        return rgb

    def picture(self, latents: Floats) -> NDArray[np.uint8]:
        """The same in bytes."""
        found: NDArray[np.uint8] = (self.colours(latents) * 255).round().astype(np.uint8)
        return found


@dataclass(frozen=True)
class Moments:
    """What a fit needs of clips: means over cells of the products of terms, and of terms and colours.

    `products` [3·C + 1, 3·C + 1] and `colours` [3·C + 1, 3]; the last term is 1. `weight` is the number of clips, of
    which older ones count less.
    """

    weight: float
    products: NDArray[np.float64]
    colours: NDArray[np.float64]

    @classmethod
    def of(cls, latents: Floats, rgb: Floats) -> Moments | None:
        """Of one clip: latents [frames, rows, columns, C] and colours [frames, rows, columns, 3] from 0 to 1.

        None if it says nothing about colours, since it is uniform or not finite.
        """
        finite = np.asarray(np.isfinite(latents).all(axis=-1) & np.isfinite(rgb).all(axis=-1))
        if not finite.any() or rgb[finite].std(axis=0).max() < LEAST_SPREAD:
            return None
        cells = terms(np.where(finite[..., None], latents, 0).astype(np.float32))[finite]
        cells = np.concatenate([cells, np.ones((len(cells), 1), np.float32)], axis=1)
        count = len(cells)
        products = (cells.T @ cells).astype(np.float64) / count
        return cls(1.0, products, (cells.T @ rgb[finite].astype(np.float32)).astype(np.float64) / count)

    def after(self, older: Moments | None) -> Moments:
        """Together with those of clips before, if they have as many channels."""
        if older is None or older.products.shape != self.products.shape:
            return self
        before = OLDER * older.weight
        weight = before + self.weight

        def mean(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
            return (self.weight * one + before * other) / weight

        return Moments(weight, mean(self.products, older.products), mean(self.colours, older.colours))

    def fitted(self) -> ColourMap:
        """The map with the least squared error, each weight of a term drawn towards 0."""
        inner = self.products.shape[0] - 1
        ridge = np.full(inner + 1, PENALTY * np.trace(self.products[:inner, :inner]) / inner + 1e-9)
        ridge[inner] = 0
        found = np.linalg.solve(self.products + np.diag(ridge), self.colours).astype(np.float32)
        return ColourMap(found[:inner], found[inner])


def correlation(one: Floats, other: Floats) -> list[float]:
    """Correlation of two sets of colours [..., 3] over their cells, per colour channel; 0 where one is constant."""
    found = []
    for a, b in zip(one.reshape(-1, 3).T.astype(np.float64), other.reshape(-1, 3).T.astype(np.float64), strict=True):
        a, b = a - a.mean(), b - b.mean()
        norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
        found.append(float((a * b).sum()) / norm if norm > 0 else 0.0)
    return found


def recolouring(shown: NDArray[np.uint8], wanted: Floats) -> list[list[float]]:
    """Weights [10, 3] of the terms of pictures [frames, rows, columns, 3] and of 1: they give the wanted colours."""
    seen = terms(shown.astype(np.float32) / np.float32(255)).reshape(-1, 3 * TERMS).astype(np.float64)
    seen = np.concatenate([seen, np.ones((len(seen), 1))], axis=1)
    ridge = np.diag([*[1e-4] * (3 * TERMS), 0]) * len(seen)
    weights = np.linalg.solve(seen.T @ seen + ridge, seen.T @ wanted.reshape(-1, 3).astype(np.float64))
    return rounded(weights)


def rounded(values: NDArray[Any]) -> list[Any]:
    """As nested lists, with as many digits as colours need."""
    found: list[Any] = np.vectorize(lambda v: float(f"{v:.6g}"), otypes=[float])(values).tolist()
    return found
