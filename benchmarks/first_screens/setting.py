"""A run of the nano model before it is recorded: its arguments, and the changes that faults make to them."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.healthy import DISTILLED, PROMPTS, SECOND, Bench

KINDS: Final = (
    "plain", "guided", "cfg", "schedule", "distilled", "two stages", "image", "batch", "shock", "ancestral",
)  # fmt: skip
CONFIGURATIONS: Final[tuple[dict[str, Any], ...]] = (
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True},
    {"use_dynamic_shifting": False, "shift_terminal": None, "shift": 3.0},
    {"use_dynamic_shifting": False, "shift_terminal": None, "shift": 7.0},
    {"time_shift_type": "linear"},
    {"shift_terminal": None},
)
"""Schedules that published set-ups use."""
SHOCKS: Final = ("restart:sigma=0.8,db=3", "renoise:snr=0,db=3", "sigma_bump:sigma=0.7,db=2")
EXACT: Final[dict[str, Any]] = {"use_dynamic_shifting": False, "shift_terminal": None}
"""The scheduler uses the given levels unchanged."""

Between = Callable[[int, Any, "Setting"], Any]
"""Step, latents after it, the setting → the latents that the next step gets."""


@dataclass
class Setting:
    """One run. A fault changes its fields before it is recorded.

    Attributes:
        kind: one of `KINDS`.
        call: arguments of the pipeline call that differ from those of `Bench.call`.
        second: arguments of the second stage's call; None for a run of one stage.
        configuration: changes to the configuration of the model's scheduler.
        levels: called with a scheduler after it has set its levels.
        pipe_changes: called with the pipeline, whose transformer and connectors belong to this run alone.
        between: called between the steps of the first call.
        handed: what becomes of the latents between the stages.
        around: contexts in which the run is recorded.
        after: called with the archive at the end.
    """

    kind: str
    seed: int
    steps: int
    guided: bool = False
    call: dict[str, Any] = field(default_factory=dict)
    second: dict[str, Any] | None = None
    configuration: dict[str, Any] = field(default_factory=dict)
    levels: Callable[[Any], None] | None = None
    pipeline: Any = "LTX2Pipeline"
    ancestral: dict[str, Any] | None = None
    shocks: tuple[str, ...] = ()
    pipe_changes: list[Callable[[Any], None]] = field(default_factory=list)
    between: list[Between] = field(default_factory=list)
    handed: Callable[[Any], Any] = lambda latents: latents
    around: list[Callable[[], contextlib.AbstractContextManager[Any]]] = field(default_factory=list)
    after: list[Callable[[Path], None]] = field(default_factory=list)
    bench: Bench | None = None
    recording: Any = None
    """The handle of the run while it is being recorded."""

    def arguments(self, **more: Any) -> dict[str, Any]:
        """Of the first call, with a generator of its own."""
        assert self.bench is not None
        call = self.bench.call(self.seed, self.steps, self.guided, **{**self.call, **more})
        if self.between:
            call["callback_on_step_end"] = self._callback
        return call

    def _callback(self, pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        for change in self.between:
            tensors["latents"] = change(step, tensors["latents"], self)
        return tensors

    def made(self) -> Any:
        """The pipeline."""
        assert self.bench is not None
        scheduler = self.bench.flow(**self.configuration)
        if self.ancestral is not None:
            from diffusers import LTXEulerAncestralRFScheduler

            scheduler = LTXEulerAncestralRFScheduler(**self.ancestral)
        if self.levels is not None:
            scheduler = with_levels(scheduler, self.levels)
        own = {name: copy.deepcopy(self.bench.parts[name]) for name in ("transformer", "connectors")}
        pipe = self.bench.pipe(self.pipeline, scheduler=scheduler, **own)
        for change in self.pipe_changes:
            change(pipe)
        return pipe

    def play(self, bench: Bench, folder: Path, name: str) -> Path:
        """Record the run; returns its archive. What the pipeline raises ends the run and nothing else."""
        from recorder import record
        from recorder.shocks.parse import parse_shock

        self.bench = bench
        planned = {"shocks": [parse_shock(s) for s in self.shocks]} if self.shocks else {}
        with contextlib.ExitStack() as stack:
            for context in self.around:
                stack.enter_context(context())
            with contextlib.suppress(RuntimeError, KeyboardInterrupt):
                pipe = self.made()
                with record(pipe, runs_dir=folder, name=name, **planned) as self.recording:
                    self._calls(pipe)
        path = Path(self.recording.path)
        for change in self.after:
            change(path)
        return path

    def _calls(self, pipe: Any) -> None:
        assert self.bench is not None
        first = pipe(**self.arguments())
        if self.second is not None:
            pipe.scheduler = self.bench.flow(**EXACT)
            latents = {"latents": self.handed(first.frames), "audio_latents": first.audio}
            steps = len(self.second["sigmas"])
            pipe(**self.bench.call(self.seed + 1000, steps, **{**self._size(), **latents, **self.second}))

    def _size(self) -> dict[str, Any]:
        return {name: self.call[name] for name in ("height", "width", "num_frames", "prompt") if name in self.call}


def with_levels(scheduler: Any, change: Callable[[Any], None]) -> Any:
    """A scheduler of the same class name and configuration whose levels are changed after they are set."""
    kind = type(scheduler)

    def set_timesteps(
        self: Any,
        num_inference_steps: Any = None,
        device: Any = None,
        sigmas: Any = None,
        mu: Any = None,
        timesteps: Any = None,
    ) -> None:
        kind.set_timesteps(self, num_inference_steps, device, sigmas, mu, timesteps)
        change(self)

    return type(kind.__name__, (kind,), {"set_timesteps": set_timesteps}).from_config(scheduler.config)


def healthy(kind: str, chance: random.Random, small: bool = False) -> Setting:
    """A run of this kind that nothing is wrong with, its seed, steps and size drawn."""
    guided = kind == "guided" or (kind in ("image", "two stages", "batch") and chance.random() < 0.5)
    steps = 4 if small else chance.randint(8, 12) if guided else chance.choice((8, 10, 12, 16, 20, 24, 30))
    made = Setting(kind, chance.randrange(1_000_000), steps, guided)
    made.call["prompt"] = chance.choice(PROMPTS)
    if small:
        made.call.update(height=128, width=160)
    elif chance.random() < 0.5 and kind not in ("image", "two stages"):
        made.call["num_frames"] = 65
    if kind == "cfg":
        scale = chance.choice((2.0, 3.0, 4.0, 5.0))
        rescale = chance.choice((0.5, 0.7, 0.9))
        made.call.update(guidance_scale=scale, audio_guidance_scale=scale)
        made.call.update(guidance_rescale=rescale, audio_guidance_rescale=rescale)
    elif kind == "schedule":
        made.configuration = dict(chance.choice(CONFIGURATIONS))
    elif kind == "distilled":
        distilled(made)
    elif kind == "two stages":
        made.second = {"sigmas": list(SECOND), "noise_scale": SECOND[0]}
    elif kind == "image":
        made.pipeline = "LTX2ImageToVideoPipeline"
        made.call["image"] = picture(made.seed, made.call.get("height", 320), made.call.get("width", 384))
    elif kind == "batch":
        made.call["prompt"] = chance.sample(PROMPTS, 2)
    elif kind == "shock":
        made.steps = max(made.steps, 12)
        made.shocks = (chance.choice(SHOCKS),)
    elif kind == "ancestral":
        made.ancestral = {"eta": chance.choice((0.3, 0.5, 1.0))}
        made.steps, made.call["sigmas"] = 9, [*DISTILLED, 0.0]
    return made


def distilled(setting: Setting, levels: list[float] | None = None) -> None:
    """The given levels, by default the distilled ones, used unchanged."""
    setting.call["sigmas"] = list(DISTILLED if levels is None else levels)
    setting.steps, setting.configuration = len(setting.call["sigmas"]), dict(EXACT)


def picture(seed: int, height: int, width: int) -> Any:
    """A smooth picture."""
    import numpy as np
    import PIL.Image

    y, x = np.mgrid[:height, :width]
    tones = np.stack([x / width * 200 + seed % 50, y / height * 255, 128 + 0 * x], -1)
    return PIL.Image.fromarray(tones.astype(np.uint8))
