"""Paths as people give them: from a folder that the program leaves, without a name of their own, of an odd kind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ltxtui.cli import cli
from recorder import record
from recorder.recording import RunHandle
from replay.integrity.check import check
from replay.integrity.repair import CannotRepair, repair
from replay.sources.open import load


def steps(run: RunHandle, count: int) -> None:
    sample = torch.zeros(1, 4, 2, 4, 4)
    for i in range(count):
        run.step(sigma=1 - i / 10, sigma_next=0.9 - i / 10, sample=sample, velocity=torch.ones_like(sample))


@pytest.mark.parametrize("before", [0, 2])
def test_a_block_may_change_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(tmp_path)
    with record(runs_dir="runs") as run:
        steps(run, before)
        if before:
            run.end_stages()  # folds what there is
        os.chdir(other)
        steps(run, 2)
    assert list(other.iterdir()) == []
    assert run.path.parent == tmp_path / "runs"
    assert [p.name for p in (tmp_path / "runs").iterdir()] == [run.path.name]
    assert check(run.path).sound and run.rows == before + 2


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with record(runs_dir=tmp_path / "runs") as run:
        steps(run, 3)
    return run.path


@pytest.mark.parametrize(("where", "path"), [("", "."), ("stage_0", ".."), ("stage_0", "../.")])
def test_a_run_may_be_given_from_inside_of_it(
    archive: Path, monkeypatch: pytest.MonkeyPatch, where: str, path: str
) -> None:
    monkeypatch.chdir(archive / where)
    assert sum(s.rows for s in load(Path(path)).stages[0].streams.values()) == 3
    assert check(Path(path)).sound
    with pytest.raises(CannotRepair, match=f"{archive.name} was finalised by its recorder"):
        repair(Path(path))
    said = CliRunner().invoke(cli, ["runs", "check", path])
    assert said.exit_code == 0 and "sound" in said.stdout
    (archive / "stage_0/video/sigma/c/0").unlink()
    assert repair(Path(path)).archive == archive


COMMANDS: list[Callable[[str], list[str]]] = [
    lambda path: ["runs", "check", path],
    lambda path: ["runs", "repair", path],
    lambda path: ["replay", path],
    lambda path: ["watch", path],
    lambda path: ["compare", path, path],
    lambda path: ["record", "--like", path],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c("X")))
@pytest.mark.parametrize("path", ["", ".", "/"])
def test_what_has_no_name_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[[str], list[str]], path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, command(path))
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert "unexpected" not in result.output and ("empty" if not path else "not a recorded run") in result.output
