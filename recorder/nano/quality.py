"""Measure what the nano model makes: `python -m recorder.nano.quality --seeds 16`. docs/nano.md holds the results."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from recorder import nano
from recorder.nano import clips, components, flow, measure

MEASURES = {
    "colour": "colour right (share of seeds)",
    "shape": "shape right (share of seeds)",
    "direction": "direction right (share of seeds)",
    "shape_frames": "shape right (share of frames)",
    "identity": "identity cosine to frame 1",
    "drift": "drift from frame 1",
    "stillness": "change of the background, RMS",
    "wobble": "wobble of the path, cells RMS",
}


@dataclass(frozen=True)
class Case:
    """One clip to be made."""

    prompt: str
    seed: int


def cases(count: int) -> list[Case]:
    """Prompts in turn: 16 hold every pair of colour and direction once, and every shape five or six times."""
    colours, directions = list(clips.COLOURS), list(clips.DIRECTIONS)
    found = []
    for i in range(count):
        colour, shape = colours[i % len(colours)], clips.SHAPES[i % len(clips.SHAPES)]
        found.append(Case(clips.prompt_for(colour, shape, directions[i // len(colours) % len(directions)]), seed=i))
    return found


def generate(pipe: Any, case: Case, steps: int, guidance: dict[str, Any]) -> measure.Video:
    """The video latents [8, F, H, W] that the pipeline makes at its home size."""
    made = pipe(
        prompt=case.prompt,
        generator=torch.Generator().manual_seed(case.seed),
        num_inference_steps=steps,
        output_type="latent",
        **nano.HOME,
        **nano.CALL,
        **guidance,
    )
    video: measure.Video = made.frames[0].float().cpu().numpy()
    return video


def mean_of(found: list[measure.Quality]) -> dict[str, float]:
    """Each measure's mean over clips."""
    return {name: float(np.mean([q.numbers()[name] for q in found])) for name in MEASURES}


def run(pipe: Any, seeds: int, steps: int) -> dict[str, Any]:
    """All measures: of generated clips with and without guidance, and of drawn clips and pure noise beside them."""
    pipe.set_progress_bar_config(disable=True)
    todo = cases(seeds)
    found: dict[str, list[measure.Quality]] = {"guided": [], "unguided": [], "real": [], "noise": []}
    seconds = {"guided": 0.0, "unguided": 0.0}
    with tqdm(total=2 * seeds, unit="clip", desc="quality") as bar:
        for case in todo:
            real = clips.draw(case.prompt, case.seed).video
            found["real"].append(measure.measure(real, case.prompt))
            noise = np.random.default_rng(case.seed).standard_normal(real.shape)
            found["noise"].append(measure.measure(noise, case.prompt))
            for name, guidance in (("guided", nano.GUIDED), ("unguided", nano.UNGUIDED)):
                start = time.perf_counter()
                video = generate(pipe, case, steps, guidance)
                seconds[name] += time.perf_counter() - start
                found[name].append(measure.measure(video, case.prompt))
                bar.update()
    return {
        "seeds": seeds,
        "steps": steps,
        "clips": {name: mean_of(qualities) for name, qualities in found.items()},
        "seconds_per_step": {name: total / (seeds * steps) for name, total in seconds.items()},
        "velocity_error": {
            "trained": {str(sigma): error for sigma, error in flow.report(pipe).items()},
            "untrained": {str(sigma): error for sigma, error in flow.report(components.build()).items()},
        },
        "each": [
            {"prompt": case.prompt, "seed": case.seed}
            | {name: qualities[i].numbers() for name, qualities in found.items() if name in seconds}
            for i, case in enumerate(todo)
        ],
    }


def as_text(result: dict[str, Any]) -> str:
    """The result as two Markdown tables."""
    columns = list(result["clips"])
    lines = [f"| {result['seeds']} seeds, {result['steps']} steps | " + " | ".join(columns) + " |"]
    lines.append("| --- |" + " ---: |" * len(columns))
    for name, title in MEASURES.items():
        lines.append(f"| {title} | " + " | ".join(f"{result['clips'][c][name]:.3f}" for c in columns) + " |")
    per_step = result["seconds_per_step"]
    lines.append(
        "| seconds a step | " + " | ".join(f"{per_step[c]:.3f}" if c in per_step else "" for c in columns) + " |"
    )
    errors = result["velocity_error"]
    sigmas = list(errors["trained"])
    lines += ["", "| velocity error at σ = | " + " | ".join(sigmas) + " |", "| --- |" + " ---: |" * len(sigmas)]
    for name, row in errors.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[s]:.3f}" for s in sigmas) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m recorder.nano.quality",
        description=__doc__.splitlines()[0],
        epilog="example:\n  python -m recorder.nano.quality --seeds 4",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=16, help="clips to make, each with and without guidance")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights", type=Path, default=nano.WEIGHTS, help="default: the ones in the package")
    parser.add_argument("--json", action="store_true", help="every number as JSON, clip by clip too")
    options = parser.parse_args()
    if options.seeds < 1 or options.steps < 1:
        parser.error("--seeds and --steps must be at least 1")
    torch.set_num_threads(options.threads)
    try:
        pipe = nano.load(weights=options.weights)
    except FileNotFoundError as error:
        parser.error(str(error))
    result = run(pipe, options.seeds, options.steps)
    print(json.dumps(result, indent=2, ensure_ascii=False) if options.json else as_text(result))


if __name__ == "__main__":
    main()
