"""The strict reader gives what zarr-python gives, and takes no memory, link, codec or number on trust."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from benchmarks.mutations import valid_messages
from recorder.archive.writer import ArchiveWriter
from replay.archive import store as store_module
from replay.archive.reader import Archive
from replay.archive.safe_files import Damaged, parse
from replay.archive.store import StoreReader


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A small archive by the recorder's own writer, with latents and a kept snapshot."""
    path = tmp_path / "run.zarr"
    writer = ArchiveWriter(path)
    for message in valid_messages():
        if message["t"] == "end":
            for stream, shape in (("video", (2, 2, 2, 2, 4)), ("audio", (2, 8, 4))):
                tensor = np.arange(np.prod(shape)).reshape(shape)
                for step in (0, 2):
                    writer.add_snapshot(0, stream, step, {"latents": tensor.astype(np.float16)})
                writer.keep(0, stream, 1, 0.5, None, {"x": tensor.astype(np.float32)})
        writer.feed(message)
    return path


def arrays(path: Path) -> list[str]:
    nodes = [f.parent.relative_to(path).as_posix() for f in path.rglob("zarr.json")]
    return sorted(
        n for n in nodes if n != "." and json.loads((path / n / "zarr.json").read_text())["node_type"] == "array"
    )


def test_every_array_reads_as_zarr_python_reads_it(archive: Path) -> None:
    store, root = StoreReader(archive), zarr.open_group(str(archive), mode="r", use_consolidated=False)
    names = arrays(archive)
    assert len(names) > 40
    for name in names:
        array, theirs = store.array(name), np.asarray(root[name][...])  # type: ignore[index]
        np.testing.assert_array_equal(array.read(), theirs)
        assert array.dtype.newbyteorder("=") == theirs.dtype
        np.testing.assert_array_equal(array.read(1, 2), theirs[1:2])


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_archives_that_zarr_python_wrote_are_read(tmp_path: Path, rows: int) -> None:
    root = zarr.open_group(str(tmp_path / "a"), mode="w")
    values = np.random.default_rng(0).random((50, 2, 3)).astype(np.float32)
    pictures = (values * 255).astype(np.uint8)
    plain: dict[str, Any] = {"compressors": None, "dimension_names": ("step", "batch", "frequency")}
    root.create_array("x", shape=values.shape, chunks=(rows, 2, 3), dtype="float32", fill_value=np.nan, **plain)[
        ...
    ] = values
    root.create_array("p", shape=pictures.shape, chunks=(rows, 2, 3), dtype="uint8", fill_value=0, **plain)[...] = (
        pictures
    )
    store = StoreReader(tmp_path / "a")
    np.testing.assert_array_equal(store.array("x").read(), values)
    np.testing.assert_array_equal(store.array("p").read_whole(7, 8), pictures[7:8])
    assert not store.notes


def test_compressed_chunks_are_refused(tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "a"), mode="w")
    for kind, fill in (("uint8", 0), ("float32", np.nan)):
        # zarr-python compresses with zstd unless it is asked not to.
        root.create_array(kind, shape=(4, 100), chunks=(4, 100), dtype=kind, fill_value=fill)
        with pytest.raises(Damaged, match="codecs"):
            StoreReader(tmp_path / "a").array(kind)


def change(node: Path, **changes: Any) -> None:
    file = node / "zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "gzip"}]},
        {"codecs": [{"name": "sharding_indexed"}]},
        {"codecs": [{"name": "bytes", "configuration": {"endian": "big"}}]},
        {"codecs": []},
        {"codecs": 7},
        {"data_type": "string"},
        {"data_type": ["float32"]},
        {"data_type": {"name": "numpy.datetime64"}},
        {"chunk_grid": {"name": "rectilinear"}},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0]}}},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1 << 29]}}},
        {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}},
        {"storage_transformers": [{"name": "x"}]},
        {"fill_value": 5},
        {"shape": [-1]},
        {"shape": [True]},
        {"shape": [1 << 60]},
        {"shape": []},
        {"shape": [1] * 40},
        {"zarr_format": 2},
        {"node_type": "group"},
        {"must_understand": {}},
    ],
)
def test_what_the_recorder_never_writes_is_refused(archive: Path, changes: dict[str, Any]) -> None:
    change(archive / "stage_0/video/sigma", **changes)
    with pytest.raises(Damaged):
        StoreReader(archive).array("stage_0/video/sigma")


def peak(read: Any) -> int:
    """Most bytes that were taken."""
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_shape_takes_no_memory(archive: Path) -> None:
    name = "stage_0/video/sigma"
    change(archive / name, shape=[2_000_000_000])
    array = StoreReader(archive).array(name)

    def read() -> None:
        with pytest.raises(Damaged, match="claims"):
            array.read()
        assert array.covered() == 4

    assert peak(read) < 1_000_000
    # A chunk of one row each would be two thousand million lookups.
    change(archive / name, shape=[4_000_000], chunk_grid={"name": "regular", "configuration": {"chunk_shape": [1]}})
    array = StoreReader(archive).array(name)
    assert peak(lambda: array.read(0, 4_000_000)) < 40_000_000


@pytest.mark.parametrize("kind", ["link", "device", "pipe", "folder", "sparse"])
def test_no_link_pipe_or_device_is_read(archive: Path, kind: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(256))
    chunk, document = archive / "stage_0/video/sigma/c/0", archive / "stage_0/audio/zarr.json"
    for path in (chunk, document):
        path.unlink()
        if kind == "link":
            path.symlink_to(secret)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            with path.open("wb") as file:
                file.truncate(1 << 40)
    store = StoreReader(archive)
    assert np.isnan(store.array("stage_0/video/sigma").read()).all()
    assert store.attributes("stage_0/audio")["stream"] == "audio", "the copy is used"
    assert set(store.notes) == {"stage_0/video/sigma", "stage_0/audio/zarr.json"}


@pytest.mark.parametrize("where", ["stage_0", "stage_0/video", "stage_0/video/sigma", "stage_0/video/mean/c"])
def test_no_folder_that_is_a_link_is_entered(archive: Path, where: str, tmp_path: Path) -> None:
    (archive / where).rename(tmp_path / "elsewhere")
    (archive / where).symlink_to(tmp_path / "elsewhere")
    store = StoreReader(archive)
    for name in ("stage_0/video/sigma", "stage_0/video/mean"):
        if name.startswith(where):
            with pytest.raises(Damaged):
                store.array(name)
    if where.endswith("/c"):
        assert np.isnan(store.array("stage_0/video/mean").read()).all()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 5000, "{" + '"a":[[]],' * 40 + '"b":1', "7", "", "{]"])
def test_documents_that_are_no_documents_are_refused(text: str) -> None:
    with pytest.raises(Damaged):
        parse(text.encode())


def test_documents_are_limited_in_depth_and_number_of_values() -> None:
    deep: Any = 0
    for _ in range(40):
        deep = [deep]
    with pytest.raises(Damaged, match="deeper"):
        parse(json.dumps({"a": deep}).encode())

    def many() -> None:
        with pytest.raises(Damaged, match="values"):
            parse(b'{"a":[' + b"[]," * 3_000_000 + b"0]}")

    assert peak(many) < 30_000_000


def test_a_document_longer_than_the_limit_is_not_read(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_DOCUMENT_BYTES", 100)
    with pytest.raises(Damaged, match="limit"):
        StoreReader(archive).document("stage_0/video")


def test_an_array_is_read_in_parts_as_a_whole(tmp_path: Path) -> None:
    from recorder.archive.zarr_writer import StoreWriter

    values = np.random.default_rng(1).random((1000, 3)).astype(np.float32)
    StoreWriter(tmp_path / "a", {}).array("x", values.shape, "float32", ("step", "batch"), {}, rows=16, values=values)
    shutil.rmtree(tmp_path / "a/x/c/3")
    (tmp_path / "a/x/c/9/0").write_bytes(b"short")
    values[48:64] = values[144:160] = np.nan
    store = StoreReader(tmp_path / "a")
    array = store.array("x")
    assert array.covered() == 61 * 16
    for first, end in ((0, 1000), (0, 16), (5, 200), (40, 41), (999, 1000), (7, 7)):
        np.testing.assert_array_equal(array.read(first, end), values[first:end])
    assert "2 of 63 chunks" in store.notes["x"]
    with pytest.raises(Damaged):
        array.read_whole(50, 51)


def made(path: Path, node: str, rows: int, kind: str = "float64") -> None:
    """An array of one axis without chunks."""
    from recorder.archive.zarr_writer import StoreWriter

    StoreWriter(path, {}).array(node, (rows,), kind, ("step",), {})


@pytest.mark.parametrize("extent", [0, 4096])
def test_a_sparse_chunk_takes_no_memory_for_its_size(tmp_path: Path, extent: int) -> None:
    rows = 1 << 24
    made(tmp_path / "a", "x", rows)
    chunk = tmp_path / "a/x/c/0"
    chunk.parent.mkdir(exist_ok=True)
    with chunk.open("wb") as file:
        file.write(bytes(range(256)) * (extent // 256))
        file.truncate(8 * rows)
    if chunk.stat().st_blocks * 512 > rows:
        pytest.skip("the file system has no sparse files")
    array = StoreReader(tmp_path / "a").array("x")

    def read() -> None:
        with pytest.raises(Damaged, match="claims"):
            array.read()
        assert array.held() <= extent // 8

    assert peak(read) < 1_000_000
    assert array.covered() == rows, "a check asks for sizes: file systems that compress have holes where zeros are"


def test_a_chunk_of_real_bytes_is_held(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(1 << 18)
    made(tmp_path / "a", "x", len(values))
    chunk = tmp_path / "a/x/c/0"
    chunk.parent.mkdir(exist_ok=True)
    chunk.write_bytes(values.tobytes())
    array = StoreReader(tmp_path / "a").array("x")
    assert array.held() == array.covered() == len(values)
    np.testing.assert_array_equal(array.read(), values)


def test_a_second_name_of_a_chunk_is_no_chunk(tmp_path: Path) -> None:
    from recorder.archive.zarr_writer import StoreWriter

    rows, size = 20 * 64, 64
    array = StoreWriter(tmp_path / "a", {}).array("x", (rows,), "float32", ("step",), {}, rows=size)
    array.write(0, np.ones(rows - size, np.float32))
    for name in ("00", "0000", "\u0661"):
        os.link(tmp_path / "a/x/c/0", tmp_path / "a/x/c" / name)
    store = StoreReader(tmp_path / "a")
    found = store.array("x").read()
    assert (found[:-size] == 1).all() and np.isnan(found[-size:]).all(), "nothing of the memory of before is shown"
    assert "1 of 20 chunks" in store.notes["x"] and store.array("x").covered() == rows - size


def system_archive(path: Path, samples: int, names: int) -> None:
    """An archive whose `system` has times, one real quantity and many that are there by their documents only."""
    from recorder.archive.zarr_writer import StoreWriter

    header = {"format": "ltxtui-run", "version": 1, "run": "r", "time": 1.0, "metadata": {}}
    writer = StoreWriter(path, {**header, "status": "complete", "ended": 2.0, "rows": {}})
    writer.group("system", {})
    writer.array("system/time", (samples,), "float64", ("sample",), {}, values=np.arange(float(samples)))
    writer.array("system/real", (samples,), "float64", ("sample",), {}, values=np.arange(float(samples)))
    for number in range(names):
        writer.array(f"system/q{number}", (samples,), "float64", ("sample",), {})


@pytest.mark.slow
def test_samples_take_memory_for_what_is_there(tmp_path: Path) -> None:
    system_archive(tmp_path / "r.zarr", 50_000, 30)
    archive = Archive(tmp_path / "r.zarr")
    seen = 0

    def read() -> None:
        nonlocal seen
        for message in archive.messages():
            if message["t"] == "system":
                assert message["values"] == {"real": message["time"]} and message["time"] == seen
                seen += 1

    # A run of 16,384 samples is the most that is kept.
    assert peak(read) < 16_000_000
    assert seen == 50_000 and len([n for n in archive.notes if "chunk" in n]) == 30


def test_only_so_many_quantities_are_read(tmp_path: Path) -> None:
    system_archive(tmp_path / "r.zarr", 3, 0)
    for number in range(300):
        shutil.copytree(tmp_path / "r.zarr/system/real", tmp_path / f"r.zarr/system/q{number:03}")
    archive = Archive(tmp_path / "r.zarr")
    samples = [m for m in archive.messages() if m["t"] == "system"]
    assert len(samples) == 3 and len(samples[0]["values"]) == 32
    assert any("301 quantities" in n for n in archive.notes)
