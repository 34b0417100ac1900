"""Guidance of LTX2Pipeline as call arguments: all that LTX-2.3 suggests, and none at all."""

from __future__ import annotations

from typing import Any

GUIDED: dict[str, Any] = {
    "guidance_scale": 3.0,
    "stg_scale": 1.0,
    "modality_scale": 3.0,
    "guidance_rescale": 0.7,
    "audio_guidance_scale": 7.0,
    "audio_stg_scale": 1.0,
    "audio_modality_scale": 3.0,
    "audio_guidance_rescale": 0.7,
}
"""The full guidance that is suggested for LTX-2.3.

A step then calls the transformer three times, for four guidance passes: CFG's two share a batch. It is one evaluation.
"""

UNGUIDED: dict[str, Any] = {
    "guidance_scale": 1.0,
    "stg_scale": 0.0,
    "modality_scale": 1.0,
    "guidance_rescale": 0.0,
    "audio_guidance_scale": 1.0,
    "audio_stg_scale": 0.0,
    "audio_modality_scale": 1.0,
    "audio_guidance_rescale": 0.0,
}
"""No guidance: one model call per step. The audio scales have separate defaults, so all must be named."""
