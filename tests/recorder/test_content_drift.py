"""The drift of finished clips on drawn scenes: what is ordered, what does not depend on size, what is withheld."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recorder.format.declarations import DRIFT, DRIFT_BOUND, DRIFT_REFERENCES
from recorder.metrics import content_drift as module
from recorder.metrics.content_drift import content_drift
from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.stage_summary import PathTracker
from recorder.metrics.step import Step
from recorder.nano.drift_scenes import CLEAN, FAULTS, DriftScene, draw
from recorder.nano.drift_study import KINDS, content, of_scenes

Values = NDArray[np.float64]
SIZES = [
    *((5, 8, 8, 8), (9, 10, 12, 8), (5, 16, 24, 128), (9, 34, 60, 8)),
    *(pytest.param(size, marks=pytest.mark.slow) for size in ((17, 16, 24, 16), (33, 8, 8, 8))),
]


def drift(clips: Values | torch.Tensor) -> torch.Tensor:
    clips = torch.as_tensor(clips)
    return content_drift(clips, range(clips.shape[1]))[DRIFT]


def clips(name: str, count: int = 4, frames: int = 9, height: int = 10, width: int = 12) -> torch.Tensor:
    scene = {**CLEAN, **FAULTS}[name]
    return torch.from_numpy(np.stack([draw(scene, seed, frames, height, width) for seed in range(count)]))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_faults_are_ordered_and_clean_motion_lies_below_all_of_them(size: tuple[int, int, int, int]) -> None:
    few = size[:3] == (5, 8, 8)
    count = 3 if size[1] > 30 else 12 if few else 6
    clean = np.concatenate([of_scenes(scene, *size, count)[DRIFT] for scene in CLEAN.values()])
    faults = [of_scenes(scene, *size, count)[DRIFT] for scene in FAULTS.values()]
    assert clean.max() < DRIFT_BOUND < faults[0].min()
    # In five frames on a small grid little of a swapped thing fills an area, so that it may score low.
    share = 0.9 if few else 0.95
    for lesser, worse in pairwise([clean, *faults]):
        assert np.median(lesser) < np.median(worse) and (lesser[:, None] < worse).mean() > share


@pytest.mark.slow
def test_frames_shorter_and_longer_say_where_it_begins() -> None:
    for frames, begins in ((5, 3), (9, 5), (17, 9), (33, 17)):
        for name in ("cut", "identity"):
            found = of_scenes(FAULTS[name], frames, 10, 12, count=6)
            assert (found["drift_first_frame"] == begins).all(), name
        assert (of_scenes(FAULTS["flicker"], frames, 10, 12, count=6)["drift_first_frame"] == 1).all()
        assert np.isnan(of_scenes(CLEAN["normal"], frames, 10, 12, count=6)["drift_first_frame"]).all()
    gradual = of_scenes(FAULTS["background"], 17, 10, 12, count=6)["drift_first_frame"]
    assert ((gradual > 2) & (gradual < 12)).all()


@pytest.mark.parametrize("name", [*CLEAN, *FAULTS])
def test_the_same_clip_on_finer_grids_has_the_same_drift(name: str) -> None:
    scene = {**CLEAN, **FAULTS}[name]
    coarse, fine, finer = (of_scenes(scene, 9, *grid, count=5)[DRIFT] for grid in ((16, 16), (24, 24), (32, 32)))
    for other in (coarse, finer):
        np.testing.assert_allclose(other, fine, rtol=0.1, atol=0.02)


@pytest.mark.parametrize("fault", ["texture", "background", "flicker"])
def test_more_of_a_fault_scores_higher(fault: str) -> None:
    scores = [
        of_scenes(replace(DriftScene(""), **{fault: size * getattr(FAULTS[fault], fault)}), 9, 10, 12, count=6)[DRIFT]
        for size in (0.5, 1.0, 1.5)
    ]
    assert (np.diff(scores, axis=0) > 0).all()


def test_a_background_that_loses_its_contrast_drifts() -> None:
    clip = clips("normal")
    still = torch.from_numpy(np.stack([draw(CLEAN["slow"], seed, 9, 10, 12) for seed in range(4)]))
    faded = still * torch.linspace(1, 0.4, 9, dtype=torch.float64).reshape(1, 9, 1, 1, 1)
    assert (drift(faded) > 0.25).all() and (drift(clip) < DRIFT_BOUND).all()


@pytest.mark.slow
def test_clips_of_the_nano_model() -> None:
    clean = np.concatenate([content(KINDS[n], 32) for n in ("slow", "normal", "fast", "fast, varied")])
    assert np.quantile(clean, 0.95) < DRIFT_BOUND and clean.max() < 2 * DRIFT_BOUND
    assert np.isnan(content(KINDS["still"], 4)).all()
    for name in ("background fades", "flicker", "fade", "identity swapped"):
        found = content(KINDS[name], 32)
        assert (found[:, None] > clean).mean() > 0.9, name
        assert np.median(found) > 5 * np.median(clean), name
    assert np.median(content(KINDS["identity swapped"], 32)) > 0.9


@pytest.mark.parametrize("shape", [(9, 10, 12, 8), (5, 8, 8, 128), (9, 34, 60, 8)], ids=str)
def test_noise_has_no_drift(shape: tuple[int, ...]) -> None:
    noise = torch.randn((2, *shape), generator=torch.Generator().manual_seed(0))
    found = content_drift(noise, range(shape[0]))
    assert found[DRIFT].isnan().all() and found["drift_first_frame"].isnan().all()
    torch.testing.assert_close(found["motion_relative"], torch.ones(2), atol=0.05, rtol=0)


@pytest.mark.parametrize("name", ["normal", "fast", "pan"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_noise_left_in_does_not_lower_the_drift_of_a_clean_clip(name: str, strength: float) -> None:
    clean = clips(name, 6)
    noisy = clean + strength * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    found = drift(noisy)
    assert (found.isnan() | (found > drift(clean) - 0.01)).all()


def test_texture_of_single_cells_that_pans_is_no_noise() -> None:
    grain = torch.randn((3, 1, 16, 24, 16), generator=torch.Generator().manual_seed(2))
    panned = torch.cat([grain.roll(f, dims=3) for f in range(9)], dim=1)
    assert (drift(panned) < DRIFT_BOUND).all()


def test_what_cannot_be_judged_is_withheld_and_only_that() -> None:
    batch = clips("normal", 6)
    batch[0, 3, 2, 2, 1] = float("nan")
    batch[1, 8, 0, 0, 0] = float("inf")
    batch[2] = 0
    batch[3] = batch[3, 2]  # frozen
    batch[4] = 3.0
    found = content_drift(batch, range(9))
    assert found[DRIFT][:5].isnan().all() and found["drift_first_frame"][:5].isnan().all()
    assert found[DRIFT][5] == drift(batch[5:])[0]
    assert found["motion_relative"][3] == 0 and 0.05 < found["motion_relative"][5] < 1


def test_every_clip_of_a_batch_is_judged_alone() -> None:
    batch = torch.cat([clips(name, 1) for name in ("normal", *FAULTS)])
    torch.testing.assert_close(drift(batch), torch.cat([drift(clip[None]) for clip in batch]), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("places", [(), (0,), (0, 1), (3,)])
def test_too_few_frames(places: tuple[int, ...]) -> None:
    found = content_drift(torch.randn(2, len(places), 8, 8, 4), places)
    assert all(values.shape == (2,) and values.isnan().all() for values in found.values())


@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (2, 2), (3, 3), (5, 6), (8, 64), (64, 8)])
@pytest.mark.parametrize("frames", [3, 4, 5])
def test_any_grid_has_values(grid: tuple[int, int], frames: int) -> None:
    walk = torch.randn((2, frames, *grid, 3), generator=torch.Generator().manual_seed(3)).cumsum(1)
    for values in content_drift(walk, range(frames)).values():
        assert values.shape == (2,) and not values.isinf().any()


def test_given_frames_and_frame_0_do_not_count() -> None:
    batch = clips("identity")
    expected = content_drift(batch, range(9))
    batch[:, 0] = 50
    for name, values in content_drift(batch, range(9)).items():
        torch.testing.assert_close(values, expected[name])
    kept = content_drift(batch[:, [2, 3, 4, 5, 6, 7, 8]], (2, 3, 4, 5, 6, 7, 8))
    assert (kept["drift_first_frame"] == 5).all()


def test_nothing_waits_for_the_device() -> None:
    # Tensors without values: whatever needs one of them on the host raises.
    found = content_drift(torch.empty((2, 9, 10, 12, 8), device="meta"), range(9))
    assert all(values.shape == (2,) and values.dtype == torch.float32 for values in found.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precision_changes_little(dtype: torch.dtype) -> None:
    for name in ("normal", *FAULTS):
        batch = clips(name).float()
        torch.testing.assert_close(drift(batch.to(dtype)), drift(batch), atol=0.02, rtol=0.02)


def steps_to(clip: torch.Tensor, levels: list[float]) -> PathTracker:
    tracker, layout = PathTracker(), LatentLayout("video", len(clip), tuple(clip.shape[1:4]))
    noise = torch.randn(clip.shape, generator=torch.Generator().manual_seed(4))
    for sigma, after in pairwise(levels):
        x, x_next = (clip + level * (noise - clip) for level in (sigma, after))
        tracker.add(Step(layout, sigma, x, noise - clip, x_next), after)
        x_next.zero_()  # samplers may work in place
    return tracker


def test_the_way_to_a_clip_does_not_change_its_drift() -> None:
    clip = clips("identity").float()
    for levels in ([1.0, 0.0], [1.0, 0.5, 0.0], list(np.linspace(1, 0, 21))):
        torch.testing.assert_close(steps_to(clip, levels).finish()[DRIFT], drift(clip))


def test_a_stage_that_leaves_noise_has_no_drift() -> None:
    tracker = steps_to(clips("normal").float(), [1.0, 0.5, 0.3])
    assert all(tracker.finish()[name].isnan().all() for name in (DRIFT, "drift_first_frame", "motion_relative"))


def test_the_references_are_what_is_measured() -> None:
    found = {name: np.median(of_scenes(scene, 9, 10, 12)[DRIFT]) for name, scene in FAULTS.items()}
    references = list(DRIFT_REFERENCES.values())
    assert references == sorted(references) and references[0] < DRIFT_BOUND < references[1]
    np.testing.assert_allclose(list(found.values()), references[1:], atol=0.06)


@pytest.mark.parametrize("name", ["normal", "pan", *FAULTS])
@pytest.mark.parametrize("size", [(4, 8, 8), (9, 10, 12), (6, 17, 30), (5, 25, 33)])
def test_agrees_with_a_float64_reference(name: str, size: tuple[int, int, int]) -> None:
    scene = {**CLEAN, **FAULTS}[name]
    clip = draw(scene, 7, *size, 5)
    found = content_drift(torch.from_numpy(clip[None]), range(size[0]))
    expected = reference(clip[1:])
    np.testing.assert_allclose(found[DRIFT][0], expected[0], atol=2e-4, rtol=1e-3)
    np.testing.assert_allclose(found["motion_relative"][0], expected[1], rtol=1e-4)


def reference(x: Values) -> tuple[float, float]:
    """Drift and relative motion of one clip [F, H, W, C] without frame 0, by loops."""
    frames, height, width, _ = x.shape

    def low(values: Values, part: float, axis: int = -1) -> Values:
        ordered = np.sort(values, axis=axis)
        return np.take(ordered, int(part * (values.shape[axis] - 1)), axis=axis)

    def hill(q: float, weight: float, half: float, power: float) -> float:
        return weight * q**power / (q**power + half**power)

    def pool(image: Values) -> Values:
        rows, columns = module.coarse_grid(height, width)
        for axis, cells in enumerate((rows, columns)):
            total = np.concatenate([np.zeros_like(image.take([0], axis)), image.cumsum(axis)], axis)
            edges = np.linspace(0, image.shape[axis], cells + 1)
            whole = np.minimum(edges.astype(int), image.shape[axis] - 1)
            part = (edges - whole).reshape([-1 if a == axis else 1 for a in range(image.ndim)])
            at = total.take(whole, axis) + part * image.take(whole, axis)
            image = np.diff(at, axis=axis) * cells / image.shape[axis]
        return image

    motion = np.mean([np.sqrt(np.mean((b - a) ** 2)) for a, b in pairwise(x)]) / np.sqrt(2 * np.mean(x**2))
    strength = np.log(np.mean(x**2, axis=(1, 2, 3))) / 2
    y = x - x.mean(axis=(0, 1, 2))
    variance = np.mean(y**2)
    mixed = np.diff(np.diff(np.diff(y, axis=0), axis=1), axis=2)
    white = low(np.mean(mixed**2, axis=(0, 3)).ravel() / 8, 0.25) / variance
    cells, smooth, detail = [], [], []
    for frame in y:
        mean = pool(frame)
        inside = pool(np.mean(frame**2, axis=-1)[..., None])[..., 0] - np.mean(mean**2, axis=-1)
        wide = np.pad(mean, ((1, 1), (1, 1), (0, 0)), mode="edge")
        around = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
        energy = (np.mean((mean - around / 4) ** 2, axis=-1) + inside.clip(0)) / variance
        detail.append(np.log(low(energy.ravel(), 0.3) + 1e-4) / 2)
        cells.append(mean.reshape(-1, x.shape[-1]) / np.sqrt(variance))
        smooth.append(((mean + around) / 5).reshape(-1, x.shape[-1]) / np.sqrt(variance))

    def shift(difference: Values) -> float:
        common = low(difference, 0.5, axis=0)
        rest = low(np.mean((difference - common) ** 2, axis=1), 0.5)
        return float(np.sqrt(max(0, np.mean(common**2) - 0.2 * rest)))

    def faded(frame: Values) -> float:
        a, b = (s - low(s, 0.5, axis=0) for s in (smooth[0], frame))
        gain = low((a * b).sum(1) / (a * a).sum(1).clip(1e-6), 0.5)
        rest = low(np.mean((b - gain * a) ** 2, axis=1), 0.5)
        return float(np.sqrt(max(0, (1 - gain) ** 2 * low(np.mean(a * a, axis=1), 0.5) - 3 * rest)))

    def top(values: list[float]) -> float:
        return float(np.mean(sorted(values)[-max(1, frames // 3) :]))

    texture = top([abs(d - detail[0]) for d in detail])
    level = top([np.hypot(shift(c - cells[0]), faded(s)) for c, s in zip(cells, smooth, strict=True)])
    bent = [
        np.hypot(
            (strength[f + 1] - 2 * strength[f] + strength[f - 1]) / 4,
            shift(cells[f + 1] - 2 * cells[f] + cells[f - 1]) / 4,
        )
        for f in range(1, frames - 1)
    ]
    flicker = float(np.mean([bent[0], *bent, bent[-1]])) if bent else 0.0
    usual = low(np.stack(cells), 0.5, axis=0)
    spread = np.mean(np.stack(cells) ** 2)

    def unexplained(now: Values, before: Values, earlier: Values) -> Values:
        others = np.concatenate([before, earlier])
        found = np.full(len(now), np.inf)
        for base in (before, usual):
            for i, (cell, start) in enumerate(zip(now, base, strict=True)):
                way = others - start
                length = (way**2).sum(1).clip(1e-6)
                part = (way @ (cell - start) / length).clip(0, 1.5)
                miss = ((cell - start - part[:, None] * way) ** 2).sum(1)
                found[i] = min(found[i], miss.min())
        return found / now.shape[1]

    def ways(values: Values) -> tuple[Values, Values]:
        rows, columns = module.coarse_grid(height, width)
        wide = np.pad(values.reshape(rows, columns), 1)
        around = [np.sort(wide[r : r + 3, c : c + 3], axis=None)[-3] for r in range(rows) for c in range(columns)]
        return (values if height >= 3 * rows else np.minimum(values, around)), values

    count = max(1, round(0.05 * len(usual)))
    tails, most, moved = [], [], []
    for f in range(1, frames):
        onward = unexplained(cells[f], cells[f - 1], cells[max(0, f - 2)])
        back = unexplained(cells[f - 1], cells[f], cells[min(frames - 1, f + 1)])
        most.append(min(low(w, 0.5) for w in (onward, back)) / spread)
        pairs = zip(ways(onward), ways(back), strict=True)
        filled, single = (min(np.sort(w)[-count:].mean() for w in pair) for pair in pairs)
        share = most[-1] / (most[-1] + 0.05)
        tails.append((filled + share * (single - filled)) / spread)
        moved.append(np.sort(np.mean((cells[f] - cells[f - 1]) ** 2, axis=1))[-count:].mean() / spread)
    normal = float(low(np.array(tails), 0.5))
    half = min(1.0, 0.25 + 0.1 * float(low(np.array(moved), 0.5)) + 1.5 * normal)
    jump = max(
        hill(max(0.0, t - 1.5 * normal) / half, 1, 1, 4) * (1 - hill(m, 0.35, 0.05, 1))
        for t, m in zip(tails, most, strict=True)
    )
    worst = max(hill(texture, 0.25, 0.4, 3), hill(level, 0.5, 0.4, 2), hill(flicker, 0.8, 0.14, 2), jump)
    grain = np.mean(most)
    return float(worst + 0.2 * white**2 * grain / (grain + 0.02)), float(motion)
