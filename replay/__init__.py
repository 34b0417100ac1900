"""Reads, plays and compares recorded runs. `compare` is resolved on first use, so that this import stays light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replay.comparison.compare import Comparison, compare

__all__ = ["Comparison", "compare"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from replay.comparison import compare

        return getattr(compare, name)
    raise AttributeError(f"module 'replay' has no attribute {name!r}")
