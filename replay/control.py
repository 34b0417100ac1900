"""Sends one command to a running recorder and waits for its answer in the run's stream."""

from __future__ import annotations

import contextlib
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recorder.format import protocol
from recorder.format.framing import CorruptMessage, Decoder, encode
from recorder.format.protocol import Message
from recorder.shocks.spec import Shock
from replay.model import pulse

RECEIVE_BYTES = 1 << 16
CONNECT_SECONDS = 5.0
TIMEOUT_SECONDS = 60.0
LOOK_SECONDS = 0.5
"""Seconds between checks whether a silent recorder is stalled."""


class ControlError(RuntimeError):
    """A command that could not be delivered, or whose answer did not come; the message names what to do."""


class NotLive(ControlError):
    """No run is recorded at this socket, or the recorder ended before it answered."""


class ControlOff(ControlError):
    """The recorder was started without allowing control."""


class NoAnswer(ControlError):
    """No answer came in time; the command may still take effect."""


class Stalled(ControlError):
    """Nothing comes from the recorder: it is stopped, or hangs."""


@dataclass(frozen=True)
class CommandAnswer:
    """A recorder's answer to a command.

    Attributes:
        accepted: whether the command took effect.
        text: one line for people: what happened, or why not.
        reason: why it was refused; empty if it was not.
        stage, step: the step that the command acted on, or the last one that had a row.
        details: further values from the recorder, such as the archive's `group` of a snapshot.
    """

    id: str
    command: str
    accepted: bool
    text: str
    reason: str
    stage: int | None
    step: int | None
    details: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def send(
    socket_path: Path | Callable[[], socket.socket],
    command: protocol.Command,
    *,
    shock: Shock | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> CommandAnswer:
    """Send one command and wait until the recorder has answered it.

    Args:
        socket_path: the socket of a live run, such as `replay.library.listing.LiveRun.socket`, or what makes a
            connection to one; it raises OSError if there is none.
        command: `shock`, `stop` or `snapshot`.
        shock: what to inject at the next step, with `shock` only; it has no place.
        timeout: seconds; a command takes effect at the end of the step under way, which may take long.

    Raises:
        NotLive: if no recorder answers at the socket, or the run ended first.
        ControlOff: if the recorder does not allow it; nothing is sent then.
        NoAnswer: if the time is over.
        Stalled: if nothing comes from the recorder for `pulse.SILENT_SECONDS`.
        ValueError: if `shock` and the command do not fit together.
    """
    if (command == "shock") != (shock is not None):
        raise ValueError("a shock goes with the command `shock`, and with no other")
    message: Message = {"t": protocol.CONTROL, "id": uuid.uuid4().hex, "command": command}
    if shock is not None:
        message["shock"] = shock.as_dict()
    data = encode(message, protocol.MAX_VIEWER_MESSAGE)
    limit = time.monotonic() + timeout
    process, sent = "PID", False
    with _connected(socket_path, timeout) as connection:
        try:
            for received in _receive(connection, limit):
                if received["t"] == protocol.HEADER:
                    process = process_of(received)
                    if not received.get("control"):
                        raise ControlOff("this run's control is off; start the recorder with --allow-control")
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its last message has the reason
                        connection.sendall(data)
                        sent = True
                elif received["t"] == protocol.END:
                    raise NotLive("the run ended before the command was answered")
                elif received["t"] == protocol.EVENT and (answer := _answer(received, message["id"])) is not None:
                    return answer
        except Stalled as stalled:
            done = "the command may take effect when it continues" if sent else "the command was not sent"
            raise Stalled(f"{stalled}; {done}; {pulse.WAY_ON.format(process=process)}") from None
    raise AssertionError("unreachable: the stream ends with an error or an answer")


def _connected(where: Path | Callable[[], socket.socket], timeout: float) -> socket.socket:
    """A connection to a recorder. Raises NotLive."""
    if not isinstance(where, Path):
        try:
            return where()
        except OSError as error:
            raise NotLive(f"the command was not sent: {error.strerror or error}") from error
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(min(CONNECT_SECONDS, timeout))
        connection.connect(str(where))
    except OSError as error:
        connection.close()
        raise NotLive(f"no live run answers at {where} ({error.strerror or error})") from error
    return connection


def process_of(header: Message) -> str:
    """The number of a recorder's process, and where it runs if that is another machine; `PID` if it is not known."""
    known = header.get("metadata")
    known = known if isinstance(known, dict) else {}
    number, host = known.get("process"), known.get("host")
    if type(number) is not int or number <= 0:
        return "PID"
    return str(number) if not isinstance(host, str) or host == socket.gethostname() else f"{number} (on {host[:80]})"


def _receive(connection: socket.socket, limit: float) -> Iterator[Message]:
    """Messages as they come; ends only by an error."""
    decoder, heard = Decoder(), pulse.Pulse()
    while True:
        left, stall = limit - time.monotonic(), heard.stall
        if stall is not None and stall.silent:
            raise Stalled(f"this run is stalled: {stall.text} for {stall.seconds:.0f} s")
        if left <= 0:
            why = f"; this run is stalled: {stall.text} for {stall.seconds:.0f} s" if stall is not None else ""
            raise NoAnswer(
                f"no answer in time; the command may still take effect at the end of the step under way{why}"
            )
        connection.settimeout(min(left, LOOK_SECONDS))
        try:
            data = connection.recv(RECEIVE_BYTES)
        except TimeoutError:
            continue
        except OSError as error:
            raise NotLive(f"the connection broke ({error.strerror or error})") from error
        if not data:
            raise NotLive("the recorder closed the connection without an answer")
        decoder.feed(data)
        try:
            for message in decoder:
                heard.feed((message,))
                yield message
        except CorruptMessage as error:
            raise NotLive(f"this is not the stream of a run: {error}") from error


def _answer(event: Message, identity: str) -> CommandAnswer | None:
    """The answer to the command with this id, if the event is that."""
    payload = event.get("payload")
    if event.get("kind") != "control" or not isinstance(payload, dict) or payload.get("id") != identity:
        return None
    details = {k: v for k, v in payload.items() if k not in ("id", "command", "accepted", "reason")}
    return CommandAnswer(
        id=identity,
        command=str(payload.get("command")),
        accepted=payload.get("accepted") is True,
        text=str(event.get("text")),
        reason=str(payload.get("reason") or ""),
        stage=event.get("stage"),
        step=event.get("step"),
        details=details,
    )
