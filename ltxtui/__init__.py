"""The dashboard and the command line of ltxtui. `ltxtui.__version__` is the version of the three packages."""

from __future__ import annotations

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    # Resolved on first use: the command checks whose package `recorder` is before anything imports it.
    if name == "__version__":
        from recorder.format.version import VERSION

        return VERSION
    raise AttributeError(f"module 'ltxtui' has no attribute {name!r}")
