"""Repairs that meet, fail or are killed: what was there is there still, and nothing is left lying about."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from recorder.archive import zarr_writer
from recorder.format import locations
from recorder.format.framing import encode
from recorder.system import durability, move_remove, open_folders
from replay.integrity import repair as repair_module
from replay.integrity.check import check
from replay.integrity.repair import CannotRepair, repair
from replay.library import edit
from replay.sources.open import load
from tests import recorded
from tests.recorder.test_folders import contents
from tests.waiting import PATIENCE_SECONDS

NAME = "20261122-143015-red-disc"


def torn(folder: Path) -> Path:
    """A run whose recorder was killed: journal without an end."""
    path = folder / f"{NAME}.zarr"
    locations.journal_of(path).write_bytes(b"".join(map(encode, recorded.whole(NAME)[:-1])))
    return path


def damaged(folder: Path) -> Path:
    path = recorded.archive(folder, NAME)
    (path / "stage_0/video/sigma/c/0").unlink()
    return path


BROKEN: dict[str, Callable[[Path], Path]] = {"torn": torn, "damaged": damaged}


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("broken", BROKEN)
def test_of_many_repairs_at_once_one_does_it(tmp_path: Path, broken: str) -> None:
    path = BROKEN[broken](tmp_path)
    done: list[Any] = []
    errors: list[BaseException] = []
    together = threading.Barrier(4)

    def mend() -> None:
        together.wait(PATIENCE_SECONDS)
        try:
            done.append(repair(path))
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    threads = [threading.Thread(target=mend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 1 and len(errors) == 3
    for error in errors:
        assert isinstance(error, CannotRepair)
        assert "another process" in str(error) or "nothing to repair" in str(error)
    assert names(tmp_path) == [f"{NAME}.before-repair", f"{NAME}.zarr"] and check(path).sound


def test_a_run_that_another_process_changes_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move_remove, "PATIENCE_SECONDS", 0.02)
    path = torn(tmp_path)
    with move_remove.changing(path):
        with pytest.raises(CannotRepair, match="being changed by another process"):
            repair(path)
        with pytest.raises(edit.CannotChange, match="another process changes it just now; try again"):
            edit.delete(path)
    assert names(tmp_path) == [f"{NAME}.journal"]
    repair(path)


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("at", [1, 40, 150])
def test_a_disk_that_is_full_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, at: int
) -> None:
    path = BROKEN[broken](tmp_path)
    before, real, calls = contents(tmp_path), zarr_writer.replace_file, [0]

    def full(*arguments: Any, **more: Any) -> None:
        calls[0] += 1
        if calls[0] == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*arguments, **more)

    monkeypatch.setattr(zarr_writer, "replace_file", full)
    with pytest.raises(OSError, match="No space left"):
        repair(path)
    assert contents(tmp_path) == before and not [n for n in names(tmp_path) if n.startswith(".")]
    repair(path)
    assert check(path).sound


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_a_rename_that_fails_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, error: BaseException
) -> None:
    path = BROKEN[broken](tmp_path)
    before, rename = contents(tmp_path), os.rename

    def fails(name: Any, to: Any, **more: Any) -> None:
        if str(name).startswith(".") and to == path.name:
            raise error
        rename(name, to, **more)

    monkeypatch.setattr(os, "rename", fails)
    with pytest.raises(type(error)):
        repair(path)
    assert contents(tmp_path) == before and not [n for n in names(tmp_path) if n.startswith(".") or "before" in n]


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("at", ["away", "in place"])
def test_a_ctrl_c_between_two_moves_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, at: str
) -> None:
    path = BROKEN[broken](tmp_path)
    before, rename = contents(tmp_path), os.rename

    def interrupted(name: Any, to: Any, **more: Any) -> None:
        rename(name, to, **more)
        if name == (f".{NAME}.repaired.zarr" if at == "in place" else to):
            monkeypatch.setattr(os, "rename", rename)
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        repair(path)
    if at == "away":
        assert contents(tmp_path) == before and names(tmp_path) == sorted({n.partition("/")[0] for n in before})
    else:
        assert names(tmp_path) == [f"{NAME}.before-repair", path.name] and check(path).sound


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path, real = torn(tmp_path), os.open

    def refused(name: Any, flags: int, *more: Any, **where: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number), name)
        return real(name, flags, *more, **where)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(OSError, match=os.strerror(number)) as raised:
        repair(path)
    assert raised.value.filename == str(tmp_path) and raised.value.errno == number


def test_nothing_is_moved_before_the_new_archive_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = damaged(tmp_path)
    before = contents(path)

    def fails(tree: Any, files: Any, place: Path) -> None:
        assert contents(path) == before
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(durability, "sync_tree", fails)
    with pytest.raises(OSError, match="Input/output"):
        repair(path)
    assert contents(path) == before and names(tmp_path) == [path.name]


def test_what_killed_repairs_left_is_removed(tmp_path: Path) -> None:
    path = damaged(tmp_path)
    for left in ("repairing", "repairing-77", "repaired", "rebuilding"):
        shutil.copytree(path, tmp_path / f".{NAME}.{left}.zarr")
    (tmp_path / f".{NAME}.lock").write_bytes(b"")
    (tmp_path / ".other.repairing-77.zarr").mkdir()
    repair(path)
    assert names(tmp_path) == [".other.repairing-77.zarr", f"{NAME}.before-repair", path.name]


def test_a_repair_that_was_killed_when_all_but_done_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = damaged(tmp_path)
    rename = os.rename

    class Killed(BaseException):
        pass

    def killed(name: Any, to: Any, **more: Any) -> None:
        if name == f".{NAME}.repaired.zarr":
            raise Killed
        rename(name, to, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", killed)
        patched.setattr(repair_module, "remove", lambda name, place: None)
        patched.setattr(repair_module, "move", lambda name, place, to, other: move_there(name, place, to, other))
        with pytest.raises(Killed):
            repair(path)
    assert names(tmp_path) == [f".{NAME}.repaired.zarr", f"{NAME}.before-repair"]
    done = repair(path)
    assert done.kept is None and "was completed" in done.note and check(path).sound
    assert names(tmp_path) == [f"{NAME}.before-repair", path.name]


def move_there(name: str, place: int, to: str, other: int) -> None:
    """As a process that is killed would leave it: moved away, and never back."""
    if move_remove.exists(name, place) and not move_remove.exists(f"{NAME}.before-repair", other):
        move_remove.move(name, place, to, other)


@pytest.mark.parametrize("latents", [True, False])
def test_an_archive_that_was_just_being_folded_again_is_put_back(tmp_path: Path, latents: bool) -> None:
    """Killed between the two renames; the journal has no latents."""
    path = torn(tmp_path)
    shutil.copytree(recorded.archive(tmp_path / "made", NAME), tmp_path / f".{NAME}.unfinished.zarr")
    shutil.rmtree(tmp_path / "made")
    (tmp_path / f".{NAME}.rebuilding.zarr").mkdir()
    done = repair(path)
    assert done.kept is not None and (done.kept / path.name).is_dir() and (done.kept / f"{NAME}.journal").exists()
    assert not (tmp_path / f".{NAME}.unfinished.zarr").exists() and check(path).sound


# -- folders of a container's image


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that were there cannot be renamed (overlayfs)."""
    rename = os.rename

    def refused(name: Any, to: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        if str(name) == f"{NAME}.zarr":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(name, to, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", refused)


@pytest.mark.usefixtures("image")
def test_what_cannot_be_renamed_is_copied(tmp_path: Path) -> None:
    path = damaged(tmp_path)
    (path / "link").symlink_to("/nowhere/at/all")
    before = contents(path)
    done = repair(path)
    assert done.kept is not None and contents(done.kept / path.name) == before
    assert (done.kept / path.name / "link").is_symlink() and check(path).sound
    renamed = edit.rename(path, "other")
    assert check(renamed).sound and load(renamed).name == renamed.stem
    assert names(tmp_path) == sorted([done.kept.name, renamed.name])


@pytest.mark.usefixtures("image")
def test_what_cannot_be_renamed_is_deleted_all_the_same(tmp_path: Path) -> None:
    path = recorded.archive(tmp_path, NAME)
    edit.delete(path)
    assert names(tmp_path) == []


@pytest.mark.usefixtures("image")
def test_a_copy_that_fails_leaves_the_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recorded.archive(tmp_path, NAME)
    before = contents(path)

    def full(*arguments: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(move_remove, "replace_file", full)
    with pytest.raises(edit.CannotChange, match="No space left"):
        edit.rename(path, "other")
    assert contents(path) == before and names(tmp_path) == [path.name] and open_folders.FOLDER_MODE == 0o755


# -- what killed processes left, and long names


LEFT = ("repairing.zarr", "repairing-77.zarr", "repaired.zarr", "rebuilding.zarr", "unfinished.zarr", "deleted")


@pytest.mark.parametrize("change", ["delete", "rename"])
def test_what_killed_processes_left_goes_with_the_run(tmp_path: Path, change: str) -> None:
    path = recorded.archive(tmp_path, NAME)
    for left in LEFT:
        shutil.copytree(path, tmp_path / f".{NAME}.{left}")
    others = sorted([f".{NAME}.repairing-7.lock", f".{NAME}-2.repaired.zarr"])
    for other in others:
        (tmp_path / other).mkdir()
    if change == "delete":
        edit.delete(path)
        assert names(tmp_path) == others
    else:
        renamed = edit.rename(path, "other")
        assert names(tmp_path) == sorted([*others, renamed.name]) and check(renamed).sound


def test_a_repair_that_was_all_but_done_is_renamed_with_its_run(tmp_path: Path) -> None:
    path = torn(tmp_path)
    recorded.archive(tmp_path / "made", NAME).rename(tmp_path / f".{NAME}.repaired.zarr")
    shutil.rmtree(tmp_path / "made")
    renamed = edit.rename(path, "other")
    assert names(tmp_path) == sorted([renamed.name, locations.journal_of(renamed).name])


@pytest.mark.parametrize("stem", ["n" * 245, "ä" * 123])
def test_a_run_of_the_longest_name_is_repaired_renamed_and_deleted(tmp_path: Path, stem: str) -> None:
    path = damaged(tmp_path).rename(tmp_path / f"{stem}.zarr")
    done = repair(path)
    assert done.kept is not None and (done.kept / path.name).is_dir() and check(path).sound
    assert len(os.fsencode(done.kept.name)) < 255 and done.kept.name.endswith(".before-repair")
    edit.set_tags(path, ("a",))
    renamed = edit.rename(path, "short")
    assert names(tmp_path) == sorted([done.kept.name, renamed.name])
    edit.delete(renamed)
    assert names(tmp_path) == [done.kept.name]


def test_a_folder_that_is_not_a_run_is_not_even_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that cannot be written, the reason is still what is wrong with the path."""

    def denied(archive: Path) -> Iterator[int]:
        raise PermissionError(errno.EACCES, "Permission denied", str(archive.parent))

    monkeypatch.setattr(repair_module, "changing", denied)
    (tmp_path / "photos").mkdir()
    for path in (tmp_path / "photos", Path("/")):
        with pytest.raises(CannotRepair, match="is not a recorded run"):
            repair(path)
