"""`ltxtui metrics`: the live runs of this user as OpenMetrics, for Prometheus and Grafana."""

from __future__ import annotations

import contextlib
import errno
import sys
import threading
from typing import TYPE_CHECKING, Final

import click

from ltxtui.cli.common import CliError, say

if TYPE_CHECKING:
    from replay.export.live_metrics import LiveMetrics

PORT: Final = 9391


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
    from recorder.format.locations import UnsafeLocation
    from replay.export import metrics_server

    try:
        server = metrics_server.served(live, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CliError(f"port {port} is taken; choose another with --port") from error
        raise CliError(f"port {port} cannot be used: {error.strerror or error}; choose another with --port") from error
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        click.echo(f"http://{metrics_server.HOST}:{server.server_port}/metrics")
        sys.stdout.flush()
        say("serving the live runs on this machine; Ctrl-C ends it")
        try:
            metrics_server.look_on(live)
        except UnsafeLocation as error:
            raise CliError(str(error)) from error
        finally:
            server.shutdown()
