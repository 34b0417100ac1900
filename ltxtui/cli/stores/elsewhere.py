"""Runs that are not on this machine, for commands that read all of a run or write beside it."""

from __future__ import annotations

from pathlib import Path

from ltxtui.cli.common import recorded_path, stored_path
from replay.remote.address import is_address
from replay.remote.stores.address import is_store


def is_elsewhere(given: str) -> bool:
    """Whether an argument names a run of another machine or on a store, which is fetched to be read."""
    return is_address(given) or is_store(given)


def whole_path(given: str, runs_dir: Path) -> Path:
    """The path of `recorded_path`, with all files of an archive on a store. Raises as that."""
    return stored_path(given, whole=True) if is_store(given) else recorded_path(given, runs_dir)
