"""Token selection and pass naming by themselves, on made-up tensors."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recorder.metrics.latent_layout import LatentLayout
from recorder.sampling.guidance_passes import Passes, kind_of, named
from recorder.sampling.tokens import clip_layout, free_tokens, generated_frames, runs, take

GRID = (4, 2, 3)


def numbered(extra: int = 0, batch: int = 2) -> torch.Tensor:
    """Tokens whose first channel is their place in the sequence and whose second is the batch item."""
    places = torch.arange(24 + extra, dtype=torch.float32).expand(batch, -1)
    items = torch.arange(batch, dtype=torch.float32)[:, None].expand(-1, 24 + extra)
    return torch.stack([places, items], dim=-1)


@given(st.sets(st.integers(0, 20)))
def test_runs_cover_exactly_the_frames(frames: set[int]) -> None:
    found = runs(tuple(sorted(frames)))
    assert [f for a, b in found for f in range(a, b)] == sorted(frames)
    assert all(b < a for (_, b), (a, _) in itertools.pairwise(found))


@given(st.sets(st.integers(0, 3), min_size=1), st.integers(0, 9))
def test_whole_generated_frames_are_taken_and_nothing_else(frames: set[int], extra: int) -> None:
    free = torch.ones(2, 24 + extra, dtype=torch.bool)
    for frame in set(range(4)) - frames:
        free[1, frame * 6 + 2] = False  # one conditioned token in one item: the frame is not generated as a whole
    free[:, 24:] = False
    found = generated_frames(free, GRID)
    assert found == tuple(sorted(frames))
    layout = clip_layout("video", numbered(extra), GRID, found)
    assert layout.frames == (None if len(frames) == 4 else found)
    on_grid = layout.on_grid(take(numbered(extra), layout))
    expected = torch.arange(24.0).reshape(4, 2, 3)[list(found)]
    assert torch.equal(on_grid[0, ..., 0], expected) and torch.equal(on_grid[1, ..., 1], torch.ones_like(expected))


def test_latents_without_their_given_frame() -> None:
    layout = LatentLayout("video", 2, GRID, (1, 2, 3))
    latents = torch.randn(2, 8, 3, 2, 3)
    taken = take(latents, layout)
    assert taken.shape == (2, 3, 2, 3, 8) and torch.equal(taken[1, 2, 1, 0], latents[1, :, 2, 1, 0])
    with pytest.raises(ValueError, match="not the generated frames"):
        take(torch.randn(2, 8, 4, 2, 3), layout)


def test_tokens_at_another_noise_level_are_not_free() -> None:
    level = torch.tensor([900.0, 900.0])
    mask = torch.tensor([0.0, 1.0, 0.5, 1e-7])
    free = free_tokens(level[:, None] * (1 - mask), level)
    assert free.tolist() == [[True, False, False, False]] * 2


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="23 tokens do not fill a grid of 4 x 2 x 3"):
        generated_frames(torch.ones(1, 23, dtype=torch.bool), GRID)
    with pytest.raises(ValueError, match="every frame of the clip is conditioned"):
        generated_frames(torch.zeros(1, 24, dtype=torch.bool), GRID)
    with pytest.raises(ValueError, match="23 video tokens do not fill"):
        clip_layout("video", torch.zeros(1, 23, 8), GRID)
    with pytest.raises(ValueError, match="12 audio tokens do not fill a grid of 10"):
        clip_layout("audio", torch.zeros(1, 12, 8), (10,))
    with pytest.raises(ValueError, match="packed latents"):
        clip_layout("audio", torch.zeros(1, 2, 10, 4), (10,))


def test_kinds_of_model_calls() -> None:
    assert kind_of({"spatio_temporal_guidance_blocks": [28], "isolate_modalities": False}) == "stg"
    assert kind_of({"spatio_temporal_guidance_blocks": None, "isolate_modalities": True}) == "modality"
    assert kind_of({"spatio_temporal_guidance_blocks": [], "isolate_modalities": False}) == kind_of({}) == "plain"


def test_plain_calls_are_named_by_their_number_and_size() -> None:
    one, two, double = torch.zeros(2, 3), torch.ones(2, 3), torch.arange(4.0)[:, None].expand(4, 3)
    assert named([one], 2)["conditional"] is one and len(named([one], 2)) == 1
    split = named([double], 2)
    assert split["cfg"][0, 0] == 0 and split["conditional"][0, 0] == 2
    assert named([one, two], 2)["cfg"] is two
    assert named([], 2) == named([one, two, one], 2) == named([one], 3) == {}


def test_passes_are_copies_and_do_not_outlive_their_step() -> None:
    passes, layouts = (
        Passes(),
        {"video": LatentLayout("video", 1, GRID, (1, 2)), "audio": LatentLayout("audio", 1, (5,))},
    )
    video, audio = numbered(3, 1), torch.randn(1, 5, 4)
    passes.add({}, (video, audio), layouts)
    passes.add({"isolate_modalities": True}, (video + 1, audio), layouts)
    video.zero_()  # as the next run of a CUDA graph does
    shape = torch.Size([1, 12, 2])
    found = passes.of_step("video", 1, shape)
    assert set(found) == {"conditional", "modality"} and found["conditional"].shape == shape
    assert found["conditional"][0, :, 0].tolist() == list(range(6, 18))
    assert passes.of_step("video", 1, shape) == {}
    passes.add({}, (numbered(3, 1), None), layouts)  # the next step: audio of the last one is gone
    assert passes.of_step("audio", 1, torch.Size([1, 5, 4])) == {}


def test_latents_of_which_some_frames_are_given() -> None:
    latents = torch.randn(2, 8, 3, 2, 3)
    for frames in ((2, 3), (1, 3), (3,)):
        taken = take(latents, LatentLayout("video", 2, GRID, frames))
        assert torch.equal(taken, latents.movedim(1, -1)[:, [frame - 1 for frame in frames]])
    with pytest.raises(ValueError, match="not the generated frames"):
        take(latents, LatentLayout("video", 2, GRID, (0, 2, 3)))
