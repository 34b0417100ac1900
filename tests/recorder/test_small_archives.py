"""Files of an archive are hardly longer than the rows in them, however a run went; and everything reads the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr

from recorder.archive.writer import ArchiveWriter
from recorder.format import protocol
from recorder.format.protocol import Message
from replay.integrity.check import check
from replay.sources.open import load
from tests.ltxtui.fake import messages


def a_run(plan: int, rows: int, pictures: bool = True) -> Iterator[Message]:
    """A run that was planned with `plan` steps (0: not at all) and took others."""
    for message in messages(rows):
        if message["t"] == protocol.STAGE:
            message = {**message, "sigmas": message["sigmas"][:plan] + [0.01] * (plan - rows)}
        yield message
        if message["t"] == protocol.STEP and message["stream"] == "video" and pictures:
            yield {
                "t": protocol.PREVIEW, "stage": 0, "stream": "video", "step": message["step"], "time": 0.0, "fit": 1,
                "shape": [2, 3, 4, 3], "frames": [0, 4], "data": bytes([message["step"] % 256]) * 72,
            }  # fmt: skip


def written(path: Path, told: Iterator[Message]) -> ArchiveWriter:
    writer = ArchiveWriter(path)
    for message in told:
        writer.feed(message)
    writer.close()
    return writer


def arrays(path: Path) -> dict[str, Any]:
    return {name: a for name, a in zarr.open_group(str(path), mode="r").members(max_depth=None) if hasattr(a, "chunks")}


@pytest.mark.parametrize(
    ("plan", "rows"),
    [
        *((6, 6), (0, 6), (30, 6), (6, 30), (30, 30), (0, 1), (1, 70), (0, 1030), (50, 40)),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((40, 1100), (0, 2500))),
    ],
)
def test_files_are_hardly_longer_than_their_rows(tmp_path: Path, plan: int, rows: int) -> None:
    written(path := tmp_path / "run.zarr", a_run(plan, rows))
    for name, array in arrays(path).items():
        files = [f for f in (path / name / "c").rglob("*") if f.is_file()]
        needed = math.prod(array.shape) * array.dtype.itemsize
        row = needed / array.shape[0]
        assert needed <= sum(f.stat().st_size for f in files) <= needed * 9 / 8 + len(files) * row, name
        if needed <= 1 << 20 and rows <= 1024:
            assert len(files) == 1 or "preview" in name, name
    report = check(path)
    assert report.sound and report.rows["stage_0/video"] == rows
    # zarr-python, xarray and our own reader have the same.
    stream = load(path).stages[0].streams["video"]
    tree = xarray.open_datatree(path, engine="zarr", decode_times=False)
    for name in ("sigma", "spectrum_x0", "drift_index"):
        if name in tree["stage_0/video"]:
            ours = stream.series(name)
            np.testing.assert_array_equal(np.ravel(tree["stage_0/video"][name].values), np.ravel(ours))
            np.testing.assert_array_equal(zarr.open_group(str(path))[f"stage_0/video/{name}"][:].ravel(), ours.ravel())
    pictures = zarr.open_group(str(path))["stage_0/video/preview"]
    assert pictures.shape[0] == rows
    np.testing.assert_array_equal(pictures[:, 0, 0, 0, 0], np.arange(rows) % 256)
    assert zarr.open_group(str(path))["stage_0/video/preview_fit"][:].all()


def test_consolidated_documents_are_those_of_the_nodes(tmp_path: Path) -> None:
    written(path := tmp_path / "run.zarr", a_run(0, 6))
    apart = zarr.open_group(str(path), mode="r", use_consolidated=False)
    for name, array in arrays(path).items():
        # As text: the fill value NaN is not equal to itself.
        assert str(array.metadata.to_dict()) == str(apart[name].metadata.to_dict()), name


def test_a_plan_that_is_kept_writes_every_chunk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing stays quick: also where nothing was planned, rows are written in their last shape."""
    from recorder.archive import zarr_writer

    chunks: list[str] = []
    original = zarr_writer.ArrayWriter._write_chunk

    def noted(self: zarr_writer.ArrayWriter, number: int, values: zarr_writer.Values) -> None:
        chunks.append(self._key(number))
        original(self, number, values)

    monkeypatch.setattr(zarr_writer.ArrayWriter, "_write_chunk", noted)
    for plan in (30, 0, 50):
        chunks.clear()
        written(tmp_path / f"{plan}.zarr", a_run(plan, 30, pictures=False))
        assert len(chunks) == len(set(chunks)) > 100


def test_rows_after_the_end_of_a_stage_are_kept(tmp_path: Path) -> None:
    told = list(a_run(4, 6, pictures=False))
    at = next(i for i, m in enumerate(told) if m["t"] == protocol.STEP and m["step"] == 3)
    ended = next(m for m in told if m["t"] == protocol.EVENT and m["kind"] == "stage_end")
    written(path := tmp_path / "run.zarr", iter([*told[:at], ended, *told[at:]]))
    assert check(path).sound and load(path).stages[0].streams["video"].rows == 6
