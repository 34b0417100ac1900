"""Made-up clips for the nano model: a coloured shape crossing a still background, drawn straight into latents.

Nothing here needs torch: clips are NumPy arrays, so the same drawing serves training, quality measurement and tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.8, 0.2),
    "blue": (0.15, 0.25, 0.95),
    "yellow": (0.95, 0.85, 0.1),
}
SHAPES = ("ball", "box", "cross")
DIRECTIONS: dict[str, tuple[int, int]] = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}

CHANNELS = 8
AUDIO_CHANNELS = 4
AUDIO_LATENTS_PER_SECOND = 25.0
FRAME_RATE = 24.0
SUBSAMPLES = 4
"""A latent cell is drawn from this many samples along each of its sides."""

# Gains that bring every channel to about unit power, measured over the prompts' clips.
RGB_CENTRE, RGB_GAIN = 0.4, 6.5
OUTLINE_GAINS = np.array([3.6, 12.0, 12.0, 20.0, 20.0])
COVERAGE_CENTRE = 0.4
AUDIO_GAIN = 1.4


@dataclass(frozen=True)
class Clip:
    """One drawn clip and the truth it was drawn from.

    `video` [C, F, H, W] and `audio` [L, 4] are latents of about unit power; `path` [F, 2] is the shape's centre in
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
    return round((8 * (frames - 1) + 1) / FRAME_RATE * AUDIO_LATENTS_PER_SECOND)


def coverage(shape: str, dy: NDArray[np.float64], dx: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """1 inside the shape and 0 outside, with a soft edge a fifth of a cell wide; dy, dx are offsets from its centre."""
    if shape == "ball":
        distance = np.hypot(dy, dx) - radius
    elif shape == "box":
        distance = np.maximum(np.abs(dy), np.abs(dx)) - 0.87 * radius
    elif shape == "cross":
        long, thin = 1.2 * radius, 0.4 * radius
        bar = np.maximum(np.abs(dx) - long, np.abs(dy) - thin)
        post = np.maximum(np.abs(dx) - thin, np.abs(dy) - long)
        distance = np.minimum(bar, post)
    else:
        raise ValueError(f"unknown shape {shape!r}, one of {SHAPES}")
    return np.clip(0.5 - distance / 0.2, 0.0, 1.0)


def _background(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """A still, smooth RGB field [3, h, w] in about .2 to .6: a fixed light from the upper left, and random tones."""
    y = (np.arange(height * SUBSAMPLES) + 0.5) / (height * SUBSAMPLES)
    x = (np.arange(width * SUBSAMPLES) + 0.5) / (width * SUBSAMPLES)
    light = 0.16 * (0.5 - y)[:, None] + 0.16 * (0.5 - x)[None, :]
    tone = 0.35 + 0.06 * rng.standard_normal((3, 1, 1))
    waves = np.zeros((3, y.size, x.size))
    for ky, kx in ((0, 1), (1, 0), (1, 1)):
        amplitude = 0.05 * rng.standard_normal((3, 1, 1))
        waves += amplitude * (np.cos(np.pi * ky * y)[:, None] * np.cos(np.pi * kx * x)[None, :])
    return tone + light + waves


def draw_path(
    rng: np.random.Generator, direction: str, times: NDArray[np.float64], height: int, width: int
) -> NDArray[np.float64]:
    """Centres [T, 2] in cells at `times`: constant velocity across most of the frame, in the named direction."""
    margin = 0.22 * min(height, width)
    duration = times[-1] if times[-1] > 0 else 1.0
    fraction = times / duration
    size = np.array([height, width], dtype=float)
    sign = np.array(DIRECTIONS[direction], dtype=float)
    axis = int(np.argmax(np.abs(sign)))
    span = size[axis] - 2 * margin
    travel = span * rng.uniform(0.75, 1.0)
    slack = span - travel
    start = margin + rng.uniform(0.0, 1.0) * slack
    along = start + travel * fraction
    if sign[axis] < 0:
        along = size[axis] - along
    across = rng.uniform(margin, size[1 - axis] - margin)
    path = np.empty((len(times), 2))
    path[:, axis] = along
    path[:, 1 - axis] = across
    return path


def audio_for(path: NDArray[np.float64], height: int, width: int) -> NDArray[np.float32]:
    """Audio latents [T, 4]: sines and cosines of the shape's place in the frame, so that the streams share motion."""
    y, x = np.pi * path[:, 0] / height, np.pi * path[:, 1] / width
    return (AUDIO_GAIN * np.stack([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1)).astype(np.float32)


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
    outline = np.einsum("hwij,kij->khw", _cells(alpha), _PATTERNS) / SUBSAMPLES**2
    outline *= OUTLINE_GAINS[:, None, None]
    outline[0] -= COVERAGE_CENTRE
    return np.concatenate([colour, outline]).astype(np.float32)


def paint(
    colour: str, shape: str, centre: NDArray[np.float64], background: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One frame as RGB [3, h·S, w·S] and the shape's coverage [h·S, w·S]."""
    y = (np.arange(background.shape[1]) + 0.5) / SUBSAMPLES - centre[0]
    x = (np.arange(background.shape[2]) + 0.5) / SUBSAMPLES - centre[1]
    alpha = coverage(shape, y[:, None], x[None, :], radius)
    ink = np.array(COLOURS[colour])[:, None, None]
    return background * (1 - alpha) + ink * alpha, alpha


def draw(prompt: str, seed: int, frames: int = 9, height: int = 10, width: int = 12) -> Clip:
    """Draw one clip for a prompt of the vocabulary; the seed sets background, place and speed."""
    colour, shape, direction = words_of(prompt)
    rng = np.random.default_rng(seed)
    times = latent_times(frames)
    sound_times = np.arange(audio_length(frames)) / AUDIO_LATENTS_PER_SECOND
    background = _background(rng, height, width)
    both = np.concatenate([np.minimum(sound_times, times[-1]), times])
    path = draw_path(rng, direction, both, height, width)
    sound_path, path = path[: len(sound_times)], path[len(sound_times) :]
    radius = 0.2 * min(height, width)
    video = np.stack([encode(*paint(colour, shape, c, background, radius)) for c in path], axis=1)
    return Clip(prompt, video, audio_for(sound_path, height, width), path.astype(np.float32))
