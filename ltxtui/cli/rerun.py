"""`ltxtui record --like`: a recorded run as a request, with what the command line changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltxtui.cli.common import Problem, recorded_path
from ltxtui.plot.text import clean
from recorder.sampling.guidance_presets import UNGUIDED

if TYPE_CHECKING:
    from replay.model.run import Run

_VERSIONS = ("torch", "diffusers", "transformers")
_BESIDE = frozenset({"runs_dir", "name", "output", "device", "allow_control", "offload", "save_latents"})
"""Options that change nothing of what is denoised."""


@dataclass(frozen=True)
class Repetition:
    """What to run.

    Attributes:
        fields: those of a `Request`.
        notes: what may keep it from being the same run, in a line each.
        sigmas: the levels as they were recorded, if nothing is to be changed.
    """

    fields: dict[str, Any]
    notes: tuple[str, ...]
    sigmas: tuple[float, ...] | None


def repetition(like: str, runs_dir: Path, changed: Mapping[str, Any]) -> Repetition:
    """The request that gives a recorded run again, with the options that were given overriding it.

    Raises:
        Problem: if there is no such run, or it does not tell how to run it again.
    """
    from replay.rerun import CannotRepeat, asked_by_command, request_of

    run = _load(recorded_path(like, runs_dir))
    try:
        fields = request_of(run)
    except CannotRepeat as error:
        raise Problem(f"{like} cannot be repeated: {clean(error, 300)}") from error
    merged = merge(fields, changed)
    if not merged["model"]:
        raise Problem(f"{like} does not tell its model, which was built in memory; name one with --model")
    if merged["seed"] is None:
        raise Problem(f"{like} was made without a seed, so it can only be made again as another clip: give a --seed")
    same = set(changed) <= _BESIDE
    notes = _notes(run, rebuilt=asked_by_command(run) is None) if same else ()
    return Repetition(merged, notes, run.stages[0].sigmas if same and run.stages else None)


def merge(fields: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a request with the changed ones, and without what those replace."""
    merged = {**fields, **changed}
    arguments = dict(fields.get("arguments", {}))
    if "steps" in changed:
        # A number of steps is one of the model's own schedule.
        arguments.pop("sigmas", None)
        merged["sigmas"] = changed.get("sigmas")
    if changed.get("guidance_scale") is not None:
        arguments = {name: value for name, value in arguments.items() if name not in UNGUIDED}
    return {**merged, "arguments": arguments}


def _load(path: Path) -> Run:
    from replay.model.run import NotARun
    from replay.sources.open import load

    try:
        return load(path)
    except NotARun as error:
        raise Problem(str(error)) from error
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error.strerror or error}") from error


def _notes(run: Run, rebuilt: bool) -> tuple[str, ...]:
    """What makes a difference and was another when the run was recorded, or is not known."""
    from recorder.sampling.metadata import versions

    notes = []
    if rebuilt:
        notes.append("rebuilt from the recorded call; what the script had done to the pipeline before is not known")
    then, now = run.metadata.get("versions"), versions()
    for package in _VERSIONS:
        was = then.get(package) if isinstance(then, Mapping) else None
        if was is not None and was != now[package]:
            notes.append(f"recorded with {package} {clean(was, 40)}; this is {now[package]}, which may differ in bits")
    return tuple(notes)
