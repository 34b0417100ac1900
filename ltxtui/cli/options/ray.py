"""The options of `ltxtui sweep` for a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ltxtui.cli.common import CliError
from recorder.sweep.on_ray.request import RayRequest, read_address

F = TypeVar("F", bound=Callable[..., Any])


def _address(context: click.Context, param: click.Parameter, given: str | None) -> str | None:
    try:
        return None if given is None else read_address(given)
    except ValueError as error:
        raise click.BadParameter(f"{error}; write the sweep's folder before --ray") from error


def ray_options(command: F) -> F:
    """Add --ray and --ray-shared to a command."""
    address = click.option(
        "--ray",
        is_flag=False,
        flag_value="auto",
        callback=_address,
        metavar="[ADDRESS]",
        help="Make the runs on a Ray cluster, a worker on each GPU: HOST:PORT from a node of it, ray://HOST:PORT from "
        "elsewhere, local for this machine. Without ADDRESS: RAY_ADDRESS, or the cluster that runs here.",
    )
    shared = click.option(
        "--ray-shared",
        is_flag=True,
        help="All nodes have FOLDER at the same path: runs are written there, and do not come home packed.",
    )
    return address(shared(command))


def ray_request(options: dict[str, Any], given: set[str]) -> RayRequest | None:
    """What is asked for by a command's options, out of which those of Ray are taken; None without --ray.

    Raises:
        CliError: if options contradict one another.
    """
    address, shared = options.pop("ray"), options.pop("ray_shared")
    given -= {"ray", "ray_shared"}
    if address is None:
        if shared:
            raise CliError("--ray-shared needs --ray")
        return None
    if other := next((name for name in ("join", "gpus") if name in given), None):
        raise CliError(f"--ray places the workers itself; leave out --{other}")
    return RayRequest(address, shared, options["workers"] if "workers" in given else None)
