"""Which guidance pass a batch of ComfyUI's conditionings is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def pass_name(cond: object, negative: object, options: Mapping[str, Any]) -> str:
    """`conditional`, `cfg`, `stg` or `modality`.

    Args:
        cond: the list of conditionings that the model was called with.
        negative: the guider's list of negative ones.
        options: the call's `transformer_options`, where guiders of Lightricks' node pack turn off parts of the model.
    """
    if cond is negative:
        return "cfg"
    if "ptb_index" in options or options.get("stg_indexes"):
        return "stg"
    if options.get("a2v_cross_attn") is False and options.get("v2a_cross_attn") is False:
        return "modality"
    return "conditional"


def passes_of(
    conds: Sequence[object], predictions: Sequence[Any], negative: object, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Predicted clean samples by the name of their pass; conditionings that were left out have none."""
    found: dict[str, Any] = {}
    for cond, prediction in zip(conds, predictions, strict=False):
        if cond is not None:
            found.setdefault(pass_name(cond, negative, options), prediction)
    return found
