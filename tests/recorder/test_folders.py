"""Archives are written where they were begun, through no link, and other users may not write to them."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recorder import record
from recorder.archive.writer import ArchiveWriter
from recorder.archive.zarr_writer import StoreWriter
from recorder.format import locations
from recorder.sweep import spec
from recorder.system.open_folders import Tree, make_folders, open_folder
from replay.integrity.check import check
from replay.integrity.repair import CannotRepair, repair
from replay.library import edit
from replay.library.cache import ListingCache
from replay.library.describe import describe_run
from replay.sources.open import load
from tests import recorded
from tests.faults.scenarios import settle
from tests.recorder.test_durable import take_steps

OTHER = "20261122-143015-other"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def swap_for_a_link(path: Path, other: Path) -> None:
    path.rename(path.with_name("aside"))
    path.symlink_to(other, target_is_directory=True)


def swap_for_another(path: Path, other: Path) -> None:
    path.rename(path.with_name("aside"))
    other.rename(path)


@pytest.mark.parametrize("swap", [swap_for_a_link, swap_for_another])
@pytest.mark.parametrize("sync", [False, True])
def test_an_archive_that_is_swapped_overwrites_no_other(
    tmp_path: Path, swap: Callable[[Path, Path], None], sync: bool
) -> None:
    """In a folder that others may write to."""
    other = recorded.archive(tmp_path, OTHER)
    before = contents(other)
    with record(runs_dir=tmp_path, name="mine", save_latents=True, sync=sync) as run:
        run.stage([1.0, 0.6, 0.3])
        take_steps(run)
        settle(run)
        swap(run.path, other)
        run.stage([1.0, 0.6, 0.3])
        take_steps(run)
    if swap is swap_for_another:
        assert contents(run.path) == before, "nor is it moved away"
        assert [s.steps for s in load(run.path).stages] == [3, 3], "the journal has it all"
        done = repair(run.path)
        assert done.kept is not None and contents(done.kept / run.path.name) == before
    assert contents(other) == before or swap is swap_for_another
    assert not run.path.is_symlink() and [s.steps for s in load(run.path).stages] == [3, 3]
    assert check(run.path).sound and not locations.journal_of(run.path).exists()


@pytest.mark.parametrize("node", ["stage_0", "stage_0/video", "stage_0/video/sigma", "stage_0/video/sigma/c"])
def test_a_link_within_an_archive_is_not_written_through(tmp_path: Path, node: str) -> None:
    outside = tmp_path / "outside"
    with record(runs_dir=tmp_path / "runs", name="mine") as run:
        run.stage([1.0, 0.6, 0.3])
        take_steps(run, 2)
        settle(run)
        shutil.copytree(run.path / node, outside)
        shutil.rmtree(run.path / node)
        (run.path / node).symlink_to(outside, target_is_directory=True)
        before = contents(outside)
    assert contents(outside) == before
    assert check(run.path).sound and load(run.path).steps == 2


def test_a_tree_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "out").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "file").symlink_to("/etc/passwd")
    tree = Tree(open_folder(str(tmp_path / "a")))
    for name in ("out", "..", "b/..", "b/../..", ".", "/", "b//b"):
        with pytest.raises(OSError):
            tree.folder(name)
    with pytest.raises(OSError):
        tree.read("file")
    assert list(tree.files()) == [] and tree.is_at(tmp_path / "a") and not tree.is_at(tmp_path / "a" / "out")
    tree.close()
    tree.close()
    with pytest.raises(OSError, match="closed"):
        tree.folder("b")


def test_room_is_made_of_ones_own_archive_alone(tmp_path: Path) -> None:
    path, other = tmp_path / "mine.zarr", recorded.archive(tmp_path, OTHER)
    before = contents(other)
    writer = ArchiveWriter(path)
    for message in recorded.whole("mine")[:-1]:
        writer.feed(message)
    swap_for_another(path, other)
    writer.make_room()
    assert contents(path) == before and list((tmp_path / "aside").iterdir()) == []


def test_a_folder_that_somebody_else_put_there_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = recorded.archive(tmp_path, OTHER)
    before, mkdir = contents(other), os.mkdir

    def made_and_swapped(path: Any, *arguments: Any, **more: Any) -> None:
        mkdir(path, *arguments, **more)
        if path == "mine.zarr":
            (tmp_path / path).rmdir()
            other.rename(tmp_path / path)

    monkeypatch.setattr(os, "mkdir", made_and_swapped)
    with pytest.raises(FileExistsError):
        StoreWriter(tmp_path / "mine.zarr", {})
    assert contents(tmp_path / "mine.zarr") == before


def test_a_forked_child_lets_go_of_the_folder(tmp_path: Path) -> None:
    store = StoreWriter(tmp_path / "a.zarr", {})
    child = os.fork()
    if child == 0:
        os._exit(int(bool(store.tree._open)))
    assert os.waitpid(child, 0)[1] == 0
    store.array("x", (2,), "float32", ("step",), {}, values=np.zeros(2))
    store.close()


# -- what people do to runs


def test_a_link_is_neither_tagged_nor_repaired_and_only_itself_renamed(tmp_path: Path) -> None:
    other = recorded.archive(tmp_path / "elsewhere", OTHER)
    before = contents(other)
    link = tmp_path / "20261122-143015-link.zarr"
    link.symlink_to(other, target_is_directory=True)
    with pytest.raises(edit.CannotChange, match="is a link"):
        edit.set_tags(link, ["x"])
    with pytest.raises(CannotRepair, match="is a link"):
        repair(link)
    renamed = edit.rename(link, "new")
    assert renamed.is_symlink() and not link.is_symlink() and contents(other) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [renamed.name, "elsewhere"]


def test_tags_go_to_the_folder_that_was_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = recorded.archive(tmp_path, "20261122-143015-mine"), recorded.archive(tmp_path, OTHER)
    before, real = contents(other), edit.read_file

    def read_and_swapped(*arguments: Any) -> bytes:
        data = real(*arguments)
        swap_for_a_link(path, other)
        return data

    monkeypatch.setattr(edit, "read_file", read_and_swapped)
    edit.set_tags(path, ["x"])
    assert contents(other) == before and b'"x"' in (tmp_path / "aside" / "zarr.json").read_bytes()


# -- modes


@pytest.fixture
def nothing_forbidden() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    """Files and folders that other users may write to."""
    found = []
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # the recorder has renamed it meanwhile
            mode = path.lstat().st_mode
            if mode & 0o022 and not stat.S_ISLNK(mode) and not stat.S_ISSOCK(mode):
                found.append(f"{path} {stat.filemode(mode)}")
    return found


@pytest.mark.usefixtures("nothing_forbidden")
def test_nobody_else_may_write_whatever_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ltxtui.reports.export import _write_new
    from ltxtui.state import SavedState

    mine = tmp_path / "mine"
    make_folders(mine)
    monkeypatch.setenv("LTXTUI_RUNTIME_DIR", str(mine / "run" / "time"))
    monkeypatch.setenv("LTXTUI_CACHE", str(mine / "cache" / "ltxtui"))
    with record(runs_dir=mine / "deep" / "runs", save_latents=True, allow_control=True) as run:
        take_steps(run, 2)
        assert open_to_others(mine) == []
    renamed = edit.rename(run.path, "new")
    edit.set_tags(renamed, ["x"])
    (renamed / "stage_0/video/sigma/c/0").unlink()
    repair(renamed)
    cache = ListingCache(renamed.parent)
    cache.put(describe_run(renamed), (1, 2))
    cache.save()
    SavedState(mine / "state" / "ltxtui" / "state.json").set_tour_seen(True)
    _write_new(mine / "exports", "table", ".csv", lambda file: file.write("a") and None)
    spec.replace_file(mine / "sweep.json", "{}")
    assert len(list(mine.rglob("*"))) > 200 and (mine / "exports" / "table.csv").exists()
    assert open_to_others(mine) == []
    for private in ("run", "cache", "state"):
        assert stat.S_IMODE((mine / private).stat().st_mode) == 0o700


@pytest.mark.usefixtures("nothing_forbidden")
def test_the_settings_file_is_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ltxtui.cli.config import _edit

    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.delenv("VISUAL", raising=False)
    _edit(tmp_path / "config" / "ltxtui" / "config.toml")
    assert (tmp_path / "config" / "ltxtui" / "config.toml").read_text()
    assert open_to_others(tmp_path / "config") == []


def test_folders_are_made_and_what_is_in_the_way_is_told(tmp_path: Path) -> None:
    make_folders(tmp_path / "a" / "b")
    make_folders(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        make_folders(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        make_folders(tmp_path / "file" / "x" / "y")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(OSError):
        make_folders(tmp_path / "nowhere" / "x")
