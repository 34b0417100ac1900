"""Checks a message independently of the run: once, on arrival. The parsed values travel with it.

Whether a message fits the run so far (its stage was declared, its rows are as wide as its stream) is checked by `Run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recorder.format import protocol
from recorder.format.protocol import Message
from replay.model import validation
from replay.model.colours import DecodedFrame, Palette
from replay.model.declarations import Preview, StageDeclaration, StreamDeclaration
from replay.model.stream import Rows
from replay.model.validation import NotARun

NOT_AS_DECLARED: Final = (KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError)
"""What reading a message that violates the format raises."""


class LeftOut(NotARun):
    """An event or sample that violates the format: it is left out, and the run is still read."""


@dataclass(eq=False, slots=True)  # not frozen: a run has very many, and freezing doubles what making one costs
class SentRows:
    """Rows of a stream as they travel: times [count] and values [count × width]."""

    stage: int
    stream: str
    first: int
    times: NDArray[np.float64]
    values: NDArray[np.float32]

    @property
    def count(self) -> int:
        return len(self.times)


@dataclass(frozen=True, eq=False)
class StoredRows:
    """Rows of a stream from `first` on that an archive holds: they are read when they are used."""

    stage: int
    stream: str
    first: int
    rows: Rows

    @property
    def count(self) -> int:
        return self.rows.rows - self.first


@dataclass(frozen=True, eq=False)
class SentPreview:
    """The picture of one step."""

    stage: int
    stream: str
    step: int
    preview: Preview


@dataclass(frozen=True, eq=False)
class StoredPreviews:
    """The pictures of a stream by step, which an archive holds."""

    stage: int
    stream: str
    previews: Mapping[int, Preview]


@dataclass(frozen=True, eq=False)
class SentPalette:
    """True colours of the pictures of a stage."""

    stage: int
    stream: str
    palette: Palette


@dataclass(frozen=True, eq=False)
class SentDecoded:
    """A picture of a decoded clip."""

    stage: int
    stream: str
    frame: DecodedFrame


@dataclass(frozen=True)
class Missed:
    """Steps that were taken and not recorded so far."""

    stage: int
    stream: str
    count: int


@dataclass(frozen=True, eq=False)
class StageEnd:
    """A stage ended; its summary by stream and name, one value per batch item."""

    stage: int
    summary: dict[str, dict[str, list[float | None]]]


@dataclass(frozen=True, eq=False)
class ChangedPlan:
    """A shock that was decided in the run: the remaining levels differ from those announced."""

    stage: int
    sigmas: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class End:
    """The run's last message; parts that violate the format are replaced."""

    message: Message


SentPicture = SentPreview | StoredPreviews | SentPalette | SentDecoded
Facts = (
    StageDeclaration
    | StreamDeclaration
    | SentRows
    | StoredRows
    | SentPicture
    | Missed
    | StageEnd
    | ChangedPlan
    | End
    | None
)


class Checked(dict[str, Any]):
    """A message that has been checked. `facts` is what was read from it; None for those that need no parsing."""

    __slots__ = ("facts",)

    def __init__(self, message: Message, facts: Facts) -> None:
        super().__init__(message)
        self.facts = facts


def check(message: Message) -> Checked:
    """Check a message of a known type.

    Raises:
        LeftOut: for an event or a sample that violates the format.
        NotARun: for any other message that does, with the reason.
    """
    kind = message["t"]
    try:
        return Checked(message, _READ[kind](message))
    except NotARun:
        raise
    except NOT_AS_DECLARED as error:
        raise NotARun(f"a {kind!r} message that violates the format: {error!r}") from error


def is_known(message: Message) -> bool:
    """Whether the message's type is known."""
    return message["t"] in _READ


def checked(messages: Iterable[Message]) -> list[Message]:
    """The messages, checked. One that violates the format is passed on, and `Run.feed` raises the reason."""
    found: list[Message] = []
    for message in messages:
        try:
            found.append(check(message) if is_known(message) else message)
        except NotARun:
            found.append(message)
    return found


# One function per type


def _header(message: Message) -> None:
    validation.check_header(message)


def _rows(message: Message) -> SentRows | StoredRows:
    stage, stream = _place(message)
    data, first = message["data"], validation.read_int(message["step"], "the step")
    if not isinstance(data, bytes) and isinstance(data, Rows):
        return StoredRows(stage, stream, first, data)
    count = validation.read_int(message.get("count", 1), "the number of rows", 1)
    values = np.frombuffer(data, "<f4")
    if count > 1:
        times = np.frombuffer(message["time"], "<f8")
    else:
        times = np.array([validation.read_number(message["time"], "the time")])
    if times.size != count:
        raise NotARun(f"{times.size} times for {count} rows")
    return SentRows(stage, stream, first, times, values)


def _preview(message: Message) -> SentPreview | StoredPreviews:
    stage, stream = _place(message)
    data = message["data"]
    if isinstance(data, Mapping) and not isinstance(data, dict):
        return StoredPreviews(stage, stream, data)
    step = validation.read_int(message["step"], "a preview's step")
    return SentPreview(stage, stream, step, Preview.declared(message))


def _palette(message: Message) -> SentPalette:
    return SentPalette(*_place(message), Palette.read(message))


def _decoded(message: Message) -> SentDecoded:
    return SentDecoded(*_place(message), DecodedFrame.read(message))


def _missed(message: Message) -> Missed:
    stage = validation.read_int(message["stage"], "the stage")
    stream = validation.read_name(message["stream"], "a stream")
    return Missed(stage, stream, validation.read_int(message["count"], "the number of missed steps"))


def _event(message: Message) -> StageEnd | ChangedPlan | None:
    try:
        validation.check_event(message)
    except NotARun as error:
        raise LeftOut(str(error)) from error
    kind, payload = message["kind"], message["payload"]
    if kind == "stage_end":
        stage = validation.read_int(message["stage"], "the stage")
        return StageEnd(stage, validation.read_summary(payload.get("summary", {})))
    if kind == "shock" and "sigmas" in payload:
        stage = validation.read_int(message["stage"], "the stage")
        return ChangedPlan(stage, validation.read_levels(payload["sigmas"], "the planned σ"))
    return None


def _sample(message: Message) -> None:
    try:
        validation.check_sample(message)
    except NotARun as error:
        raise LeftOut(str(error)) from error


def _end(message: Message) -> End:
    return End(validation.read_end(message))


def _place(message: Message) -> tuple[int, str]:
    return validation.read_int(message["stage"], "the stage"), validation.read_name(message["stream"], "a stream")


_READ: Final[Mapping[str, Callable[[Message], Facts]]] = {
    protocol.HEADER: _header,
    protocol.STAGE: StageDeclaration.read,
    protocol.STREAM: StreamDeclaration.read,
    protocol.STEP: _rows,
    protocol.MISSED: _missed,
    protocol.EVENT: _event,
    protocol.SYSTEM: _sample,
    protocol.PREVIEW: _preview,
    protocol.PALETTE: _palette,
    protocol.DECODED: _decoded,
    protocol.END: _end,
}
