"""How to run a recorded run again, from its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from recorder.format.events import MAX_ITEMS, MAX_TEXT
from recorder.shocks.spec import EULER_STEPS, Shock
from replay.model.run import Run, StageData

_PIPELINE: Final = "LTX2Pipeline"
_NOT_KEPT: Final = (
    "latents",
    "audio_latents",
    "prompt_embeds",
    "prompt_attention_mask",
    "negative_prompt_embeds",
    "negative_prompt_attention_mask",
)
"""Arguments of which a run keeps the shape only."""
_ELSEWHERE: Final = frozenset(
    {"generator", "output_type", "return_dict", "callback_on_step_end", "callback_on_step_end_tensor_inputs"}
)
"""Arguments that are checked separately, or do not change what is denoised."""
_OWN_FIELDS: Final = {
    "height": "height",
    "width": "width",
    "num_frames": "frames",
    "num_inference_steps": "steps",
}
"""Arguments of the call that a request has a field for."""
_TEXTS: Final = frozenset({"system_prompt"})
"""Arguments that are texts; any other text represents an object that was not kept."""


class CannotRepeat(ValueError):
    """A run that cannot be repeated from its records; the message names what is missing."""


def request_of(run: Run) -> dict[str, Any]:
    """The fields of `recorder.generate.Request` that give this run again, as plain data.

    Shocks that were sent while it ran are among its `shocks`, at the step where they acted, so that the repetition has
    the same noise. For a run that a script recorded, this is rebuilt from the recorded call: `model` is empty if
    the pipeline was built in memory, `seed` is None if the call had no generator, and what was done to the pipeline
    before the call (LoRAs, data type) is not known.

    Raises:
        CannotRepeat: naming what the run does not record.
    """
    asked = asked_by_command(run)
    if asked is None:
        asked = _rebuilt(run)
    else:
        _check(asked)
        if run.metadata["user"].get("request_is_whole") is not True:
            raise CannotRepeat("its prompt or a list was too long to be kept completely")
    asked["shocks"] = [*asked.get("shocks", []), *_live(run, len(asked.get("shocks", [])))]
    return asked


def asked_by_command(run: Run) -> dict[str, Any] | None:
    """The request that the run was generated for, or None if a script made it."""
    user = run.metadata.get("user")
    request = user.get("request") if isinstance(user, Mapping) else None
    return dict(request) if isinstance(request, Mapping) else None


def _live(run: Run, planned: int) -> list[dict[str, Any]]:
    """Shocks that were sent while it ran, in their order: with the same numbers they have the same noise."""
    found: dict[int, dict[str, Any]] = {}
    several = len(run.stages) > 1
    for event in run.events:
        payload = event.get("payload")
        if event.get("kind") != "shock" or not isinstance(payload, Mapping) or payload.get("live") is not True:
            continue
        number, shock = payload.get("number"), payload.get("shock")
        if not isinstance(number, int) or not isinstance(shock, Mapping):
            raise CannotRepeat("a live shock was recorded without saying which")
        stage = event.get("stage")
        own = {"stage": stage + 1} if several and isinstance(stage, int) else {}
        found.setdefault(number, _shock({**shock, **own}))
    if sorted(found) != list(range(planned, planned + len(found))):
        raise CannotRepeat(f"its live shocks are numbered {sorted(found)}, after {planned} planned ones")
    return [found[number] for number in sorted(found)]


def _shock(given: Any) -> dict[str, Any]:
    try:
        return Shock.from_dict(given).as_dict()
    except ValueError as error:
        raise CannotRepeat(f"a recorded shock cannot be read: {error}") from error


# -- runs that the command line made


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _or_none(right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or right(value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _table(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(k, str) for k in value)


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(_number(v) for v in value)


_FIELDS: Final[dict[str, Callable[[Any], bool]]] = {
    "model": _text,
    "prompt": _text,
    "negative_prompt": _or_none(_text),
    "steps": _whole,
    "seed": _whole,
    "height": _or_none(_whole),
    "width": _or_none(_whole),
    "frames": _or_none(_whole),
    "guidance_scale": _or_none(_number),
    "distilled": _flag,
    "shocks": lambda value: isinstance(value, list),
    "sigmas": _or_none(_numbers),
    "schedule": _or_none(_text),
    "sampler": _text,
    "guidance": _table,
    "frame_rate": _or_none(_number),
    "image": _or_none(_text),
    "image_strength": _number,
    "loras": lambda value: isinstance(value, list) and all(map(_text, value)),
    "noise": _or_none(_number),
    "upsampler": _or_none(_text),
    "recipe": _or_none(_text),
    "stages": lambda value: isinstance(value, list) and all(map(_table, value)),
    "arguments": _table,
    "scheduler": _or_none(_table),
    "save_latents": _flag,
    "offload": lambda value: value in ("none", "model", "sequential"),
}


def _check(asked: dict[str, Any]) -> None:
    """Archives come from other people and other versions: reject anything invalid."""
    unknown = sorted(str(name) for name in asked if name not in _FIELDS)
    if unknown:
        raise CannotRepeat(f"its request has {', '.join(unknown)}, which this version does not support")
    for name in ("model", "prompt", "steps", "seed"):
        if name not in asked:
            raise CannotRepeat(f"its request has no {name}")
    for name, value in asked.items():
        if not _FIELDS[name](value):
            raise CannotRepeat(f"its request has {name} = {str(value)[:60]!r}")
    asked["shocks"] = [_shock(s) for s in asked.get("shocks", [])]


# -- runs that a script made


def _rebuilt(run: Run) -> dict[str, Any]:
    if not run.stages:
        raise CannotRepeat("no denoising had begun, so nothing is known of its call")
    if len(run.stages) > 1:
        raise CannotRepeat(f"it has {len(run.stages)} denoising loops, and only one call can be repeated")
    stage = run.stages[0]
    recorded = stage.metadata
    if recorded.get("pipeline") != _PIPELINE:
        raise CannotRepeat(f"it was made by {recorded.get('pipeline') or 'a custom loop'}; only {_PIPELINE} can be run")
    arguments = recorded.get("arguments")
    if not isinstance(arguments, Mapping):
        raise CannotRepeat("the arguments of its call are not recorded")
    prompt, negative = recorded.get("prompt"), recorded.get("negative_prompt")
    for name, text in (("prompt", prompt), ("negative prompt", negative)):
        if isinstance(text, list):
            raise CannotRepeat(f"it has several {name}s")
        if isinstance(text, str) and len(text) > MAX_TEXT:
            raise CannotRepeat(f"its {name} was too long to be kept completely")
    if not isinstance(prompt, str):
        raise CannotRepeat("it was made without a prompt as text")
    fields = {own: arguments[name] for name, own in _OWN_FIELDS.items() if arguments.get(name) is not None}
    shocks, sigmas = _shocks(stage)
    made: dict[str, Any] = {
        "model": str(recorded.get("model") or ""),
        "prompt": prompt,
        "negative_prompt": negative,
        "seed": _seed(recorded.get("seed"), arguments.get("generator")),
        **fields,
        "shocks": shocks,
        "sigmas": sigmas,
        "arguments": _arguments(arguments),
        "scheduler": _scheduler(recorded.get("scheduler")),
    }
    _check({**made, "seed": 0 if made["seed"] is None else made["seed"]})
    return made


def _seed(seed: Any, generator: Any) -> int | None:
    if isinstance(seed, list):
        raise CannotRepeat("its call had several generators")
    device = generator.get("device", "cpu") if isinstance(generator, Mapping) else "cpu"
    if device != "cpu":
        raise CannotRepeat(f"its generator was on {device}, and seeds are given to one on the CPU")
    return seed if _whole(seed) else None


def _arguments(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Those that neither have a separate field nor are None by default."""
    if recorded.get("callback_on_step_end") is not None:
        raise CannotRepeat("its call had a callback, which may have changed the latents")
    kept = {}
    for name, value in recorded.items():
        if value is None or name in _ELSEWHERE or name in _OWN_FIELDS:
            continue
        if name in _NOT_KEPT:
            raise CannotRepeat(f"its call was given {name}, of which only the shape was kept")
        whole_text = name in _TEXTS and isinstance(value, str) and len(value) <= MAX_TEXT
        if not whole_text and not _is_plain_value(value):
            raise CannotRepeat(f"its call was given {name} = {str(value)[:60]}, which was not kept as a value")
        kept[str(name)] = value
    return kept


def _is_plain_value(value: Any) -> bool:
    """A number, a flag, or a list of those; a text represents another object."""
    if isinstance(value, list):
        return len(value) < MAX_ITEMS and all(_is_plain_value(v) for v in value)
    if isinstance(value, Mapping):
        return all(_is_plain_value(v) for v in value.values())
    return value is None or isinstance(value, bool | int | float)


def _shocks(stage: StageData) -> tuple[list[dict[str, Any]], list[float] | None]:
    recorded = stage.metadata.get("shocks")
    if not isinstance(recorded, Mapping):
        return [], None
    shocks, sigmas = recorded.get("shocks"), recorded.get("sigmas")
    if not isinstance(shocks, list) or not (sigmas is None or _numbers(sigmas)):
        raise CannotRepeat("its shocks are not recorded")
    return [_shock(s) for s in shocks], sigmas


def _scheduler(recorded: Any) -> dict[str, Any] | None:
    """The configuration of the scheduler, which a script may have replaced; shocks are kept with the stage."""
    if not isinstance(recorded, Mapping) or not isinstance(recorded.get("config"), Mapping):
        return None
    if recorded.get("class") not in EULER_STEPS:
        raise CannotRepeat(f"its scheduler was {recorded.get('class')}, which draws noise that was not recorded")
    return {str(k): v for k, v in recorded["config"].items() if k not in ("shocks", "free_sigmas")}
