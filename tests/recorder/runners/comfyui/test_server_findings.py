"""What is wrong with a sampling of a real ComfyUI is named as it is for the other runners."""

from __future__ import annotations

from typing import Any

import pytest

from replay.findings import RunFindings
from tests.recorder.runners.comfyui.server import COMFYUI, REASON, Server, graph
from tests.waiting import until

FAULTS: dict[str, set[str]] = {
    "not a number": {"not-finite"},
    "dead guidance": {"pass-without-effect"},
    "noise that is left": {"noise-left"},
    "a start that is not noise": {"start-noise-power"},
}

pytestmark = pytest.mark.skipif(not COMFYUI, reason=REASON)


def faulty(fault: str) -> Any:
    """A graph that a user has built wrongly, or whose text encoder is broken."""
    made = graph(seed=40)
    if fault == "not a number":
        made["2"]["inputs"]["broken"] = True
    elif fault == "dead guidance":
        made["3"]["inputs"]["text"] = made["2"]["inputs"]["text"]
    elif fault == "noise that is left":
        made["7"]["inputs"]["sigmas"] = "1, 0.95, 0.8, 0.5"
    elif fault == "a start that is not noise":
        made["10"] = {"class_type": "DisableNoise", "inputs": {}}
    return made


def named(server: Server, made: Any) -> dict[str, str]:
    """Severities by id of what is found in a prompt's run."""
    prompt = server.queue(made)
    assert server.wait(prompt)["status"]["status_str"] == "success"
    run = until(lambda: server.run_of(prompt))
    return {finding.id: finding.severity for finding in RunFindings(run).update()}


@pytest.fixture(scope="module")
def healthy(server: Server) -> dict[str, str]:
    return named(server, graph(seed=40))


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_is_named(server: Server, healthy: dict[str, str], fault: str) -> None:
    found = named(server, faulty(fault))
    assert FAULTS[fault] <= found.keys(), found
    assert not FAULTS[fault] & healthy.keys(), healthy
