"""Previews: small, stable in colour, the same live and archived, and no obstacle to reading curves."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder import record
from recorder.archive.writer import ArchiveWriter
from recorder.format.framing import encode
from recorder.metrics import preview
from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.preview import Filmstrip, colours, frames_of, principal_axes, shrunk, size_of
from replay.model.run import MAX_PREVIEW_BYTES, NotARun, Run
from replay.sources.open import SocketSource, load
from tests.conftest import UNGUIDED, nano_call
from tests.replay.test_replay import METRIC, STAGE, STEP, STREAM, header
from tests.waiting import until


@given(rows=st.integers(1, 200), columns=st.integers(1, 200), frames=st.integers(1, 400))
@settings(max_examples=100, deadline=None)
def test_every_grid_fits_into_the_limit(rows: int, columns: int, frames: int) -> None:
    small = size_of(rows, columns)
    shown = frames_of(tuple(range(frames)))
    assert 1 <= small[0] <= rows and 1 <= small[1] <= columns
    assert len(shown) * small[0] * small[1] * 3 <= preview.MAX_BYTES <= MAX_PREVIEW_BYTES
    assert len(set(shown)) == len(shown) and shown == tuple(sorted(shown)) and shown[-1] == frames - 1


@pytest.mark.parametrize(("grid", "size"), [((16, 24), (16, 24)), ((32, 48), (16, 24)), ((22, 40), (11, 20))])
def test_sizes_of_usual_clips(grid: tuple[int, int], size: tuple[int, int]) -> None:
    assert size_of(*grid) == size


def test_cells_are_averaged_and_frames_chosen_from_those_that_are_generated() -> None:
    places = tuple(range(1, 40))
    layout = LatentLayout("video", 2, (40, 32, 48), frames=places)
    x0 = torch.arange(39.0)[None, :, None, None, None].expand(2, 39, 32, 48, 5).clone()
    x0[0, 0, 0, 0] += 4
    small = shrunk(x0, layout)
    assert small.shape == (16, 16, 24, 5) and small.dtype == torch.float16
    assert small[0, 0, 0].tolist() == [1.0] * 5  # one of four cells had 4 more
    strip = Filmstrip(0, layout).message(0, 0.9, small.numpy())
    assert strip["frames"] == [places[i] for i in frames_of(places)]
    assert small[:, 5, 5, 0].tolist() == [f - 1 for f in strip["frames"]]


@pytest.mark.parametrize("grid", [(23, 40), (33, 60), (35, 20), (19, 34)])
def test_sizes_that_do_not_divide_average_what_there_is_at_the_edges(
    grid: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> object:
        raise RuntimeError("Adaptive pool MPS: input sizes must be divisible by output sizes.")

    monkeypatch.setattr(torch.nn.functional, "adaptive_avg_pool2d", refuse)
    layout = LatentLayout("video", 1, (2, *grid))
    x0 = torch.randn((1, 2, *grid, 3), generator=torch.Generator().manual_seed(0))
    small = shrunk(x0, layout)
    rows, columns = size_of(*grid)
    assert small.shape == (2, rows, columns, 3)
    factor = -(-grid[0] // rows)
    for i, j in ((0, 0), (rows - 1, 0), (0, columns - 1), (rows - 1, columns - 1)):
        cell = x0[0, :, factor * i : factor * (i + 1), factor * j : factor * (j + 1)]
        torch.testing.assert_close(small[:, i, j].float(), cell.mean(dim=(1, 2)), rtol=1e-3, atol=1e-3)


def test_axes_are_those_of_known_variances_and_their_signs_are_settled() -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    axes = principal_axes(rotation @ np.diag([9, 4, 1, 0.1, 0.01, 0]) @ rotation.T)
    np.testing.assert_allclose(np.abs(axes.T @ rotation[:, :3]), np.eye(3), atol=1e-5)
    assert all(axis[np.abs(axis).argmax()] > 0 for axis in axes.T)
    assert principal_axes(np.eye(2)).shape == (2, 3)


def test_the_strongest_component_is_brightness() -> None:
    ramp = np.zeros((50, 3), np.float32)
    ramp[:, 0] = np.linspace(-2, 2, 50)
    grey = colours(ramp, ramp.std(axis=0))
    assert (np.ptp(grey.astype(int), axis=1) <= 1).all() and (np.diff(grey[:, 0].astype(int)) > 0).all()


def clip(seed: int, channels: int = 16) -> np.ndarray:
    """Three regions of different channel means over weak noise: [4, 8, 8, channels]."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).normal(size=(3, channels)) * [[3], [2], [1]]
    region = np.add.outer(np.arange(8) // 3, np.zeros(8, int))
    found = means[region] + 0.1 * rng.normal(size=(4, 8, 8, channels))
    return found.astype(np.float16)


def test_colours_stay_over_the_steps_of_a_stage_and_are_fixed_anew_once() -> None:
    strip = Filmstrip(0, LatentLayout("video", 1, (4, 8, 8)))
    pictures, fits = [], []
    for i, sigma in enumerate((0.99, 0.9, 0.81, 0.7, 0.4, 0.1)):
        message = strip.message(i, sigma, clip(i))
        pictures.append(np.frombuffer(message["data"], np.uint8).reshape(message["shape"]).astype(int))
        fits.append(message["fit"])
    assert fits == [1, 1, 1, 2, 2, 2]
    for before, after in itertools.pairwise(pictures):
        assert np.abs(before - after).mean() < 12  # of 255, also across the second fit
    assert pictures[0][:, 0].std() < pictures[0].std()


def test_a_stage_that_begins_late_is_fixed_once() -> None:
    strip = Filmstrip(0, LatentLayout("video", 1, (4, 8, 8)))
    assert [strip.message(i, s, clip(i))["fit"] for i, s in enumerate((0.725, 0.42))] == [1, 1]


def test_cells_that_are_not_finite_are_black_and_do_not_matter_to_the_others() -> None:
    strip = Filmstrip(0, LatentLayout("video", 1, (4, 8, 8)))
    broken = clip(0)
    broken[0, 0, 0] = np.nan
    broken[1, 2, 3, 4] = np.inf
    picture = strip.picture(0.9, broken)
    assert not picture[0, 0, 0].any() and not picture[1, 2, 3].any() and picture[0, 5].any()
    assert not strip.picture(0.5, np.full_like(broken, np.nan)).any()
    assert not Filmstrip(0, LatentLayout("video", 1, (4, 8, 8))).picture(1.0, np.full_like(broken, np.nan)).any()


@pytest.fixture(scope="module")
def recorded(nano_pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two stages, as a live viewer and their archive saw them."""
    import os
    import tempfile

    runs = tmp_path_factory.mktemp("runs")
    os.environ["LTXTUI_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="ltx-", dir="/tmp")
    live = Run()
    from recorder.nano import components

    nano_pipe.scheduler = components.scheduler()  # whatever another test put there
    with record(nano_pipe, runs_dir=runs) as run:
        assert run.socket_path
        source = SocketSource(run.socket_path)
        plain = nano_pipe(**nano_call(steps=5, **UNGUIDED))
        nano_pipe(**nano_call(steps=3, seed=1, **UNGUIDED))
        until(lambda: load(run.path).system)  # the first sample comes from a thread of its own

    def ended() -> bool:
        for message in source.poll():
            live.feed(message)
        return live.end is not None

    until(ended)
    source.close()
    shutil.rmtree(os.environ["LTXTUI_RUNTIME_DIR"], ignore_errors=True)
    return {"path": run.path, "live": live, "result": plain}


def test_live_and_archived_previews_and_loads_are_equal(recorded: dict[str, Any]) -> None:
    archived, live = load(recorded["path"]), recorded["live"]
    assert live.end is not None
    for one, other in zip(live.stages, archived.stages, strict=True):
        a, b = one.streams["video"].previews, other.streams["video"].previews
        assert a.keys() == b.keys() == set(range(one.steps))
        for step in a:
            assert (a[step].shape, a[step].frames, a[step].fit) == (b[step].shape, b[step].frames, b[step].fit)
            np.testing.assert_array_equal(a[step].pixels(), b[step].pixels())
            assert a[step].shape == (5, 4, 5, 3) and a[step].pixels().std() > 10
        assert not one.streams["audio"].previews and not other.streams["audio"].previews
    assert live.system == archived.system and live.system


def test_previews_open_in_xarray_beside_the_curves(recorded: dict[str, Any]) -> None:
    tree = xarray.open_datatree(recorded["path"], engine="zarr")
    array = tree["stage_0/video/preview"]
    assert array.dims == ("step", "preview_frame", "preview_row", "preview_column", "rgb") and array.sizes["step"] == 5
    assert array.dtype == np.uint8 and tree["stage_0/video/preview_frame"].values.tolist() == [0, 1, 2, 3, 4]
    late = tree["stage_0/video/sigma"].values <= preview.REFIT_SIGMA
    assert late.any() and tree["stage_0/video/preview_fit"].values.tolist() == [2 if n else 1 for n in late]
    assert tree["system/process_memory"].attrs["units"] == "bytes"


def test_pictures_smaller_than_kept_latents_open_beside_them(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path / "x.zarr")
    for message in (header(), STAGE, STREAM):
        writer.feed(message)
    writer.add_snapshot(0, "video", 0, {"latents": np.ones((1, 2, 4, 4, 8), np.float16)})
    for message in (STEP, preview_message()):
        writer.feed(message)
    writer.finish({"status": "complete", "error": None, "time": 0.0})
    opened = xarray.open_zarr(tmp_path / "x.zarr", group="stage_0/video")
    assert opened["preview"].shape == (1, 2, 2, 2, 3) and opened["latents"].shape == (1, 1, 2, 4, 4, 8)


def test_curves_are_read_without_reading_pictures(recorded: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    shutil.copytree(recorded["path"], path)
    for chunk in (path / "stage_0/video/preview/c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"damaged")
    run = load(path)
    assert run.stages[0].streams["video"].rows == 5
    with pytest.raises(NotARun, match="preview of step 2"):
        run.stages[0].streams["video"].previews[2].pixels()


def test_previews_can_be_turned_off(pipe: Any, tmp_path: Path) -> None:
    with record(pipe, runs_dir=tmp_path, previews=False) as run:
        pipe(**nano_call(steps=2, **UNGUIDED))
    assert load(run.path).stages[0].streams["video"].previews == {}
    assert "preview" not in zarr.open_group(str(run.path))["stage_0/video"]


def test_recording_with_previews_changes_no_result(pipe: Any, recorded: dict[str, Any]) -> None:
    again = pipe(**nano_call(steps=5, **UNGUIDED))
    assert torch.equal(again.frames, recorded["result"].frames)


def preview_message(step: int = 0, **more: Any) -> dict[str, Any]:
    data = bytes([step % 256]) * 24
    base = {"stage": 0, "stream": "video", "step": step, "shape": [2, 2, 2, 3], "frames": [0, 1], "fit": 1}
    return {"t": "preview", **base, "data": data, **more}


@pytest.mark.parametrize(
    "change",
    [
        {"step": -1},
        {"step": 10**12},
        {"shape": [2, 2, 2, 4]},
        {"shape": [2, 2, 2]},
        {"shape": [10**6, 10**6, 1, 3]},
        {"frames": [0]},
        {"data": b""},
        {"data": "x" * 24},
        {"stream": "audio"},
    ],
)
def test_previews_that_contradict_the_format_are_refused(change: dict) -> None:
    run = Run()
    for message in (header(), STAGE, STREAM, STEP):
        run.feed(message)
    with pytest.raises(NotARun):
        run.feed(preview_message(**change))
    run.feed(preview_message())
    assert run.stages[0].streams["video"].previews[0].pixels().shape == (2, 2, 2, 3)


@pytest.mark.parametrize("planned", [0, 3, 2000])
def test_gaps_long_stages_and_unfinished_archives(planned: int, tmp_path: Path) -> None:
    path = tmp_path / "long.zarr"
    writer = ArchiveWriter(path)
    stage = {**STAGE, "sigmas": [1.0] * planned}
    missing = {0, 40, 41, *range(100, 180), 1099}
    for message in (header(), stage, {**STREAM, "metrics": [METRIC]}):
        writer.feed(message)
    for i in range(1100):
        writer.feed({**STEP, "step": i})
        if i not in missing:
            message = preview_message(i)
            encode(message)
            writer.feed(message)
    unfinished = load(path).stages[0].streams["video"]
    assert unfinished.rows == 1024 and set(unfinished.previews) == set(range(1023)) - missing
    writer.finish({"status": "complete", "error": None, "time": 0.0})
    stream = load(path).stages[0].streams["video"]
    assert set(stream.previews) == set(range(1100)) - missing
    for i in (1, 39, 42, 99, 180, 1023, 1098):
        assert (stream.previews[i].pixels() == i % 256).all()
    sizes = {a.shape[0] for n, a in zarr.open_group(str(path))["stage_0/video"].arrays() if n != "preview_frame"}
    assert sizes == {1100}
    assert json.loads((path / "zarr.json").read_text())["attributes"]["previews"] == {"stage_0/video": 1099}
