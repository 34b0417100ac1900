"""What a generation is set up with, the same for `plan`, `record` and `sweep`: schedule, sampler, guidance, recipe …"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from ltxtui.cli.common import CliError, Command, LocalPath
from ltxtui.cli.options.shock import NONE, read_sigmas

SETUP_KEYS: Final = """\b
Set-ups:
  --schedule karras                 a curve: ltx, simple, normal, sgm_uniform, ddim_uniform, karras, exponential,
                                    beta, linear_quadratic, kl_optimal, diffusers_karras, …_exponential, …_beta;
                                    or a list by name: distilled, distilled_stage_2, tiled_stage_2
  --schedule ltx:max_shift=2.05,base_shift=0.95,stretch=yes,terminal=0.1,tokens=4096
  --schedule '[1.0, 0.9, 0.5, 0.0]' a list in any usual writing
  --sampler euler_ancestral:eta=0.5 or euler, stochastic (lcm), euler_cfg_pp, euler_ancestral_cfg_pp, dpmpp_2m,
                                    res_multistep, gradient_estimation
  --cfg 4,4,1   --cfg 4@0-9,1   --cfg 4@1.0-0.9,1      by step, by range of steps, by range of σ
  --recipe two-stage                stages in a file: docs/recipes.md; built in: two-stage, two-stage-distilled,
                                    two-stage-distilled-comfyui, two-stage-diffusers, distilled
"""

_GUIDANCE: Final[dict[str, tuple[str, str]]] = {
    "cfg": ("Video CFG; unlike --guidance-scale it changes nothing else.", "SCALE"),
    "audio_cfg": ("Audio CFG.", "SCALE"),
    "stg": ("Video STG (spatio-temporal guidance); 0 is off.", "SCALE"),
    "audio_stg": ("Audio STG.", "SCALE"),
    "stg_blocks": ("Transformer blocks that STG leaves out, such as 28 or 14,19.", "BLOCKS"),
    "modality": ("Video modality guidance; 1 is off.", "SCALE"),
    "audio_modality": ("Audio modality guidance.", "SCALE"),
    "rescale": ("Rescaling of the guided video, 0 to 1.", "SHARE"),
    "audio_rescale": ("Rescaling of the guided audio.", "SHARE"),
    "skip_step": ("Call the model in one step of N + 1 only.", "N"),
}
SETUP_NAMES: Final = (
    "recipe",
    "schedule",
    "sampler",
    *_GUIDANCE,
    "frame_rate",
    "image",
    "image_strength",
    "loras",
)
"""Options that `read_setup` turns into fields of a request."""


class RecipeError(CliError):
    """A recipe with a mistake: exit status 2, as for a mistake on the command line."""

    exit_code = 2


def setup_options(command: Command) -> Command:
    """The options that set up a generation."""
    for add in reversed(list(_options())):
        command = add(command)
    return command


def _options() -> list[Callable[[Any], Any]]:
    found = [
        click.option(
            "--recipe", metavar="NAME|FILE", help="Stages, each with its set-up: a built-in recipe or a TOML file."
        ),
        click.option("--schedule", metavar="NAME|LIST", help="Noise levels by name or list, instead of the model's."),
        click.option("--sampler", metavar="NAME", help="Sampler.  [default: euler]"),
    ]
    for name, (text, metavar) in _GUIDANCE.items():
        found.append(click.option(f"--{name.replace('_', '-')}", name, metavar=metavar, help=text))
    found += [
        click.option("--frame-rate", type=click.FloatRange(0.1, 1000), help="Frames per second.  [default: 24]"),
        click.option("--image", type=LocalPath(dir_okay=False), help="Picture that is the first frame."),
        click.option("--image-strength", type=click.FloatRange(0, 1), help="How much of it stays.  [default: 1]"),
        click.option("--lora", "loras", multiple=True, metavar="FILE[:STRENGTH]", help="A LoRA; may be repeated."),
    ]
    return found


def read_setup(options: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """The options with those of the set-up as fields of a request: schedule, sampler, guidance, stages and more.

    Args:
        options: all options by name.
        given: names of those that are on the command line.

    Raises:
        CliError: if one cannot be read, or two contradict each other.
        RecipeError: if the recipe has a mistake.
    """
    from recorder.recipes.guidance import read_guidance

    kept = {name: value for name, value in options.items() if name not in SETUP_NAMES}
    _check_levels(options, given)
    try:
        guidance = read_guidance({n: options[n] for n in _GUIDANCE if options.get(n) is not None})
        fields: dict[str, Any] = {**kept, "guidance": guidance, **_sampling(options)}
    except ValueError as error:
        raise CliError(str(error)) from error
    if options.get("image") is not None:
        fields["image"] = str(Path(options["image"]).absolute())
    for name in ("frame_rate", "image_strength"):
        if options.get(name) is not None:
            fields[name] = options[name]
    fields["loras"] = tuple(_absolute(text) for text in options.get("loras") or ())
    return fields if options.get("recipe") is None else _with_recipe(fields, options["recipe"], given)


def _absolute(lora: str) -> str:
    """A LoRA's text with the absolute path of a file, so that `--like` finds it from another folder."""
    from recorder.recipes.loading import read_lora

    try:
        path, strength = read_lora(lora)
    except ValueError as error:
        raise CliError(str(error)) from error
    local = Path(path).expanduser()
    return f"{local.absolute() if local.exists() else path}:{strength:g}"


def _check_levels(options: Mapping[str, Any], given: Collection[str]) -> None:
    sets = [
        n
        for n in ("recipe", "schedule", "sigmas", "distilled")
        if n in given and options.get(n) not in (None, NONE, False)
    ]
    if len(sets) > 1:
        raise CliError(f"--{sets[0]} and --{sets[1]} both set the noise levels; give one of them")
    if "steps" in given and options.get("sigmas") not in (None, NONE):
        raise CliError("--sigmas sets the number of steps; remove --steps")


def _sampling(options: Mapping[str, Any]) -> dict[str, Any]:
    """Schedule and sampler. Raises ValueError."""
    from recorder.recipes.named_schedule import read_schedule
    from recorder.recipes.sampler_name import read_sampler

    found: dict[str, Any] = {"sigmas": read_sigmas(options.get("sigmas"))}
    if (text := options.get("schedule")) is not None:
        named = read_schedule(text)
        found |= {"schedule": text} if named.name else {"sigmas": named.levels}
    if (text := options.get("sampler")) is not None:
        read_sampler(text)
        found["sampler"] = text
    return found


def _with_recipe(fields: dict[str, Any], text: str, given: Collection[str]) -> dict[str, Any]:
    """The fields with the stages of a recipe; what is on the command line overrides it in every stage."""
    from recorder.recipes.recipe_file import BadRecipe, read_recipe

    try:
        recipe = read_recipe(text)
    except BadRecipe as error:
        raise RecipeError(str(error)) from error
    of_run = {k: v for k, v in recipe.fields.items() if k not in given}
    return {**fields, **of_run, "recipe": recipe.name, "stages": overridden(recipe.stages, fields, given)}


def overridden(
    stages: Sequence[Mapping[str, Any]], fields: Mapping[str, Any], given: Collection[str]
) -> tuple[dict[str, Any], ...]:
    """Stages without what the command line sets for all of them. `--guidance-scale 1` turns off all guidance."""
    silenced = "guidance_scale" in given and (fields.get("guidance_scale") or 0) <= 1
    found = []
    for stage in stages:
        own = {k: v for k, v in stage.items() if k not in given}
        if "guidance" in own:
            own["guidance"] = {} if silenced else {k: v for k, v in own["guidance"].items() if k not in given}
        found.append({k: v for k, v in own.items() if v != {}})
    return tuple(found)


def changed_fields(fields: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """The fields of a request that the command line sets, from what `read_setup` gave."""
    names = set(given) - {*_GUIDANCE}
    if "recipe" in given:
        names |= {"stages", *(n for n in ("height", "width", "frames", "frame_rate", "steps", "negative_prompt"))}
        names = {n for n in names if n == "stages" or fields.get(n) is not None}
    if {"schedule", "sigmas"} & names:
        names |= {"sigmas"}
    found = {name: fields[name] for name in names if name in fields}
    own = {n: v for n, v in fields["guidance"].items() if n in given}
    return {**found, "guidance": own} if own else found
