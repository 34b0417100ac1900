"""True colours: a decoded clip gives its run and later ones recognisable previews, and changes nothing of itself."""

from __future__ import annotations

import copy
import gc
import json
import logging
import os
import pickle
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray

from recorder import nano, record
from recorder.archive.writer import ArchiveWriter
from recorder.format import protocol
from recorder.format.colour_terms import terms
from recorder.metrics.colours import colour_cache, decoded_clip
from recorder.metrics.colours.colour_map import ColourMap, Moments, correlation, recolouring
from recorder.metrics.colours.decoded_clip import ClipGeometry, LatentStatistics, reduced
from recorder.metrics.colours.true_colours import ModelColours
from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.preview import Filmstrip
from recorder.sampling import decoder_calls, observer
from replay.integrity.repair import repair
from replay.model.run import NotARun, Run, StreamData
from replay.sources.open import SocketSource, load
from tests.conftest import UNGUIDED, nano_call
from tests.pipelines import build, condition, generate, modular, picture
from tests.replay.test_replay import STAGE, STEP, STREAM, header
from tests.waiting import PATIENCE_SECONDS, until

LEAST_CORRELATION = 0.9


def decoding(pipe: Any, seed: int = 0, **more: Any) -> Any:
    """A small clip that the pipeline decodes."""
    return pipe(**nano_call(steps=8, seed=seed, **{**UNGUIDED, "output_type": "np", **more})).frames


def video(path: Path, stage: int = 0) -> StreamData:
    return load(path).stages[stage].streams["video"]


def cell_means(stream: StreamData) -> np.ndarray:
    """The decoded frames averaged to the cells of the previews: [frames, rows, columns, 3]."""
    shown = np.stack([f.preview.pixels()[0] for f in stream.decoded.values()]).astype(float)
    frames, rows, columns = stream.grid
    assert len(shown) == 1 + 8 * (frames - 1)
    pixels = np.stack([shown[0], *(shown[1 + 8 * f : 9 + 8 * f].mean(axis=0) for f in range(frames - 1))])
    high, wide = pixels.shape[1] // rows, pixels.shape[2] // columns
    return pixels.reshape(frames, rows, high, columns, wide, 3).mean(axis=(2, 4))


# The fit


def test_a_linear_decoder_is_found_exactly_and_its_neighbourhood_too() -> None:
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(5, 8, 9, 6)).astype(np.float32)
    matrix = 0.05 * rng.normal(size=(18, 3))
    rgb = terms(latents) @ matrix + [0.5, 0.4, 0.6]
    moments = Moments.of(latents, rgb)
    assert moments is not None
    found = moments.fitted()
    assert found.channels == 6
    np.testing.assert_allclose(found.colours(latents), np.clip(rgb, 0, 1), atol=0.03)
    assert min(correlation(found.colours(latents), rgb)) > 0.99


def test_terms_are_a_cell_the_mean_around_it_and_the_frames_next_to_it() -> None:
    values = np.arange(3 * 3 * 4 * 2, dtype=np.float32).reshape(3, 3, 4, 2)
    found = terms(values)
    np.testing.assert_array_equal(found[..., :2], values)
    np.testing.assert_allclose(found[1, 1, 1, 2:4], values[1, :, :3].mean(axis=(0, 1)))
    np.testing.assert_allclose(found[1, 2, 2, 4:], (values[0, 2, 2] + values[2, 2, 2]) / 2)
    np.testing.assert_allclose(found[0, 0, 0, 4:], (values[0, 0, 0] + values[1, 0, 0]) / 2)


@pytest.mark.parametrize("pixels", [np.full((2, 3, 3, 3), 0.01), np.full((2, 3, 3, 3), np.nan)])
def test_a_uniform_or_broken_clip_says_nothing_about_colours(pixels: np.ndarray) -> None:
    latents = np.random.default_rng(0).normal(size=(2, 3, 3, 4))
    assert Moments.of(latents, pixels) is None


def test_cells_that_are_not_finite_are_black_and_left_out_of_the_fit() -> None:
    rng = np.random.default_rng(1)
    latents = rng.normal(size=(4, 6, 6, 3)).astype(np.float32)
    rgb = np.clip(0.5 + 0.1 * latents, 0, 1)
    broken = latents.copy()
    broken[0, 0, 0] = np.nan
    moments = Moments.of(broken, rgb)
    assert moments is not None
    found = moments.fitted()
    assert np.isfinite(found.matrix).all()
    assert not found.picture(broken)[0, 0, 0].any() and found.picture(broken)[0, 3, 3].any()


def test_later_clips_add_to_earlier_ones() -> None:
    rng = np.random.default_rng(2)
    matrix = 0.1 * rng.normal(size=(12, 3))
    known: Moments | None = None
    for channel in range(4):  # every clip varies in one channel only
        latents = np.zeros((3, 8, 8, 4), np.float32)
        latents[..., channel] = rng.normal(size=(3, 8, 8))
        moments = Moments.of(latents, terms(latents) @ matrix + 0.5)
        assert moments is not None
        known = moments.after(known)
    assert known is not None
    latents = rng.normal(size=(3, 8, 8, 4)).astype(np.float32)
    assert min(correlation(known.fitted().colours(latents), np.clip(terms(latents) @ matrix + 0.5, 0, 1))) > 0.95
    other = Moments.of(latents[..., :2], np.clip(latents[..., :3], 0, 1))
    assert other is not None and other.after(known) is other  # of another number of channels


def test_pictures_are_recoloured_by_what_they_showed() -> None:
    shown = np.random.default_rng(3).integers(0, 255, (4, 6, 6, 3)).astype(np.uint8)
    wanted = 1 - shown[..., ::-1] / 255
    weights = np.array(recolouring(shown, wanted))
    found = terms(shown.astype(np.float32) / 255) @ weights[:-1] + weights[-1]
    assert weights.shape == (10, 3)
    np.testing.assert_allclose(found, wanted, atol=0.02)


# The clip


def test_a_clip_is_reduced_to_cells_and_small_pictures() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn((2, 4, 3, 5, 6), generator=generator)
    pixels = torch.rand((2, 3, 17, 160, 192), generator=generator) * 2 - 1
    statistics = LatentStatistics(torch.full((4,), 0.5), torch.full((4,), 2.0), 3.0)
    small, frames = reduced(latents, pixels, statistics)
    expected = (latents[0].movedim(0, -1) - 0.5) * 3 / 2
    torch.testing.assert_close(small["latents"].float(), expected, rtol=1e-2, atol=1e-2)
    for frame, span in ((0, slice(0, 1)), (1, slice(1, 9)), (2, slice(9, 17))):
        cell = pixels[0, :, span, 32:64, 96:128].mean(dim=(1, 2, 3)) / 2 + 0.5
        torch.testing.assert_close(small["pixels"][frame, 1, 3], cell)
    assert list(frames) == list(range(17)) and small["thumbnails"].shape == (17, 80, 96, 3)
    assert small["thumbnails"].dtype == torch.uint8


@pytest.mark.parametrize("size", [(1088, 1920), (512, 768), (96, 96), (1280, 704), (704, 2048)])
def test_thumbnails_are_small_enough_for_a_message(size: tuple[int, int]) -> None:
    pixels = torch.zeros((1, 3, 1, *size))
    small, frames = reduced(torch.zeros((1, 4, 1, size[0] // 32, size[1] // 32)), pixels, plain_statistics())
    _, rows, columns, _ = small["thumbnails"].shape
    assert rows <= 96 and columns <= 192 and rows * columns * 3 <= 64 << 10 and frames == [0]
    assert max(rows / 96, columns / 192) > 0.45


def plain_statistics() -> LatentStatistics:
    return LatentStatistics(torch.zeros(4), torch.ones(4), 1.0)


def test_long_clips_have_33_thumbnails_with_both_ends_and_16_latent_frames() -> None:
    small, frames = reduced(torch.zeros((1, 4, 41, 1, 1)), torch.zeros((1, 3, 321, 32, 32)), plain_statistics())
    assert len(frames) == len(small["thumbnails"]) == 33 and (frames[0], frames[-1]) == (0, 320)
    assert len(small["latents"]) == len(small["pixels"]) == 16


def test_large_grids_are_fitted_on_fewer_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded_clip, "MAX_CELLS", 50)
    small, _ = reduced(torch.zeros((1, 4, 9, 5, 5)), torch.zeros((1, 3, 65, 20, 20)), plain_statistics())
    assert small["latents"].shape[:3] == (2, 5, 5) == small["pixels"].shape[:3]


@pytest.mark.parametrize("shape", [(1, 3, 16, 64, 64), (1, 3, 17, 65, 64), (1, 4, 17, 64, 64), (2, 3, 17, 64, 64)])
def test_pixels_that_are_not_those_of_the_latents_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="latents"):
        ClipGeometry.of(torch.zeros((1, 4, 3, 2, 2)), torch.zeros(shape))


# Recorded runs


def test_previews_of_a_run_have_true_colours_once_it_is_decoded(pipe: Any, tmp_path: Path) -> None:
    plain = decoding(pipe)
    with record(pipe, runs_dir=tmp_path) as run:
        recorded = decoding(pipe)
    assert np.array_equal(plain, recorded)
    assert "decode" not in pipe.vae.__dict__
    stream = video(run.path)
    assert stream.palette is not None and len(stream.palette.recolour) == 2
    assert stream.palette.matrix.shape == (24, 3) and (stream.palette.correlation >= LEAST_CORRELATION).all()
    assert [f.frame for f in stream.decoded.values()] == list(range(33))
    assert {p.colours for p in stream.previews.values()} == {"true colours (fitted)"}
    decoded = cell_means(stream)
    assert min(correlation(stream.previews[7].pixels(), decoded)) >= LEAST_CORRELATION
    thumbnails = np.stack([f.preview.pixels()[0] for f in stream.decoded.values()])
    full = (recorded[0].reshape(33, 64, 2, 80, 2, 3).mean(axis=(2, 4)) * 255).round()
    assert np.abs(thumbnails - full).max() <= 1


def test_the_fitted_map_gives_the_colours_of_the_decoded_clip(pipe: Any, tmp_path: Path) -> None:
    """The map in the archive, applied to the latents that the run kept."""
    size = {"height": nano.HOME["height"], "width": nano.HOME["width"], "num_frames": nano.HOME["num_frames"]}
    with record(pipe, runs_dir=tmp_path, save_latents=True) as run:
        decoding(pipe, **size)
    stream = video(run.path)
    assert stream.palette is not None
    fitted = ColourMap(stream.palette.matrix.astype(np.float32), stream.palette.offset.astype(np.float32))
    tree = xarray.open_datatree(run.path, engine="zarr")["stage_0/video"]
    found = fitted.colours(tree["x0"].values[-1, 0].astype(np.float32))
    frames = {f.frame: f.preview.pixels()[0] for f in stream.decoded.values()}
    assert len(frames) == 33 and tree["decoded"].dims[0] == "decoded_frame"
    # Of the 65 frames every second one is kept.
    means = [frames[0].astype(float)]
    means += [np.mean([frames[n] for n in range(2 + 8 * f, 9 + 8 * f, 2)], axis=0) for f in range(8)]
    high, wide = means[0].shape[0] // 10, means[0].shape[1] // 12
    pixels = np.stack(means).reshape(9, 10, high, 12, wide, 3).mean(axis=(2, 4))
    assert min(correlation(found, pixels)) >= LEAST_CORRELATION


def test_the_second_run_of_a_model_has_true_colours_live(pipe: Any, tmp_path: Path) -> None:
    with record(pipe, runs_dir=tmp_path) as earlier:
        decoding(pipe)
    live, seen = Run(), []

    def look(*_: Any) -> dict[str, Any]:
        def arrived() -> bool:
            for message in source.poll():
                live.feed(message)
            return bool(live.stages) and bool(live.stages[0].streams) and bool(live.stages[0].streams["video"].previews)

        until(arrived, PATIENCE_SECONDS)
        previews = live.stages[0].streams["video"].previews
        seen.append({preview.colours for preview in previews.values()})
        return {}

    with record(pipe, runs_dir=tmp_path) as run:
        assert run.socket_path is not None
        source = SocketSource(run.socket_path)
        # Without decoding: colours are those of the first run.
        decoding(pipe, seed=0, output_type="latent", callback_on_step_end=look)
    source.close()
    assert len(seen) == 8 and all(each == {"true colours (fitted)"} for each in seen)
    first, second = video(earlier.path), video(run.path)
    assert second.palette is None and not second.decoded
    assert min(correlation(second.previews[7].pixels(), cell_means(first))) >= LEAST_CORRELATION
    stored = json.loads((run.path / "stage_0/video/preview/zarr.json").read_text())["attributes"]
    assert stored["colours"] == protocol.FITTED_COLOURS


PIPELINES: dict[str, Any] = {
    "image to video": lambda base: (build(base, "LTX2ImageToVideoPipeline"), {"image": picture()}),
    "conditions": lambda base: (build(base, "LTX2ConditionPipeline"), {"conditions": [condition(2)]}),
    "modular": lambda base: (modular(base), {}),
    "two clips": lambda base: (build(base, "LTX2Pipeline"), {"num_videos_per_prompt": 2}),
    "one frame": lambda base: (build(base, "LTX2Pipeline"), {"num_frames": 1}),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_other_pipelines_and_sizes_have_true_colours(name: str, nano_pipe: Any, tmp_path: Path) -> None:
    made, more = PIPELINES[name](nano_pipe)
    call = {"num_inference_steps": 3, "output_type": "pt", **more}
    plain, _ = generate(made, **call)
    with record(made, runs_dir=tmp_path) as run:
        recorded, _ = generate(made, **call)
    assert torch.equal(torch.as_tensor(plain), torch.as_tensor(recorded))
    stream = video(run.path)
    assert stream.palette is not None and stream.palette.correlation.min() > 0.85
    assert len(stream.decoded) == (1 if name == "one frame" else 33)
    assert not [e for e in load(run.path).events if e["kind"] == "error"]


def test_nothing_of_a_decoded_clip_is_kept(pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips: list[weakref.ref[Any]] = []
    decode = pipe.vae.decode

    def remembered(*args: Any, **kwargs: Any) -> Any:
        result = decode(*args, **kwargs)
        clips.append(weakref.ref(result[0]))
        return result

    monkeypatch.setitem(pipe.vae.__dict__, "decode", remembered)
    with record(pipe, runs_dir=tmp_path):
        decoding(pipe)
        gc.collect()
        assert len(clips) == 1 and clips[0]() is None


def test_a_clip_that_is_not_decoded_has_false_colours(pipe: Any, tmp_path: Path) -> None:
    with record(pipe, runs_dir=tmp_path) as run:
        decoding(pipe, output_type="latent")
    stream = video(run.path)
    assert stream.palette is None and not stream.decoded
    assert {p.colours for p in stream.previews.values()} == {"false colours"}
    assert not list(Path(os.environ["LTXTUI_CACHE"]).glob("colours-*"))


def test_without_previews_nothing_is_done_with_a_decoded_clip(pipe: Any, tmp_path: Path) -> None:
    with record(pipe, runs_dir=tmp_path, previews=False) as run:
        decoding(pipe)
    stream = video(run.path)
    assert stream.palette is None and not stream.decoded


def test_a_model_without_a_name_has_colours_in_its_run_only(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (decoder_calls, observer):
        monkeypatch.setattr(module, "model_id", lambda pipe: "")
    with record(pipe, runs_dir=tmp_path) as run:
        decoding(pipe)
        decoding(pipe, seed=1)
    assert not video(run.path).previews[0].fitted and video(run.path, 1).previews[0].fitted
    assert not list(Path(os.environ["LTXTUI_CACHE"]).glob("colours-*"))


def test_earlier_stages_of_a_run_are_recoloured_too(pipe: Any, tmp_path: Path) -> None:
    with record(pipe, runs_dir=tmp_path) as run:
        decoding(pipe, output_type="latent")
        decoding(pipe, seed=1)
        decoding(pipe, seed=2)
    first, second, third = (video(run.path, n) for n in range(3))
    assert first.palette is not None and first.palette.recolour and not first.palette.matrix.size
    assert not first.decoded and second.decoded and third.decoded
    assert third.previews[0].fitted and not second.previews[0].fitted
    for stream in (first, second, third):
        assert stream.previews[7].colours == "true colours (fitted)"


@pytest.mark.parametrize(
    "content", [b"", b"not a file of arrays", b"PK\x03\x04" + bytes(200)], ids=["empty", "text", "archive"]
)
def test_a_damaged_cache_is_ignored_with_one_line(
    content: bytes, pipe: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = colour_cache.path_of(decoder_calls.latents_id(pipe))
    assert path is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING), record(pipe, runs_dir=tmp_path) as run:
        decoding(pipe)
        decoding(pipe, seed=1)
    assert [r.getMessage().startswith("the colours of previews in") for r in caplog.records] == [True]
    assert not video(run.path).previews[0].fitted
    assert colour_cache.read(decoder_calls.latents_id(pipe)) is not None  # written again


def test_a_cache_of_other_sizes_or_another_model_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = Moments(1.0, np.eye(13), np.ones((13, 3)))
    colour_cache.write("model", good)
    found = colour_cache.read("model")
    assert found is not None and found.products.shape == (13, 13)
    path, other = colour_cache.path_of("model"), colour_cache.path_of("other")
    assert path is not None and other is not None
    other.write_bytes(path.read_bytes())
    assert colour_cache.read("other") is None
    for bad in (
        Moments(1.0, np.eye(12), np.ones((12, 3))),
        Moments(1.0, np.eye(13), np.ones((12, 3))),
        Moments(1.0, np.full((13, 13), np.nan), np.ones((13, 3))),
    ):
        colour_cache.write("model", bad)
        assert colour_cache.read("model") is None
    assert len(caplog.records) == 4


def test_a_cache_that_cannot_be_written_is_one_line_in_the_log(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LTXTUI_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING), record(pipe, runs_dir=tmp_path) as run:
        decoding(pipe)
    assert run.status == "complete" and video(run.path).palette is not None
    assert any("cannot be kept" in r.getMessage() for r in caplog.records)


def test_a_failure_is_an_event_and_does_not_reach_the_pipeline(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = decoding(pipe)

    def fail(*_: Any) -> Any:
        raise RuntimeError("no colours today")

    with monkeypatch.context() as patched:
        patched.setattr(decoder_calls, "reduced", fail)
        with record(pipe, runs_dir=tmp_path) as run:
            first = decoding(pipe)
    with monkeypatch.context() as patched:
        patched.setattr(ModelColours, "decoded", fail)
        with record(pipe, runs_dir=tmp_path) as other:
            second = decoding(pipe)
    for path, result in ((run.path, first), (other.path, second)):
        assert np.array_equal(plain, result)
        errors = [e["text"] for e in load(path).events if e["kind"] == "error"]
        assert len(errors) == 1 and "decoded clip could not be recorded" in errors[0] and "no colours" in errors[0]
        assert load(path).stages[0].steps == 8


def test_a_decoder_of_other_pixels_is_an_event(pipe: Any, tmp_path: Path) -> None:
    """A decoder whose pixels are not whole cells, called in a pipeline's call."""
    plain = pipe.vae.decode
    pipe.vae.__dict__["decode"] = lambda *args, **kwargs: (plain(*args, **kwargs)[0][..., :-1],)
    try:
        with record(pipe, runs_dir=tmp_path) as run:
            decoding(pipe)
        assert "decode" in pipe.vae.__dict__  # the object's own one stays
    finally:
        del pipe.vae.__dict__["decode"]
    assert any("not whole cells" in e["text"] for e in load(run.path).events if e["kind"] == "error")


# The hook


def test_several_listeners_share_a_decoder_and_leave_it_as_it_was(pipe: Any) -> None:
    calls: list[str] = []
    first = decoder_calls.watch_decoder(pipe.vae, lambda *_: calls.append("first"))
    second = decoder_calls.watch_decoder(pipe.vae, lambda *_: calls.append("second"))
    latents = torch.zeros((1, 8, 1, 2, 2))
    with torch.no_grad():
        pipe.vae.decode(latents)
        first()
        pipe.vae.decode(latents, return_dict=False)
        second()
        second()
        pipe.vae.decode(latents)
    assert calls == ["first", "second", "second"] and "decode" not in pipe.vae.__dict__


def test_a_copy_of_a_watched_decoder_decodes_itself_and_reports_nothing(pipe: Any) -> None:
    calls: list[Any] = []
    end = decoder_calls.watch_decoder(pipe.vae, lambda *given: calls.append(given))
    try:
        copies = [copy.deepcopy(pipe.vae), pickle.loads(pickle.dumps(pipe.vae))]
    finally:
        end()
    for made in copies:
        assert made.decode.__self__ is made
        with torch.no_grad():
            made.decode(torch.zeros((1, 8, 1, 2, 2)))
    assert not calls


# Messages and archives


def decoded_message(index: int = 0, **more: Any) -> dict[str, Any]:
    base = {"t": protocol.DECODED, "stage": 0, "stream": "video", "index": index, "count": 3, "frame": 8 * index}
    return {**base, "shape": [2, 3, 3], "data": bytes([index % 256]) * 18, **more}


def palette_message(**more: Any) -> dict[str, Any]:
    weights = [[0.0] * 3 for _ in range(9)] + [[1.0, 0.5, 0.0]]
    return {"t": protocol.PALETTE, "stage": 0, "stream": "video", "recolour": [weights], **more}


def preview_message(step: int = 0, fit: int = 1) -> dict[str, Any]:
    place = {"t": protocol.PREVIEW, "stage": 0, "stream": "video", "step": step, "shape": [1, 2, 2, 3], "frames": [0]}
    return {**place, "fit": fit, "data": bytes([9]) * 12}


@pytest.mark.parametrize(
    "change",
    [
        {"index": 3},
        {"index": -1},
        {"count": 10**6},
        {"shape": [2, 3]},
        {"shape": [10**4, 10**4, 3]},
        {"data": b""},
        {"stream": "audio"},
        {"frame": "8"},
    ],
)
def test_decoded_frames_that_contradict_the_format_are_refused(change: dict[str, Any]) -> None:
    run = Run()
    for message in (header(), STAGE, STREAM, STEP):
        run.feed(message)
    with pytest.raises(NotARun):
        run.feed(decoded_message(**change))
    run.feed(decoded_message())
    with pytest.raises(NotARun):
        run.feed(decoded_message(1, shape=[3, 2, 3]))
    assert list(run.stages[0].streams["video"].decoded) == [0]


@pytest.mark.parametrize(
    "change",
    [
        {"recolour": None},
        {"recolour": [[[1.0] * 3] * 4]},
        {"recolour": [[["x"] * 3] * 10]},
        {"recolour": [[[float("nan")] * 3] * 10]},
        {"recolour": [[[1.0] * 3] * 10] * 20},
        {"matrix": [[1.0] * 2]},
        {"matrix": [[1.0] * 3], "offset": [1.0]},
        {"stream": "audio"},
    ],
)
def test_palettes_that_contradict_the_format_are_refused(change: dict[str, Any]) -> None:
    run = Run()
    for message in (header(), STAGE, STREAM, STEP):
        run.feed(message)
    with pytest.raises(NotARun):
        run.feed(palette_message(**change))
    assert run.stages[0].streams["video"].palette is None


def test_pictures_before_and_after_a_palette_are_recoloured() -> None:
    run = Run()
    for message in (header(), STAGE, STREAM, STEP, {**STEP, "step": 1}, preview_message(), palette_message()):
        run.feed(message)
    run.feed(preview_message(1, fit=2))
    previews = run.stages[0].streams["video"].previews
    for step in (0, 1):
        assert previews[step].colours == "true colours (fitted)"
        assert previews[step].pixels()[0, 0, 0].tolist() == [255, 128, 0]


def test_very_many_decoded_clips_are_bounded_in_memory() -> None:
    run = Run()
    run._pictures._limit = 20_000
    run.feed(header())
    for stage in range(12):
        run.feed({**STAGE, "stage": stage})
        run.feed({**STREAM, "stage": stage})
        for index in range(3):
            run.feed(decoded_message(index, stage=stage))
    kept = [bool(s.streams["video"].decoded) for s in run.stages]
    assert kept[-1] and not kept[0] and run.dropped["pictures"] > 0


def test_an_archive_without_its_end_and_a_repaired_one_have_colours_and_the_clip(pipe: Any, tmp_path: Path) -> None:
    with record(pipe, runs_dir=tmp_path) as run:
        decoding(pipe)
    whole = video(run.path)
    document = json.loads((run.path / "zarr.json").read_text())
    for key in ("ended", "error"):
        document["attributes"].pop(key, None)
    document["attributes"]["status"] = "recording"
    document.pop("consolidated_metadata", None)
    (run.path / "zarr.json").write_text(json.dumps(document))
    repair(run.path)
    again = video(run.path)
    assert again.palette is not None and whole.palette is not None
    np.testing.assert_allclose(again.palette.matrix, whole.palette.matrix)
    assert [f.frame for f in again.decoded.values()] == [f.frame for f in whole.decoded.values()]
    np.testing.assert_array_equal(again.previews[7].pixels(), whole.previews[7].pixels())
    np.testing.assert_array_equal(again.decoded[5].preview.pixels(), whole.decoded[5].preview.pixels())


def test_a_clip_that_is_not_complete_is_written_as_far_as_it_came(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path / "x.zarr")
    for message in (header(), STAGE, STREAM, STEP, decoded_message(0), decoded_message(2)):
        writer.feed(message)
    writer.feed(palette_message(stage=7))  # of a stage that is not there
    writer.finish({"status": "complete", "error": None, "time": 0.0})
    stream = video(tmp_path / "x.zarr")
    assert [f.frame for f in stream.decoded.values()] == [0, 16]


def test_a_damaged_clip_costs_nothing_else(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path / "x.zarr")
    for message in (header(), STAGE, STREAM, STEP, preview_message(), *(decoded_message(n) for n in range(3))):
        writer.feed(message)
    writer.finish({"status": "complete", "error": None, "time": 0.0})
    for chunk in (tmp_path / "x.zarr/stage_0/video/decoded/c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"damaged")
    stream = video(tmp_path / "x.zarr")
    assert stream.rows == 1 and stream.previews[0].colours == "false colours"
    with pytest.raises(NotARun):
        stream.decoded[0].preview.pixels()


def test_a_filmstrip_keeps_what_it_showed_only_until_it_is_recoloured() -> None:
    model = ModelColours("", kept=False)
    strip = Filmstrip(0, LatentLayout("video", 1, (2, 4, 4)), model)
    latents = np.random.default_rng(0).normal(size=(2, 4, 4, 6)).astype(np.float16)
    for step, sigma in enumerate((0.95, 0.7, 0.2)):
        strip.message(step, sigma, latents)
    pixels = np.clip(0.5 + 0.1 * latents[..., :3].astype(np.float32), 0, 1)
    messages = list(model.decoded(0, latents, pixels, np.zeros((1, 2, 2, 3), np.uint8), [0]))
    assert [m["t"] for m in messages] == [protocol.DECODED, protocol.PALETTE]
    assert len(messages[1]["recolour"]) == 2
    assert strip.recolouring(Moments.of(latents, pixels).fitted()) == []  # type: ignore[union-attr]
    assert list(model.decoded(0, latents, pixels, np.zeros((1, 2, 2, 3), np.uint8), [0])) == []  # decoded again
    later = Filmstrip(1, LatentLayout("video", 1, (2, 4, 4)), model).message(0, 0.9, latents)
    assert later["colours"] == protocol.FITTED_COLOURS and later["fit"] == 1
