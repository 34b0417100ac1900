"""Framing: what is sent is what is read, and nothing that is not a message ever becomes one."""

from __future__ import annotations

import struct
import zlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.format.framing import FRAME_BYTES, CorruptMessage, Decoder, MessageTooLong, encode

SAMPLES = [
    {"t": "header", "run": "ünïcode", "n": 1},
    {"t": "step", "data": bytes(range(40)), "time": 1.5},
    {"t": "end"},
]


def read(data: bytes) -> tuple[list[dict], Decoder]:
    decoder = Decoder()
    decoder.feed(data)
    return list(decoder), decoder


scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
)
trees = st.recursive(
    scalars, lambda c: st.lists(c, max_size=4) | st.dictionaries(st.text(), c, max_size=4), max_leaves=12
)


@given(st.lists(st.dictionaries(st.text(), trees, max_size=4), max_size=4), st.integers(1, 50))
def test_any_messages_survive_in_pieces_of_any_size(maps: list[dict], piece: int) -> None:
    messages = [{**m, "t": "x"} for m in maps]
    data = b"".join(encode(m) for m in messages)
    decoder, found = Decoder(), []
    for i in range(0, len(data), piece):
        decoder.feed(data[i : i + piece])
        found.extend(decoder)
    assert found == messages
    assert decoder.pending == 0 and decoder.consumed == len(data)


def test_the_frame_is_length_and_checksum_little_endian() -> None:
    data = encode({"t": "end"})
    payload = msgpack.packb({"t": "end"})
    assert data == struct.pack("<II", len(payload), zlib.crc32(payload)) + payload


def test_a_journal_cut_at_every_byte_gives_every_whole_message() -> None:
    data = b"".join(map(encode, SAMPLES))
    ends = [sum(len(encode(m)) for m in SAMPLES[: i + 1]) for i in range(len(SAMPLES))]
    for cut in range(len(data)):
        found, decoder = read(data[:cut])
        whole = sum(end <= cut for end in ends)
        assert found == SAMPLES[:whole]
        assert decoder.pending == cut - (ends[whole - 1] if whole else 0)


def test_a_flipped_bit_anywhere_never_gives_a_wrong_message() -> None:
    data = b"".join(map(encode, SAMPLES))
    first = len(encode(SAMPLES[0]))
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        decoder, found = Decoder(), []
        decoder.feed(damaged)
        try:
            for message in decoder:
                found.append(message)
        except CorruptMessage:
            pass_ok = True
        else:
            pass_ok = decoder.pending > 0  # a longer length just waits for bytes that never come
        assert pass_ok
        assert found == SAMPLES[: len(found)]
        assert len(found) >= (1 if at >= first else 0)


def frame(payload: bytes) -> bytes:
    return struct.pack("<II", len(payload), zlib.crc32(payload)) + payload


@pytest.mark.parametrize(
    "payload",
    [
        msgpack.packb([1, 2]),
        msgpack.packb({"no": "type"}),
        msgpack.packb({"t": 7}),
        msgpack.packb({"t": "x", "e": msgpack.ExtType(5, b"code")}),
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",  # an array that claims four billion items
        b"\x91" * 5000,  # nested deeper than anything we write
        msgpack.packb({"t": "x"}) + b"trailing",
    ],
)
def test_a_payload_that_is_not_a_typed_map_is_refused(payload: bytes) -> None:
    with pytest.raises(CorruptMessage):
        read(frame(payload))


def test_a_length_over_the_limit_is_refused_before_anything_is_read() -> None:
    decoder = Decoder(limit=100)
    decoder.feed(struct.pack("<II", 101, 0))
    with pytest.raises(CorruptMessage, match="limit"):
        list(decoder)
    with pytest.raises(MessageTooLong):
        encode({"t": "x", "data": bytes(200)}, limit=100)
    assert FRAME_BYTES == 8
