"""What a workflow in ComfyUI's API form says of a sampling: prompts, model files, and how to queue it again.

The form maps node ids to `{"class_type": …, "inputs": {…}}`; an input is a value, or a link `[node id, output]`. Pure
functions; a workflow may be of any shape, since custom nodes extend it.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from recorder.format.events import MAX_TEXT
from recorder.sampling.metadata import brief

Workflow = Mapping[str, Any]

MAX_PACKED: Final = 40_000
"""Characters of a packed workflow; one description of a run has 60,000."""
MAX_UNPACKED: Final = 8 << 20
"""Bytes of a workflow that is read from a run, which may come from anybody."""
_FILE_ENDINGS: Final = (".safetensors", ".gguf", ".sft", ".ckpt", ".pt", ".pth")
_TEXTS: Final = ("text", "prompt", "value", "string")
"""Inputs that hold a prompt."""


def node(workflow: Workflow, identity: object) -> Mapping[str, Any]:
    """A node; empty if there is none."""
    found = workflow.get(str(identity))
    return found if isinstance(found, Mapping) else {}


def inputs(workflow: Workflow, identity: object) -> Mapping[str, Any]:
    """The inputs of a node; empty if there are none."""
    found = node(workflow, identity).get("inputs")
    return found if isinstance(found, Mapping) else {}


def linked(value: object) -> str | None:
    """The node that an input is linked to; None for a value."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int) and isinstance(value[1], int):
        return str(value[0])
    return None


def prompt_of(workflow: Workflow, identity: object, side: str) -> str | None:
    """The text that a sampler's conditioning comes from; None if it is not found.

    Follows the sampler's inputs upwards, through its guider, to `side`, and from there to the first text.

    Args:
        workflow: the whole graph.
        identity: the node that samples.
        side: `positive` or `negative`.
    """
    seen: set[str] = set()
    names: tuple[str, ...] = (side, "guider", *(("conditioning",) if side == "positive" else ()))
    at: str | None = str(identity)
    inside = False
    while at is not None and at not in seen:
        seen.add(at)
        given = inputs(workflow, at)
        for name in _TEXTS if inside else ():
            if isinstance(text := _text(workflow, given.get(name)), str):
                return text
        link = next((linked(given[name]) for name in names if name in given), None)
        if link is not None and side in given:
            inside = True
        elif link is None and inside:
            link = next((found for v in given.values() if (found := linked(v))), None)
        elif "conditioning" in given:
            inside = True
        at = link
    return None


def _text(workflow: Workflow, value: object) -> str | None:
    """A text, or the one that a link leads to, through nodes that hold one."""
    for _ in range(8):
        if isinstance(value, str):
            return value
        link = linked(value)
        if link is None:
            return None
        given = inputs(workflow, link)
        value = next((given[name] for name in _TEXTS if name in given), None)
    return None


def model_files(workflow: Workflow) -> dict[str, list[str]]:
    """Names of the files that nodes load, by class of node, without repetitions."""
    found: dict[str, list[str]] = {}
    for identity in workflow:
        for value in inputs(workflow, identity).values():
            if isinstance(value, str) and value.endswith(_FILE_ENDINGS):
                files = found.setdefault(str(node(workflow, identity).get("class_type")), [])
                if value not in files:
                    files.append(value)
    return found


def model_file(workflow: Workflow, identity: object) -> str | None:
    """The checkpoint or diffusion model that a node samples with, found upwards along `model` and `guider`."""
    seen: set[str] = set()
    at: str | None = str(identity)
    while at is not None and at not in seen:
        seen.add(at)
        given = inputs(workflow, at)
        if "model" in given or "guider" in given:
            at = linked(given.get("guider")) or linked(given.get("model"))
            continue
        return next((v for v in given.values() if isinstance(v, str) and v.endswith(_FILE_ENDINGS)), None)
    return None


def packed(workflow: Workflow) -> list[str] | None:
    """A workflow as texts that fit into a run's metadata: JSON, compressed, base64; None if it is too large."""
    try:
        data = json.dumps(workflow, separators=(",", ":"), ensure_ascii=False).encode()
    except (TypeError, ValueError):  # a program queued what is not JSON
        return None
    text = base64.b64encode(zlib.compress(data, 9)).decode()
    if len(text) > MAX_PACKED:
        return None
    return [text[i : i + MAX_TEXT] for i in range(0, len(text), MAX_TEXT)]


def unpacked(parts: object) -> dict[str, Any]:
    """The workflow of `packed`.

    Raises:
        ValueError: if it is not one.
    """
    if not isinstance(parts, list) or not parts or not all(isinstance(p, str) for p in parts):
        raise ValueError("its workflow is not recorded")
    try:
        reader = zlib.decompressobj()
        data = reader.decompress(base64.b64decode("".join(parts), validate=True), MAX_UNPACKED)
        found = json.loads(data)
    except (ValueError, zlib.error, RecursionError) as error:
        raise ValueError("its workflow is damaged") from error
    if reader.unconsumed_tail or not isinstance(found, dict):
        raise ValueError("its workflow is damaged")
    return found


def described(workflow: Workflow) -> dict[str, Any]:
    """A workflow for the metadata of a run: packed as a whole, and readable, where that fits."""
    return {"models": brief(model_files(workflow)), "nodes": _classes(workflow), "workflow": packed(workflow)}


def _classes(workflow: Workflow) -> dict[str, str]:
    return {str(name): str(node(workflow, name).get("class_type")) for name in _first(workflow, 100)}


def _first(workflow: Workflow, most: int) -> Iterator[str]:
    for number, name in enumerate(workflow):
        if number == most:
            return
        yield name
