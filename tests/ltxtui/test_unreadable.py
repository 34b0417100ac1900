"""Runs that are gone, damaged or no runs: named where runs are listed or shown, with what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ltxtui.cli import cli
from ltxtui.home import draw
from ltxtui.home.model import HomeModel
from ltxtui.reports.run_text import summary
from ltxtui.screens.home import named_as
from replay.library import edit
from replay.library.watcher import RunWatcher
from replay.sources.open import load
from tests import recorded


def spoiled(folder: Path) -> None:
    recorded.archive(folder, "good")
    (recorded.archive(folder, "lost") / "zarr.json").unlink()
    (recorded.archive(folder, "torn") / "zarr.json").write_text("{")


def test_what_cannot_be_read_is_named_with_the_reason_and_the_way_on(tmp_path: Path) -> None:
    spoiled(tmp_path)
    result = CliRunner().invoke(cli, ["runs", "--runs-dir", str(tmp_path)])
    assert "2 archives or journals cannot be read" in result.stderr and "good" in result.stdout
    for name in ("lost", "torn"):
        (line,) = [text for text in result.stderr.splitlines() if text.startswith(f"  {name}: ")]
        assert f"ltxtui runs check {tmp_path / name}.zarr" in line, line
    assert "has lost its root document" in result.stderr
    found = json.loads(CliRunner().invoke(cli, ["runs", "--runs-dir", str(tmp_path), "--json"]).stdout)
    assert [u["name"] for u in found["unreadable"]] == ["torn", "lost"] and len(found["runs"]) == 1
    shelf = RunWatcher(tmp_path)
    shelf.update(1e9)
    assert [u.name for u in shelf.unreadable] == ["torn", "lost"]
    model = HomeModel()
    model.unreadable = shelf.unreadable
    rows = [row.text for row in draw.unreadable(model, 120, 20, ascii_only=True)]
    assert len(rows) == 2 and "lost" in rows[1] and "runs check" in rows[1]
    model.unreadable = shelf.unreadable * 20
    assert "37 more cannot be read" in draw.unreadable(model, 120, 20, ascii_only=True)[-1].text
    recorded.archive(tmp_path, "other").rename(tmp_path / "spare.zarr")
    shelf.close()


def test_a_run_that_is_gone_is_not_renamed_tagged_or_deleted(tmp_path: Path) -> None:
    gone = tmp_path / "gone.zarr"
    for change in (
        lambda: edit.rename(gone, "other"),
        lambda: edit.rename(gone, "gone"),
        lambda: edit.set_tags(gone, ["a"]),
        lambda: edit.delete(gone),
    ):
        with pytest.raises(edit.CannotChange, match="is not there any more"):
            change()


def test_characters_that_a_name_cannot_have_are_told(tmp_path: Path) -> None:
    renamed = edit.rename(recorded.archive(tmp_path, "20261122-143015-x"), "böse Kugel")
    assert "named b-se-Kugel" in named_as("böse Kugel")(renamed) and not named_as("b-se-Kugel ")(renamed)


@pytest.mark.parametrize("how", ["cut", "missing", "flipped"])
def test_damage_is_told_when_an_archive_is_opened(tmp_path: Path, how: str) -> None:
    path = recorded.archive(tmp_path, "x")
    assert load(path).damage == "" and load(path).standing == "complete"
    for name in ("sigma", "velocity_rms"):
        (chunk,) = [file for file in (path / "stage_0" / "video" / name / "c").rglob("*") if file.is_file()]
        data = bytearray(chunk.read_bytes())
        data[3] ^= 1
        chunk.unlink() if how == "missing" else chunk.write_bytes(data[:5] if how == "cut" else data)
    run = load(path)
    assert "stage_0/video/" in run.damage and "(and 1 more)" in run.damage
    assert f"ltxtui runs check {path}" in run.damage and run.standing == "complete, damaged"
    assert "damaged: stage_0/video/" in summary(run)
    other = recorded.archive(tmp_path, "y")
    said = CliRunner().invoke(cli, ["compare", str(path), str(other), "--no-plot"])
    assert "run A is damaged: stage_0/video/" in said.stderr and "run B" not in said.stderr
