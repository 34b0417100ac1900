"""Viewers' commands to a running recorder: received in the server's thread, executed in the sampling thread."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from recorder.format import paths, protocol
from recorder.format.events import cut, event, text_of
from recorder.format.protocol import Message
from recorder.shocks.spec import Shock, check_live

STOPPED: Final = "stopped by a viewer"
OFF: Final = "control is off; start the recorder with --allow-control"
IDLE: Final = "nothing is being generated now"
OWN_LOOP: Final = "nothing here can be shocked: this loop reports its own steps"
TOO_LATE: Final = "the loop ended before the next step"
MAX_WAITING: Final = 8
"""Commands of one kind that may wait for the next step."""
MAX_SNAPSHOTS: Final = 64
"""Steps of which one run keeps a snapshot."""
MAX_UNWRITTEN: Final = 16
"""Snapshots of one stream each that may wait for the disk."""

Position = tuple[int | None, int | None]
"""A stage and a step of it; None where there is none."""


class AnswerCallback(Protocol):
    """Called once, in any thread: accepted or not, a text with the result or the reason, more values, and where."""

    def __call__(
        self, accepted: bool, text: str, payload: dict[str, Any], where: Position | None = None, /
    ) -> None: ...


RequestShock = Callable[[Shock, AnswerCallback], None]
"""Asks for a shock at the next step, from the server's thread; must not wait."""


class InvalidCommand(ValueError):
    """A message that is not a command; a viewer that sends one is disconnected."""


@dataclass(frozen=True)
class _Asked:
    id: str
    command: str


class Loops(Protocol):
    """The denoising loops, as far as an answer needs them to report where a command took effect."""

    @property
    def current(self) -> object | None: ...

    def position(self) -> Position: ...


class Control:
    """Commands of one run's viewers and their answers.

    `take` is called in the server's thread, everything else in sampling threads, which never wait here: queues are
    deques, whose `append` and `popleft` are atomic, and no lock is held during work. Any thread may refuse waiting
    commands. The thread that pops a command answers it, so that each is answered once.

    If several pipeline calls are under way, a stop ends all of them, and a snapshot is kept of the next step of any of
    them; the answer names its stage.
    """

    def __init__(self, put: Callable[[Message], None], allowed: bool = False) -> None:
        self.allowed = allowed
        self.stopping = False
        """True once a viewer or a rule has stopped the run; custom loops check it."""
        self.stopped_by = STOPPED  # unless a rule did
        self.shock: RequestShock | None = None
        """Requests shocks; None if the loop reports its own steps."""
        self.cannot_keep = ""
        """Why snapshots can no longer be kept; empty if they can."""
        self.loops: Loops | None = None
        self._put = put
        self._stops: deque[_Asked] = deque()
        self._snapshots: deque[_Asked] = deque()
        self._shocks: dict[int, _Asked] = {}
        self._numbers = itertools.count()
        self._pipes: list[Any] = []
        self._due = ""  # why a rule asks for a stop that has not taken effect
        self._closed = False
        self._lock = threading.Lock()
        """Guards the attributes below."""
        self._keeper: int | None = None
        """The thread whose step is being kept; one at a time."""
        self._kept = 0
        self._sent = 0
        self._written = 0  # by the archivist's thread only

    # -- in the server's thread

    def take(self, message: Message) -> bool:
        """Take one message of a viewer; False if it was refused at once.

        Raises:
            InvalidCommand: if it is not a command.
        """
        asked = _read(message)
        if self._closed:
            return False  # the run's last message has been sent already
        if reason := self._refusal(asked):
            self._refuse(asked, reason)
            return False
        if asked.command == "shock":
            return self._take_shock(asked, message.get("shock"))
        waiting = self._stops if asked.command == "stop" else self._snapshots
        waiting.append(asked)
        if not self._under_way:  # the loop has ended since, perhaps before it could see this command
            self._abandon()
        return True

    def _refusal(self, asked: _Asked) -> str:
        if not self.allowed:
            return OFF
        if asked.command not in protocol.COMMANDS:
            return f"unknown command; commands are {', '.join(protocol.COMMANDS)}"
        if not self._under_way:
            return IDLE
        if max(len(self._stops), len(self._snapshots), len(self._shocks)) >= MAX_WAITING:
            return f"{MAX_WAITING} commands are waiting for the next step"
        return ""

    def _take_shock(self, asked: _Asked, given: Any) -> bool:
        try:
            shock = Shock.from_dict(given)
            check_live(shock)
        except Exception as error:  # noqa: BLE001 - a viewer may send anything, and the server must keep running
            self._refuse(asked, cut(text_of(error), 500) or type(error).__name__)
            return False
        if self.shock is None or not self._pipes:
            self._refuse(asked, OWN_LOOP)
            return False
        number = next(self._numbers)
        self._shocks[number] = asked

        def answer(accepted: bool, text: str, payload: dict[str, Any], where: Position | None = None, /) -> None:
            if self._shocks.pop(number, None) is None:
                return
            if accepted:
                self._accept(asked, text, payload, where)
            else:
                self._refuse(asked, text, payload, where)

        self.shock(shock, answer)
        if not self._under_way:
            self._abandon()
        return True

    # -- in sampling threads

    def call_begins(self, pipe: Any) -> None:
        """A call of a pipeline begins; others may be under way around it or at the same time."""
        self._pipes.append(pipe)

    def call_ends(self, pipe: Any = None) -> None:
        """A call of a pipeline ends, by default the one that began last.

        After the last of them, waiting commands are refused: no step will see them.
        """
        with self._lock:
            ended = (i for i in reversed(range(len(self._pipes))) if pipe is None or self._pipes[i] is pipe)
            if (place := next(ended, None)) is not None:
                del self._pipes[place]
        if not self._pipes:
            self._abandon()

    def loop_begins(self, pipes: Sequence[Any]) -> None:
        """A denoising loop is about to begin; in a stopped run it ends without a step.

        Args:
            pipes: the pipelines of the enclosing calls, then that of the loop.
        """
        self._obey_rule()
        if self.stopping and _interrupt(pipes):
            text = f"a loop of {type(pipes[-1]).__name__} is left without a step: the run was {self.stopped_by}"
            self._put(event("warning", text))

    def stepped(self, pipe: Any = None, where: Position | None = None) -> None:
        """A step of any stream was taken: execute a waiting stop.

        Args:
            pipe: the pipeline of the step; by default that of the call that began last, or none for a custom loop.
            where: the step's stage and row.
        """
        self._obey_rule()
        if not self._stops:
            return
        stage, step = where or self._position()
        pipes = list(self._pipes)
        pipe = pipes[-1] if pipe is None and pipes else pipe
        obeying = {id(p) for p in pipes if hasattr(p, "_interrupt")}
        stubborn = {type(p).__name__ for p in pipes if id(p) not in obeying}
        text = "stop after this step" if step is None else f"stop after step {step} of stage {stage}"
        if others := len(obeying - {id(pipe)}):
            text += f"; {others} other call{'s end' if others > 1 else ' ends'} after the step that is under way"
        if stubborn:
            text += f"; {', '.join(sorted(stubborn))} cannot be stopped between its steps"
        while asked := _next(self._stops):
            if obeying or pipe is None:
                _interrupt(pipes)
                self.stopping = True
                self._accept(asked, text, {}, (stage, step))
            else:
                name = type(pipe).__name__
                self._refuse(asked, f"{name} cannot be stopped between its steps; end its process with Ctrl-C")

    def _obey_rule(self) -> None:
        if not (reason := self._due):
            return
        self._due, pipes = "", list(self._pipes)
        if pipes and not any(hasattr(p, "_interrupt") for p in pipes):
            names = ", ".join(sorted({type(p).__name__ for p in pipes}))
            text = f"not {reason}: {names} cannot be stopped between its steps; end its process with Ctrl-C"
            self._put(event("warning", text))
        elif not self.stopping:
            self.stopped_by, self.stopping = reason, True
            _interrupt(pipes)

    def wants_snapshot(self) -> bool:
        """Whether the current step is to be kept; refuses requests beyond the limits.

        After True, either `snapshot_begins` or `snapshot_failed` follows in the same thread.
        """
        if not self._snapshots:
            return False
        if self.cannot_keep:
            return self._refuse_snapshots(self.cannot_keep)
        if self._kept >= MAX_SNAPSHOTS:
            return self._refuse_snapshots(f"{MAX_SNAPSHOTS} snapshots have been kept, and a run keeps no more")
        if self._sent - self._written >= MAX_UNWRITTEN:
            return self._refuse_snapshots(f"{MAX_UNWRITTEN} snapshots are waiting for the disk")
        me = threading.get_ident()
        with self._lock:
            if self._keeper in (None, me):
                self._keeper = me
            return self._keeper == me

    def _refuse_snapshots(self, reason: str) -> bool:
        while asked := _next(self._snapshots):
            self._refuse(asked, reason)
        return False

    def snapshot_begins(self, stage: int, step: int) -> None:
        """The first stream of a step has been handed over to be kept: answer the requests for it."""
        with self._lock:
            self._kept += 1
            self._keeper = None
        group = paths.snapshot(stage, step)
        while asked := _next(self._snapshots):
            text = f"snapshot of step {step} of stage {stage}, kept as {group}"
            self._accept(asked, text, {"group": group}, (stage, step))

    def snapshot_failed(self) -> None:
        """A step could not be measured. If it was to be kept, the next one is kept instead."""
        with self._lock:
            if self._keeper == threading.get_ident():
                self._keeper = None

    def snapshot_sent(self) -> Callable[[], None]:
        """Count a snapshot of one stream on its way to the disk; returns the function to call once it is there."""
        with self._lock:
            self._sent += 1
        return self._snapshot_written

    def _snapshot_written(self) -> None:
        self._written += 1  # in the archivist's thread

    def stop_by_rule(self, reason: str) -> None:
        """Stop after the step that is under way, in any thread; `reason` becomes the run's error."""
        self._due = reason
        if not self._pipes:
            self._obey_rule()

    def close(self) -> None:
        """The run ends: refuse waiting commands and take no more."""
        self._abandon()
        self._closed = True
        self._abandon()

    # -- in either

    @property
    def _under_way(self) -> bool:
        return not self._closed and (bool(self._pipes) or (self.loops is not None and self.loops.current is not None))

    def _position(self) -> Position:
        return (None, None) if self.loops is None else self.loops.position()

    def _abandon(self) -> None:
        for waiting in (self._stops, self._snapshots):
            while asked := _next(waiting):
                self._refuse(asked, TOO_LATE)
        for number in list(self._shocks):
            if (late := self._shocks.pop(number, None)) is not None:
                self._refuse(late, TOO_LATE)

    def _accept(self, asked: _Asked, text: str, payload: dict[str, Any], where: Position | None = None) -> None:
        self._answer(asked, f"control: {text}", {"accepted": True, **payload}, where)

    def _refuse(
        self, asked: _Asked, reason: str, payload: dict[str, Any] | None = None, where: Position | None = None
    ) -> None:
        text = f"control refused: {asked.command}: {reason}"
        self._answer(asked, text, {"accepted": False, "reason": reason, **(payload or {})}, where)

    def _answer(self, asked: _Asked, text: str, payload: dict[str, Any], where: Position | None = None) -> None:
        stage, step = where or self._position()
        # The answer to a shock names the row that ends with it, which is still under way.
        step = payload.get("row", step)
        named = {**payload, "id": asked.id, "command": asked.command}
        self._put(event("control", text, stage=stage, step=step, payload=named))


def _interrupt(pipes: Sequence[Any]) -> bool:
    """Let the loops under way end before their next step; True if one of them was still running."""
    news = False
    for pipe in pipes:
        if hasattr(pipe, "_interrupt") and not pipe._interrupt:
            pipe._interrupt = news = True
    return news


def _next(waiting: deque[_Asked]) -> _Asked | None:
    try:
        return waiting.popleft()
    except IndexError:
        return None


def _read(message: Message) -> _Asked:
    identity, command = message.get("id"), message.get("command")
    if message["t"] != protocol.CONTROL:
        raise InvalidCommand(f"a viewer sends {protocol.CONTROL!r} messages only")
    if not isinstance(identity, str) or not 0 < len(identity) <= protocol.MAX_COMMAND_ID or not identity.isprintable():
        raise InvalidCommand(f"a command needs an id of 1 to {protocol.MAX_COMMAND_ID} characters")
    if not isinstance(command, str) or not 0 < len(command) <= protocol.MAX_COMMAND_ID or not command.isprintable():
        raise InvalidCommand(f"a command needs a name of 1 to {protocol.MAX_COMMAND_ID} characters")
    return _Asked(identity, command)
