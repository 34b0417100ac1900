"""A generation as requested: its fields, its stages, and its form as plain data. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from recorder.sampling import metadata
from recorder.shocks import schedules
from recorder.shocks.spec import Shock

_NOT_THE_RESULT = frozenset({"runs_dir", "name", "output", "device", "allow_control", "stop_if", "pack"})
"""Fields that set where a request runs, which users may watch and what ends it early; they do not change the result."""
_LATER: Final = (
    "schedule",
    "sampler",
    "guidance",
    "frame_rate",
    "image",
    "image_strength",
    "loras",
    "noise",
    "upsampler",
    "recipe",
    "stages",
)
"""Fields that are kept only where they are not at their default, so that older versions read what they can."""
STAGE_FIELDS: Final = (
    "schedule",
    "steps",
    "sampler",
    "guidance",
    "loras",
    "noise",
    "upsampler",
    "image",
    "image_strength",
    "negative_prompt",
    "seed",
)
"""Fields that a stage may have of its own."""
UPSAMPLED: Final = 2
"""Factor of an upsampler, along both sides of the frame."""


@dataclass(frozen=True)
class Request:
    """One generation as requested; None means the model's own default.

    Attributes:
        shocks: noise to inject.
        sigmas: an explicit σ list, used unchanged, without the closing 0; one step per level.
        schedule: a schedule as `read_schedule` reads it, instead of the model's own.
        sampler: a sampler as `read_sampler` reads it.
        guidance: guidance values by name, as `read_guidance` gives them.
        frame_rate: frames per second.
        image: path of a picture that is the first frame.
        image_strength: 1 keeps the picture as it is; below, it is denoised in part.
        loras: paths of LoRAs, each with its strength behind a colon.
        noise: of a later stage: the level that its latents are noised to; None for its first level.
        upsampler: of a later stage: `model`, `bilinear` or a path, for latents twice as large.
        recipe: name of the recipe.
        stages: of a recipe: the fields of each stage that differ, of `STAGE_FIELDS`.
        arguments: more arguments of the pipeline call; the other fields take precedence.
        scheduler: a configuration of FlowMatchEulerDiscreteScheduler, instead of the model's.
        stop_if: ids of rules that stop the run.
        pack: keep the run as one file.
    """

    model: str
    prompt: str
    negative_prompt: str | None = None
    steps: int = 30
    seed: int = 0
    height: int | None = None
    width: int | None = None
    frames: int | None = None
    guidance_scale: float | None = None
    distilled: bool = False
    shocks: tuple[Shock, ...] = ()
    sigmas: tuple[float, ...] | None = None
    schedule: str | None = None
    sampler: str = "euler"
    guidance: Mapping[str, Any] = field(default_factory=dict)
    frame_rate: float | None = None
    image: str | None = None
    image_strength: float = 1.0
    loras: tuple[str, ...] = ()
    noise: float | None = None
    upsampler: str | None = None
    recipe: str | None = None
    stages: tuple[Mapping[str, Any], ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    scheduler: Mapping[str, Any] | None = None
    save_latents: bool = False
    allow_control: bool = False
    stop_if: tuple[str, ...] = ()
    pack: bool = False
    offload: str = "model"
    device: str | None = None
    runs_dir: Path = Path("runs")
    name: str | None = None
    output: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields that decide the result, as JSON-like data, without folders, names and devices; see `from_dict`."""
        found = {
            f.name: _plain(getattr(self, f.name))
            for f in fields(self)
            if f.name not in _NOT_THE_RESULT and not (f.name in _LATER and getattr(self, f.name) == _usual(f))
        }
        return {**found, "shocks": [s.as_dict() for s in self.shocks]}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Request:
        """A request from the result of `as_dict` and any other field. Raises ValueError for an invalid shock or σ."""
        shocks = tuple(s if isinstance(s, Shock) else Shock.from_dict(s) for s in given.get("shocks", ()))
        sigmas = given.get("sigmas")
        made = {**given, "shocks": shocks, "sigmas": None if sigmas is None else schedules.free(sigmas)}
        for name in ("loras", "stages"):
            made[name] = tuple(given.get(name) or ())
        return cls(**made)

    def as_metadata(self) -> dict[str, Any]:
        """The metadata that lets `replay.rerun` repeat a run."""
        asked = self.as_dict()
        # A run keeps texts and lists of bounded size only; a cut request must not look complete.
        return {"model": self.model, "request": asked, "request_is_whole": metadata.brief(asked) == asked}

    @property
    def is_conducted(self) -> bool:
        """Whether `sigmas` are the recorder's to set, as shocks are: on Euler's steps, in one stage."""
        return self.sampler == "euler" and not self.stages

    def in_stages(self) -> tuple[Request, ...]:
        """A request for each stage, with the size that it denoises at; the request itself without a recipe."""
        if not self.stages:
            return (self,)
        made = []
        factor = 1
        for number, own in enumerate(self.stages):
            stage = {**own, "loras": tuple(own.get("loras", self.loras))}
            stage["guidance"] = {**self.guidance, **own.get("guidance", {})}
            stage.setdefault("seed", self.seed)
            if number and own.get("upsampler"):
                factor *= UPSAMPLED
            made.append(replace(self, **stage, stages=(), sigmas=None).enlarged(factor))
        return tuple(made)

    def enlarged(self, factor: int) -> Request:
        """The same for a frame whose sides are longer by a factor; the model's own size is that of the nano model."""
        if factor == 1:
            return self
        height, width = self._size()
        return replace(self, height=height * factor, width=width * factor)

    def _size(self) -> tuple[int, int]:
        from recorder import nano  # imports no torch until it is used

        usual = nano.HOME if nano.is_nano(self.model) else {"height": 512, "width": 768}
        found = {**usual, **{k: v for k, v in self.arguments.items() if k in usual and v}}
        return self.height or found["height"], self.width or found["width"]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _usual(one: Field[Any]) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()
