"""Measures in full precision, independently of the caller's mixed precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def full_precision(device_type: str) -> AbstractContextManager[object]:
    """A context with autocast off for a type of device; an empty one for a type without autocast.

    `torch.autocast` raises RuntimeError for such a type, even to turn it off.
    """
    available: bool = torch.amp.is_autocast_available(device_type)
    context: AbstractContextManager[object] = torch.autocast(device_type, enabled=False) if available else nullcontext()
    return context
