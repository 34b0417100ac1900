"""What makes a sweep's verdict impossible is said before any run is made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ltxtui.cli.sweep import sweep as command
from recorder.sweep.grid import arms_of, with_controls
from recorder.sweep.spec import Sweep, SweepSettings
from replay.sweep.feasibility import foreseen


def asked(seeds: int = 16, frames: int | None = 65, grid: str = "kind=restart at=0.9 db=6") -> Sweep:
    arms, _ = arms_of([grid] if grid else [], [])
    return Sweep.make(SweepSettings("nano", ("a",), frames=frames), tuple(range(seeds)), with_controls(arms), {})


@pytest.mark.parametrize(("frames", "refused"), [(1, True), (9, True), (17, False), (65, False), (None, False)])
def test_too_few_frames_for_drift_are_refused(frames: int | None, refused: bool) -> None:
    found = foreseen(asked(frames=frames))
    assert bool(found.refused) is refused and not found.notes
    if refused:
        assert f"--frames {frames} " in found.refused and "--frames 17 or more" in found.refused


def test_too_few_pairs_are_said_with_how_many_are_enough() -> None:
    assert "one seed" in foreseen(asked(seeds=1)).notes[0]
    assert "6 seeds are the least" in foreseen(asked(seeds=2)).notes[0]  # 2^(1−6) < .05
    assert not foreseen(asked(seeds=6)).notes
    many = asked(seeds=6, grid="kind=restart,renoise at=0.9,0.5 db=3,6")
    assert "8 arms" in foreseen(many).notes[0] and "9 seeds are the least" in foreseen(many).notes[0]
    assert foreseen(asked(grid="")).refused


def test_what_is_foreseen_is_what_the_drift_does() -> None:
    import torch

    from recorder.metrics.content_drift import content_drift

    for frames in (9, 17):
        latent = (frames - 1) // 8 + 1
        clip = torch.randn((1, latent, 6, 6, 4), generator=torch.Generator().manual_seed(0))
        value = content_drift(clip.cumsum(1).cumsum(2).cumsum(3), range(latent))["content_drift"]
        assert bool(torch.isfinite(value).all()) is not bool(foreseen(asked(frames=frames)).refused)


def test_the_command_refuses_before_any_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*_: Any) -> None:
        raise AssertionError("a run was made")

    module = sys.modules[command.callback.__module__]
    monkeypatch.setattr(module, "make_missing", made)
    words = [str(tmp_path / "s"), "--model", "nano", "--grid", "kind=restart at=0.9 db=6", "--frames", "9"]
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 1 and "--frames 17 or more" in done.output and not (tmp_path / "s").exists()
    monkeypatch.setattr(module, "make_missing", lambda *_: None)
    monkeypatch.setattr(module, "report", lambda *_, **__: None)
    done = CliRunner().invoke(command, [*words[:-1], "17", "--seeds", "1"])
    assert done.exit_code == 0 and done.output.startswith("note: with one seed no result is possible")
