"""Recipes: set-ups of one or several stages in small TOML files, some of which come with the package.

description = "what it is"
frames = 121                       # of the run: height, width, frames, frame_rate
negative_prompt = "worst quality"  # of every stage, unless it has its own

[[stage]]
schedule = "ltx:max_shift=2.05,base_shift=0.95"
steps = 20
cfg = 4.0

[[stage]]
upsampler = "model"
schedule = [0.909375, 0.725, 0.421875, 0.0]
noise = 0.909375
sampler = "euler"
cfg = 1.0
loras = ["distilled.safetensors:0.8"]
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from recorder.recipes.guidance import GUIDANCE_NAMES, read_guidance
from recorder.recipes.named_schedule import read_schedule
from recorder.recipes.sampler_name import read_sampler

BUILTIN: Final = Path(__file__).parent / "builtin"
_SUFFIX: Final = ".toml"
_RUN: Final = ("description", "height", "width", "frames", "frame_rate", "steps", "negative_prompt")
MAX_STAGES: Final = 16
MAX_BYTES: Final = 1 << 20


class BadRecipe(ValueError):
    """A recipe with a mistake; the message has file, line, and what would be right."""


@dataclass(frozen=True)
class Recipe:
    """A recipe as read.

    Attributes:
        name: of the file, without its suffix.
        description: one line.
        fields: fields of a `Request` for the whole run.
        stages: the fields of each stage, of `recorder.recipes.request.STAGE_FIELDS`.
    """

    name: str
    description: str
    fields: Mapping[str, Any]
    stages: tuple[Mapping[str, Any], ...]


def builtin_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in BUILTIN.glob(f"*{_SUFFIX}"))


def read_recipe(given: str) -> Recipe:
    """The recipe of a path, or the built-in one of a name.

    Raises:
        BadRecipe: if there is none, or it has a mistake.
    """
    path = Path(given)
    named = BUILTIN / f"{given}{_SUFFIX}"
    if not path.suffix and "/" not in given and not path.exists():
        if not named.is_file():
            raise BadRecipe(f"{given!r} is not a recipe; those are {', '.join(builtin_names())}, or a TOML file's path")
        path = named
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise BadRecipe(f"{path} is larger than {MAX_BYTES} bytes, which no recipe is")
        return _Reader(path, text.decode()).recipe()
    except OSError as error:
        raise BadRecipe(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadRecipe(f"{path} is not a text in UTF-8") from error


@dataclass
class _Reader:
    """Reads one file; knows the line of each key."""

    path: Path
    text: str

    def recipe(self) -> Recipe:
        try:
            found = tomllib.loads(self.text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            line = re.search(r"line (\d+)", str(error))
            raise BadRecipe(
                f"{self.path}, line {line[1] if line else '1'}: not valid TOML: {error}; "
                'values look like steps = 20, sampler = "euler", schedule = [1.0, 0.9, 0.5]'
            ) from error
        stages = found.pop("stage", [])
        if not isinstance(stages, list) or not stages or not all(isinstance(s, dict) for s in stages):
            raise self._bad(None, "stage", "a recipe has at least one stage, under the line [[stage]]")
        if len(stages) > MAX_STAGES:
            raise self._bad(None, "stage", f"it has {len(stages)} stages; at most {MAX_STAGES} are run")
        shared = self._stage(None, {k: v for k, v in found.items() if k not in _RUN})
        own = [self._stage(i, stage) for i, stage in enumerate(stages)]
        fields: dict[str, Any] = {k: self._of_run(k, found[k]) for k in _RUN if k in found and k != "description"}
        merged = []
        for stage in own:
            guidance = {**shared.get("guidance", {}), **stage.get("guidance", {})}
            merged.append({**shared, **stage, **({"guidance": guidance} if guidance else {})})
        return Recipe(self.path.stem, str(found.get("description", "")), fields, tuple(merged))

    def _stage(self, number: int | None, given: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in given.items():
            if key in GUIDANCE_NAMES:
                found["guidance"] = {**found.get("guidance", {}), **self._checked(number, key, value, _guidance(key))}
            elif key == "guidance":
                if value not in ("none", "off"):
                    raise self._bad(number, key, f'is "none", or leave it out, not {value!r}')
                found["guidance"] = {**_NONE, **found.get("guidance", {})}
            elif key in _READERS:
                if number == 0 and key in ("noise", "upsampler"):
                    raise self._bad(number, key, "the first stage begins with noise; it belongs to a later stage")
                found[key] = self._checked(number, key, value, _READERS[key])
            else:
                known = (*_READERS, *GUIDANCE_NAMES, "guidance")
                near = "".join(f"; did you mean {n}?" for n in get_close_matches(key, known, 1))
                raise self._bad(number, key, f"is not known{near or '; a stage has ' + ', '.join(known)}")
        return found

    def _of_run(self, key: str, value: Any) -> Any:
        reader = {"negative_prompt": _text, "frame_rate": _positive}.get(key, _whole)
        return self._checked(None, key, value, reader)

    def _checked(self, number: int | None, key: str, value: Any, reader: Callable[[Any], Any]) -> Any:
        try:
            return reader(value)
        except (ValueError, TypeError) as error:
            raise self._bad(number, key, str(error)) from error

    def _bad(self, number: int | None, key: str, what: str) -> BadRecipe:
        place = "" if number is None else f" of stage {number + 1}"
        return BadRecipe(f"{self.path}, line {self._line(number, key)}: {key}{place}: {what}")

    def _line(self, number: int | None, key: str) -> int:
        """The line of a key of a stage, counted from 1."""
        stage = -1
        for line, text in enumerate(self.text.splitlines(), start=1):
            if re.match(r"\s*\[\[\s*stage\s*\]\]", text):
                stage += 1
                if key == "stage":
                    return line
            elif re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""", text) and stage == (
                -1 if number is None else number
            ):
                return line
        return 1


_NONE: Final[dict[str, Any]] = {
    "cfg": 1.0,
    "audio_cfg": 1.0,
    "stg": 0.0,
    "audio_stg": 0.0,
    "modality": 1.0,
    "audio_modality": 1.0,
    "rescale": 0.0,
    "audio_rescale": 0.0,
}
"""What `guidance = "none"` means."""


def _guidance(key: str) -> Callable[[Any], dict[str, Any]]:
    return lambda value: read_guidance({key: value})


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is a text in quotes, not {value!r}")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31:
        raise ValueError(f"is a whole number above 0, not {value!r}")
    return value


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"is a whole number from 0, not {value!r}")
    return value


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise ValueError(f"is a number above 0, not {value!r}")
    return float(value)


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"is a number from 0 to 1, not {value!r}")
    return float(value)


def _schedule(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else _text(value)
    read_schedule(text)
    return text


def _sampler(value: Any) -> str:
    read_sampler(_text(value))
    return str(value)


def _loras(value: Any) -> list[str]:
    return [_text(v) for v in (value if isinstance(value, list) else [value])]


def _upsampler(value: Any) -> str:
    return "model" if value is True else _text(value)


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "schedule": _schedule,
    "steps": _whole,
    "sampler": _sampler,
    "loras": _loras,
    "noise": _share,
    "upsampler": _upsampler,
    "image": _text,
    "image_strength": _share,
    "negative_prompt": _text,
    "seed": _seed,
}
