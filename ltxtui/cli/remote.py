"""What commands do with the address of another machine, such as `ssh://gpu-box/red-disc`."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ltxtui.cli.common import MAX_NAMED, CliError, address_of, connect, need_terminal
from replay.remote.address import Address, BadAddress, RemoteHost, named_hosts

if TYPE_CHECKING:
    from replay.remote.run import SeveralRuns
    from replay.sources.open import Source


def need_terminal_unless(headless: bool) -> None:
    """Raise a CliError if a terminal is needed and missing."""
    if not headless:
        need_terminal("run ltxtui watch on one; for data use: ltxtui watch --until-done, or ltxtui runs --json")


def remote_source(text: str, *, wait: bool, headless: bool) -> Source:
    """The run that an address names.

    Raises:
        CliError: if it cannot be reached, in one line with the way out.
    """
    from replay.remote.asked import Asked
    from replay.remote.run import NotReached, SeveralRuns, open_remote

    address = address_of(text)
    need_terminal_unless(headless)
    connect(address)
    try:
        return open_remote(address.host, Asked(address.run, wait))
    except SeveralRuns as several:
        name = _chosen(address, several, headless)
    except NotReached as error:
        raise CliError(str(error)) from error
    try:
        return open_remote(address.host, Asked(name))
    except NotReached as error:
        raise CliError(str(error)) from error


def _chosen(address: Address, several: SeveralRuns, headless: bool) -> str:
    """The name of the live run that the user chooses."""
    names = [str(one.get("name", ""))[:200] for one in several.choices]
    if headless:
        way = f"ltxtui watch --until-done {address.host.address}/RUN"
        raise CliError(f"{len(names)} live runs match: {', '.join(names[:MAX_NAMED])}; name one of them: {way}")
    from ltxtui.screens.chooser import choose

    rows = [
        (name, str(one.get("host", ""))[:80], "live" if one.get("answers") else "stalled", _time(one.get("started")))
        for name, one in zip(names, several.choices, strict=True)
    ]
    chosen, status = choose(f"Live runs of {address.host.name}", rows)
    if chosen is None:
        sys.exit(status)
    return names[chosen]


def _time(value: object) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e11 else 0.0


def remote_command(text: str) -> Callable[[], socket.socket]:
    """What connects to the recorder of the live run that an address names."""
    from replay.remote.asked import Asked
    from replay.remote.run import RemoteRun

    address = address_of(text)
    connect(address)
    return RemoteRun(address.host, Asked(address.run)).command_socket


def hosts_of(given: str | None) -> list[RemoteHost]:
    """The hosts that `--hosts` names, or those of the settings if it is not given.

    Raises:
        CliError: if one of them is not a host.
    """
    from ltxtui.settings import load

    known = load().settings.hosts
    try:
        return list(known.values()) if given is None else named_hosts(given, known)
    except BadAddress as error:
        raise CliError(str(error)) from error
