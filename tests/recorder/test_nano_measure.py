"""The nano model's clips, and the measures of quality: right on drawn clips, wrong on clips that are spoiled."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from recorder.nano import clips, measure


def video_of(prompt: str, seed: int = 0) -> NDArray[np.float32]:
    return clips.draw(prompt, seed).video


@pytest.mark.parametrize("grid", [clips.HOME_GRID, (9, 8, 8), (5, 10, 12)])
def test_every_drawn_clip_is_right(grid: tuple[int, int, int]) -> None:
    # Every fifth prompt still holds every colour, shape and direction.
    for seed, prompt in enumerate(clips.all_prompts()[:: 1 if grid == clips.HOME_GRID else 5]):
        found = measure.measure(clips.draw(prompt, seed, *grid).video, prompt)
        assert (found.colour, found.shape, found.direction) == (True, True, True), prompt
        assert found.identity > 0.5
        assert found.stillness < 1e-6 or np.isnan(found.stillness)
        assert found.wobble < 0.1


def test_centroids_are_where_the_shape_was_drawn() -> None:
    for seed, prompt in enumerate(clips.all_prompts()):
        clip = clips.draw(prompt, seed)
        assert np.abs(measure.centroids(clip.video) - clip.path).max() < 0.06, prompt


@pytest.mark.parametrize("field", ["colour", "shape", "direction"])
def test_another_word_is_wrong(field: str) -> None:
    video = video_of("a green box moving up")
    other = {"colour": "a red box moving up", "shape": "a green ball moving up", "direction": "a green box moving left"}
    found = measure.measure(video, other[field]).numbers()
    assert found.pop(field) == 0
    assert [found[name] for name in ("colour", "shape", "direction") if name in found] == [1, 1]


def test_a_colour_swapped_in_mid_clip_is_wrong_and_drifts() -> None:
    red, blue = video_of("a red ball moving right", 3), video_of("a blue ball moving right", 3)
    spoiled = np.concatenate([red[:, :5], blue[:, 5:]], axis=1)
    for prompt in ("a red ball moving right", "a blue ball moving right"):
        found = measure.measure(spoiled, prompt)
        assert not found.colour
        assert found.shape and found.direction
    clean = measure.measure(red, "a red ball moving right")
    assert found.identity < clean.identity - 0.01
    assert found.drift > clean.drift + 0.2


def test_a_shape_swapped_in_mid_clip_is_wrong() -> None:
    ball, box = video_of("a yellow ball moving down", 1), video_of("a yellow box moving down", 1)
    found = measure.measure(np.concatenate([ball[:, :4], box[:, 4:]], axis=1), "a yellow box moving down")
    assert found.colour and not found.shape
    assert found.shape_frames == pytest.approx(5 / 9)


def test_time_reversed_is_the_other_direction_and_standing_is_none() -> None:
    video = video_of("a blue cross moving left", 5)
    assert measure.direction_of(measure.centroids(video[:, ::-1])) == "right"
    still = np.repeat(video[:, :1], video.shape[1], axis=1)
    assert measure.direction_of(measure.centroids(still)) == ""
    assert not measure.measure(still, "a blue cross moving left").direction


def test_a_shaking_path_and_a_flickering_background_show() -> None:
    rng = np.random.default_rng(0)
    clip = clips.draw("a red box moving right", 2)
    shaken = clip.path + rng.normal(scale=0.5, size=clip.path.shape)
    assert measure.wobble(shaken) > 0.5
    assert measure.wobble(clip.path.astype(np.float64)) < 1e-5
    flicker = clip.video + rng.normal(scale=0.3, size=(8, 9, 1, 1))
    assert measure.stillness(flicker, measure.centroids(clip.video)) == pytest.approx(0.3 * np.sqrt(2), rel=0.25)


def test_fading_is_drift() -> None:
    clip = clips.draw("a red box moving right", 2)
    fade = np.linspace(1.0, 0.2, 9)[None, :, None, None]
    assert measure.drift(clip.video * fade) > measure.drift(clip.video) + 0.2


def test_noise_is_wrong() -> None:
    for seed, prompt in enumerate(clips.all_prompts()[::5]):
        noise = np.random.default_rng(seed).standard_normal((8, 9, 10, 12))
        found = measure.measure(noise, prompt)
        assert not found.colour and not found.shape
        assert found.stillness > 1 and found.identity < 0.5


def test_a_clip_without_a_shape_is_wrong_in_everything() -> None:
    empty = video_of("a red box moving right")
    empty[3] = -clips.COVERAGE_CENTRE
    found = measure.measure(empty, "a red box moving right")
    assert (found.colour, found.shape, found.direction) == (False, False, False)
    assert np.isnan(found.wobble)


def test_pixels_and_latents_show_the_same_scene() -> None:
    for seed, prompt in enumerate(clips.all_prompts()[::7]):
        latents, pixels = clips.draw_pixels(prompt, seed, 3, 4, 5)
        assert latents.shape == (8, 3, 4, 5) and latents.dtype == np.float32
        assert pixels.shape == (3, 17, 128, 160) and pixels.dtype == np.float32
        assert np.abs(pixels).max() <= 1
        cells = pixels.reshape(3, 17, 4, 32, 5, 32).mean(axis=(3, 5)) / 2 + 0.5
        colours = latents[:3] / clips.RGB_GAIN + clips.RGB_CENTRE
        # Frame 0 is one pixel frame; a later one is drawn between the fourth and the fifth of its eight.
        assert np.abs(colours[:, 0] - cells[:, 0]).max() < 0.05
        assert np.abs(colours[:, 2] - cells[:, 12:14].mean(axis=1)).max() < 0.05


def test_clips_are_reproducible_and_differ_by_seed() -> None:
    a, b, c = (clips.draw("a red ball moving up", s).video for s in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    with pytest.raises(ValueError, match="names no known"):
        clips.draw("a purple ball moving up", 0)


def test_measures_have_names_and_no_torch() -> None:
    found = measure.measure(video_of("a red ball moving up"), "a red ball moving up")
    assert set(found.numbers()) == {f.name for f in dataclasses.fields(measure.Quality)}
    assert "torch" not in vars(measure) and sys.modules["recorder.nano.measure"] is measure
