"""A small valid run as messages, journal, archive and commands, and seeded mutations of them that know the format."""

from __future__ import annotations

import copy
import io
import json
import math
import os
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgpack
import numpy as np

from recorder.format import paths
from recorder.format.protocol import Message

SPLICES: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2, 7, 255, 1 << 20, (1 << 31) - 1, 1 << 32, 1 << 53, (1 << 63) - 1, -(1 << 63),
    (1 << 64) - 1, 0.0, -0.0, 1.5, math.nan, math.inf, -math.inf, 1e308, 5e-324, "", "x", "video", paths.stage(0),
    "../../x", "/etc/passwd", "\x00", "\x1b[2J", "[red]x[/]", "\udcff", "NaN", "a" * 3000, b"", b"\x00" * 8,
    bytes(range(64)), [], {}, [[]], {"t": "step"}, {"": {}}, [None], ["step", "batch"], [1, 1], [1 << 40, 1 << 40],
    [-1, -1], [0], [[]] * 300,
)  # fmt: skip


def _metric(name: str, shape: list[int], *dims: str) -> Message:
    return {"name": name, "unit": "1", "dims": ["step", *dims], "shape": shape, "label": name, "description": ""}


def valid_messages(stages: int = 2, streams: tuple[str, ...] = ("video", "audio")) -> list[Message]:
    """Stages and streams, rows one by one and in blocks, pictures, load, every kind of event, and an end."""
    metrics = [_metric("sigma", []), _metric("mean", [2], "batch"), _metric("spectrum_x", [2, 3], "batch", "frequency")]
    coordinates = {"frequency": {"values": [0.1, 0.2, 0.3], "attributes": {"units": "Nyquist"}}}
    version = {"format": "ltxtui-run", "version": 1}
    header = {
        "t": "header",
        **version,
        "run": "fuzz",
        "time": 1e9,
        "archive": "",
        "metadata": {"host": "h", "user": {}},
    }
    found: list[Message] = [header]
    event = {"t": "event", "time": 1e9, "stage": 0, "step": 1, "stream": "video", "text": "told", "payload": {}}
    for stage in range(stages):
        known = {"prompt": "a ball", "seed": 1, "arguments": {"height": 8}}
        plan = {"sigmas": [1.0, 0.5, 0.25], "metadata": known, "time": 1e9}
        found.append({"t": "stage", "stage": stage, "call": stage, "tile": None, **plan})
        for stream in streams:
            sizes = {"grid": [2, 2, 2], "shape": [2, 8, 4], "metrics": metrics, "coordinates": coordinates}
            found.append({"t": "stream", "stage": stage, "stream": stream, **sizes})
        for step in range(2):
            row = np.arange(9, dtype="<f4") + step
            at = {"stage": stage, "step": step, "time": 1e9 + step}
            found += [{"t": "step", "stream": s, "data": row.tobytes(), **at} for s in streams]
            picture = {"shape": [2, 1, 2, 3], "frames": [0, 1], "fit": 1, "data": bytes(12)}
            found.append({"t": "preview", "stream": "video", "stage": stage, "step": step, **picture})
        block = {"count": 2, "time": np.array([1e9, 2e9]).tobytes(), "data": np.zeros(18, "<f4").tobytes()}
        found.append({"t": "step", "stage": stage, "stream": "video", "step": 2, **block})
        found.append({"t": "system", "time": 1e9, "values": {"process_cpu": 50.0, "process_memory": 1e8}})
        shock = {"sigmas": [1.0, 0.7, 0.5, 0.25], "number": 0, "live": True, "shock": {"kind": "restart", "to": 0.7}}
        found.append({**event, "stage": stage, "kind": "shock", "payload": shock})
        found.append({**event, "stage": stage, "kind": "nan"})
        summary = {"video": {"drift_index": [0.1, None], "straightness": [0.5, 0.5]}}
        found.append({**event, "stage": stage, "step": None, "kind": "stage_end", "payload": {"summary": summary}})
    return [*found, {"t": "end", "time": 2e9, "status": "complete", "error": None}]


def valid_commands() -> list[Message]:
    """What viewers may ask for."""
    asked = {"t": "control", "id": "a1"}
    mask = [[[0, 1], [1, 0]], [[1, 1], [0, 0]]]
    return [
        {**asked, "command": "stop"},
        {**asked, "command": "snapshot"},
        {**asked, "command": "shock", "shock": {"kind": "restart", "strength_db": 6.0, "seed": 3, "respace": True}},
        {**asked, "command": "shock", "shock": {"kind": "renoise", "eta": 0.5, "shape": [0.1, 0.4], "frames": [0, 2]}},
        {**asked, "command": "shock", "shock": {"kind": "additive", "to": 0.5, "mask": mask, "streams": ["video"]}},
        {**asked, "command": "shock", "shock": {"kind": "predict_perturb", "shape": "low"}},
    ]


def framed(payload: bytes) -> bytes:
    """Any payload with its correct length and checksum."""
    return struct.pack("<II", len(payload), zlib.crc32(payload)) + payload


def packed(message: Any) -> bytes:
    """One frame of any value that msgpack takes."""
    try:
        payload: bytes = msgpack.packb(message, use_bin_type=True, unicode_errors="surrogatepass")
    except (ValueError, OverflowError, TypeError, RecursionError):
        payload = b"\x81\xa1t\xa1x"
    return framed(payload)


def places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """All containers with a key each, in a tree."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found.append((value, key))
        places(value[key], found)
    return found


def nested(rng: random.Random, deep: int) -> Any:
    """Lists or maps in one another."""
    value: Any = 0
    for _ in range(deep):
        value = [value] if rng.random() < 0.5 else {"k": value}
    return value


def change(rng: random.Random, tree: Any) -> None:
    """Change one place of a tree of maps and lists."""
    there = places(tree, [])
    if not there:
        return
    holder, key = rng.choice(there)
    value = holder[key]
    kind = rng.randrange(9)
    if kind < 3:
        holder[key] = copy.deepcopy(rng.choice(SPLICES))
    elif kind == 3:
        del holder[key]
    elif kind == 4:
        other, place = rng.choice(there)
        holder[key] = copy.deepcopy(other[place])
    elif kind == 5 and type(value) in (int, float):
        holder[key] = rng.choice((value + 1, value - 1, -value, value * 2, value * 1_000_003, type(value)(0)))
    elif kind == 5 and isinstance(value, bytes):
        holder[key] = value[: rng.randrange(len(value) + 1)] + rng.randbytes(rng.choice((0, 1, 4, 36)))
    elif kind == 6 and isinstance(value, list):
        holder[key] = value * rng.choice((2, 3, 50)) if rng.random() < 0.5 else value[:-1]
    elif kind == 7:
        holder[key] = nested(rng, rng.choice((2, 20, 31, 32, 33, 100)))
    elif isinstance(holder, dict):
        holder[rng.choice(("t", "stage", "count", "data", "extra", str(key)))] = copy.deepcopy(rng.choice(SPLICES))


def changed_bytes(rng: random.Random, data: bytes) -> bytes:
    """Bits flipped, a stretch cut, doubled or replaced, or the end cut."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        if not found:
            break
        at, kind = rng.randrange(len(found)), rng.randrange(6)
        length = min(rng.choice((1, 2, 4, 8, 64)), len(found) - at)
        if kind < 2:
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del found[at : at + length]
        elif kind == 3:
            found[at:at] = found[at : at + length]
        elif kind == 4:
            found[at : at + length] = rng.choice((b"\xff", b"\x00", b"\xdd\xff\xff\xff\xff", b"\xc6\x7f\xff\xff\xff"))
        else:
            del found[at:]
    return bytes(found)


def stream_of(rng: random.Random, messages: list[Message]) -> bytes:
    """Frames of a changed sequence: most with correct checksums, so that their content is examined."""
    some = list(messages)
    for _ in range(rng.choice((0, 0, 1, 2))):
        kind, at, other = rng.randrange(3), rng.randrange(len(some)), rng.randrange(len(some))
        if kind == 0 and len(some) > 1:
            del some[at]
        elif kind == 1:
            some[at], some[other % len(some)] = some[other % len(some)], some[at]
        else:
            some.insert(at, some[other])
    frames = [FRAMES.get(id(m)) or FRAMES.setdefault(id(m), packed(m)) for m in some]
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
        at = rng.randrange(len(some))
        if rng.random() < 0.8:
            message = copy.deepcopy(some[at])
            for _ in range(rng.choice((1, 1, 2, 3))):
                change(rng, message)
            frames[at] = packed(message)
        else:
            frames[at] = framed(changed_bytes(rng, frames[at][8:]))
    data = b"".join(frames)
    lie = rng.random()
    if lie < 0.08:
        data = changed_bytes(rng, data)
    elif lie < 0.12:
        at = rng.randrange(len(frames))
        start = sum(map(len, frames[:at]))
        length = rng.choice((0, 1, 7, 1 << 16, 1 << 20, (1 << 20) + 1, 0xFFFFFFFF))
        data = data[:start] + struct.pack("<I", length) + data[start + 4 :]
    return data


FRAMES: Final[dict[int, bytes]] = {}
"""Frames of messages that are never freed, by identity: packing all of them for each input takes most of the time."""


def changed_file(rng: random.Random, path: Path, data: bytes) -> None:
    """Replace a file of an archive by something else."""
    kind = rng.random()
    if path.name == paths.DOCUMENT and kind < 0.75:
        tree = json.loads(data)
        for _ in range(rng.choice((1, 1, 2, 3))):
            change(rng, tree)
        text = json.dumps(tree, default=_text).encode("utf-8", "surrogatepass")
        if rng.random() < 0.03:
            text = text.replace(b"[]", b"[" * 5000 + b"]" * 5000, 1)
        path.write_bytes(text)
    elif kind < 0.88:
        path.write_bytes(changed_bytes(rng, data))
    elif kind < 0.92:
        path.unlink()
    else:
        path.unlink()
        rng.choice(STRANGE)(path)


def packed_archives(path: Path) -> list[bytes]:
    """A packed archive as it is, and with deflated members."""
    with zipfile.ZipFile(path) as file:
        members = [(info.filename, file.read(info)) for info in file.infolist()]
    deflated = io.BytesIO()
    with zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return [path.read_bytes(), deflated.getvalue()]


def changed_zip(rng: random.Random, data: bytes) -> bytes:
    """A zip file with fields, names or members changed, or with members that no honest program adds."""
    kind = rng.random()
    if kind < 0.2:
        return changed_bytes(rng, data)
    if kind < 0.4:
        return _with_members(rng, data)
    found = bytearray(data)
    signature, sizes = rng.choice(ZIP_FIELDS)
    places = [m.start() for m in re.finditer(re.escape(signature), data)]
    for _ in range(rng.choice((1, 1, 1, 3))):
        at = rng.choice(places)
        offset, size = rng.choice(sizes)
        value = rng.choice((0, 1, 8, 9, 99, 0xFFFF, 0xFFFFFFFF, rng.getrandbits(8 * size), len(data), at))
        found[at + offset : at + offset + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
    return bytes(found)


ZIP_FIELDS: Final[tuple[tuple[bytes, tuple[tuple[int, int], ...]], ...]] = (
    (b"PK\x01\x02", ((4, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (34, 2), (38, 4), (42, 4))),
    (b"PK\x01\x02", ((46, 1), (47, 2), (50, 1))),
    (b"PK\x03\x04", ((6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 1))),
    (b"PK\x05\x06", ((4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2))),
)
"""Signatures of the headers of a zip file, and offsets and sizes of what follows them."""

_CHUNKS: Final = f"{paths.stream(0, 'video')}/sigma/{paths.CHUNKS}"
HOSTILE_NAMES: Final = (
    "../x", "/etc/passwd", "a/../../x", "..", ".", "", "a//b", "a\\..\\b", paths.DOCUMENT, f"{paths.DOCUMENT}/x",
    paths.stage(0), f"{_CHUNKS}/00", "\x1b[2J", "x" * 5000, f"{_CHUNKS}/0/", paths.CHUNKS,
    paths.document(paths.stream(9999999, "video")),
)  # fmt: skip


def _with_members(rng: random.Random, data: bytes) -> bytes:
    out = io.BytesIO(data)
    with warnings.catch_warnings(), zipfile.ZipFile(out, "a") as file:
        warnings.simplefilter("ignore")
        there = file.namelist()
        for _ in range(rng.choice((1, 1, 2, 5))):
            name = rng.choice(there) if rng.random() < 0.2 else rng.choice(HOSTILE_NAMES)  # doubled, or hostile
            info = zipfile.ZipInfo(name or "-")
            info.compress_type = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
            info.create_system, info.external_attr = 3, rng.choice((0o100644, 0o120777, 0o020666, 0o040755)) << 16
            file.writestr(info, rng.choice((b"", b"{}", b"/etc/passwd", bytes(1 << 20), bytes(100_000))))
    found = bytearray(out.getvalue())
    if rng.random() < 0.2:  # encrypted, as both headers of a member say it
        for signature, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
            found[found.rindex(signature) + flags] |= 1
    return bytes(found)


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


STRANGE: Final[tuple[Callable[[Path], object], ...]] = (
    lambda path: path.symlink_to("/etc/passwd"),
    lambda path: path.symlink_to("/dev/zero"),
    lambda path: path.symlink_to(path.name),
    lambda path: path.symlink_to(path.parent),
    os.mkfifo,
    os.mkdir,
    _sparse,
)
"""What may replace a file."""
