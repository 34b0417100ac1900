"""What the nano models are called, where a model is named."""

from __future__ import annotations

NANO, YOUNG = "nano", "nano:young"
"""The trained one, and the same after a twentieth of its training, whose clips drift more."""


def is_nano(model: str) -> bool:
    """Whether a model's name is that of a nano model, which needs the arguments `nano.CALL`."""
    return model in (NANO, YOUNG)
