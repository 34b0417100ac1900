"""The sets of `python -m benchmarks.first_screens`: drawn from a seed, half faulty, screens without answers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.first_screens.__main__ import make
from benchmarks.first_screens.draw import BY_ID, FAULTS, draw
from benchmarks.first_screens.setting import KINDS, healthy, with_levels
from recorder.nano import components


def plain(drawn: list[Any]) -> list[Any]:
    """What a draw decides, without functions."""
    return [(run.as_json(n), run.setting.steps, run.setting.shocks) for n, run in enumerate(drawn)]


def test_a_seed_draws_the_same_set_again_and_another_seed_another_one() -> None:
    assert plain(draw(7)) == plain(draw(7)) != plain(draw(8))


@pytest.mark.parametrize("seed", range(20))
def test_half_of_a_set_is_faulty_in_different_families_and_names_say_nothing(seed: int) -> None:
    drawn = draw(seed)
    faults = [run.fault for run in drawn if run.fault is not None]
    assert len(drawn) == 10 and len({fault.family for fault in faults}) == len(faults) == 5
    assert len({run.setting.kind for run in drawn if run.fault is None}) == 5
    words = {word for fault in FAULTS for word in fault.id.split("-")}
    assert not {run.name for run in drawn} & words and len({run.name for run in drawn}) == 10
    for run in drawn:
        assert run.fault is None or run.setting.kind in run.fault.kinds


def test_there_are_many_faults_of_every_family_and_their_kinds_exist() -> None:
    assert len(BY_ID) == len(FAULTS) >= 20 and len({fault.family for fault in FAULTS}) == 11
    assert {kind for fault in FAULTS for kind in fault.kinds} <= set(KINDS)


def test_every_fault_is_applied_to_each_of_its_kinds() -> None:
    for fault in FAULTS:
        for kind in fault.kinds:
            chance = random.Random(1)
            fault.change(healthy(kind, chance, small=True), chance)


def test_more_runs_than_names_and_unknown_faults_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 20 runs"):
        draw(1, runs=21)
    with pytest.raises(ValueError, match="'nothing' is not a fault"):
        draw(1, only=("nothing",))


def test_changed_levels_keep_class_name_and_configuration() -> None:
    def ends_above_zero(scheduler: Any) -> None:
        scheduler.sigmas[-1] = 0.5

    made = with_levels(components.scheduler(), ends_above_zero)
    made.set_timesteps(4, mu=1.0)
    assert type(made).__name__ == "FlowMatchEulerDiscreteScheduler" and float(made.sigmas[-1]) == 0.5
    assert made.config.shift_terminal == components.scheduler().config.shift_terminal


@pytest.mark.slow
def test_a_set_of_two_runs_has_screens_and_answers_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "STATE", "CACHE", "DATA"):
        monkeypatch.setenv(f"LTXTUI_{name}", str(tmp_path / name))  # restored afterwards
    monkeypatch.setenv("COLORTERM", "")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    folder = tmp_path / "set"
    make(folder, 5, 2, ("weak-noise",), small=True)
    screens = folder / "screens"
    assert sorted(p.name for p in screens.iterdir()) == ["01.svg", "01.txt", "02.svg", "02.txt", "runs.txt"]
    answers = json.loads((folder / "answers" / "answers.json").read_text())["runs"]
    assert sorted(run["faulty"] for run in answers) == [False, True]
    listed = (screens / "runs.txt").read_text()
    for run in answers:
        text = (screens / f"{run['screen']}.txt").read_text("utf-8")
        assert run["run"] in text and run["run"] in listed and len(text.splitlines()) == 40
        assert ("error: start noise" in text) == run["faulty"]
        assert (screens / f"{run['screen']}.svg").read_text("utf-8").startswith("<svg")
        assert "weak-noise" not in text + listed
    with pytest.raises(FileExistsError):
        make(folder, 5, 2)
