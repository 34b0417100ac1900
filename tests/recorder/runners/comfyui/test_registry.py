"""The package for ComfyUI's registry: its examples are valid graphs, and it loads what the shim loads."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from recorder.runners.comfyui import nodes, shim
from registry import workflows

FOLDER = Path(workflows.__file__).parent


def kept(name: str) -> Any:
    return json.loads((FOLDER / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))


def test_every_example_is_there() -> None:
    found = {path.stem for path in (FOLDER / "example_workflows").iterdir()}
    assert found == set(workflows.WORKFLOWS)
    assert len(found) == 3


@pytest.mark.parametrize("name", sorted(workflows.WORKFLOWS))
def test_examples_are_what_the_script_writes(name: str) -> None:
    path = FOLDER / "example_workflows" / f"{name}.json"
    assert path.read_text(encoding="utf-8") == workflows.text_of(name)


@pytest.mark.parametrize("name", sorted(workflows.WORKFLOWS))
def test_classes_and_links_are_valid(name: str) -> None:
    found = kept(name)
    by_id = {node["id"]: node for node in found["nodes"]}
    assert len(by_id) == len(found["nodes"])
    assert {node["type"] for node in by_id.values()} <= set(workflows.SOCKETS)
    for link, source, output, target, slot, kind in found["links"]:
        assert source < target  # no circle
        gives, takes = by_id[source]["outputs"][output], by_id[target]["inputs"][slot]
        assert gives["type"] == takes["type"] == kind
        assert takes["link"] == link and link in gives["links"]
    linked = [socket["link"] for node in by_id.values() for socket in node["inputs"]]
    assert sorted(linked) == [link[0] for link in found["links"]]
    assert [node["type"] for node in by_id.values()].count("LTXTelemetry") == 1
    (recorded,) = [node for node in by_id.values() if node["type"] == "LTXTelemetry"]
    reached = {recorded["id"]}
    for _, source, _, target, _, kind in found["links"]:
        reached |= {target} if source in reached and kind in ("MODEL", "GUIDER") else set()
    samplers = [node["id"] for node in by_id.values() if node["type"] == "SamplerCustomAdvanced"]
    assert samplers and set(samplers) <= reached  # every sampling is recorded


def test_our_nodes_have_the_sockets_and_widgets_of_the_examples() -> None:
    for name, kind in (("LTXTelemetry", nodes.LTXTelemetry), ("LTXShock", nodes.LTXShock)):
        inputs, outputs = workflows.SOCKETS[name]
        given = kind.INPUT_TYPES()
        every = {**given["required"], **given["optional"]}
        assert all(every[socket][0] == of for socket, of in inputs.items())
        assert [of for _, of in outputs] == list(kind.RETURN_TYPES)
        widgets = [socket for socket in every if socket not in inputs]
        more = widgets.count("seed")  # the editor adds what a seed does after a prompt
        for example in workflows.WORKFLOWS:
            for node in kept(example)["nodes"]:
                if node["type"] == name:
                    assert len(node["widgets_values"]) == len(widgets) + more


def test_a_wrong_link_is_refused() -> None:
    graph = workflows.Graph()
    graph.add("noise", "RandomNoise", [1, "fixed"])
    with pytest.raises(ValueError, match="takes MODEL"):
        graph.add("recorded", "LTXTelemetry", ["", False, True], model="noise")
    with pytest.raises(ValueError, match="has the inputs"):
        graph.add("recorded", "LTXTelemetry", ["", False, True])


def test_the_package_has_what_the_registry_asks_for() -> None:
    found = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))
    assert found["project"]["version"].count(".") == 2
    assert found["project"]["license"] == {"text": "Apache-2.0"}
    assert "comfyui" not in found["project"]["name"].lower()
    assert {"PublisherId", "DisplayName"} <= set(found["tool"]["comfy"])
    assert (FOLDER / "requirements.txt").read_text().split() == found["project"]["dependencies"]


def test_the_package_loads_what_the_shim_loads() -> None:
    def statements(text: str) -> list[str]:
        joined = "".join(text.split("RECORD_ALL", 1)[1].split())
        return [joined.replace(",)", ")").replace("#noqa:BLE001-ComfyUImuststart", "").replace(":dict[str,type]", "")
                .replace(":dict[str,str]", "")]  # fmt: skip

    package = (FOLDER / "__init__.py").read_text(encoding="utf-8")
    assert statements(package) == statements(shim.shim_text(record_all=False))
