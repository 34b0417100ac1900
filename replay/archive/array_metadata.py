"""Metadata documents of arrays: those that `recorder.format.array_document` declares; anything else is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from recorder.format import array_document as declared
from replay.archive.safe_files import Damaged

MAX_CHUNK_BYTES: Final = 1 << 30
_MAX_ROWS: Final = 1 << 31
_MAX_AXES: Final = 8


@dataclass(frozen=True)
class ArraySpec:
    """Shape, chunks and data type of an array."""

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    data_type: str
    """Such as `float32`."""


def array_spec(document: dict[str, Any]) -> ArraySpec:
    """What an array's document declares. Raises Damaged for what the recorder never writes."""
    if document.get("node_type") != "array" or document.get("zarr_format") != 3:
        raise Damaged("is not a Zarr v3 array")
    if strange := sorted(str(k)[:40] for k in document.keys() - declared.KEYS):
        raise Damaged(f"has {', '.join(strange[:3])} in its document, which the format does not know")
    shape, kind = document.get("shape"), document.get("data_type")
    if not isinstance(kind, str) or kind not in declared.ITEM_BYTES:
        raise Damaged(f"is of type {str(kind)[:40]}, which is not part of the format")
    if not isinstance(shape, list) or not 0 < len(shape) <= _MAX_AXES or not all(_size(n) for n in shape):
        raise Damaged(f"has the shape {str(shape)[:60]}")
    chunk = _chunk(document.get("chunk_grid"), shape)
    size = math.prod(chunk) * declared.ITEM_BYTES[kind]
    if size > MAX_CHUNK_BYTES:
        raise Damaged(f"has chunks of {size:,} bytes, over {MAX_CHUNK_BYTES:,}")
    if document.get("chunk_key_encoding") not in declared.accepted_key_encodings():
        raise Damaged("has chunk files named in another way")
    fill = document.get("fill_value")
    if isinstance(fill, bool) or fill != declared.fill_value(kind):
        raise Damaged(f"has the fill value {str(fill)[:40]}")
    if document.get("storage_transformers") not in (None, []):
        raise Damaged("has storage transformers, which are not part of the format")
    if document.get("codecs") not in declared.accepted_codecs(kind):
        raise Damaged("has codecs that are not part of the format")
    return ArraySpec(tuple(shape), chunk, kind)


def _chunk(grid: Any, shape: list[int]) -> tuple[int, ...]:
    if not isinstance(grid, dict) or grid.get("name") != "regular" or not isinstance(grid.get("configuration"), dict):
        raise Damaged("has no regular chunks")
    chunk: Any = grid["configuration"].get("chunk_shape")
    fits = isinstance(chunk, list) and len(chunk) == len(shape) and all(_size(n) and n > 0 for n in chunk)
    if not fits or chunk != declared.chunk_shape(shape, chunk[0]):
        raise Damaged(f"of shape {shape} has chunks of {str(chunk)[:60]}")
    return tuple(chunk)


def _size(n: Any) -> bool:
    return type(n) is int and 0 <= n <= _MAX_ROWS
