"""`--shock` and `--sigmas`, the same for every subcommand that has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ltxtui.cli.common import Problem

if TYPE_CHECKING:
    from recorder.shocks.spec import Shock

Command = TypeVar("Command", bound=Callable[..., Any])

NONE = "none"

SHOCK_KEYS = """\b
Keys of a shock:
  sigma=0.93, step=12, snr=-20   where: on arrival at a σ, a step, an SNR in dB
  at=critical, at=every          decided in the run; at every step (renoise, additive)
  db=3, to=0.97, eta=0.5         how strong, 3 dB if nothing is said; up (renoise: down) to a σ
  shape=low                      white, low, mid, high, or 0.1-0.3 of the Nyquist frequency
  streams=video, frames=2-4+7    where noise is fresh; restart and sigma_bump take both streams
  respace, seed=3                a restart without an evaluation more; another noise
"""


def shock_option(command: Command) -> Command:
    """`--shock`, which may be given several times."""
    return click.option(
        "--shock",
        "shocks",
        multiple=True,
        metavar="KIND:KEY=VALUE,…",
        help="A noise shock, such as restart:sigma=0.93,db=3; may be given several times, none for none. "
        "Kinds: renoise, restart, predict_perturb, additive, sigma_bump; also ancestral:eta=1, spikes:at=0.9+0.8.",
    )(command)


def sigmas_option(command: Command) -> Command:
    """`--sigmas`, a list of one's own."""
    return click.option(
        "--sigmas",
        metavar="1,0.9,…",
        help="Noise levels of your own, used as they are; may rise. Instead of --steps. none for the model's.",
    )(command)


def read_shocks(given: Sequence[str]) -> tuple[Shock, ...]:
    """What `--shock` said.

    Raises:
        Problem: naming what could not be read.
    """
    from recorder.shocks.parse import parse_shocks

    if NONE in given:
        if len(given) > 1:
            raise Problem("--shock none leaves all shocks out; give it alone")
        return ()
    try:
        return tuple(shock for text in given for shock in parse_shocks(text))
    except ValueError as error:
        raise Problem(f"--shock {error}") from error


def read_sigmas(given: str | None) -> tuple[float, ...] | None:
    """What `--sigmas` said; None for the model's own.

    Raises:
        Problem: naming what could not be read.
    """
    from recorder.format.numerals import real
    from recorder.shocks.schedules import free

    if given is None or given.strip() == NONE:
        return None
    parts = given.strip().removeprefix("[").removesuffix("]").replace(",", " ").split()
    try:
        return free([real(part) for part in parts])
    except ValueError as error:
        raise Problem(f"--sigmas {given!r}: {error}; levels look like 1,0.97,0.9,0.7,0.4") from error
