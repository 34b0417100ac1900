"""The file system of a store, by fsspec, and calls to it that end in time.

fsspec waits for a store in a thread of its own, without an end that could be relied on. So every call is made in a
thread that nobody has to wait for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from replay.remote.stores.address import EXTRAS, StoreAddress
from replay.remote.stores.problems import StoreProblem, problem_of

CALL_SECONDS: Final = 60.0
"""How long one call may take, beyond what its bytes need."""
SLOWEST: Final = 64 << 10
"""Bytes per second at least: a slower store counts as one that does not answer."""
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "s3": {
        "use_listings_cache": False,
        "config_kwargs": {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 2}},
    },
    "gcs": {"use_listings_cache": False, "timeout": 30},
    "hf": {"use_listings_cache": False},
    "http": {"use_listings_cache": False},
}
"""By extra. Lists that fsspec keeps would be those of a minute ago."""

T = TypeVar("T")


class MissingStoreExtra(ImportError):
    """The package of a store is not installed; the message names the extra."""


class UnknownScheme(ValueError):
    """No store has addresses that begin so; the message names some that are known."""


def file_system(address: StoreAddress) -> Any:
    """The fsspec file system of an address. No request is made.

    Raises:
        MissingStoreExtra: if its package is not installed.
        UnknownScheme: if there is none.
        StoreProblem: if it cannot be set up.
    """
    scheme = address.scheme
    extra = EXTRAS.get(scheme)
    try:
        import fsspec
    except ImportError:
        way = f"pip install 'ltxtui[{extra}]'" if extra else "pip install fsspec, and the package for it"
        raise MissingStoreExtra(f"{scheme}:// needs fsspec: {way}") from None
    try:
        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        way = f"pip install 'ltxtui[{extra}]' ({error})" if extra else str(error)
        raise MissingStoreExtra(f"{scheme}:// needs another package: {way}") from None
    except ValueError:
        known = "s3://, gs://, hf:// and https://"
        raise UnknownScheme(f"{address.shown}: {scheme}:// is no store that is known; {known} are") from None
    try:
        return kind(**_OPTIONS.get(extra or "", {}))
    except ImportError as error:  # a package that is imported on first use
        raise MissingStoreExtra(f"{scheme}:// needs another package: pip install 'ltxtui[{extra}]' ({error})") from None
    except Exception as error:
        raise problem_of(error, address) from error


def called(address: StoreAddress, call: Callable[[], T], size: int = 0) -> T:
    """What a call to a store gives.

    Args:
        address: of what it is about, for errors.
        call: makes the request.
        size: bytes that it moves.

    Raises:
        StoreProblem: if it fails, or takes too long; it may then still be under way.
    """
    given: list[T] = []
    failed: list[BaseException] = []

    def make() -> None:
        try:
            given.append(call())
        except BaseException as error:  # noqa: BLE001 - it is raised where the call was asked for
            failed.append(error)

    thread = threading.Thread(target=make, name="ltxtui-store", daemon=True)
    thread.start()
    limit = CALL_SECONDS + size / SLOWEST
    thread.join(limit)
    if failed:
        raise problem_of(failed[0], address) from failed[0]
    if not given:
        raise StoreProblem(f"{address.shown} has not answered in {limit:.0f} s; try again later")
    return given[0]
