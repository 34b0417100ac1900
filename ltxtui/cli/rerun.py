"""`ltxtui record --like`: the request that repeats a recorded run, with the changes of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltxtui.cli.common import CliError, load_run, recorded_path
from ltxtui.cli.options.setup import overridden
from ltxtui.plot.text import clean
from recorder.sampling.guidance_presets import UNGUIDED

if TYPE_CHECKING:
    from replay.model.run import Run

_VERSIONS = ("torch", "diffusers", "transformers")
_LEVELS: dict[str, Any] = {"sigmas": None, "schedule": None, "distilled": False, "stages": (), "recipe": None}
_NEUTRAL = frozenset({"runs_dir", "name", "output", "device", "allow_control", "offload", "save_latents"})
"""Options that do not change the result of denoising."""


@dataclass(frozen=True)
class Repetition:
    """A recorded run to repeat.

    Attributes:
        fields: arguments of a `Request`.
        notes: reasons why the result may differ, one line each.
        sigmas: the recorded noise levels of each stage, if nothing is changed.
    """

    fields: dict[str, Any]
    notes: tuple[str, ...]
    sigmas: tuple[tuple[float, ...], ...] | None


def repetition(like: str, runs_dir: Path, changed: Mapping[str, Any]) -> Repetition:
    """The request that repeats a recorded run, with the given options in place of its own.

    Raises:
        CliError: if the run is not found, or lacks what is needed to repeat it.
    """
    from replay.rerun import CannotRepeat, asked_by_command, request_of

    run = load_run(recorded_path(like, runs_dir))
    try:
        fields = request_of(run)
    except CannotRepeat as error:
        raise CliError(f"{like} cannot be repeated: {clean(error, 300)}") from error
    merged = merge(fields, changed)
    if not merged["model"]:
        raise CliError(f"the model of {like} was built in memory; specify one with --model")
    if merged["seed"] is None:
        raise CliError(f"{like} was made without a seed and cannot be repeated exactly; specify a --seed")
    same = set(changed) <= _NEUTRAL
    notes = _notes(run, rebuilt=asked_by_command(run) is None) if same else ()
    return Repetition(merged, notes, tuple(s.sigmas for s in run.stages) if same and run.stages else None)


def merge(fields: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request with changes, and without the arguments that the changes replace."""
    merged = {**fields, **changed}
    if changed.get("guidance"):
        merged["guidance"] = {**fields.get("guidance", {}), **changed["guidance"]}
    if fields.get("stages") and not changed.get("stages"):
        merged["stages"] = overridden(fields["stages"], changed, {*changed, *changed.get("guidance", {})})
    if changed.get("schedule") or changed.get("sigmas") or changed.get("stages") or changed.get("distilled"):
        # Other levels replace those of the recorded run.
        merged |= {n: changed.get(n, usual) for n, usual in _LEVELS.items() if n in {*fields, *changed}}
    arguments = dict(fields.get("arguments", {}))
    if "steps" in changed:
        # A number of steps asks for the model's own schedule.
        arguments.pop("sigmas", None)
        merged["sigmas"] = changed.get("sigmas")
    if changed.get("guidance_scale") is not None:
        arguments = {name: value for name, value in arguments.items() if name not in UNGUIDED}
    return {**merged, "arguments": arguments}


def _notes(run: Run, rebuilt: bool) -> tuple[str, ...]:
    """What may have been different when the run was recorded."""
    from recorder.sampling.metadata import versions

    notes = []
    if rebuilt:
        notes.append(
            "rebuilt from the recorded call; changes that the script made to the pipeline before it are unknown"
        )
    then, now = run.metadata.get("versions"), versions()
    for package in _VERSIONS:
        was = then.get(package) if isinstance(then, Mapping) else None
        if was is not None and was != now[package]:
            notes.append(
                f"recorded with {package} {clean(was, 40)}; this is {now[package]}, whose results may differ in bits"
            )
    return tuple(notes)
