"""Made-up clips with known faults, and what the drift index says of them: `python -m recorder.nano.drift_study`.

Each kind is one thing that goes wrong, or nothing, drawn straight into latents of the nano model's kind, so that the
truth is known and nothing else changes. docs/metrics.md holds the table that this prints.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from recorder.metrics import stage_summary
from recorder.nano import clips

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
    """The drift index of so many clips with a fault."""
    latents = torch.from_numpy(np.stack([draw(fault, seed) for seed in range(count)]))
    found: NDArray[np.float64] = stage_summary.drift_index(latents, tuple(range(FRAMES))).numpy()
    return found


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
        "| made-up clips | what happens | lower quartile | median | upper quartile | above clean motion | with ‖p_1‖ |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
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
        lines.append(
            f"| {what}: {name} | {fault.meaning} | {low:.3f} | {middle:.3f} | {high:.3f} | {above} | {before} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
