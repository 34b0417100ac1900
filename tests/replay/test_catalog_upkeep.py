"""Renaming, tagging and deleting runs: what is live stays, nothing leaves its folder, readers are not disturbed."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from recorder.format import locations
from replay.integrity.check import check
from replay.library import edit, listing
from replay.sources.open import load
from tests import recorded
from tests.ltxtui import fake

NAME = "20261122-143015-red-disc"


def unfinished(folder: Path, name: str = NAME) -> Path:
    """A run whose recorder was killed: journal, and what of the archive there was."""
    run = recorded.Recording(folder, name)
    run.write(fake.messages(5, end=None, name=name))
    run.die()
    writer = recorded.ArchiveWriter(run.path)
    for message in islice(fake.messages(5, name=name), 4):  # up to its first stream
        writer.feed(message)
    assert run.path.exists()
    return run.path


def test_a_renamed_run_keeps_its_time_and_all_that_it_holds(tmp_path: Path) -> None:
    path = recorded.archive(tmp_path, NAME)
    before = load(path)
    renamed = edit.rename(path, "blue sky / 2")
    assert renamed == tmp_path / "20261122-143015-blue-sky-2.zarr" and not path.exists()
    after = load(renamed)
    assert after.name == "20261122-143015-blue-sky-2"
    assert [s.steps for s in after.stages] == [s.steps for s in before.stages] and after.events == before.events
    assert after.header["archive"] == str(renamed.resolve()) and check(renamed).sound
    assert edit.name_part(renamed) == ("20261122-143015-", "blue-sky-2")
    assert edit.name_part(tmp_path / "own.zarr") == ("", "own")


def test_an_unfinished_run_is_renamed_with_its_journal(tmp_path: Path) -> None:
    renamed = edit.rename(unfinished(tmp_path), "other")
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{renamed.stem}.journal", f"{renamed.stem}.zarr"]
    assert load(renamed).steps == 5 and listing.describe_run(renamed).name == renamed.stem


@pytest.mark.parametrize("name", ["../up", "/etc/x", "..", "a/../../b", "...", "~/x", "\x1b[31mred", "a\nb", "x" * 500])
def test_no_name_leaves_the_folder(tmp_path: Path, name: str) -> None:
    runs = tmp_path / "runs"
    path = recorded.archive(runs, NAME)
    try:
        renamed = edit.rename(path, name)
    except edit.CannotChange:
        renamed = path
    assert renamed.parent == runs and [p.name for p in runs.iterdir()] == [renamed.name]
    assert list(tmp_path.iterdir()) == [runs]
    assert renamed.name.isprintable() and len(renamed.name) < 120


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    path = recorded.archive(tmp_path, NAME)
    other = recorded.archive(tmp_path, "20261122-143015-other")
    with pytest.raises(edit.CannotChange, match="already"):
        edit.rename(path, "other")
    assert load(path).name == NAME and load(other).steps == 6
    for empty in ("", "  ", "/", "…"):
        with pytest.raises(edit.CannotChange, match="letter"):
            edit.rename(path, empty)
    assert edit.rename(path, "red-disc") == path


def test_live_runs_are_left_alone(tmp_path: Path) -> None:
    live = recorded.Recording(tmp_path, NAME)
    live.write(fake.messages(3, end=None))
    changes = (
        lambda: edit.rename(live.path, "x"),
        lambda: edit.set_tags(live.path, ["x"]),
        lambda: edit.delete(live.path),
    )
    before = locations.journal_of(live.path).read_bytes()
    for change in changes:
        with pytest.raises(edit.CannotChange, match="being recorded"):
            change()
    assert locations.journal_of(live.path).read_bytes() == before
    live.die()
    edit.delete(live.path)
    assert list(tmp_path.iterdir()) == []


def test_tags_disturb_no_reader(tmp_path: Path) -> None:
    import xarray

    path = recorded.archive(tmp_path, NAME)
    before, files = load(path), sorted(path.rglob("*"))
    edit.set_tags(path, ["good", "σ-study"])
    assert listing.describe_run(path).tags == ("good", "σ-study")
    assert sorted(path.rglob("*")) == files and check(path).sound
    after = load(path)
    assert after.stages[0].metadata == before.stages[0].metadata and after.events == before.events
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        tree = xarray.open_datatree(path, engine="zarr")
    assert tree.attrs["ltxtui.tags"] == ["good", "σ-study"]
    assert tree["stage_0/video"]["sigma"].shape == (6,)
    edit.set_tags(path, [])
    assert listing.describe_run(path).tags == ()


def test_a_trap_in_an_archive_changes_no_file_beside_it(tmp_path: Path) -> None:
    path = recorded.archive(tmp_path / "runs", NAME)
    (tmp_path / "outside").write_text("precious")
    (path / f"zarr.json.{os.getpid()}.part").symlink_to(tmp_path / "outside")
    edit.set_tags(path, ["good"])
    assert (tmp_path / "outside").read_text() == "precious" and listing.describe_run(path).tags == ("good",)


@pytest.mark.parametrize("damage", [lambda text: text[:-1], lambda text: text + "x", lambda text: text[:-1] + ', "a":'])
def test_a_document_damaged_behind_its_attributes_is_not_written_anew(
    tmp_path: Path, damage: Callable[[str], str]
) -> None:
    path = recorded.archive(tmp_path, NAME)
    text = damage((path / "zarr.json").read_text())
    (path / "zarr.json").write_text(text)
    with pytest.raises(edit.CannotChange, match=r"damaged metadata: zarr\.json is not JSON"):
        edit.set_tags(path, ["good"])
    assert (path / "zarr.json").read_text() == text
    renamed = edit.rename(path, "other")
    assert renamed.exists() and (renamed / "zarr.json").read_text() == text


def test_tags_of_an_unfinished_run_show_too(tmp_path: Path) -> None:
    path = unfinished(tmp_path)
    edit.set_tags(path, ["crash"])
    assert listing.describe_run(path).tags == ("crash",) and load(path).steps == 5


def test_tags_as_they_are_typed() -> None:
    assert edit.read_tags(" #good, good bad;#σ ") == ("good", "bad", "σ")
    assert edit.read_tags("  # ") == ()
    with pytest.raises(edit.CannotChange, match="characters"):
        edit.read_tags("x" * 41)
    with pytest.raises(edit.CannotChange, match="at most"):
        edit.read_tags(" ".join(f"t{i}" for i in range(21)))


def test_tags_that_are_none_are_not_shown(tmp_path: Path) -> None:
    path = recorded.archive(tmp_path, NAME)
    for odd in ("text", 5, [5, None, "", "good"], {"a": 1}):
        document = json.loads((path / "zarr.json").read_text())
        document["attributes"]["ltxtui.tags"] = odd
        (path / "zarr.json").write_text(json.dumps(document))
        assert listing.describe_run(path).tags == (("good",) if isinstance(odd, list) else ())


def test_deleting_removes_archive_and_journal_and_nothing_else(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    kept = recorded.archive(runs, "20261122-143015-kept")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("here")
    gone = unfinished(runs)
    (gone / "link").symlink_to(outside, target_is_directory=True)
    edit.delete(gone)
    assert [p for p in runs.iterdir()] == [kept] and (outside / "precious").read_text() == "here"


def test_of_a_link_only_the_link_is_deleted(tmp_path: Path) -> None:
    real = recorded.archive(tmp_path / "elsewhere", NAME)
    (tmp_path / "runs").mkdir()
    link = tmp_path / "runs" / real.name
    link.symlink_to(real, target_is_directory=True)
    edit.delete(link)
    assert not link.is_symlink() and load(real).steps == 6


def test_what_is_no_run_is_not_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "photos.zarr"
    folder.mkdir()
    (folder / "a.jpg").write_text("x")
    plain = tmp_path / "notes"
    plain.mkdir()
    for path in (folder, plain, tmp_path / "missing.zarr"):
        with pytest.raises(edit.CannotChange):
            edit.delete(path)
    assert (folder / "a.jpg").exists() and plain.exists()
