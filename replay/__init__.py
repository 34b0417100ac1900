"""Reads, plays and compares recorded runs. Names are resolved on first use, so that this import stays light."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replay.comparison.compare import Comparison, compare
    from replay.datatree import open_run
    from replay.model.run import Run
    from replay.model.validation import NotARun
    from replay.sources.open import load

__all__ = ["Comparison", "NotARun", "Run", "compare", "load", "open_run"]

_MODULES = {
    "Comparison": "replay.comparison.compare",
    "NotARun": "replay.model.validation",
    "Run": "replay.model.run",
    "compare": "replay.comparison.compare",
    "load": "replay.sources.open",
    "open_run": "replay.datatree",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'replay' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
