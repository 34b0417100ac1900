"""Pictures as PNG in data URIs, without an imaging library: previews, and numbers as colours."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_STOPS: Final = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], np.float64)
"""Of the scale viridis, from low to high."""
_MISSING: Final = (128, 128, 128)


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """A picture [rows, columns, 3] as the address of an image."""
    return f"data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A picture [rows, columns, 3] as a PNG file."""
    rows, columns, _ = pixels.shape
    raw = b"".join(b"\0" + pixels[row].tobytes() for row in range(rows))
    head = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    body = [(b"IHDR", head), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(inside)) + kind + inside + struct.pack(">I", zlib.crc32(kind + inside))
        for kind, inside in body
    )


def strip(frames: NDArray[np.uint8], widest: int = 960) -> NDArray[np.uint8]:
    """The frames of a preview [frames, rows, columns, 3] side by side; every n-th pixel of what is wider."""
    row = np.concatenate(list(frames), axis=1)
    step = -(-row.shape[1] // widest)
    return np.ascontiguousarray(row[::step, ::step])


def colours(values: NDArray[np.floating[Any]], low: float, high: float) -> NDArray[np.uint8]:
    """Numbers [rows, columns] as colours [rows, columns, 3]; grey where there is none."""
    scaled = np.clip((values.astype(np.float64) - low) / ((high - low) or 1.0), 0, 1)
    known = np.isfinite(scaled)
    at = np.where(known, scaled, 0) * (len(_STOPS) - 1)
    below = np.minimum(at.astype(int), len(_STOPS) - 2)
    part = (at - below)[..., None]
    found = _STOPS[below] * (1 - part) + _STOPS[below + 1] * part
    found[~known] = _MISSING
    pixels: NDArray[np.uint8] = found.round().astype(np.uint8)
    return pixels
