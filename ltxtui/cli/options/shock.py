"""`--shock` and `--sigmas`, the same for every command that has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ltxtui.cli.common import CliError, Command

if TYPE_CHECKING:
    from recorder.shocks.spec import Shock

NONE = "none"

SHOCK_KEYS = """\b
Keys of a shock:
  sigma=0.93, step=12, snr=-20   position: on arrival at a σ, a step, or an SNR in dB
  at=critical, at=every          where the detector fires in the run; every step (renoise, additive)
  db=3, to=0.97, eta=0.5         strength, by default 3 dB; or up (renoise: down) to a σ
  shape=low                      spectrum: white, low, mid, high, or 0.1-0.3 of the Nyquist frequency
  streams=video, frames=2-4+7    part that gets noise; restart and sigma_bump act on both streams
  respace, seed=3                a restart without extra steps; the seed of the shock's noise
  stage=2                        the stage of a recipe that it acts in; otherwise every stage that reaches it
"""


def shock_option(command: Command) -> Command:
    """`--shock`, which may be repeated."""
    return click.option(
        "--shock",
        "shocks",
        multiple=True,
        metavar="KIND:KEY=VALUE,…",
        help="A noise shock, such as restart:sigma=0.93,db=3; may be repeated; `none` removes all. "
        "Kinds: renoise, restart, predict_perturb, additive, sigma_bump; also ancestral:eta=1, spikes:at=0.9+0.8.",
    )(command)


def sigmas_option(command: Command) -> Command:
    """`--sigmas`, explicit noise levels."""
    return click.option(
        "--sigmas",
        metavar="1,0.9,…",
        help="Explicit noise levels instead of --steps, used unchanged; they may rise. `none` for the model's.",
    )(command)


def read_shocks(given: Sequence[str]) -> tuple[Shock, ...]:
    """The shocks of `--shock`.

    Raises:
        CliError: if one cannot be parsed.
    """
    from recorder.shocks.parse import parse_shocks

    if NONE in given:
        if len(given) > 1:
            raise CliError("--shock none removes all shocks; it cannot be combined with others")
        return ()
    try:
        return tuple(shock for text in given for shock in parse_shocks(text))
    except ValueError as error:
        raise CliError(f"--shock {error}") from error


def read_sigmas(given: str | None) -> tuple[float, ...] | None:
    """The levels of `--sigmas`; None for those of the model.

    Raises:
        CliError: if one cannot be parsed.
    """
    from recorder.recipes.levels import EXAMPLE, read_levels

    if given is None or given.strip() == NONE:
        return None
    try:
        return read_levels(given)
    except ValueError as error:
        raise CliError(f"--sigmas {given!r}: {error}; levels look like {EXAMPLE}") from error
