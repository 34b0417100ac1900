"""Draws a faulty run of the nano model next to a right one for every family of rules: a part of `make pictures`."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ltxtui.plot.line_plot import curve_text
from ltxtui.plot.model import Curve, Mark
from recorder.findings.finding import Finding
from recorder.findings.page import picture_of
from replay.findings import RunFindings
from replay.model.run import Run
from replay.sources.open import load

HERE: Final = Path(__file__).parent
WIDTH, HEIGHT, GAP = 49, 14, 2
"""Cells of one plot, and between the two."""
CELL: Final = (7.2, 15)
"""Pixels of a cell."""
STEPS: Final = 12
LEVELS: Final = [1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875]
SECOND: Final = [0.909375, 0.8, 0.725, 0.6, 0.421875, 0.2]
_BACK, _RIGHT, _FAULT, _DIM = "#16181d", "#c9d1d9", "#e0a030", "#8b949e"
Call = Callable[..., Any]
Change = Callable[[dict[str, Any], Any], Any]


def call(pipe: Any, **more: Any) -> Any:
    """A call of the pipeline at its home size, unguided unless asked."""
    import torch

    from recorder import nano

    made = {**nano.HOME, **nano.CALL, **nano.UNGUIDED, "num_inference_steps": STEPS, "output_type": "latent"}
    made |= {"prompt": "a red ball moving left", "generator": torch.Generator().manual_seed(3)}
    return pipe(**{**made, **more})


def exact(pipe: Any) -> None:
    """Make the scheduler use given levels unchanged."""
    unchanged = {"use_dynamic_shifting": False, "shift_terminal": None}
    pipe.scheduler = type(pipe.scheduler).from_config({**pipe.scheduler.config, **unchanged})


def transform(pipe: Any, change: Change) -> None:
    """Change what the model returns; `change` is given its arguments and its result."""
    forward = pipe.transformer.forward
    pipe.transformer.forward = lambda *args, **kwargs: change(kwargs, forward(*args, **kwargs))


def level_of(arguments: dict[str, Any]) -> Any:
    return arguments["timestep"].float().amax() / 1000


# Each makes its run in the block of a `record`.


def schedule(pipe: Any, wrong: bool) -> None:
    if not wrong:
        exact(pipe)
    call(pipe, sigmas=LEVELS, num_inference_steps=len(LEVELS))


def audio_and_video(pipe: Any, wrong: bool) -> None:
    from diffusers.pipelines.ltx2 import pipeline_ltx2

    made = pipeline_ltx2.retrieve_timesteps

    def other(scheduler: Any, *args: Any, mu: float | None = None, **kwargs: Any) -> Any:
        shift = 1.0 if scheduler is not pipe.scheduler and mu is not None else 0.0
        return made(scheduler, *args, mu=None if mu is None else mu - shift, **kwargs)

    pipeline_ltx2.retrieve_timesteps = other if wrong else made
    try:
        call(pipe)
    finally:
        pipeline_ltx2.retrieve_timesteps = made


def conditioning(pipe: Any, wrong: bool) -> None:
    from PIL import Image

    def overwrite(_: Any, step: int, __: Any, kept: dict[str, Any]) -> dict[str, Any]:
        latents = kept["latents"].clone()
        if wrong and step == 5:
            latents[:, :120] = latents[:, 120:240]
        return {"latents": latents}

    y, x = np.mgrid[:320, :384]
    tones = np.stack([x / 384 * 200, y / 320 * 255, 128 + 0 * x], -1)
    call(pipe, image=Image.fromarray(tones.astype(np.uint8)), callback_on_step_end=overwrite)


def start(pipe: Any, wrong: bool) -> None:
    import torch

    noise = torch.randn((1, 8, 9, 10, 12), generator=torch.Generator().manual_seed(3))
    call(pipe, latents=noise * (0.6 if wrong else 1))


def between_stages(pipe: Any, wrong: bool) -> None:
    first = call(pipe)
    exact(pipe)
    noise = 0.6 if wrong else SECOND[0]
    again = {"latents": first.frames, "audio_latents": first.audio, "noise_scale": noise, "sigmas": SECOND}
    call(pipe, num_inference_steps=len(SECOND), **again)


def numbers(pipe: Any, wrong: bool) -> None:
    def break_late(arguments: dict[str, Any], result: Any) -> Any:
        bad = wrong and level_of(arguments) < 0.6
        return tuple(part * float("nan") if bad else part for part in result)

    transform(pipe, break_late)
    call(pipe)


def between_steps(pipe: Any, wrong: bool) -> None:
    def scale(_: Any, step: int, __: Any, kept: dict[str, Any]) -> dict[str, Any]:
        return {"latents": kept["latents"] * (1.25 if wrong and step == 5 else 1)}

    call(pipe, callback_on_step_end=scale)


def guidance(pipe: Any, wrong: bool) -> None:
    import torch

    def exchange(arguments: dict[str, Any], result: Any) -> Any:
        return tuple(part.flip(0) for part in result) if wrong and len(result[0]) == 2 else result

    transform(pipe, exchange)
    call(pipe, guidance_scale=4.0, audio_guidance_scale=4.0, generator=torch.Generator().manual_seed(0))


def model(pipe: Any, wrong: bool) -> None:
    for weight in pipe.transformer.parameters() if wrong else ():
        if weight.ndim == 2:
            unit = weight.abs().max() / 3  # three bits
            weight.data = (weight / unit).round() * unit
    call(pipe)


def result(pipe: Any, wrong: bool) -> None:
    import torch

    def fade(arguments: dict[str, Any], found: Any) -> Any:
        x, level = arguments["hidden_states"], level_of(arguments)
        frames = arguments["num_frames"]
        weight = torch.linspace(1, 0.15, frames).repeat_interleave(x.shape[1] // frames).reshape(1, -1, 1)
        return ((x - (x - level * found[0]) * weight) / level, *found[1:]) if wrong else found

    transform(pipe, fade)
    call(pipe)


def recording(pipe: Any, wrong: bool) -> None:
    def fail(_: Any, step: int, __: Any, kept: dict[str, Any]) -> dict[str, Any]:
        if wrong and step == 6:
            raise MemoryError("out of memory")
        return kept

    call(pipe, callback_on_step_end=fail)


@dataclass(frozen=True)
class Scene:
    """What a picture shows: a metric of a run that a rule names, and of a right one."""

    rule: str
    metric: str
    make: Callable[[Any, bool], None]
    streams: tuple[str, ...] = ("video",)
    frames: tuple[int, ...] = ()
    pipeline: str = ""


SCENES: Final = {
    "schedule": Scene("levels-changed", "sigma", schedule),
    "audio and video": Scene("audio-out-of-step", "sigma", audio_and_video, ("video", "audio")),
    "conditioning": Scene("given-frame-changed", "given_change", conditioning, pipeline="LTX2ImageToVideoPipeline"),
    "start": Scene("start-noise-power", "energy_high_noise", start),
    "between stages": Scene("stage-noise-power", "energy_high_noise", between_stages),
    "numbers": Scene("not-finite", "nan_count", numbers),
    "between steps": Scene("changed-between-steps", "std", between_steps),
    "guidance": Scene("guidance-opposed", "guidance_gap_cfg", guidance),
    "model": Scene("noise-not-white", "noise_whiteness_low", model),
    "result": Scene("fades", "frame_contrast", result, frames=(1, 4, 8)),
    "recording": Scene("run-failed", "sigma", recording),
}
"""By family."""


def pipeline(name: str) -> Any:
    """A fresh nano pipeline, of another class if it is named."""
    import inspect

    from diffusers.pipelines import ltx2

    from recorder import nano

    pipe = nano.load()
    if name:
        cls = getattr(ltx2, name)
        wanted = set(inspect.signature(cls.__init__).parameters)
        pipe = cls(**{part: value for part, value in pipe.components.items() if part in wanted})
        pipe.register_to_config(_name_or_path="nano")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def recorded(scene: Scene, wrong: bool, folder: Path) -> Run:
    """The run of a scene, as it is read back."""
    from recorder import record

    pipe = pipeline(scene.pipeline)
    with suppress(MemoryError), record(pipe, runs_dir=folder, name=scene.rule) as run:
        scene.make(pipe, wrong)
    return load(run.path)


def plot(scene: Scene, run: Run) -> list[str]:
    """The scene's metric over the steps of the last stage, as lines of text."""
    stage, curves = run.stages[-1], []
    marks = (Mark.FIRST, Mark.SECOND, Mark.THIRD)
    for name in scene.streams:
        values = stage.streams[name].values(scene.metric).astype(np.float64)
        values = values.reshape(len(values), -1)
        columns = scene.frames or (0,)
        for frame in columns:
            label = f"{scene.metric} of frame {frame}" if scene.frames else scene.metric
            label = f"{name} {label}" if len(scene.streams) > 1 else label
            known = np.full(max(len(values), len(stage.sigmas)), np.nan)
            known[: len(values)] = values[:, frame]
            curves.append(Curve(label.replace(f"{scene.metric} of ", ""), known, marks[len(curves)]))
    return curve_text(curves, WIDTH, HEIGHT).splitlines()


def finding_of(scene: Scene, run: Run) -> Finding | None:
    """What the scene's rule says of a run."""
    return next((f for f in RunFindings(run).update() if f.id == scene.rule), None)


def svg(scene: Scene, right: list[str], faulty: list[str], text: str) -> str:
    """Both plots side by side, with the finding below the faulty one."""
    wide, high = CELL
    below = textwrap.wrap(text, WIDTH)
    lines = [
        *_lines([f"right: {scene.metric}", *right], 0, _RIGHT),
        *_lines([f"{scene.rule}: {scene.metric}", *faulty, *below], WIDTH + GAP, _FAULT),
    ]
    rows = 1 + max(len(right), len(faulty) + len(below))
    size = (round((2 * WIDTH + GAP) * wide) + 16, round(rows * high) + 16)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}"'
        f' font-family="DejaVu Sans Mono, monospace" font-size="12" xml:space="preserve">\n'
        f'<rect width="100%" height="100%" rx="6" fill="{_BACK}"/>\n' + "\n".join(lines) + "\n</svg>\n"
    )


def _lines(texts: list[str], column: int, colour: str) -> list[str]:
    wide, high = CELL
    return [
        f'<text x="{8 + column * wide:.1f}" y="{20 + row * high}" textLength="{len(text) * wide:.1f}"'
        f' fill="{colour if row else _DIM}" xml:space="preserve">{html.escape(text)}</text>'
        for row, text in enumerate(line.rstrip() for line in texts)
        if text
    ]


def draw(family: str, folder: Path) -> None:
    """Record both runs of a family, and draw its picture.

    Raises:
        ValueError: if the rule does not name the faulty run, or names the right one.
    """
    scene = SCENES[family]
    right, faulty = (recorded(scene, wrong, folder) for wrong in (False, True))
    found = finding_of(scene, faulty)
    if found is None or finding_of(scene, right) is not None:
        raise ValueError(f"{family}: {scene.rule} names {'neither run' if found is None else 'both runs'}")
    to = HERE / picture_of(family)
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(svg(scene, plot(scene, right), plot(scene, faulty), found.text), encoding="utf-8")


def main(folder: Path) -> None:
    for family in SCENES:
        draw(family, folder)
