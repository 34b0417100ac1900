"""The commands that lead to a relay on a host, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

from replay.remote import sessions
from replay.remote.address import RemoteHost
from replay.remote.asked import Asked


def commands(host: RemoteHost, asked: Asked) -> Iterator[list[str]]:
    """First its ltxtui, then, for the messages of a live run, its python3 that needs nothing installed."""
    options = sessions.options(host)
    yield host.reached(host.relay(*asked.words()), *options)
    if not asked.packed:
        yield host.reached(["python3", "-c", plain_program(), asked.run, *(["wait"] if asked.wait else [])], *options)


def list_command(host: RemoteHost) -> list[str]:
    """The command that lists the runs of a host and says what changes."""
    return host.reached(host.relay("--list", "--follow"), *sessions.options(host))


def plain_program() -> str:
    """The program that joins a pipe to a run's socket, as text."""
    return files("replay.remote").joinpath("plain.py").read_text(encoding="utf-8")
