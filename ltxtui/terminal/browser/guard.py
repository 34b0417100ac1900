"""Who is answered: requests that have the token, are addressed to this machine, and come from no other page.

The token is a part of the path, so that relative addresses carry it. It keeps out other users of the machine. `Host`
keeps out names that an attacker lets point to 127.0.0.1. `Origin` keeps out pages of other sites, which may open a
WebSocket to any address.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

HERE: Final = frozenset({"127.0.0.1", "localhost", "::1"})
"""Names of this machine for itself. The port may be another one: that of `ssh -L`."""


def new_token() -> str:
    """A token of 192 random bits that needs no quoting."""
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Guard:
    """Decides whether a request is answered."""

    token: str = field(default_factory=new_token, repr=False)

    def admits(self, given: str, headers: Mapping[str, str], *, from_page: bool = False) -> bool:
        """Whether a request is answered.

        Args:
            given: the token of its path.
            headers: of the request, found whatever their case.
            from_page: whether it must name the page that it comes from, as every browser does for a WebSocket.
        """
        host = headers.get("Host", "")
        origin = headers.get("Origin")
        right = hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.token.encode())
        return right and _name(f"//{host}") in HERE and (not from_page if origin is None else _same(origin, host))


def _name(address: str) -> str | None:
    """The host's name of an address; None if it has none."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _same(origin: str, host: str) -> bool:
    try:
        found = urlsplit(origin)
    except ValueError:
        return False
    return found.scheme in ("http", "https") and found.netloc.lower() == host.lower()
