"""`record(pack=True)`: one file at once, equal to the folder; until it is on the disk, the journal has everything."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.mutations import valid_messages
from recorder import record, recording
from recorder.archive import packed_writer, zip_writer
from recorder.archive.journal_removal import settle, settle_others
from recorder.archive.writer import ArchiveWriter
from recorder.format import locations
from recorder.format.framing import encode
from recorder.recording import RunHandle
from replay.integrity.check import check
from replay.integrity.repair import repair
from replay.library import listing
from replay.sources.open import load
from tests import recorded
from tests.waiting import until

NAME = "20261122-143015-red-disc"


def take_steps(run: RunHandle, count: int = 3) -> None:
    shape = (1, 4, 3, 6, 8)
    for n in range(count):
        sample, velocity = (torch.randn(shape, generator=torch.Generator().manual_seed(n + k)) for k in (0, 9))
        run.step(sigma=1 - n / 10, sigma_next=0.9 - n / 10, sample=sample, velocity=velocity)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def written(path: Path, pack: bool, most: int = 1 << 30) -> ArchiveWriter:
    writer = ArchiveWriter(path, pack=pack)
    for message in valid_messages()[:most]:
        writer.feed(message)
    return writer


@pytest.mark.parametrize("memory", [packed_writer.MAX_MEMORY, 20_000, 0])
def test_the_file_has_the_bytes_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int) -> None:
    """Whether it was made from memory, or from a folder that the run outgrew into early or late."""
    monkeypatch.setattr(packed_writer, "MAX_MEMORY", memory)
    folder, packed = tmp_path / "a" / f"{NAME}.zarr", tmp_path / "b" / f"{NAME}.zarr"
    packed.parent.mkdir()
    written(folder, False)
    written(packed, True)
    assert names(packed.parent) == [f"{NAME}.zarr.zip"]
    with zipfile.ZipFile(locations.packed_of(packed)) as file:
        ours = {name: file.read(name) for name in file.namelist()}
    assert ours == {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_a_short_run_has_no_folder_and_its_path_is_that_of_the_file(tmp_path: Path) -> None:
    with record(runs_dir=tmp_path, name="red disc", pack=True) as run:
        take_steps(run)
        assert run.path.suffix == ".zarr" and names(tmp_path) == [locations.journal_of(run.path).name]
    assert run.path.name.endswith("-red-disc.zarr.zip") and run.name == locations.run_name(run.path) and run.kept
    until(lambda: names(tmp_path) == [run.path.name])
    assert check(run.path).sound and load(run.path).steps == 3 and load(run.path).name == run.name
    assert load(run.path.with_name(f"{run.name}.zarr")).steps == 3, "the header's path leads to it"
    with record(runs_dir=tmp_path, pack=True):
        pass
    assert names(tmp_path) == [run.path.name], "a run without a step leaves nothing"


@pytest.mark.parametrize("options", [{"save_latents": True}, {"sync": True}])
def test_latents_and_sync_are_packed_too(tmp_path: Path, options: dict[str, Any]) -> None:
    with record(runs_dir=tmp_path, pack=True, **options) as run:
        run.stage([1.0, 0.9, 0.8])
        take_steps(run)
        run.stage([0.5])
        seen = run
        if "save_latents" in options:
            until(lambda: seen.path.is_dir())
    until(lambda: names(tmp_path) == [run.path.name])
    assert locations.is_packed(run.path) and check(run.path).sound
    with zipfile.ZipFile(run.path) as file:
        assert any("/latents/" in name for name in file.namelist()) == ("save_latents" in options)


def test_two_runs_of_one_name_and_second_have_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "run_name", lambda name, now: NAME)
    paths = []
    for pack in (True, False, True):
        with record(runs_dir=tmp_path, pack=pack) as run:
            take_steps(run)
        paths.append(run.path.name)
    assert paths == [f"{NAME}.zarr.zip", f"{NAME}-2.zarr", f"{NAME}-3.zarr.zip"]


# -- crashes and failures


def test_a_crash_before_the_end_leaves_the_journal(tmp_path: Path) -> None:
    live = recorded.Recording(tmp_path, NAME)
    live.write(valid_messages()[:-1])
    live.die()
    written(live.path, True, len(valid_messages()) - 1)
    assert names(tmp_path) == [f"{NAME}.journal"]
    done = repair(live.path)
    assert done.archive == live.path and done.lost == [] and load(live.path).steps == load(done.archive).steps > 0


def test_a_crash_between_the_file_and_the_journals_end_is_settled(tmp_path: Path) -> None:
    live = recorded.Recording(tmp_path, NAME)
    live.write(valid_messages())
    live.die()
    written(live.path, True)
    packed = locations.packed_of(live.path)
    assert load(live.path).steps and [line.status for line in listing.list_runs(tmp_path)] == ["complete"]
    settle_others(tmp_path / "next.zarr")
    until(lambda: names(tmp_path) == [packed.name])
    assert check(packed).sound


@pytest.mark.parametrize("spoil", [lambda d: d[:-50], lambda d: d[:3000] + bytes(1000) + d[4000:]])
def test_a_file_that_a_power_cut_has_torn_keeps_its_journal(tmp_path: Path, spoil: Any) -> None:
    live = recorded.Recording(tmp_path, NAME)
    live.write(valid_messages())
    live.die()
    written(live.path, True)
    packed = locations.packed_of(live.path)
    packed.write_bytes(spoil(packed.read_bytes()))
    assert not settle(live.path)
    assert locations.journal_of(live.path).exists()
    done = repair(packed)
    assert done.archive == live.path and check(live.path).sound and done.kept is not None
    assert names(done.kept) == [f"{NAME}.journal", packed.name] and names(tmp_path) == [done.kept.name, live.path.name]


def test_another_runs_file_and_journal_stay(tmp_path: Path) -> None:
    live = recorded.Recording(tmp_path, NAME)
    live.write([{**valid_messages()[0], "time": 5.0}, *valid_messages()[1:]])
    live.die()
    written(live.path, True)
    assert not settle(live.path) and len(names(tmp_path)) == 2


@pytest.mark.parametrize("where", ["write_zip", "need_folder"])
def test_a_file_that_cannot_be_written_becomes_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if where == "write_zip":
        monkeypatch.setattr(packed_writer, "write_zip", full)
    else:
        monkeypatch.setattr(packed_writer, "MAX_MEMORY", 10_000)
        monkeypatch.setattr(packed_writer.PackedStoreWriter, "need_folder", full)
    with record(runs_dir=tmp_path, pack=True) as run:
        take_steps(run)
    until(lambda: not locations.journal_of(run.path).exists())
    assert run.path.is_dir() and check(run.path).sound and load(run.path).steps == 3, "rebuilt from its journal"


def test_a_torn_temporary_file_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / f"{NAME}.zarr.zip"
    (tmp_path / f".{NAME}.packing.zarr.zip").write_bytes(b"left by a process that was killed")
    zip_writer.write_zip(target, ["zarr.json"], lambda name: b"{}")
    assert names(tmp_path) == [target.name]

    def fails(name: str) -> bytes:
        raise OSError(errno.EIO, "no")

    with pytest.raises(OSError, match="no"):
        zip_writer.write_zip(target, ["zarr.json"], fails)
    assert names(tmp_path) == [target.name] and zipfile.ZipFile(target).read("zarr.json") == b"{}"


def test_journal_and_header_are_those_of_any_run(tmp_path: Path) -> None:
    """Nothing in the stream says that the archive will be packed."""
    with record(runs_dir=tmp_path, pack=True) as run:
        take_steps(run)
        until(lambda: run.rows == 3)
        header = load(run.path).header
        assert header["archive"] == str(run.path) and encode(header)
