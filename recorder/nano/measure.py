"""What a video latent of the nano model shows: which colour and shape, moving where, how steadily. NumPy only."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from recorder.nano import clips

RIGHT_SHARE = 0.85
"""A clip's colour or shape is right if it is in this share of its frames: eight of the nine of a home-size clip."""
LEAST_TRAVEL = 1.0
"""A shape that crosses fewer cells than this goes nowhere; every drawn one crosses more than two."""
SOLID = 0.3
"""Cover beyond doubt: more than the faint errors all over a generated background."""
REFERENCE = 1
"""The frame that others are compared with. Latent frame 0 is a single pixel frame, unlike all the others."""
RGB = 3
"""The first three latent channels are colour, the next is coverage, the rest outline."""
OFFSET_GAIN = -0.279
"""Offset in a cell, in cells, that best fits one unit of the pattern √2·cos(πu) at a cell's four samples."""
FIT = 0.5
"""A drawing fits if it leaves less than this share of what an empty frame leaves unexplained."""
SHIFTS = (-0.2, 0.0, 0.2)
"""How far around a centroid, in cells, each shape's drawing is tried."""

Video = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """All measures of one clip against its prompt; `measure` says what each one is."""

    colour: bool
    shape: bool
    direction: bool
    shape_frames: float
    identity: float
    drift: float
    stillness: float
    wobble: float

    def numbers(self) -> dict[str, float]:
        """The measures by name, with 1 for right and 0 for wrong."""
        return {name: float(value) for name, value in asdict(self).items()}


def coverage_of(video: Video) -> NDArray[np.float64]:
    """How much of each cell the shape covers, [F, H, W] in 0..1, read from the latents."""
    found = (video[RGB].astype(np.float64) + clips.COVERAGE_CENTRE) / clips.OUTLINE_GAINS[0]
    clipped: NDArray[np.float64] = np.clip(found, 0.0, 1.0)
    return clipped


def centroids(video: Video) -> NDArray[np.float64]:
    """The shape's centre in each frame, [F, 2] in cells; NaN where a frame shows no shape."""
    coverage = coverage_of(video)
    _, height, width = coverage.shape
    y, x = (np.arange(height) + 0.5)[:, None], (np.arange(width) + 0.5)[None, :]
    # Where in its cell the cover lies: the pattern of one half-wave along an axis is almost the offset along it.
    right, down = (OFFSET_GAIN * video[RGB + k].astype(np.float64) / clips.OUTLINE_GAINS[k] for k in (1, 2))
    found = np.full((len(coverage), 2), np.nan)
    for frame, cover in enumerate(coverage):
        solid = np.where(cover > SOLID, cover, 0.0)
        if not solid.any():
            continue
        rough = np.array([(solid * y).sum(), (solid * x).sum()]) / solid.sum()
        # Then every trace of cover near by counts, and none of the faint errors elsewhere.
        near = np.hypot(y - rough[0], x - rough[1]) < _reach(height, width)
        weight = cover * near
        moments = (weight * y + down[frame] * near).sum(), (weight * x + right[frame] * near).sum()
        found[frame] = np.array(moments) / weight.sum()
    return found


def colours_of(video: Video) -> list[str]:
    """The colour word nearest to the shape's colour in each frame, or "" where a frame shows no shape."""
    rgb = video[:RGB].astype(np.float64) / clips.RGB_GAIN + clips.RGB_CENTRE
    coverage = coverage_of(video)
    words = list(clips.COLOURS)
    inks = np.array([clips.COLOURS[w] for w in words])
    found = []
    for frame in range(video.shape[1]):
        # Only cells that lie all but wholly inside: at the edge the background mixes in.
        most = float(coverage[frame].max())
        if most < 0.5:
            found.append("")
            continue
        inside = coverage[frame] >= min(0.9, most)
        ink = rgb[:, frame][:, inside].mean(axis=1)
        found.append(words[int(np.argmin(np.square(inks - ink).sum(axis=1)))])
    return found


def shapes_of(video: Video) -> list[str]:
    """The shape word whose drawing fits each frame's outline best, or "" where none fits."""
    _, _, height, width = video.shape
    rows, columns = clips.samples(height, clips.SUBSAMPLES), clips.samples(width, clips.SUBSAMPLES)
    radius = clips.radius_of(height, width)
    blank = clips.outline(np.zeros((len(rows), len(columns))))
    found = []
    for frame, centre in enumerate(centroids(video)):
        if not np.isfinite(centre).all():
            found.append("")
            continue
        seen = video[RGB:, frame]
        misfit = {"": FIT * float(np.square(seen - blank).sum())}
        for shape in clips.SHAPES:
            # The centroid of a clumsy shape is off by a fraction of a cell: let each drawing find its best place.
            for dy in SHIFTS:
                for dx in SHIFTS:
                    y, x = (rows - centre[0] - dy)[:, None], (columns - centre[1] - dx)[None, :]
                    drawn = clips.outline(clips.coverage(shape, y, x, radius))
                    error = float(np.square(seen - drawn).sum())
                    misfit[shape] = min(error, misfit.get(shape, np.inf))
        found.append(min(misfit, key=lambda word: misfit[word]))
    return found


def direction_of(path: NDArray[np.float64]) -> str:
    """The direction word of the straight line through a path [F, 2], or "" if it goes nowhere."""
    kept = np.isfinite(path).all(axis=1)
    times = clips.latent_times(len(path))[kept]
    if len(times) < 2:
        return ""
    slope = np.polyfit(times, path[kept], 1)[0]
    if np.abs(slope).max() * (times[-1] - times[0]) < LEAST_TRAVEL:
        return ""
    return max(clips.DIRECTIONS, key=lambda word: float(np.dot(slope, clips.DIRECTIONS[word])))


def pooled(video: Video) -> NDArray[np.float64]:
    """Spatial channel means of each frame, [F, C]."""
    means: NDArray[np.float64] = video.astype(np.float64).mean(axis=(2, 3)).T
    return means


def identity(video: Video) -> float:
    """Mean over frames after the reference of the cosine of their pooled channel means to the reference's."""
    means = pooled(video)
    first, later = means[REFERENCE], means[REFERENCE + 1 :]
    return float((later @ first / (np.linalg.norm(later, axis=1) * np.linalg.norm(first))).mean())


def drift(video: Video) -> float:
    """Mean distance of the pooled channel means of later frames from the reference's, relative to its length."""
    means = pooled(video)
    first, later = means[REFERENCE], means[REFERENCE + 1 :]
    return float((np.linalg.norm(later - first, axis=1) / np.linalg.norm(first)).mean())


def stillness(video: Video, path: NDArray[np.float64]) -> float:
    """RMS change of the latents from frame to frame in cells that the shape at `path` touches in neither: 0 is still.

    NaN where no such cell is left.
    """
    _, _, height, width = video.shape
    y, x = (np.arange(height) + 0.5)[:, None], (np.arange(width) + 0.5)[None, :]
    centre = np.where(np.isfinite(path), path, -np.inf)
    away = np.stack([np.hypot(y - cy, x - cx) > _reach(height, width) for cy, cx in centre])
    both = away[1:] & away[:-1]
    change = np.square(np.diff(video.astype(np.float64), axis=1)).mean(axis=0)
    return float(np.sqrt(change[both].mean())) if both.any() else float("nan")


def _reach(height: int, width: int) -> float:
    """How far from a shape's centre lie the middles of cells that it touches."""
    # The corner of a box reaches 1.39 radii, a cell .71 beyond its middle, and a soft edge a little further.
    return 1.44 * clips.radius_of(height, width) + 0.9


def wobble(path: NDArray[np.float64]) -> float:
    """RMS second difference, in cells, of a path from the reference frame on, where frames are evenly spaced."""
    bend = np.diff(path[REFERENCE:], n=2, axis=0)
    return float(np.sqrt(np.square(bend).sum(axis=1).mean())) if len(bend) else float("nan")


def measure(video: Video, prompt: str) -> Quality:
    """Everything above for a clip [8, F, H, W] of a home-like size against the words of its prompt."""
    colour, shape, direction = clips.words_of(prompt)
    path = centroids(video)
    frames = video.shape[1]
    shape_frames = shapes_of(video).count(shape) / frames
    return Quality(
        colour=colours_of(video).count(colour) >= RIGHT_SHARE * frames,
        shape=shape_frames >= RIGHT_SHARE,
        direction=direction_of(path) == direction,
        shape_frames=shape_frames,
        identity=identity(video),
        drift=drift(video),
        stillness=stillness(video, path),
        wobble=wobble(path),
    )
