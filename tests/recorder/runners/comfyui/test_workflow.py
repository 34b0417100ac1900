"""What is read from a workflow: prompts, model files, and the workflow itself, packed and unpacked."""

from __future__ import annotations

import base64
import json
import random
import zlib
from typing import Any

import pytest

from recorder.runners.comfyui import workflow
from recorder.sampling.metadata import brief
from tests.recorder.runners.comfyui.fakes import GRAPH

KSAMPLER: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {"model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "seed": 1},
    },
    "4": {"class_type": "LoraLoaderModelOnly", "inputs": {"model": ["5", 0], "lora_name": "style.safetensors"}},
    "5": {"class_type": "UNETLoader", "inputs": {"unet_name": "ltx-2.3.gguf"}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["8", 0], "text": "a kite"}},
    "7": {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["6", 0]}},
}


def test_prompts_are_found_through_guiders_and_primitives() -> None:
    assert workflow.prompt_of(GRAPH, "6", "positive") == "a fox in the snow"
    assert workflow.prompt_of(GRAPH, "6", "negative") == "blurry"
    assert workflow.prompt_of(KSAMPLER, "3", "positive") == "a kite"


def test_model_files_are_found() -> None:
    assert workflow.model_file(GRAPH, "6") == "ltx-2.3-toy.safetensors"
    assert workflow.model_files(KSAMPLER) == {
        "LoraLoaderModelOnly": ["style.safetensors"],
        "UNETLoader": ["ltx-2.3.gguf"],
    }


@pytest.mark.parametrize(
    "graph",
    [
        {},
        {"6": None},
        {"6": {"inputs": []}},
        {"6": {"inputs": {"guider": ["6", 0], "positive": ["6", 0], "model": ["6", 0]}}},
        {"6": {"inputs": {"positive": ["9", 0]}}},
        {"6": {"inputs": {"positive": ["9", 0]}}, "9": {"inputs": {"text": ["9", 0]}}},
    ],
)
def test_any_graph_can_be_read(graph: Any) -> None:
    assert workflow.prompt_of(graph, "6", "positive") is None
    assert workflow.model_file(graph, "6") is None
    assert workflow.model_files(graph) == {}


def test_a_workflow_survives_the_metadata_of_a_run() -> None:
    rng = random.Random(0)
    large = {str(i): {"class_type": "X", "inputs": {"text": f"{rng.random()} é"}} for i in range(600)}
    kept = brief(workflow.described(large))
    assert workflow.unpacked(kept["workflow"]) == large


def test_a_workflow_that_is_too_large_is_not_kept_in_part() -> None:
    rng = random.Random(0)
    text = base64.b64encode(rng.randbytes(60_000)).decode()
    assert workflow.packed({"1": {"inputs": {"text": text}}}) is None
    assert workflow.packed({"1": {"inputs": {"value": object()}}}) is None


@pytest.mark.parametrize(
    "parts",
    [
        None,
        [],
        [3],
        ["ä"],
        [base64.b64encode(b"not compressed").decode()],
        [base64.b64encode(zlib.compress(b"[]")).decode()],
        [base64.b64encode(zlib.compress(json.dumps({"1": "x" * (9 << 20)}).encode())).decode()],
    ],
)
def test_a_damaged_workflow_is_refused(parts: Any) -> None:
    with pytest.raises(ValueError, match="workflow"):
        workflow.unpacked(parts)
