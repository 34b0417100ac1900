"""Metadata documents of arrays: those that `recorder.archive.zarr_writer` writes; anything else is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from replay.archive.safe_files import Damaged

ITEM_BYTES: Final = {"float16": 2, "float32": 4, "float64": 8, "int64": 8, "uint8": 1}
MAX_CHUNK_BYTES: Final = 1 << 30
_MAX_ROWS: Final = 1 << 31
_MAX_AXES: Final = 8
_LITTLE: Final = {"name": "bytes", "configuration": {"endian": "little"}}
_KEYS: Final = frozenset(
    {
        "attributes", "chunk_grid", "chunk_key_encoding", "codecs", "data_type", "dimension_names", "fill_value",
        "node_type", "shape", "storage_transformers", "zarr_format",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """How an array lies on disk."""

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    kind: str
    """Data type, such as `float32`."""


def layout_of(document: dict[str, Any]) -> Layout:
    """The layout that an array's document declares. Raises Damaged for what the recorder never writes."""
    if document.get("node_type") != "array" or document.get("zarr_format") != 3:
        raise Damaged("is no Zarr v3 array")
    if strange := sorted(str(k)[:40] for k in document.keys() - _KEYS):
        raise Damaged(f"has {', '.join(strange[:3])} in its document, which the format does not know")
    shape, kind = document.get("shape"), document.get("data_type")
    if not isinstance(kind, str) or kind not in ITEM_BYTES:
        raise Damaged(f"is of type {str(kind)[:40]}, which is not part of the format")
    if not isinstance(shape, list) or not 0 < len(shape) <= _MAX_AXES or not all(_size(n) for n in shape):
        raise Damaged(f"has the shape {str(shape)[:60]}")
    grid = document.get("chunk_grid")
    if not isinstance(grid, dict) or grid.get("name") != "regular" or not isinstance(grid.get("configuration"), dict):
        raise Damaged("has no regular chunks")
    chunk: Any = grid["configuration"].get("chunk_shape")
    # Whole along all axes but the first: what the recorder writes, and all that is needed.
    fits = isinstance(chunk, list) and len(chunk) == len(shape) and all(_size(n) and n > 0 for n in chunk)
    if not fits or chunk[1:] != [max(1, n) for n in shape[1:]]:
        raise Damaged(f"of shape {shape} has chunks of {str(chunk)[:60]}")
    if math.prod(chunk) * ITEM_BYTES[kind] > MAX_CHUNK_BYTES:
        raise Damaged(f"has chunks of {math.prod(chunk) * ITEM_BYTES[kind]:,} bytes, over {MAX_CHUNK_BYTES:,}")
    if document.get("chunk_key_encoding") not in (
        {"name": "default", "configuration": {"separator": "/"}},
        {"name": "default"},
    ):
        raise Damaged("has chunk files named in another way")
    fill = document.get("fill_value")
    if isinstance(fill, bool) or fill not in (("NaN",) if kind.startswith("float") else (0,)):
        raise Damaged(f"has the fill value {str(fill)[:40]}")
    if document.get("storage_transformers") not in (None, []):
        raise Damaged("has storage transformers, which are not part of the format")
    if document.get("codecs") not in ([_LITTLE], *([[{"name": "bytes"}]] if ITEM_BYTES[kind] == 1 else [])):
        raise Damaged("has codecs that are not part of the format")
    return Layout(tuple(shape), tuple(chunk), kind)


def _size(n: Any) -> bool:
    return type(n) is int and 0 <= n <= _MAX_ROWS
