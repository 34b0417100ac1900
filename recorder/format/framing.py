"""Framing of messages: u32 length, u32 CRC-32 of the payload, msgpack payload; both numbers little-endian."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import msgpack

from recorder.format.protocol import MAX_RECORDER_MESSAGE, Message

_FRAME = struct.Struct("<II")
FRAME_BYTES = _FRAME.size
MAX_DEPTH: Final = 32
MAX_CONTAINERS: Final = 1 << 16
"""Maps and lists of one message: in memory an empty one takes sixty times its bytes."""
_LEAVES: Final = frozenset({int, float, str, bytes, bool, type(None)})


class _Packer(threading.local):
    """A packer of each thread's own: making one costs six times what packing a row does."""

    def __init__(self) -> None:
        self.own = msgpack.Packer(use_bin_type=True)


_packer = _Packer()


class CorruptMessage(ValueError):
    """Bytes that cannot be a message: a wrong checksum, an impossible length, or a payload that is not a map."""


class TooDeep(ValueError):
    """A value whose maps and lists are nested deeper than readers accept."""


class MessageTooLong(ValueError):
    """A message to be sent that is longer than its readers accept."""


def encode(message: Message, limit: int = MAX_RECORDER_MESSAGE) -> bytes:
    """Frame one message.

    Raises:
        MessageTooLong: if the payload exceeds `limit` bytes, which every reader would refuse.
    """
    payload: bytes = _packer.own.pack(message)
    if len(payload) > limit:
        raise MessageTooLong(f"a message of type {message.get('t')!r} has {len(payload):,} bytes, over {limit:,}")
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _refuse_extension(code: int, data: bytes) -> NoReturn:
    raise CorruptMessage(f"msgpack extension type {code} is not part of the format")


def _decode_payload(payload: bytes) -> Message:
    try:
        # unpackb's own caps on array, map and string sizes follow the size of this one payload.
        message = msgpack.unpackb(payload, raw=False, strict_map_key=True, ext_hook=_refuse_extension)
    except CorruptMessage:
        raise
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise CorruptMessage(f"a payload that is not msgpack: {error}") from error
    if not isinstance(message, dict) or not isinstance(message.get("t"), str):
        raise CorruptMessage("a payload that is not a map with a type under the key 't'")
    _check_inside(message)
    return message


def levels(value: Any) -> Iterator[list[Any]]:
    """Everything below a value that is not a number, text, bytes, bool or None, one level of nesting at a time.

    Raises:
        TooDeep: at level `MAX_DEPTH`, if that holds anything.
    """
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) not in _LEAVES
        ]
        if not level:
            return
        yield level
    raise TooDeep(f"nested deeper than {MAX_DEPTH} levels")


def _check_inside(message: Message) -> None:
    """Refuse what would exhaust a reader that walks through it, and timestamps, which msgpack makes of an extension."""
    containers = 0
    try:
        for level in levels(message):
            containers += len(level)
            if containers > MAX_CONTAINERS:
                raise CorruptMessage(f"a payload of more than {MAX_CONTAINERS:,} maps and lists")
            if any(type(inner) is not dict and type(inner) is not list for inner in level):
                raise CorruptMessage("a msgpack timestamp is not part of the format")
    except TooDeep as error:
        raise CorruptMessage(f"a payload {error}") from None


class Decoder:
    """Turns a stream of bytes, in pieces of any size, into messages.

    Feed it bytes with `feed`, then iterate. An incomplete last message stays until its rest arrives;
    `pending` is the number of bytes that wait, `consumed` how many bytes of complete messages have been returned.
    """

    def __init__(self, limit: int = MAX_RECORDER_MESSAGE) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._at = 0
        self.consumed = 0

    @property
    def pending(self) -> int:
        return len(self._buffer) - self._at

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        self._buffer += data

    def __iter__(self) -> Iterator[Message]:
        """Yield every complete message fed so far.

        Raises:
            CorruptMessage: at the first bytes that cannot be a message; everything before has been yielded.
        """
        try:
            while self.pending >= FRAME_BYTES:
                length, checksum = _FRAME.unpack_from(self._buffer, self._at)
                if length > self._limit:
                    raise CorruptMessage(f"a message of {length:,} bytes, over the limit of {self._limit:,}")
                end = self._at + FRAME_BYTES + length
                if end > len(self._buffer):
                    break
                payload = bytes(memoryview(self._buffer)[self._at + FRAME_BYTES : end])
                if zlib.crc32(payload) != checksum:
                    raise CorruptMessage("a message whose checksum does not match")
                message = _decode_payload(payload)
                self._at = end
                self.consumed += FRAME_BYTES + length
                yield message
        finally:
            del self._buffer[: self._at]
            self._at = 0
