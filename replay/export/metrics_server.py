"""Serves the live runs as OpenMetrics over HTTP, on this machine alone."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from replay.export.live_metrics import LiveMetrics

HOST: Final = "127.0.0.1"
PERIOD: Final = 1.0
"""Seconds between two looks at the runs: between scrapes they are read too, so that no run keeps much for us."""
_OWN_NAMES: Final = ("127.0.0.1", "localhost")

_App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def look_on(live: LiveMetrics) -> None:
    """Read the runs until Ctrl-C. Raises UnsafeLocation as `LiveMetrics.look` does."""
    resting = threading.Event()
    while not resting.wait(PERIOD):
        live.look()


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not reported."""


def served(live: LiveMetrics, port: int) -> WSGIServer:
    """A server of the metrics on loopback, which is to be started. Raises OSError."""
    from prometheus_client import CollectorRegistry, make_wsgi_app

    registry = CollectorRegistry(auto_describe=False)
    registry.register(live)
    return make_server(HOST, port, _guarded(make_wsgi_app(registry)), server_class=_Server, handler_class=_Handler)


def _guarded(app: _App) -> _App:
    """Answer only requests by this machine's own name: a web page whose name points here reads nothing."""

    def answer(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environment.get("HTTP_HOST", "").partition(":")[0] in _OWN_NAMES:
            return app(environment, start)
        start("403 Forbidden", [("Content-Type", "text/plain"), ("Content-Length", "0")])
        return [b""]

    return answer
