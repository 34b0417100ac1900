"""Runs are checked for what is missing, damaged or different from the journal, and repaired without losing a row."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray
import zarr

from recorder import record
from recorder.format import locations
from recorder.journal.journal import Journal
from replay.integrity.check import MAX_PROBLEMS, Report, check
from replay.integrity.repair import CannotRepair, repair
from replay.sources.open import load
from tests import recorded
from tests.ltxtui import fake
from tests.waiting import until

STEPS = 7


def take_steps(run: Any, steps: int = STEPS) -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(1, 4, 3, 4, 6, generator=rng), torch.randn(1, 16, 4, generator=rng)
    run.stage([1 - i / steps for i in range(steps)])
    for i in range(steps):
        sigma, after = 1 - i / steps, 1 - (i + 1) / steps
        run.step(sigma=sigma, sigma_next=after, sample=x, velocity=x * (1 + i))
        run.step(sigma=sigma, sigma_next=after, sample=y, velocity=y, stream="audio")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    with record(runs_dir=tmp_path, save_latents=True, previews=True) as run:
        take_steps(run)
    return run.path


@pytest.fixture
def crashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose recorder went away before its end: journal, and an archive with what had been folded."""
    with record(runs_dir=tmp_path, save_latents=True) as run:
        take_steps(run)
        run.stages.end()
        take_steps(run, 3)
        # What SIGKILL leaves: copies of the files while the run is recorded (tests/whole/test_processes.py kills).
        until(lambda: load(run.path).steps == STEPS + 3)
        until(lambda: "stage_0" in json.loads((run.path / "zarr.json").read_text())["attributes"].get("summary", {}))
        there = tmp_path / "crashed"
        there.mkdir()
        # A file is written next to its place and renamed into it, so a name that ends in .part is gone by its turn.
        shutil.copytree(run.path, there / run.path.name, ignore=shutil.ignore_patterns("*.part"))
        shutil.copy(locations.journal_of(run.path), there)
    return there / run.path.name


def test_a_whole_run_is_sound(finished: Path) -> None:
    report = check(finished)
    assert report.sound and report.notes == [] and report.status == "complete"
    assert report.rows == {"stage_0/video": STEPS, "stage_0/audio": STEPS} and report.chunks > 100
    json.dumps(report.as_json())
    with pytest.raises(CannotRepair, match="nothing to repair"):
        repair(finished)


def chunk_files(archive: Path) -> list[Path]:
    return sorted(f for f in archive.rglob("*") if "/c/" in f.as_posix() and f.is_file())


@pytest.mark.parametrize("seed", range(6))
def test_a_flipped_bit_is_found(finished: Path, seed: int) -> None:
    rng = random.Random(seed)
    file = rng.choice(chunk_files(finished))
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)
    (problem,) = check(finished).problems
    assert file.relative_to(finished).as_posix() in problem and "damaged" in problem


def test_what_is_missing_or_short_is_found(finished: Path) -> None:
    files = chunk_files(finished)
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-1])
    shutil.rmtree(finished / "stage_0/video/velocity_rms")
    (finished / "stage_0/audio/mean/zarr.json").write_text("{")
    text = "\n".join(check(finished).problems)
    for words in ("is missing", "bytes instead of", "stage_0/video/velocity_rms is missing", "mean/zarr.json"):
        assert words in text


def test_problems_beyond_the_first_thousand_are_only_counted() -> None:
    report = Report(Path("a.zarr"), "complete")
    for n in range(MAX_PROBLEMS + 3):
        report.problem(f"problem {n}")
    assert report.problems[-2:] == [f"problem {MAX_PROBLEMS - 1}", "and 3 more"]
    assert len(report.problems) == MAX_PROBLEMS + 1 and report.word == "1,003 problems"


def test_the_command_that_repairs_is_quoted_for_the_shell(crashed: Path) -> None:
    spaced = crashed.with_name("two words.zarr")
    locations.journal_of(crashed).rename(locations.journal_of(spaced))
    if crashed.exists():
        crashed.rename(spaced)
    assert any(f"ltxtui runs repair '{spaced}'" in problem for problem in check(spaced).problems)


def test_damaged_root_and_checksums(finished: Path) -> None:
    (finished / "checksums.json").write_text("[1]")
    assert "checksums.json is damaged" in check(finished).problems[0]
    (finished / "checksums.json").unlink()
    report = check(finished)
    assert report.sound and "older version" in report.notes[0]
    (finished / "zarr.json").write_text("{}")
    assert not check(finished).sound


def test_a_live_run_is_left_alone(tmp_path: Path) -> None:
    with record(runs_dir=tmp_path) as run:
        take_steps(run)
        assert check(run.path).status == "live"
        with pytest.raises(CannotRepair, match="being recorded"):
            repair(run.path)


@pytest.mark.parametrize("given", ["archive", "journal"])
def test_a_crashed_run_is_mended_and_its_files_are_kept(crashed: Path, given: str) -> None:
    journal = locations.journal_of(crashed)
    before = load(crashed)
    report = check(crashed)
    assert not report.sound and "not finalised" in report.problems[0] and "runs repair" in report.problems[0]
    done = repair(crashed if given == "archive" else journal)
    assert done.archive == crashed and not journal.exists()
    assert sorted(p.name for p in done.kept.iterdir()) == sorted([crashed.name, journal.name])
    after = check(crashed)
    assert after.sound, after.problems
    assert after.status == "interrupted"
    mended = load(crashed)
    assert len(mended.stages) == len(before.stages) == 2
    for one, other in zip(before.stages, mended.stages, strict=True):
        for name, stream in one.streams.items():
            assert np.array_equal(stream.data, other.streams[name].data, equal_nan=True)
    tree = xarray.open_datatree(crashed, engine="zarr")
    old = zarr.open_group(str(done.kept / crashed.name), mode="r")["stage_0/video/latents"]
    latents = tree["stage_0/video"]["latents"].values
    assert np.isfinite(latents[0]).all() and np.array_equal(latents, old[:STEPS], equal_nan=True)
    with pytest.raises(CannotRepair):
        repair(crashed)


def test_a_repaired_run_without_rows_ended_when_the_last_thing_was_recorded(tmp_path: Path) -> None:
    header, stage, *_ = recorded.whole("run", at=fake.START)
    dead = recorded.Recording(tmp_path, "run")
    dead.write([header, stage])
    dead.die()
    run = load(repair(dead.path).archive)
    assert run.end is not None and run.end["time"] == stage["time"]


def test_without_its_journal_what_was_folded_is_kept(crashed: Path) -> None:
    locations.journal_of(crashed).unlink()
    assert "journal is gone" in check(crashed).problems[0]
    done = repair(crashed)
    assert done.rows["stage_0/video"] == STEPS
    assert check(crashed).sound


def test_without_its_archive_the_journal_is_enough(crashed: Path) -> None:
    shutil.rmtree(crashed)
    journal = locations.journal_of(crashed)
    torn = journal.read_bytes()
    journal.write_bytes(torn[:-3])
    assert check(journal).notes
    done = repair(journal)
    assert "torn" in done.note and done.rows["stage_0/video"] == STEPS
    assert check(crashed).sound


def test_a_journal_that_says_otherwise_is_found(crashed: Path) -> None:
    chunk = next((crashed / "stage_0/video/velocity_rms/c").rglob("0"))
    file = chunk if chunk.is_file() else next(f for f in chunk.rglob("*") if f.is_file())
    data = bytearray(file.read_bytes())
    data[1] ^= 255
    file.write_bytes(data)
    assert any("velocity_rms differs from the journal" in p for p in check(crashed).problems)


def test_nothing_readable_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    with pytest.raises(CannotRepair, match="does not exist"):
        repair(path)
    journal = Journal(locations.journal_of(path))
    journal.append(b"garbage that is no message at all")
    journal.close()
    with pytest.raises(CannotRepair, match="nothing of"):
        repair(path)
    assert locations.journal_of(path).exists() and not path.exists()
