"""Commands from the dashboard to a run's recorder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from socket import socket as Socket
from typing import TYPE_CHECKING

from ltxtui.plot.text import clean
from recorder.format.protocol import Command

if TYPE_CHECKING:
    from recorder.shocks.spec import Shock


def give(command: Command, shock: Shock | None, socket: Path | Callable[[], Socket] | None, name: str) -> str:
    """Send a command and return its answer as text. Without a socket the run is looked up by name.

    `socket` is a path, or makes a connection.

    Raises:
        replay.control.ControlError: if it could not be delivered or was not answered.
    """
    from replay.control import NotLive, send
    from replay.library.listing import live_runs

    where = socket or next((run.socket for run in live_runs() if run.name == name), None)
    if where is None:
        raise NotLive("this run has no socket here; on its own machine use: ltxtui control")
    answer = send(where, command, shock=shock)
    return clean(answer.text) if answer.accepted else f"refused: {clean(answer.text)}"
