"""`ltxtui metrics`: the live runs of this user as OpenMetrics, for Prometheus and Grafana."""

from __future__ import annotations

import contextlib
import errno
import socketserver
import sys
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import click

from ltxtui.cli.common import CliError, say

if TYPE_CHECKING:
    from replay.export.live_metrics import LiveMetrics

HOST: Final = "127.0.0.1"
PORT: Final = 9391
PERIOD: Final = 1.0
"""Seconds between two looks at the runs: between scrapes they are read too, so that no run keeps much for us."""
_OWN_NAMES: Final = ("127.0.0.1", "localhost")

_App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@click.command(
    epilog="""\b
Examples:
  ltxtui metrics                   look: curl http://127.0.0.1:9391/metrics
  ltxtui metrics --port 9400
  ltxtui metrics --once            print the metrics of now, for a textfile collector

\b
For prometheus.yml:
  scrape_configs:
    - job_name: ltxtui
      static_configs: [{targets: ["127.0.0.1:9391"]}]
"""
)
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=PORT, show_default=True, help="Port; 0 is any free one."
)
@click.option("--once", is_flag=True, help="Print the metrics once, instead of serving them.")
def metrics(port: int, once: bool) -> None:
    """Serve the live runs of this user as OpenMetrics, on this machine alone.

    Each run has its last values as ltxtui_velocity_rms{run="…",stream="video",item="0"}, the steps so far as
    ltxtui_steps_total, its events as ltxtui_events_total, and the load of its machine. A run appears when it begins and
    disappears when it ends. Needs pip install 'ltxtui[metrics]'. Ctrl-C ends it.
    """
    from recorder.format.locations import UnsafeLocation
    from replay.export.live_metrics import LiveMetrics
    from replay.export.problems import ExportProblem

    try:
        live = LiveMetrics()
        live.look()
    except (ExportProblem, UnsafeLocation) as error:
        raise CliError(str(error)) from error
    with contextlib.closing(live):
        if once:
            click.echo(_text(live), nl=False)
        else:
            _serve(live, port)


def _text(live: LiveMetrics) -> str:
    from prometheus_client import CollectorRegistry
    from prometheus_client.openmetrics.exposition import generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(live)
    text: bytes = generate_latest(registry)
    return text.decode()


def _serve(live: LiveMetrics, port: int) -> None:
    try:
        server = served(live, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CliError(f"port {port} is taken; choose another with --port") from error
        raise CliError(f"port {port} cannot be used: {error.strerror or error}; choose another with --port") from error
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        click.echo(f"http://{HOST}:{server.server_port}/metrics")
        sys.stdout.flush()
        say("serving the live runs on this machine; Ctrl-C ends it")
        try:
            _look_on(live)
        finally:
            server.shutdown()


def _look_on(live: LiveMetrics) -> None:
    """Read the runs until Ctrl-C."""
    from recorder.format.locations import UnsafeLocation

    resting = threading.Event()
    while not resting.wait(PERIOD):
        try:
            live.look()
        except UnsafeLocation as error:
            raise CliError(str(error)) from error


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
