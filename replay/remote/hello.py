"""The first line of a relay, by which both sides know each other's version before anything else is sent.

A relay writes lines of JSON. The first is its hello; what a shell printed before it is skipped. Depending on what was
asked for, lines or the bytes of a run follow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from recorder.format import protocol
from recorder.format.version import VERSION

RELAY: Final = 1
"""Version of what relays send."""
OLDEST: Final = 1
"""The oldest version of it that this program understands."""
MARK: Final = b'{"ltxtui":'
"""How a hello begins; noise before it is skipped."""
MAX_NOISE_BYTES: Final = 256 << 10
"""Bytes that may come before a hello."""
MAX_LINE_BYTES: Final = 1 << 20


class OtherVersion(ValueError):
    """A relay that this program does not understand; the message says which side to upgrade."""


class NotALine(ValueError):
    """What a relay sent is not a line of JSON, or is too long."""


@dataclass(frozen=True)
class Hello:
    """What a relay says first: the version of its program, and which versions of the relay it can speak.

    `plain` is true if there is no relay, but a shell that has joined the pipe to the socket of a run.
    """

    program: str
    relay: int
    oldest: int
    plain: bool = False

    def skew(self, host: str) -> str:
        """A line about another version of the program; empty if both are the same."""
        if self.plain:
            return f"{host} has no ltxtui on its PATH: the socket of the run is read directly"
        return "" if self.program == VERSION else f"{host} has ltxtui {self.program}, this machine {VERSION}"


def hello_line() -> bytes:
    """The hello of this program."""
    said = {
        "ltxtui": VERSION, "relay": RELAY, "oldest": OLDEST, "format": protocol.FORMAT,
        "version": protocol.FORMAT_VERSION,
    }  # fmt: skip
    return line_of(said)


def line_of(said: dict[str, Any]) -> bytes:
    """A map as a line."""
    return json.dumps(said).encode() + b"\n"


def read_line(line: bytes) -> dict[str, Any]:
    """The map of a line. Raises NotALine."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise NotALine("a line that is not JSON") from None
    if not isinstance(found, dict):
        raise NotALine("a line that is not a map")
    return found


def read_hello(line: bytes, host: str) -> Hello:
    """Check the hello of a host.

    Raises:
        NotALine: if it is not one.
        OtherVersion: if the versions of the two programs do not fit together.
    """
    said = read_line(line)
    program, relay, oldest = said.get("ltxtui"), said.get("relay"), said.get("oldest")
    if not isinstance(program, str) or type(relay) is not int or type(oldest) is not int:
        raise NotALine("a hello without its versions")
    program = program[:40]
    if relay < OLDEST:
        raise OtherVersion(
            f"{host} has ltxtui {program}, which is too old for this one ({VERSION}); upgrade it there: "
            "pip install --upgrade ltxtui"
        )
    if oldest > RELAY:
        raise OtherVersion(
            f"{host} has ltxtui {program}, which no longer speaks to this one ({VERSION}); upgrade here: "
            "pip install --upgrade ltxtui"
        )
    return Hello(program, relay, oldest, said.get("plain") is True)
