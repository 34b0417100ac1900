"""Given frames are compared with those of the first model call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from recorder import record
from recorder.sampling import tokens
from recorder.sampling.given_frames import GivenFrames
from replay.sources.open import load
from tests.conftest import UNGUIDED, nano_call

GRID = (3, 2, 2)


def test_a_change_is_relative_to_the_first_call_and_of_the_last_half_of_a_guided_batch() -> None:
    given = GivenFrames((0,), GRID)
    latents = torch.randn((2, 14, 5), generator=torch.Generator().manual_seed(0))
    assert given.change(2) is None
    given.look(torch.cat([latents, latents]))
    moved = latents.clone()
    moved[1, :4] *= 1.5
    moved[:, 4:] = 0  # what is generated does not count
    given.look(torch.cat([moved, moved]))
    found = given.change(2)
    assert found is not None and found.tolist() == pytest.approx([0, 0.5], abs=1e-6)


def test_without_given_frames_or_with_a_part_of_the_sequence_nothing_is_known() -> None:
    for given in (GivenFrames(), GivenFrames((), GRID), GivenFrames((0,), (30, 2, 2))):
        given.look(torch.ones(1, 14, 5))
        assert given.change(1) is None


def test_only_frames_that_are_given_entirely_count() -> None:
    free = torch.ones(2, 13, 1)
    free[:, :4] = 0
    free[:, 4:6] = 0
    assert tokens.given_frames(free, GRID) == (0,)
    free[1, 0] = 0.4
    assert tokens.given_frames(free, GRID) == () == tokens.given_frames(free, (9, 9, 9))


def test_a_callback_that_overwrites_the_given_frame_is_named(pipe: Any, tmp_path: Path) -> None:
    from diffusers.pipelines.ltx2 import LTX2ImageToVideoPipeline

    wanted = ("scheduler", "vae", "audio_vae", "text_encoder", "tokenizer", "connectors", "transformer", "vocoder")
    image = LTX2ImageToVideoPipeline(**{name: getattr(pipe, name) for name in wanted})
    picture = PIL.Image.fromarray(np.full((64, 96, 3), 120, np.uint8))

    def overwrite(_: Any, step: int, __: Any, kept: dict[str, Any]) -> dict[str, Any]:
        latents = kept["latents"].clone()
        if step == 1:
            latents[:, : latents.shape[1] // 3] = 1.0
        return {"latents": latents}

    found = {}
    for name, more in (("right", {}), ("changed", {"callback_on_step_end": overwrite})):
        with record(image, runs_dir=tmp_path, name=name) as run:
            image(**nano_call(steps=4, image=picture, **more, **UNGUIDED))
        found[name] = load(run.path).stages[0].streams["video"].values("given_change")[:, 0].tolist()
    assert found["right"] == [0, 0, 0, 0]
    assert found["changed"][:2] == [0, 0] and min(found["changed"][2:]) > 0.3
