"""Runs that are longer than a viewer's memory: older rows go to a file, pictures and loads are thinned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recorder.format import protocol
from replay.model import run as run_module
from replay.model import spill_file, stream
from replay.model.run import Run, StreamData

WIDTH = 7


def declared() -> dict[str, Any]:
    metrics = [("sigma", ["step"], []), ("pair", ["step", "batch"], [2]), ("grid", ["step", "batch", "frame"], [2, 2])]
    return {
        "t": protocol.STREAM,
        "stage": 0,
        "stream": "video",
        "grid": [3, 4, 6],
        "shape": [2, 8, 3, 4, 6],
        "metrics": [
            {"name": n, "unit": "1", "dims": d, "shape": s, "label": n, "description": n} for n, d, s in metrics
        ],
        "coordinates": {},
    }


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MEMORY_BYTES", 4 * WIDTH * 50)
    monkeypatch.setattr(spill_file, "BLOCK_BYTES", 4 * WIDTH * 20)


def filled(rows: np.ndarray, times: np.ndarray, seed: int = 0) -> StreamData:
    """A stream that was given rows in pieces of any size, some of them twice."""
    made, rng, at = StreamData.declared(declared()), np.random.default_rng(seed), 0
    while at < len(rows):
        end = min(len(rows), at + int(rng.integers(1, 90)))
        first = max(0, at - int(rng.integers(0, 30)))
        made.append(first, times[first:end], rows[first:end])
        at = end
    return made


@pytest.mark.parametrize("count", [10, 50, 51, 60, 71, 400, 1003])
@pytest.mark.usefixtures("small_memory")
def test_rows_that_left_memory_read_as_if_they_had_stayed(count: int) -> None:
    rng = np.random.default_rng(count)
    rows, times = rng.standard_normal((count, WIDTH)).astype(np.float32), np.arange(count) + 0.25
    found = filled(rows, times, count)
    assert found.rows == count and (count <= 50) == (found._stored is None)
    assert found._data.nbytes <= 2 * 4 * WIDTH * 90 + 2 * stream.MEMORY_BYTES
    np.testing.assert_array_equal(found.data, rows)
    np.testing.assert_array_equal(found.times, times)
    np.testing.assert_array_equal(found.series("sigma"), rows[:, 0])
    for end in (0, 1, min(12, count), count - 1, count):
        for some in (1, 12, count + 5):
            first = max(0, end - some)
            np.testing.assert_array_equal(found.recent_times(some, end), times[first:end])
            np.testing.assert_array_equal(found.recent("sigma", some, end), rows[first:end, 0])
            np.testing.assert_array_equal(found.recent("grid", some, end), rows[first:end, 3:].reshape(-1, 2, 2))
    np.testing.assert_array_equal(found.series("pair", 1), rows[:, 2])
    np.testing.assert_array_equal(found.values("grid"), rows[:, 3:].reshape(count, 2, 2))
    if (stored := found._stored) is not None:
        np.testing.assert_array_equal(stored.block(13, 31), rows[13:31])


@pytest.mark.usefixtures("small_memory")
def test_a_gap_is_nan_there_too() -> None:
    found = StreamData.declared(declared())
    found.append(0, np.zeros(5), np.ones((5, WIDTH), np.float32))
    found.append(300, np.zeros(5), np.ones((5, WIDTH), np.float32))
    sigma = found.series("sigma")
    assert len(sigma) == 305 and np.isnan(sigma[5:300]).all() and (sigma[[0, 4, 300, 304]] == 1).all()


@pytest.mark.usefixtures("small_memory")
def test_where_no_file_can_be_written_memory_has_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks: list[int] = []

    def add(self: spill_file.SpilledRows, times: Any, rows: Any) -> None:
        if len(blocks) >= 2:
            raise OSError(28, "No space left on device")
        blocks.append(len(rows))
        real(self, times, rows)

    real = spill_file.SpilledRows.add
    monkeypatch.setattr(spill_file.SpilledRows, "add", add)
    rows = np.random.default_rng(0).standard_normal((500, WIDTH)).astype(np.float32)
    found = filled(rows, np.arange(500.0))
    assert len(blocks) == 2
    np.testing.assert_array_equal(found.data, rows)
    np.testing.assert_array_equal(found.series("sigma"), rows[:, 0])


def test_pictures_and_loads_of_a_long_run_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "MAX_PREVIEWS", 16)
    monkeypatch.setattr(run_module, "MAX_SAMPLES", 16)
    run = Run()
    run.feed(
        {"t": protocol.HEADER, "format": protocol.FORMAT, "version": protocol.FORMAT_VERSION, "run": "r", "time": 0.0}
    )
    run.feed({"t": protocol.STAGE, "stage": 0, "call": 0, "tile": None, "time": 0.0, "sigmas": [], "metadata": {}})
    run.feed(declared())
    picture = {"t": protocol.PREVIEW, "stage": 0, "stream": "video", "shape": [1, 1, 1, 3], "frames": [0], "fit": 1}
    for step in range(1000):
        run.feed({**picture, "step": step, "data": bytes(3)})
        run.feed({"t": protocol.SYSTEM, "time": float(step), "values": {"gpu": 1.0}})
    previews = run.stages[0].streams["video"].previews
    assert 8 <= len(previews) <= 16 and 0 in previews and max(previews) > 900
    times = [m["time"] for m in run.system]
    assert 8 <= len(times) <= 16 and times == sorted(times) and times[0] == 0 and times[-1] > 900
