"""Made-up clips for the nano model: a coloured shape crossing a still background, drawn straight into latents.

Nothing here needs torch: clips are NumPy arrays, so the same drawing serves training, quality measurement and tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recorder.nano import sound

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.8, 0.2),
    "blue": (0.15, 0.25, 0.95),
    "yellow": (0.95, 0.85, 0.1),
}
SHAPES = ("ball", "box", "cross")
DIRECTIONS: dict[str, tuple[int, int]] = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
WAVES = ((0, 1), (1, 0), (1, 1))
"""Half-periods down and across the frame of the waves that a background is made of."""

CHANNELS = 8
FRAME_RATE = 24.0
MARGIN = 0.28
"""How near a shape's centre comes to the edges of the frame, as a share of its shorter side: shapes stay inside."""
SOFT_EDGE = 0.5
"""Cells over which a shape's edge fades into the background."""
SUBSAMPLES = 4
"""A latent cell is drawn from this many samples along each of its sides."""
PIXELS = 32
"""Pixels along each side of a latent cell."""
HOME_GRID = (9, 10, 12)
"""Latent frames, rows and columns of the clips that the nano model is at home with: 65 frames of 320 × 384 pixels."""

# Gains that bring every channel to about unit power, measured over the prompts' clips.
RGB_CENTRE, RGB_GAIN = 0.4, 6.5
OUTLINE_GAINS = np.array([3.6, 12.0, 12.0, 20.0, 20.0])
COVERAGE_CENTRE = 0.4
LIGHT = 0.16
"""How much the background's light falls off down the frame, and across it."""


@dataclass(frozen=True)
class Clip:
    """One drawn clip and the truth it was drawn from.

    `video` [C, F, H, W] and `audio` [L, 8 · 16] are latents of about unit power; `path` [F, 2] is the shape's centre in
    cells (row, column), the truth that quality measurements compare with.
    """

    prompt: str
    video: NDArray[np.float32]
    audio: NDArray[np.float32]
    path: NDArray[np.float32]


def prompt_for(colour: str, shape: str, direction: str) -> str:
    """The wording the nano model is trained on."""
    return f"a {colour} {shape} moving {direction}"


def all_prompts() -> list[str]:
    """Every prompt of the training vocabulary, in a fixed order."""
    return [prompt_for(c, s, d) for c in COLOURS for s in SHAPES for d in DIRECTIONS]


def words_of(prompt: str) -> tuple[str, str, str]:
    """The colour, shape and direction named in a prompt; raises ValueError where one is missing."""
    found = prompt.lower().replace(",", " ").split()
    try:
        return (
            next(w for w in found if w in COLOURS),
            next(w for w in found if w in SHAPES),
            next(w for w in found if w in DIRECTIONS),
        )
    except StopIteration:
        raise ValueError(f"the prompt {prompt!r} names no known colour, shape or direction") from None


def latent_times(frames: int) -> NDArray[np.float64]:
    """Seconds at which each latent frame is drawn: frame 0 is one pixel frame, each other one the middle of eight."""
    pixel = np.concatenate([[0.0], 8.0 * np.arange(1, frames) - 3.5])
    return pixel / FRAME_RATE


def audio_length(frames: int) -> int:
    """Audio latents that LTX2Pipeline allots to a clip of this many latent frames."""
    return round((8 * (frames - 1) + 1) / FRAME_RATE * sound.LATENTS_PER_SECOND)


def radius_of(height: int, width: int) -> float:
    """A shape's size in cells on a grid: its ball's radius; box and cross are drawn to about the same area."""
    return 0.21 * min(height, width)


HOME_RADIUS = radius_of(*HOME_GRID[1:])
"""The size at home. Boxes (3 × 5) and crosses (5 × 5, arms of 2) measure whole cells there: opposite edges lie at one
place in their cells, so that the channel means of a frame do not depend on where in a cell a shape stands."""


def coverage(shape: str, dy: NDArray[np.float64], dx: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """1 inside the shape and 0 outside, with a soft edge; dy, dx are offsets from its centre."""
    if shape == "ball":
        distance = np.hypot(dy, dx) - radius
    elif shape == "box":
        distance = np.maximum(np.abs(dy) - 1.5 / HOME_RADIUS * radius, np.abs(dx) - 2.5 / HOME_RADIUS * radius)
    elif shape == "cross":
        long, thin = 2.5 / HOME_RADIUS * radius, 1.0 / HOME_RADIUS * radius
        bar = np.maximum(np.abs(dx) - long, np.abs(dy) - thin)
        post = np.maximum(np.abs(dx) - thin, np.abs(dy) - long)
        distance = np.minimum(bar, post)
    else:
        raise ValueError(f"unknown shape {shape!r}, one of {SHAPES}")
    covered: NDArray[np.float64] = np.clip(0.5 - distance / SOFT_EDGE, 0.0, 1.0)
    return covered


@dataclass(frozen=True)
class Scene:
    """What a clip shows, as functions of place (in cells) and time, so that latents and pixels come from one truth.

    `tone` [3] and `waves` [3 waves, 3] are the background's colours. The shape's centre is at `start` at time 0 and
    moves by `velocity` cells a second.
    """

    colour: str
    shape: str
    height: int
    width: int
    radius: float
    tone: NDArray[np.float64]
    waves: NDArray[np.float64]
    start: NDArray[np.float64]
    velocity: NDArray[np.float64]

    def centres(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """The shape's centre [T, 2] in cells (row, column)."""
        return self.start + times[:, None] * self.velocity

    def background(self, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """A still, smooth field [3, rows, columns] in about .1 to .7: light from the upper left, and random tones.

        The light is the same in every clip. Attention sees only how far apart tokens are, so the light is what a token
        knows its place in the frame by, and with that which way the shape is to move.
        """
        y, x = (rows / self.height)[:, None], (columns / self.width)[None, :]
        field = self.tone[:, None, None] + LIGHT * (0.5 - y) + LIGHT * (0.5 - x)
        for (ky, kx), amplitude in zip(WAVES, self.waves, strict=True):
            field = field + amplitude[:, None, None] * (np.cos(np.pi * ky * y) * np.cos(np.pi * kx * x))
        return field

    def coverage(
        self, centre: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How much the shape covers each sample, [rows, columns], when it stands at `centre`."""
        return coverage(self.shape, (rows - centre[0])[:, None], (columns - centre[1])[None, :], self.radius)

    def paint(self, background: NDArray[np.float64], alpha: NDArray[np.float64]) -> NDArray[np.float64]:
        """RGB [3, rows, columns] in 0..1 of the shape over the background."""
        return background * (1 - alpha) + np.array(COLOURS[self.colour])[:, None, None] * alpha


def make_scene(prompt: str, rng: np.random.Generator, height: int, width: int, duration: float) -> Scene:
    """A random scene for a prompt: its shape crosses most of the frame in `duration` seconds, at constant velocity."""
    colour, shape, direction = words_of(prompt)
    tone = 0.35 + 0.06 * rng.standard_normal(3)
    waves = 0.05 * rng.standard_normal((len(WAVES), 3))
    margin = MARGIN * min(height, width)
    size = np.array([height, width], dtype=float)
    sign = np.array(DIRECTIONS[direction], dtype=float)
    axis = int(np.argmax(np.abs(sign)))
    span = size[axis] - 2 * margin
    travel = span * rng.uniform(0.75, 1.0)
    along = margin + rng.uniform(0.0, 1.0) * (span - travel)
    start = np.empty(2)
    start[axis] = along if sign[axis] > 0 else size[axis] - along
    start[1 - axis] = rng.uniform(margin, size[1 - axis] - margin)
    velocity = sign * travel / (duration or 1.0)
    return Scene(colour, shape, height, width, radius_of(height, width), tone, waves, start, velocity)


# Low-order 2-D DCT patterns of one cell: what a cell keeps of the shape's outline beyond its plain coverage.
_U = (np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES
_COS = [np.ones(SUBSAMPLES), np.sqrt(2) * np.cos(np.pi * _U), np.sqrt(2) * np.cos(2 * np.pi * _U)]
_PATTERNS = np.stack(
    [
        np.outer(_COS[0], _COS[0]),
        np.outer(_COS[0], _COS[1]),
        np.outer(_COS[1], _COS[0]),
        np.outer(_COS[1], _COS[1]),
        (np.outer(_COS[0], _COS[2]) + np.outer(_COS[2], _COS[0])) / np.sqrt(2),
    ]
)


def _cells(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """[…, h·S, w·S] → […, h, w, S, S]."""
    *lead, h, w = image.shape
    s = SUBSAMPLES
    split = image.reshape(*lead, h // s, s, w // s, s)
    return np.moveaxis(split, -3, -2)


def encode(rgb: NDArray[np.float64], alpha: NDArray[np.float64]) -> NDArray[np.float32]:
    """Latents [8, h, w] of one frame: three colour means, then coverage and four patterns of its outline."""
    colour = (_cells(rgb).mean(axis=(-1, -2)) - RGB_CENTRE) * RGB_GAIN
    return np.concatenate([colour, outline(alpha)]).astype(np.float32)


def outline(alpha: NDArray[np.float64]) -> NDArray[np.float64]:
    """The last five latent channels [5, h, w] of a frame: coverage, and the patterns of where in a cell it lies."""
    found: NDArray[np.float64] = np.einsum("hwij,kij->khw", _cells(alpha), _PATTERNS) / SUBSAMPLES**2
    found *= OUTLINE_GAINS[:, None, None]
    found[0] -= COVERAGE_CENTRE
    return found


def samples(cells: int, per_cell: int, first: int = 0) -> NDArray[np.float64]:
    """The places, in cells, of the samples along one side of a grid that begins at cell `first`."""
    return first + (np.arange(cells * per_cell) + 0.5) / per_cell


def draw(prompt: str, seed: int, frames: int = 9, height: int = 10, width: int = 12) -> Clip:
    """Draw one clip for a prompt of the vocabulary; the seed sets background, place and speed."""
    times = latent_times(frames)
    rng = np.random.default_rng(seed)
    scene = make_scene(prompt, rng, height, width, times[-1])
    path = scene.centres(times)
    heard = np.minimum(np.arange(audio_length(frames)) / sound.LATENTS_PER_SECOND, times[-1])
    timbre = rng.standard_normal(sound.CHANNELS)
    audio = sound.latents(scene.centres(heard), heard / (times[-1] or 1.0), timbre, height, width)
    video = _latents(scene, path, samples(height, SUBSAMPLES), samples(width, SUBSAMPLES))
    return Clip(prompt, video, audio, path.astype(np.float32))


def draw_pixels(
    prompt: str, seed: int, frames: int = 3, height: int = 4, width: int = 4
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A small piece of a home-size clip: latents [8, F, H, W], and the pixels [3, 8(F-1)+1, 32H, 32W] they stand for.

    A window of a few cells and frames keeps training the decoder cheap, while shapes keep their home size and speed.
    """
    rng = np.random.default_rng(seed)
    duration = latent_times(HOME_GRID[0])[-1]
    scene = make_scene(prompt, rng, *HOME_GRID[1:], duration)
    times = latent_times(frames)
    begin = rng.uniform(0.0, duration - times[-1])
    # Around the shape as it stands halfway, since a window that shows only background teaches little.
    size = np.array([height, width])
    middle = scene.centres(np.array([begin + times[-1] / 2]))[0]
    corner = np.round(middle - rng.uniform(0.0, 1.0, 2) * size).astype(int)
    top, left = np.clip(corner, 0, np.array(HOME_GRID[1:]) - size)
    latents = _latents(
        scene, scene.centres(begin + times), samples(height, SUBSAMPLES, top), samples(width, SUBSAMPLES, left)
    )
    rows, columns = samples(height, PIXELS, top), samples(width, PIXELS, left)
    background = scene.background(rows, columns)
    pixel_times = begin + np.arange(8 * (frames - 1) + 1) / FRAME_RATE
    pixels = [scene.paint(background, scene.coverage(c, rows, columns)) for c in scene.centres(pixel_times)]
    return latents, (2 * np.stack(pixels, axis=1) - 1).astype(np.float32)


def _latents(
    scene: Scene, path: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Latents [8, F, H, W] of a scene whose shape stands at each centre of `path` in turn."""
    background = scene.background(rows, columns)
    frames = []
    for centre in path:
        alpha = scene.coverage(centre, rows, columns)
        frames.append(encode(scene.paint(background, alpha), alpha))
    return np.stack(frames, axis=1)
