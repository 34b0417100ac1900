"""The Zarr v3 document of an array: the writer makes it here, and the strict reader accepts what this declares.

Archives use a small part of Zarr v3: five data types, uncompressed little-endian chunks that are whole along every axis
but the first, one fill value per kind of type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

MAX_DOCUMENT_BYTES: Final = 64 << 20
"""Bytes of a node's document that readers take; the root's holds those of all nodes."""
ITEM_BYTES: Final = {"float16": 2, "float32": 4, "float64": 8, "int64": 8, "uint8": 1}
"""Data types, and the bytes of a value."""
KEY_ENCODING: Final = {"name": "default", "configuration": {"separator": "/"}}
"""Chunk files are called `c/0/0`; `paths.chunk` makes the name."""
_LITTLE: Final = {"name": "bytes", "configuration": {"endian": "little"}}
_BYTES: Final = {"name": "bytes"}


def fill_value(data_type: str) -> str | int:
    """The document's form of the value where no chunk was written: NaN or 0."""
    return "NaN" if data_type.startswith("float") else 0


def codecs(data_type: str) -> list[dict[str, Any]]:
    """Chunks are plain bytes; a type of one byte has no byte order."""
    return [_BYTES if ITEM_BYTES[data_type] == 1 else _LITTLE]


def chunk_grid(chunk: Sequence[int]) -> dict[str, Any]:
    """Regular chunks of a shape."""
    return {"name": "regular", "configuration": {"chunk_shape": list(chunk)}}


def chunk_shape(shape: Sequence[int], rows: int | None = None) -> list[int]:
    """Shape of the chunks: `rows` along the first axis (None: all), whole along the others."""
    chunk = [max(1, n) for n in shape]
    if rows is not None:
        chunk[0] = rows
    return chunk


def array_document(
    shape: Sequence[int], data_type: str, chunk: Sequence[int], dims: Sequence[str], attributes: dict[str, Any]
) -> dict[str, Any]:
    """The document of an array, with its keys in the order of zarr-python.

    Args:
        shape: sizes.
        data_type: one of `ITEM_BYTES`.
        chunk: sizes of a chunk.
        dims: a name per axis.
        attributes: JSON-like, without NaN.
    """
    return {
        "shape": list(shape),
        "data_type": data_type,
        "chunk_grid": chunk_grid(chunk),
        "chunk_key_encoding": KEY_ENCODING,
        "fill_value": fill_value(data_type),
        "codecs": codecs(data_type),
        "attributes": attributes,
        "dimension_names": list(dims),
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


KEYS: Final = frozenset(array_document((), "uint8", (), (), {}))
"""Keys of the document; it has no others."""


def accepted_codecs(data_type: str) -> tuple[list[dict[str, Any]], ...]:
    """Codecs that mean the same as `codecs`: a byte order that has no effect may be given."""
    return (codecs(data_type), [_LITTLE])


def accepted_key_encodings() -> tuple[dict[str, Any], ...]:
    """Key encodings that mean the same as `KEY_ENCODING`: the separator is the default."""
    return (KEY_ENCODING, {"name": KEY_ENCODING["name"]})
