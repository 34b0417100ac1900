"""`open_run` gives a run as labelled arrays: the archive's values, or every row that a journal has."""

from __future__ import annotations

import builtins
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
import xarray
import zarr

from benchmarks.mutations import valid_messages
from recorder import record
from recorder.archive.writer import ArchiveWriter
from recorder.format import declarations, locations
from recorder.format.framing import encode
from replay import NotARun, load, open_run
from replay.integrity.repair import repair
from tests.waiting import until

TIMES = "seconds since 1970-01-01T00:00:00+00:00"


def own_loop(run: Any, steps: int, channels: int = 4) -> None:
    """A custom loop: that many steps of a small clip."""
    sample = torch.randn(1, channels, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    for n in range(steps):
        sigma, sigma_next = 1 - n / steps, 1 - (n + 1) / steps
        run.step(sigma=sigma, sigma_next=sigma_next, sample=sample, velocity=0.1 * sample + n)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with latents."""
    with record(runs_dir=tmp_path_factory.mktemp("runs"), name="whole", save_latents=True) as run:
        own_loop(run, 12)
    return run.path


def arrays(group: zarr.Group, prefix: str = "") -> dict[str, zarr.Array]:
    found: dict[str, zarr.Array] = {}
    for name, node in group.members():
        inside = arrays(node, f"{prefix}{name}/") if isinstance(node, zarr.Group) else {f"{prefix}{name}": node}
        found |= inside
    return found


def assert_is_the_archive(tree: Any, path: Path, without: tuple[str, ...] = ()) -> None:
    """Every array of the archive is in the tree with its values, dimensions, unit and texts; times are decoded."""
    stored = {n: a for n, a in arrays(zarr.open_group(str(path), mode="r")).items() if n.split("/")[-1] not in without}
    assert {n for node in tree.subtree for n in (f"{node.path[1:]}/{v}" for v in node.variables)} == stored.keys()
    for name, array in stored.items():
        found, labels = tree[name], dict(array.attrs)
        assert found.dims == array.metadata.dimension_names, name
        if labels.get("units") == TIMES:
            seconds = (found.values - np.datetime64(0, "s")) / np.timedelta64(1, "s")
            np.testing.assert_allclose(seconds, array[...], rtol=0, atol=1e-6)
            continue
        assert found.dtype == array.dtype and dict(found.attrs) == labels, name
        np.testing.assert_array_equal(found.values, array[...], err_msg=name)


def test_a_finished_run_is_its_archive_in_every_value(finished: Path) -> None:
    tree = open_run(finished)
    assert_is_the_archive(tree, finished)
    assert tree.identical(xarray.open_datatree(finished, engine="zarr"))
    assert tree.attrs["status"] == "complete" and "note" not in tree.attrs
    video = tree["stage_0/video"]
    assert video["latents"].shape[0] == video.sizes["step"] == 12
    metric = declarations.METRICS["velocity_rms"]
    assert video["velocity_rms"].attrs["units"] == metric.unit
    assert video["velocity_rms"].attrs["description"] == metric.description
    assert video["step"].values.tolist() == list(range(12)) and "spatial_frequency" in video.coords


def test_a_live_run_has_the_rows_so_far(tmp_path: Path) -> None:
    with record(runs_dir=tmp_path) as run:
        own_loop(run, 100)
        until(lambda: load(run.path).steps == 100)  # the last rows may still be on their way to the journal
        tree = open_run(run.path)
        by_journal = open_run(locations.journal_of(run.path))
    for found in (tree, by_journal):
        assert found.attrs["status"] == "live" and "ended" not in found.attrs and not found.variables
        assert found["stage_0/video"].sizes["step"] == 100
    later = open_run(run.path)
    assert later.attrs["status"] == "complete"
    for name, values in later["stage_0/video"].variables.items():
        assert tree["stage_0/video"][name].variable.identical(values), name
    # What was opened while the run was live stays as it was.
    assert tree["stage_0/video"]["velocity_rms"].shape == (100, 1)


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """What a killed recorder leaves: a journal without its end, and an archive with the rows folded before."""
    path, told = tmp_path / "run.zarr", valid_messages()[:-1]
    writer = ArchiveWriter(path)
    for number, message in enumerate(told):
        writer.feed(message)
        if number == len(told) // 2:
            writer.write_rows()
    locations.journal_of(path).write_bytes(b"".join(map(encode, told)))
    return path


def test_what_a_crash_left_has_every_row(crashed: Path) -> None:
    before = sorted((p, p.stat().st_mtime_ns) for p in crashed.parent.rglob("*"))
    tree, run = open_run(crashed), load(crashed)
    assert sorted((p, p.stat().st_mtime_ns) for p in crashed.parent.rglob("*")) == before, "nothing is changed"
    assert tree.attrs["status"] == "unfinished" and run.steps > 0
    for stage in run.stages:
        for name, stream in stage.streams.items():
            node = tree[f"stage_{stage.index}/{name}"]
            for metric in stream.metrics:
                np.testing.assert_array_equal(node[metric].values, stream.values(metric))
    assert len(tree["events"]["kind"]) == len(run.events) and len(tree["system"]["time"]) == len(run.system)
    # It is the archive that a repair makes.
    repair(crashed)
    mended = open_run(crashed)
    for node in mended.subtree:
        assert node.path == "/" or node.dataset.identical(tree[node.path].dataset), node.path


def test_a_torn_or_short_journal_gives_what_can_be_read(crashed: Path) -> None:
    journal = locations.journal_of(crashed)
    journal.write_bytes(journal.read_bytes()[:-5])
    assert "torn" in open_run(crashed).attrs["note"]
    journal.write_bytes(encode(valid_messages()[0]))
    tree = open_run(crashed)
    assert tree["stage_0/video"].sizes["step"] == load(crashed).stages[0].steps > 0
    assert "beyond its journal" in tree.attrs["note"]
    journal.unlink()
    tree = open_run(crashed)
    assert tree.attrs["status"] == "unfinished" and "its journal is gone" in tree.attrs["note"]


def test_damaged_values_are_nan_and_said_to_be(finished: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(finished, tmp_path / "run.zarr"))
    chunk = path / "stage_0/video/velocity_rms/c/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-3])
    tree = open_run(path)
    assert "stage_0/video/velocity_rms" in tree.attrs["note"] and tree.attrs["status"] == "complete"
    assert np.isnan(tree["stage_0/video"]["velocity_rms"].values).all()
    shutil.copyfile(finished / chunk.relative_to(path), chunk)
    assert "note" not in open_run(path).attrs
    assert_is_the_archive(open_run(path), path)


def test_values_stay_as_they_are_stored(tmp_path: Path) -> None:
    """Also where a clock was wrong, and where units or attributes look like those that readers decode."""
    path, told = tmp_path / "run.zarr", valid_messages(1, ("video",))
    (stream,) = (m for m in told if m["t"] == "stream")
    stream["metrics"][0] = {**stream["metrics"][0], "unit": "seconds"}
    stream["coordinates"]["frequency"]["attributes"] |= {"scale_factor": 2.0}
    writer = ArchiveWriter(path)
    for message in told:
        writer.feed({**message, "time": 1e15} if message["t"] == "event" else message)
    tree, stored = open_run(path), zarr.open_group(str(path), mode="r")
    assert tree["events"]["time"].values.tolist() == stored["events/time"][...].tolist()
    for name in (stream["metrics"][0]["name"], "frequency"):
        np.testing.assert_array_equal(tree["stage_0/video"][name].values, stored[f"stage_0/video/{name}"][...])
    stream["coordinates"]["frequency"]["attributes"] |= {"_FillValue": 0.5}
    (tmp_path / "left.journal").write_bytes(b"".join(map(encode, told)))
    with pytest.raises(NotARun, match="cannot be opened with xarray"):
        open_run(tmp_path / "left.journal")


def test_what_an_archive_claims_of_a_coordinate_takes_no_memory(finished: Path, tmp_path: Path) -> None:
    """xarray reads coordinates when it opens an archive, and zarr-python fills in what is not there."""
    path = Path(shutil.copytree(finished, tmp_path / "run.zarr"))
    root = json.loads((path / "zarr.json").read_text())
    for node in ("stage_0/video/step",):
        document = json.loads((path / node / "zarr.json").read_text())
        document["shape"] = [1 << 40]
        (path / node / "zarr.json").write_text(json.dumps(document))
        root["consolidated_metadata"]["metadata"][node]["shape"] = [1 << 40]
    (path / "zarr.json").write_text(json.dumps(root))
    assert open_run(path)["stage_0/video"].sizes["step"] == 12


@pytest.mark.parametrize(
    "name", ["with a space", "ünïcode σ", "a#b?c=%41", "x::y", "[1]", "memory:", "no suffix", "a:b"]
)
def test_names_of_folders_and_runs_may_be_odd(
    finished: Path, crashed: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / name).mkdir()
    whole = folder / (name if name == "no suffix" else f"{name}.zarr")
    shutil.copytree(finished, whole)
    monkeypatch.chdir(folder)
    for path in (whole, str(whole), whole.name):
        assert open_run(path)["stage_0/video"].sizes["step"] == 12
    shutil.copy(locations.journal_of(crashed), folder / f"{name} left.journal")
    assert open_run(f"{name} left.journal").attrs["status"] == "unfinished"


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotARun, match="does not exist"):
        open_run(tmp_path / "nothing.zarr")
    with pytest.raises(NotARun, match="not a recorded run"):
        open_run(tmp_path)
    zarr.open_group(str(tmp_path / "other.zarr"), mode="w")
    with pytest.raises(NotARun, match="not a run recorded by ltxtui"):
        open_run(tmp_path / "other.zarr")
    told = [{**m, "step": 1 << 40} if m["t"] == "step" else m for m in valid_messages()]
    (tmp_path / "x.journal").write_bytes(b"".join(map(encode, told)))
    with pytest.raises(NotARun, match="missing"):
        open_run(tmp_path / "x.journal")


def test_a_url_is_opened_through_fsspec(finished: Path, crashed: Path) -> None:
    memory = fsspec.filesystem("memory")
    try:
        memory.put(str(finished), "/bucket/run.zarr", recursive=True)
        assert_is_the_archive(open_run("memory://bucket/run.zarr"), finished)
        memory.put(str(crashed), "/bucket/left.zarr", recursive=True)
        with pytest.raises(NotARun, match="is not finished"):
            open_run("memory://bucket/left.zarr")
        with pytest.raises(NotARun, match="not a recorded run"):
            open_run("memory://bucket/nothing.zarr")
    finally:
        memory.rm("/bucket", recursive=True)
    assert_is_the_archive(open_run(f"file://{finished}"), finished)


def missing(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """As if some modules were not installed."""
    real = builtins.__import__

    def refuse(name: str, *given: Any, **more: Any) -> Any:
        if name.partition(".")[0] in names:
            raise ImportError(f"No module named {name!r}")
        return real(name, *given, **more)

    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)


def test_what_is_not_installed_is_named_with_the_way_out(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_package(scheme: str) -> Any:
        raise ImportError("Install s3fs to access S3")

    with pytest.raises(ValueError, match="nowhere:// is no store that is known"):
        open_run("nowhere://bucket/run.zarr")
    with monkeypatch.context() as patched:
        patched.setattr(fsspec, "get_filesystem_class", no_package)
        with pytest.raises(ImportError, match="Install s3fs"):
            open_run("s3://bucket/run.zarr")
    with monkeypatch.context() as patched:
        missing(patched, "fsspec")
        with pytest.raises(ImportError, match=r"needs fsspec: pip install 'ltxtui\[s3\]'"):
            open_run("s3://bucket/run.zarr")
    with monkeypatch.context() as patched:
        missing(patched, "xarray")
        with pytest.raises(ImportError, match=r"pip install 'ltxtui\[analysis\]'"):
            open_run(finished)
