"""Drawn scenes with one known fault each, on any grid and of any length, to judge drift by. NumPy only.

A scene is a smooth background, texture over it and a disc that moves through it, all drawn as functions of place in
parts of the frame. So one seed is the same clip on every grid, drawn finer or coarser, and with every fault.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class DriftScene:
    """How a clip is drawn, and what is wrong with it.

    `radius`, `travel` and `pan` are in parts of the frame: the disc's size, how far it goes, thrown back at the
    edges, and how far the camera goes to the side over a background that has no end. `strength` is the RMS of the
    disc's channels; texture and background have .6 each. `texture` is the share of texture that is lost at the end,
    `background` the RMS of the shift of the background at the end, `flicker` what every other frame lacks. `cut` is
    another scene from the middle on, `swap` another disc in the same scene.
    """

    meaning: str
    radius: float = 0.2
    travel: float = 0.5
    pan: float = 0.0
    strength: float = 2.0
    texture: float = 0.0
    background: float = 0.0
    flicker: float = 0.0
    cut: bool = False
    swap: bool = False


CLEAN: dict[str, DriftScene] = {
    "slow": DriftScene("the disc goes a tenth of the frame", travel=0.1),
    "normal": DriftScene("the disc goes half the frame"),
    "fast": DriftScene("the disc goes twice the frame", travel=2.0),
    "small": DriftScene("a small disc", radius=0.08),
    "small, fast": DriftScene("a small disc goes twice the frame", radius=0.08, travel=2.0),
    "large": DriftScene("a large disc", radius=0.3),
    "pan": DriftScene("the camera pans by .4 of the frame", pan=0.4),
}
"""Scenes without a fault."""

FAULTS: dict[str, DriftScene] = {
    "texture": DriftScene("texture fades by half", texture=0.5),
    "background": DriftScene("the background shifts by .6 standard deviations", background=0.6),
    "flicker": DriftScene("every other frame is a quarter weaker", flicker=0.25),
    "cut": DriftScene("another scene from the middle on", cut=True),
    "identity": DriftScene("another disc from the middle on", swap=True),
}
"""Scenes with one fault, lesser ones first."""


def draw(scene: DriftScene, seed: int, frames: int, height: int, width: int, channels: int = 8) -> Values:
    """Latents [frames, height, width, channels] of a scene."""
    rng = np.random.default_rng(seed)
    here, there = (_Content.random(rng, channels, scene.strength) for _ in range(2))
    middle = frames // 2 + (frames > 4)
    drawn = []
    for frame, time in enumerate(np.linspace(0, 1, frames)):
        late = frame >= middle
        shown = there if scene.cut and late else here
        behind = shown.tone + shown.smooth.on(height, width, scene.pan * time) + scene.background * time * shown.shift
        behind = behind + (1 - scene.texture * time) * shown.texture.on(height, width, scene.pan * time)
        centre = _bounced(here.start + here.direction * scene.travel * time, 0.9 * scene.radius)
        covered = _disc(centre, height, width, scene.radius)[..., None]
        thing = here.other if scene.swap and late else shown.thing
        drawn.append((behind * (1 - covered) + thing * covered) * (1 - scene.flicker * (frame % 2)))
    return np.stack(drawn)


@dataclass(frozen=True)
class _Waves:
    """A sum of plane waves: cycles per frame down and across, phase, and an amplitude per channel."""

    down: Values
    across: Values
    phase: Values
    amplitude: Values

    @classmethod
    def random(cls, rng: np.random.Generator, lowest: float, highest: float, count: int, channels: int) -> _Waves:
        cycles, angle = rng.uniform(lowest, highest, count), rng.uniform(0, np.pi, count)
        amplitude = rng.standard_normal((count, channels))
        amplitude *= 0.6 / np.sqrt((amplitude**2).sum(axis=0) / 2)
        return cls(cycles * np.sin(angle), cycles * np.cos(angle), rng.uniform(0, 2 * np.pi, count), amplitude)

    def on(self, height: int, width: int, shift: float) -> Values:
        """Means over cells, [height, width, channels]."""
        y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width + shift
        turns = self.down[:, None, None] * y[:, None] + self.across[:, None, None] * x
        mean = np.sinc(self.down / height) * np.sinc(self.across / width)
        waves = np.cos(2 * np.pi * turns + self.phase[:, None, None]) * mean[:, None, None]
        return np.asarray(np.einsum("nhw,nc->hwc", waves, self.amplitude, optimize=True))


@dataclass(frozen=True)
class _Content:
    """What a scene shows."""

    smooth: _Waves
    tone: Values
    texture: _Waves
    thing: Values
    other: Values
    start: Values
    direction: Values
    shift: Values

    @classmethod
    def random(cls, rng: np.random.Generator, channels: int, strength: float) -> _Content:
        def vector(rms: float) -> Values:
            drawn = rng.standard_normal(channels)
            return np.asarray(rms * drawn / np.sqrt((drawn**2).mean()))

        smooth, tone = _Waves.random(rng, 0.3, 1.3, 12, channels), 0.4 * rng.standard_normal(channels)
        texture = _Waves.random(rng, 2, 3.3, 24, channels)
        thing, other = vector(strength), vector(strength)
        start, angle = rng.uniform(0.25, 0.75, 2), rng.uniform(0, 2 * np.pi)
        return cls(smooth, tone, texture, thing, other, start, np.array([np.sin(angle), np.cos(angle)]), vector(1.0))


def _bounced(place: Values, margin: float) -> Values:
    """A place, thrown back wherever it would leave the frame."""
    span = 1 - 2 * margin
    folded = np.mod(place - margin, 2 * span)
    return np.asarray(margin + np.minimum(folded, 2 * span - folded))


def _disc(centre: Values, height: int, width: int, radius: float) -> Values:
    """How much of every cell a disc covers, [height, width]."""
    fine = max(2, -(-32 // height))
    y = (np.arange(height * fine) + 0.5) / (height * fine) - centre[0]
    x = (np.arange(width * fine) + 0.5) / (width * fine) - centre[1]
    inside = np.clip(0.5 + (radius - np.hypot(y[:, None], x)) / 0.02, 0, 1)
    return np.asarray(inside.reshape(height, fine, width, fine).mean(axis=(1, 3)))
