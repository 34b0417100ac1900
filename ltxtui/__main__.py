"""The command `ltxtui`, also started by `python -m ltxtui`: checks that its sibling packages are its own, then runs."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

SIBLINGS: Final = {"recorder": "ShockScheduler", "replay": "Comparison"}
"""Packages of this distribution with common names, and a name that only ours declares as public."""
APART: Final = "install ltxtui in an environment of its own"


def foreign_package() -> str | None:
    """A line about a package `recorder` or `replay` that is not ours; None if both are.

    Another distribution may install a package of the same name over ours, and a folder on PYTHONPATH may hide ours.
    Without this check an import fails deep in a command.
    """
    for name, own in SIBLINGS.items():
        if (said := _problem_of(name, own)) is not None:
            return f"ltxtui: {said}"
    return None


def _problem_of(name: str, own: str) -> str | None:
    here = Path(__file__).parent.parent
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return f"its package {name!r} is missing from {here}; {APART}"
    if Path(spec.origin).parent.parent != here:
        return f"{spec.origin} hides its package {name!r}; leave that folder or remove it from PYTHONPATH, or {APART}"
    try:
        public = getattr(import_module(name), "__all__", ())
    except Exception:  # noqa: BLE001 - code of another distribution
        public = ()
    return None if own in public else f"its package {name!r} in {here} was overwritten{_by(name)}; {APART}"


def _by(name: str) -> str:
    """Which distribution has overwritten a package, as far as the installed metadata tell."""
    from importlib.metadata import packages_distributions  # slow, and needed for the message only

    others = sorted(set(packages_distributions().get(name, ())) - {"ltxtui"})
    return f" by another distribution ({', '.join(others)})" if others else " by another distribution"


def main() -> None:
    """Entry point of the command `ltxtui`."""
    if (said := foreign_package()) is not None:
        # A line would be written over the one that is being typed, where a shell asks for completions.
        sys.exit(1 if os.environ.get("_LTXTUI_COMPLETE", "").endswith("_complete") else said)
    from ltxtui.cli import main as command  # imports both packages, so only after the check

    command()


if __name__ == "__main__":
    main()
