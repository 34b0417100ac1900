"""`ltxtui replay` of a run on a store: the dashboard opens at once, and never waits for the store."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from ltxtui.cli.common import CliError, store_problems
from replay.remote.stores.address import parse_store

if TYPE_CHECKING:
    from replay.remote.stores.source import StoreSource

_PATIENCE: Final = 3.0
"""How long an address that is wrong has to show that it is before the dashboard is opened."""
_LOOK_SECONDS: Final = 0.02


def store_source(text: str) -> tuple[StoreSource, str]:
    """The run that an address names, and its full address.

    Raises:
        CliError: if it cannot be reached, or is found soon not to be there.
    """
    from replay.remote.stores.listing import find_run
    from replay.remote.stores.source import StoreSource

    with store_problems():
        address = find_run(parse_store(text))
        source = StoreSource(address)
    end = time.monotonic() + _PATIENCE
    try:
        while not source.opened and not source.failed and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        source.close()
        sys.exit(130)
    if source.failed:
        raise CliError(source.failed)
    return source, str(address)
