"""What `ltxtui sweep` is asked for: the folder, and the sweep in it as stored, extended or new."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltxtui.cli.common import CliError
from ltxtui.cli.options.setup import SETUP_NAMES, read_setup
from ltxtui.cli.record import check_request

if TYPE_CHECKING:
    from recorder.sweep.spec import Sweep


def read_sweep(folder: Path) -> Sweep:
    """The sweep stored in a folder.

    Raises:
        CliError: if there is none or it cannot be read.
    """
    from recorder.sweep import spec

    try:
        return spec.read(folder)
    except spec.NotASweep as error:
        raise CliError(str(error)) from error
    except OSError as error:
        raise CliError(f"{folder} cannot be read: {error.strerror or error}") from error


def prepared(folder: Path | None, given: set[str], options: dict[str, Any]) -> tuple[Path, Sweep]:
    """The folder and its sweep: as stored, extended, or new.

    Args:
        folder: as on the command line; None for one named after the arguments.
        given: names of the options on the command line that describe the sweep.
        options: all options by name.

    Raises:
        CliError: if the arguments do not describe a sweep, or describe another one than the folder holds.
    """
    from recorder.sweep import spec

    there = folder is not None and (folder / spec.SPEC).exists()
    if there and folder is not None and not given:
        return folder, read_sweep(folder)
    if there and folder is not None and options["extend"]:
        options = {**options, **_left_as_they_are(read_sweep(folder), given)}
    asked = _asked(options, given, bool(there and options["extend"]))
    if folder is None:
        folder = _default_folder(asked)
        there = (folder / spec.SPEC).exists()
    if not there:
        return folder, asked
    stored = read_sweep(folder)
    if options["extend"]:
        if different := stored.settings_differences(asked):
            raise CliError(f"{folder} cannot be extended: {'; '.join(different)}; choose another folder")
        return folder, stored.extended(asked)
    if different := stored.differences(asked):
        raise CliError(
            f"{folder} holds another sweep: {'; '.join(different)}. Give the same arguments or none to resume it, "
            "--extend to add seeds and arms, or another folder"
        )
    return folder, stored


def _left_as_they_are(stored: Sweep, given: set[str]) -> dict[str, Any]:
    """Settings and seeds of the stored sweep, which an extension does not repeat."""
    from dataclasses import asdict

    known: dict[str, Any] = asdict(stored.settings)
    known |= {"seeds": len(stored.seeds), "first_seed": stored.seeds[0]}
    if given & {*SETUP_NAMES}:
        del known["setup"]  # it is read from the command line again, and compared
    return {name: value for name, value in known.items() if name not in given}


def _asked(options: dict[str, Any], given: set[str], more: bool) -> Sweep:
    """The sweep that the command line describes; with `more` it may have no arms, since the stored one has some."""
    from recorder.sampling.metadata import versions
    from recorder.sweep.grid import arms_of, with_controls
    from recorder.sweep.spec import Sweep, SweepSettings

    model = options["model"]
    if model is None:
        raise CliError("specify a model: --model nano, a folder, or a hub id such as diffusers/LTX-2.3-Diffusers")
    if not options["grids"] and not options["shocks"] and not more:
        raise CliError(
            "specify what to compare, such as --grid 'kind=restart,renoise at=0.95,0.9 db=3,6' or --shock SPEC"
        )
    check_request(options["steps"], options["height"], options["width"], options["frames"])
    try:
        arms, notes = arms_of(options["grids"], options["shocks"])
    except ValueError as error:
        raise CliError(str(error)) from error
    for note in notes:
        click.echo(f"note: {note}", err=True)
    prompts = tuple(options["prompts"]) or _own_prompts(model)
    names = (
        "negative_prompt",
        "steps",
        "height",
        "width",
        "frames",
        "guidance_scale",
        "distilled",
        "offload",
        "device",
    )
    setup = _setup(options, given)
    if len(stages := setup.get("stages", ())) > 1 and any(s.stage is None for arm in arms for s in arm.shocks):
        raise CliError(f"this recipe has {len(stages)} stages; name the one of each shock: stage=2")
    settings = SweepSettings(
        model, prompts, **{**{name: options[name] for name in names}, **setup.pop("own", {})}, setup=setup
    )
    first = options["first_seed"] or 0
    seeds = tuple(range(first, first + (options["seeds"] or 16)))
    return Sweep.make(settings, seeds, with_controls(arms), versions())


def _setup(options: dict[str, Any], given: set[str]) -> dict[str, Any]:
    """Fields of a request beyond the settings' own, those that a recipe sets instead of a default under `own`."""
    from recorder.recipes.request import Request

    if "setup" in options:  # an extension leaves it as it is
        return dict(options["setup"])
    read = read_setup(options, given)
    if read.get("sigmas"):
        read["schedule"] = ", ".join(map(repr, read["sigmas"]))
    usual = Request("", "")
    names = ("schedule", "sampler", "guidance", "frame_rate", "image", "image_strength", "loras", "recipe", "stages")
    found = {n: read[n] for n in names if n in read and read[n] != getattr(usual, n)}
    found = {n: list(v) if isinstance(v, tuple) else v for n, v in found.items()}
    own = {n: read[n] for n in ("height", "width", "frames", "steps", "negative_prompt") if read[n] != options[n]}
    return {**found, "own": own} if own else found


def foresee(folder: Path, made: Sweep) -> None:
    """Report, before any run is made, what the verdict cannot decide.

    Raises:
        CliError: if a new sweep can decide nothing.
    """
    from recorder.sweep import spec
    from replay.sweep.feasibility import foreseen

    found = foreseen(made)
    if found.refused and not (folder / spec.SPEC).exists():
        raise CliError(found.refused)
    for note in filter(None, (found.refused, *found.notes)):
        click.echo(f"note: {note}", err=True)


def _own_prompts(model: str) -> tuple[str, ...]:
    from recorder.nano.names import is_nano

    if not is_nano(model):
        raise CliError("specify what to generate: --prompt '…'; with several, the seeds take them in turn")
    import numpy as np

    from recorder.nano.clips import all_prompts

    found = all_prompts()
    # In a fixed random order, so that a few seeds cover all colours, shapes and directions.
    return tuple(found[i] for i in np.random.default_rng(0).permutation(len(found)))


def _default_folder(asked: Sweep) -> Path:
    from recorder.format.locations import safe_name

    said = {k: v for k, v in asked.as_dict().items() if k in ("settings", "arms")}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]
    return Path("sweeps") / f"{safe_name(Path(asked.settings.model).name)}-{digest}"
