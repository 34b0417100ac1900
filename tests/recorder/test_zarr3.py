"""What `recorder.archive.zarr_writer` writes is what zarr-python would have written, and reads the same."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recorder.archive.zarr_writer import StoreWriter, replace_file


def document(path: Path) -> Any:
    return json.loads((path / "zarr.json").read_text())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize(("shape", "rows"), [((7,), 4), ((5, 2, 3), 1), ((3, 4), None)])
def test_documents_are_zarr_pythons(tmp_path: Path, dtype: str, shape: tuple[int, ...], rows: int | None) -> None:
    dims = ("step", "batch", "frame")[: len(shape)]
    labels = {"units": "dB", "long_name": "σ"}
    store = StoreWriter(tmp_path / "ours", {"a": 1})
    store.group("g", {"b": None})
    store.array("g/x", shape, dtype, dims, labels, rows=rows)
    root = zarr.open_group(str(tmp_path / "theirs"), mode="w", attributes={"a": 1})
    group = root.create_group("g", attributes={"b": None})
    group.create_array(
        "x",
        shape=shape,
        dtype=dtype,
        chunks=(rows or shape[0], *shape[1:]),
        dimension_names=dims,
        attributes=labels,
        fill_value=float("nan") if dtype.startswith("float") else 0,
        compressors=None,
    )
    for node in ("", "g", "g/x"):
        assert document(tmp_path / "ours" / node) == document(tmp_path / "theirs" / node)
    store.consolidate({"a": 2})
    root.update_attributes({"a": 2})
    with pytest.warns(UserWarning, match="Consolidated"):
        zarr.consolidate_metadata(root.store)
    assert document(tmp_path / "ours") == document(tmp_path / "theirs")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_writes_and_resizes_read_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("store") / "a"
    rows, wide = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 3))
    expected = np.full((data.draw(st.integers(1, 20)), wide), np.nan, np.float32)
    array = StoreWriter(path, {}).array("x", expected.shape, "float32", ("step", "batch"), {}, rows=rows)
    for _ in range(data.draw(st.integers(0, 5))):
        if data.draw(st.booleans()):
            size = data.draw(st.integers(0, 25))
            # What a chunk holds beyond the end is gone or kept as zarr-python has it: whole chunks go.
            kept = expected[: min(size, -(-min(size, len(expected)) // rows) * rows)]
            grown = np.full((size, wide), np.nan, np.float32)
            grown[: len(kept)] = kept[:size]
            array.resize(size)
            expected = grown
            if size:
                array.write(0, expected)
        elif len(expected):
            first = data.draw(st.integers(0, len(expected) - 1))
            values = np.random.default_rng(0).random((data.draw(st.integers(0, len(expected) - first)), wide))
            array.write(first, values)
            expected[first : first + len(values)] = values
    np.testing.assert_array_equal(zarr.open_group(str(path), mode="r")["x"][...], expected)


@pytest.mark.parametrize(("rows", "size"), [(64, 16), (70, 32), (5, 64), (61, 60), (6, 6), (9, 3), (30, 1), (0, 1)])
def test_chunks_of_another_size_hold_the_same(tmp_path: Path, rows: int, size: int) -> None:
    store = StoreWriter(tmp_path / "a", {})
    values = np.random.default_rng(0).standard_normal((rows, 2)).astype(np.float32)
    array = store.array("x", (rows + 30, 2), "float32", ("step", "batch"), {}, rows=4)
    array.write(0, values)
    array.resize(rows, size)
    store.consolidate({})
    root = zarr.open_group(str(tmp_path / "a"), mode="r")
    found = root["x"]
    assert found.chunks == (size, 2) and found.shape == (rows, 2)
    np.testing.assert_array_equal(found[:], values)
    files = [f for f in (tmp_path / "a" / "x" / "c").rglob("*") if f.is_file()]
    assert len(files) == len(store.checksums) == -(-rows // size)
    assert all(zlib.crc32((tmp_path / "a" / key).read_bytes()) == crc for key, crc in store.checksums.items())
    theirs = zarr.create_array(
        str(tmp_path / "b"), shape=(rows, 2), chunks=(size, 2), dtype="float32", fill_value=float("nan"),
        compressors=None, dimension_names=("step", "batch"),
    )  # fmt: skip
    assert document(tmp_path / "a" / "x") == document(tmp_path / "b") and theirs.shape == found.shape
    if rows > 3:
        array.write(rows - 3, values[:3])
        np.testing.assert_array_equal(zarr.open_group(str(tmp_path / "a"), mode="r")["x"][rows - 3 :], values[:3])


def test_an_array_without_a_row_gets_other_chunks_without_a_file(tmp_path: Path) -> None:
    store = StoreWriter(tmp_path / "a", {})
    array = store.array("x", (1 << 20,), "float32", ("step",), {}, rows=1024)
    array.resize(1 << 30, 1 << 16)
    assert not store.checksums and zarr.open_group(str(tmp_path / "a"), mode="r")["x"].chunks == (1 << 16,)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = StoreWriter(tmp_path / "a", {})
    array = store.array("x", (4,), "float32", ("step",), {}, rows=4, values=np.arange(4))

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="space"):
        array.write(0, np.zeros(4))
    with pytest.raises(OSError, match="space"):
        store.update("", attributes={"b": 1})
    monkeypatch.undo()
    np.testing.assert_array_equal(zarr.open_group(str(tmp_path / "a"), mode="r")["x"][...], np.arange(4))
    assert not list(tmp_path.rglob("*.part")), "what is torn takes no room"


@pytest.mark.parametrize("trap", [os.symlink, os.link, lambda target, part: os.mkfifo(part)])
def test_nothing_is_written_through_what_lies_in_the_way(tmp_path: Path, trap: Callable[[Path, Path], None]) -> None:
    outside, file = tmp_path / "outside", tmp_path / "zarr.json"
    outside.write_text("precious")
    file.symlink_to(outside)
    trap(outside, tmp_path / f"zarr.json.{os.getpid()}.part")
    replace_file(file, b"new")
    assert outside.read_text() == "precious" and file.read_bytes() == b"new" and not file.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["outside", "zarr.json"]


def test_no_document_holds_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        StoreWriter(tmp_path / "a", {"x": float("nan")})
    with pytest.raises(FileExistsError):
        StoreWriter(tmp_path / "a", {})
