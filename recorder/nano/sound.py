"""The sound of the nano model's clips, as audio latents: where the shape is and how much of the clip has passed.

NumPy only, as `clips`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CHANNELS = 8
BINS = 16
"""Mel bins of an audio latent: Lightricks' code and ComfyUI know no other shape than 8 channels of 16 bins."""
LATENTS_PER_SECOND = 25.0
PLACE_GAIN, CLOCK_GAIN, TIMBRE_GAIN = 0.6, 2.0, 1.3
"""How loud the sound holds the shape's place and the time, and how loud its timbre is.

Sixteen mel bins repeat what each channel holds. A louder place would give the path away while nothing else of a clip
can be seen yet, and there would be little left for the direction word to decide. The time is the same in every clip.
"""
PLACES = CHANNELS // 2
"""The first half of the channels holds the place, the other half the time."""

_SPECTRA = np.cos(np.pi * np.outer(np.arange(2 * CHANNELS), (np.arange(BINS) + 0.5) / BINS))
"""Sixteen spectra over the mel bins [16, 16], at right angles: in turn one for what a channel tells and its timbre."""


def latents(
    path: NDArray[np.float64], passed: NDArray[np.float64], timbre: NDArray[np.float64], height: int, width: int
) -> NDArray[np.float32]:
    """Audio latents [T, 8 · 16], channel by channel: what the streams share, as sines and cosines, in a steady tone.

    Four channels hold the shape's place across and down (`path` [T, 2] in cells), four how much of the clip has passed
    (`passed` [T], 0 to 1): attention sees only how far apart tokens are, and where a shape is depends on the direction
    and on that. Every channel has a spectrum of its own over the mel bins. `timbre` [8] is the strength of another
    spectrum in each channel, the same throughout a clip.
    """
    places = [np.pi * path[:, 1] / width, np.pi * path[:, 0] / height]
    clock = [np.pi * passed, 2 * np.pi * passed]
    waves = np.stack([f(phase) for phase in (*places, *clock) for f in (np.sin, np.cos)], axis=1)
    gains = np.repeat([PLACE_GAIN, CLOCK_GAIN], PLACES)
    told = gains[:, None] * waves[:, :, None] * _SPECTRA[::2]
    steady = TIMBRE_GAIN * timbre[:, None] * _SPECTRA[1::2]
    return np.asarray((told + steady).reshape(len(path), -1), dtype=np.float32)


def place_spectra() -> NDArray[np.float32]:
    """Directions of an audio token [128, 4] that hold the shape's place: of unit length, at right angles."""
    return _directions([(channel, 2 * channel) for channel in range(PLACES)])


def place_strengths() -> NDArray[np.float32]:
    """How far an audio token goes along each of these directions [4] where its sine or cosine is 1."""
    return np.asarray(PLACE_GAIN * np.linalg.norm(_SPECTRA[: 2 * PLACES : 2], axis=1), dtype=np.float32)


def silent_spectra(count: int) -> NDArray[np.float32]:
    """Directions of an audio token [128, count] that hold nothing in any clip: of unit length, at right angles."""
    # Channel k of a clip has the spectra 2k and 2k + 1.
    turns = [divmod(i, CHANNELS) for i in range(count)]
    return _directions([(channel, (2 * channel + 2 + turn) % len(_SPECTRA)) for turn, channel in turns])


def _directions(chosen: list[tuple[int, int]]) -> NDArray[np.float32]:
    """Unit directions of an audio token [128, len(chosen)], each a spectrum in a channel."""
    found = np.zeros((len(chosen), CHANNELS, BINS))
    for i, (channel, spectrum) in enumerate(chosen):
        found[i, channel] = _SPECTRA[spectrum] / np.linalg.norm(_SPECTRA[spectrum])
    return np.asarray(found.reshape(len(chosen), -1).T, dtype=np.float32)
