"""Made-up clips with known faults, and what drift says of them: `python -m recorder.nano.drift_study`.

Each kind is one thing that goes wrong, or nothing, drawn straight into latents of the nano model's kind, so that the
truth is known and nothing else changes. `drift_scenes` draws others, on any grid. docs/metrics.md holds the tables
that this prints.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from recorder.format.declarations import DRIFT
from recorder.metrics import stage_summary
from recorder.metrics.content_drift import content_drift
from recorder.nano import clips, drift_scenes
from recorder.nano.drift_scenes import CLEAN, FAULTS, DriftScene

CLIPS = 64
FRAMES, HEIGHT, WIDTH = clips.HOME_GRID


@dataclass(frozen=True)
class Fault:
    """How a clip is drawn.

    `speed` multiplies the shape's velocity (it is thrown back at the frame's edges), `contrast` that of the background.
    `fade` is the share of light that the picture has lost at its end, `background_fade` the same of the background
    alone, `flicker` what every other frame lacks. From frame `swap` on another colour and shape are seen.
    """

    meaning: str
    clean: bool = False
    speed: float = 1.0
    contrast: float = 1.0
    fade: float = 0.0
    background_fade: float = 0.0
    flicker: float = 0.0
    swap: int | None = None


KINDS: dict[str, Fault] = {
    "still": Fault("nothing moves", clean=True, speed=0.0),
    "slow": Fault("the shape goes a quarter as far", clean=True, speed=0.25),
    "normal": Fault("the shape crosses the frame once, as the nano model was taught", clean=True),
    "fast": Fault("the shape crosses the frame three times", clean=True, speed=3.0),
    "fast, varied": Fault(
        "the same over a background of three times the contrast", clean=True, speed=3.0, contrast=3.0
    ),
    "background fades": Fault("the background loses a quarter of its light", background_fade=0.25),
    "flicker": Fault("every other frame is a fifth darker", flicker=0.2),
    "fade": Fault("the whole picture loses a quarter of its light", fade=0.25),
    "identity swapped": Fault("another colour and shape from the middle on", swap=5),
}
"""What is drawn: first what is clean, then what has one fault."""


def draw(fault: Fault, seed: int) -> NDArray[np.float64]:
    """One clip [F, H, W, C] with a fault; clips of one seed are the same scene with every fault."""
    rng = np.random.default_rng(seed)
    prompts = clips.all_prompts()
    prompt = prompts[int(rng.integers(len(prompts)))]
    times = clips.latent_times(FRAMES)
    scene = clips.make_scene(prompt, rng, HEIGHT, WIDTH, float(times[-1]))
    scene = replace(scene, waves=scene.waves * fault.contrast)
    colour = str(rng.choice([c for c in clips.COLOURS if c != scene.colour]))
    shape = str(rng.choice([s for s in clips.SHAPES if s != scene.shape]))
    other = replace(scene, colour=colour, shape=shape)
    rows, columns = clips.samples(HEIGHT, clips.SUBSAMPLES), clips.samples(WIDTH, clips.SUBSAMPLES)
    behind = scene.background(rows, columns)
    frames = []
    for frame, centre in enumerate(bounced(scene.start + times[:, None] * scene.velocity * fault.speed)):
        shown = other if fault.swap is not None and frame >= fault.swap else scene
        t = float(times[frame] / times[-1])
        alpha = shown.coverage(centre, rows, columns)
        light = (1 - fault.fade * t) * (1 - fault.flicker * (frame % 2))
        rgb = shown.paint(behind * (1 - fault.background_fade * t), alpha) * light
        frames.append(clips.encode(rgb, alpha))
    return np.moveaxis(np.stack(frames), 1, -1).astype(np.float64)


def bounced(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """A path [F, 2] in cells, thrown back wherever it would leave the frame."""
    margin = clips.MARGIN * min(HEIGHT, WIDTH)
    span = np.array([HEIGHT, WIDTH]) - 2 * margin
    folded = np.mod(path - margin, 2 * span)
    found: NDArray[np.float64] = margin + np.minimum(folded, 2 * span - folded)
    return found


def indices(fault: Fault, count: int = CLIPS) -> NDArray[np.float64]:
    """The drift index of `count` clips with a fault."""
    latents = torch.from_numpy(np.stack([draw(fault, seed) for seed in range(count)]))
    found: NDArray[np.float64] = stage_summary.drift_index(latents, tuple(range(FRAMES))).numpy()
    return found


def content(fault: Fault, count: int = CLIPS) -> NDArray[np.float32]:
    """The content drift of `count` clips with a fault."""
    latents = torch.from_numpy(np.stack([draw(fault, seed) for seed in range(count)]))
    found: NDArray[np.float32] = content_drift(latents, range(FRAMES))[DRIFT].numpy()
    return found


def of_scenes(
    scene: DriftScene, frames: int, height: int, width: int, channels: int = 8, count: int = 12
) -> dict[str, NDArray[np.float32]]:
    """Content drift and its parts, by name, of `count` drawings of a scene."""
    drawn = [drift_scenes.draw(scene, seed, frames, height, width, channels) for seed in range(count)]
    return {
        name: found.numpy() for name, found in content_drift(torch.from_numpy(np.stack(drawn)), range(frames)).items()
    }


SIZES: tuple[tuple[int, int, int, int], ...] = (
    (5, 8, 8, 8),
    (9, 10, 12, 8),
    (5, 16, 24, 128),
    (17, 16, 24, 8),
    (33, 8, 8, 8),
    (33, 34, 60, 8),
)
"""Frames, rows, columns and channels of the scenes that the table of content drift is measured on."""


def content_table(count: int = CLIPS) -> str:
    """Content drift of drawn scenes over sizes, and of the nano model's kind of clips, as a Markdown table."""
    heads = [f"{h}×{w}, {f} frames, {c} channels" for f, h, w, c in SIZES]
    lines = [f"| drawn scenes | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for name, scene in {**CLEAN, **FAULTS}.items():
        cells = []
        for frames, height, width, channels in SIZES:
            few = min(count, 4 if frames * height * width > 10_000 else 12)
            found = of_scenes(scene, frames, height, width, channels, few)[DRIFT]
            cells.append(f"{np.median(found):.3f} ({found.min():.3f} to {found.max():.3f})")
        lines.append(f"| {'clean' if name in CLEAN else 'fault'}: {scene.meaning} | {' | '.join(cells)} |")
    return "\n".join(lines)


def relative_to_pooled(fault: Fault, count: int = CLIPS) -> NDArray[np.float64]:
    """What the index would be with ‖p_1‖ as its denominator, for comparison."""
    pooled = np.stack([draw(fault, seed) for seed in range(count)]).mean(axis=(2, 3))
    distance = np.linalg.norm(pooled[:, 2:] - pooled[:, 1:2], axis=2).mean(axis=1)
    found: NDArray[np.float64] = distance / np.linalg.norm(pooled[:, 1], axis=1)
    return found


def share_above(values: NDArray[np.float64], clean: NDArray[np.float64]) -> float:
    """How often a clip of `values` scores above one of `clean`, over all pairs."""
    return float((values[:, None] > clean[None, :]).mean())


def table(count: int = CLIPS) -> str:
    """The study as a Markdown table."""
    lines = [
        "| made-up clips | what happens | lower quartile | median | upper quartile | above clean motion | with ‖p_1‖ "
        "| content drift |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    moving = [fault for fault in KINDS.values() if fault.clean and fault.speed]
    clean = np.concatenate([indices(fault, count) for fault in moving])
    clean_before = np.concatenate([relative_to_pooled(fault, count) for fault in moving])
    for name, fault in KINDS.items():
        found = indices(fault, count)
        low, middle, high = np.quantile(found, [0.25, 0.5, 0.75])
        above, before = "", ""
        if not fault.clean:
            above = f"{share_above(found, clean):.1%}"
            before = f"{share_above(relative_to_pooled(fault, count), clean_before):.1%}"
        what = "clean" if fault.clean else "fault"
        drift = "withheld" if fault.speed == 0 else f"{np.nanmedian(content(fault, count)):.3f}"
        lines.append(
            f"| {what}: {name} | {fault.meaning} | {low:.3f} | {middle:.3f} | {high:.3f} | {above} | {before} "
            f"| {drift} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m recorder.nano.drift_study",
        description=__doc__.splitlines()[0],
        epilog="example:\n  python -m recorder.nano.drift_study --clips 20",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--clips", type=int, default=CLIPS, help="clips of each kind (default: %(default)s)")
    count = parser.parse_args().clips
    print(content_table(count), table(count), sep="\n\n")


if __name__ == "__main__":
    main()
