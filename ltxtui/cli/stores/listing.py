"""The runs in a folder on a store, for commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ltxtui.cli.common import CliError, LocalPath, store_problems
from replay.remote.stores.address import StoreAddress, is_store, parse_store

if TYPE_CHECKING:
    from replay.remote.stores.listing import StoredRun, StoreListing


class RunsPlace(LocalPath):
    """A local folder of runs, or one on a store: a `StoreAddress`."""

    takes_stores = True

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, StoreAddress):
            return value
        if isinstance(value, str) and is_store(value):
            with store_problems():
                return parse_store(value)
        return super().convert(value, param, ctx)


def stored_listing(folder: StoreAddress) -> StoreListing:
    """What a folder on a store has. Raises CliError if it cannot be listed."""
    from replay.remote.stores.listing import list_store

    if folder.kind != "runs":
        raise CliError(f"{folder.shown} is one run; list the folder that it is in: {folder.above.shown}")
    with store_problems():
        return list_store(folder)


def stored_runs(text: str) -> list[StoredRun]:
    """The runs in a folder on a store, the newest first. Raises CliError if there is none."""
    with store_problems():
        folder = parse_store(text)
    found = stored_listing(folder).runs
    if not found:
        raise CliError(f"no runs in {folder.shown}")
    return found
