"""What stops an export, and the libraries that an export needs."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class ExportProblem(ValueError):
    """Why nothing, or nothing more, is exported, in one line with a remedy."""


class MissingLibrary(ExportProblem):
    """The library of a target is not installed."""


def library(name: str, extra: str) -> ModuleType:
    """Import the library of a target.

    Args:
        name: of the module.
        extra: the extra of this package that installs it.

    Raises:
        MissingLibrary: if it cannot be imported, with the command that installs it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        absent = (
            isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == name.partition(".")[0]
        )
        why = "which is not installed" if absent else f"which cannot be imported ({error})"
        raise MissingLibrary(
            f"{extra} needs {name.partition('.')[0]}, {why}; install it with: pip install 'ltxtui[{extra}]'"
        ) from error
