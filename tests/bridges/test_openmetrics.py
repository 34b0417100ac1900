"""`ltxtui metrics`, scraped over HTTP and read by the parser of prometheus_client."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ltxtui.cli import cli
from replay.export.live_metrics import LiveMetrics, exposed_name
from replay.export.metrics_server import HOST, served
from tests.replay import exported
from tests.replay.test_export import Served
from tests.waiting import until

parser = pytest.importorskip("prometheus_client.openmetrics.parser", reason="needs the extra metrics: make bridges")

Labels = frozenset[tuple[str, str]]


@pytest.fixture
def port() -> Iterator[int]:
    live = LiveMetrics()
    server = served(live, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    live.close()


def scraped(port: int, host: str = "") -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    connection.request("GET", "/metrics", headers=accept | ({"Host": host} if host else {}))
    answer = connection.getresponse()
    with contextlib.closing(connection):
        return answer.status, answer.read().decode()


def series(text: str) -> dict[str, dict[Labels, float]]:
    found: dict[str, dict[Labels, float]] = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def of(run: str = exported.NAME, **labels: str) -> Labels:
    return frozenset({"run": run, **labels}.items())


def test_a_live_run_is_there_with_its_last_values_and_gone_at_its_end(
    port: int, runtime_dir: Path, tmp_path: Path
) -> None:
    archive = exported.archive(tmp_path)
    assert series(scraped(port)[1]) == {}
    run = Served(runtime_dir)
    other = Served(runtime_dir, "other")
    try:
        other.send(5)
        run.send(len(run.left) - 1)

        def found() -> dict[str, dict[Labels, float]]:
            now = series(scraped(port)[1])
            return now if now.get("ltxtui_steps_total", {}).get(of(stream="audio")) == 12 else {}

        now = until(found)
        whole, expected = exported.expected(archive)
        checked = 0
        for stream, data in whole.stages[-1].streams.items():
            for name, info in data.metrics.items():
                if info.dims[1:] not in ((), ("batch",)):
                    continue
                for item in range(exported.BATCH):
                    tag, labels = f"{stream}/{name}", {"stream": stream}
                    if info.dims[1:]:
                        tag, labels = f"{tag}/{item}", {**labels, "item": str(item)}
                    exposed, factor = exposed_name(name, info.unit)
                    value = now.get(exposed, {}).get(of(**labels))
                    wanted = float(expected[11][tag][0])
                    assert (value is None) == np.isnan(wanted)
                    assert value is None or value == wanted * factor, exposed
                    checked += value is not None
        assert checked > 100
        assert now["ltxtui_events_total"][of(kind="shock")] == 2 and now["ltxtui_stage"][of()] == 1
        assert now["ltxtui_process_cpu_ratio"][of()] == pytest.approx(0.55)
        assert of("other") in now["ltxtui_stage"]
        run.send(1)  # its end
        until(lambda: "ltxtui_stage" in (s := series(scraped(port)[1])) and of() not in s["ltxtui_stage"])
        assert {dict(labels)["run"] for of_name in series(scraped(port)[1]).values() for labels in of_name} == {"other"}
    finally:
        run.close()
        other.close()


def test_names_end_in_base_units() -> None:
    units = {
        ("gpu_ms", "ms"): ("ltxtui_gpu_seconds", 1e-3),
        ("step_seconds", "s"): ("ltxtui_step_seconds", 1.0),
        ("vram_peak", "bytes"): ("ltxtui_vram_peak_bytes", 1.0),
        ("snr_schedule_db", "dB"): ("ltxtui_snr_schedule_decibels", 1.0),
        ("gpu_temperature", "°C"): ("ltxtui_gpu_temperature_celsius", 1.0),
        ("velocity_rms", "1"): ("ltxtui_velocity_rms", 1.0),
    }
    assert {given: exposed_name(*given) for given in units} == units


def test_only_this_machine_by_its_own_name_is_answered(port: int) -> None:
    assert scraped(port)[0] == 200 and scraped(port, f"localhost:{port}")[0] == 200
    assert scraped(port, f"evil.example:{port}") == (403, "")


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server((HOST, 0)) as taken:
        number: Any = taken.getsockname()[1]
        done = CliRunner().invoke(cli, ["metrics", "--port", str(number)])
    assert (done.exit_code, done.output) == (1, f"ltxtui: port {number} is taken; choose another with --port\n")


def test_the_metrics_of_now_can_be_printed() -> None:
    done = CliRunner().invoke(cli, ["metrics", "--once"])
    assert (done.exit_code, done.output) == (0, "# EOF\n")
