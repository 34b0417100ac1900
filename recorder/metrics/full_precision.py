"""Measuring in the precision of the numbers themselves, whatever the caller's mixed precision is."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def full_precision(device_type: str) -> AbstractContextManager[object]:
    """A context in which autocast is off for a type of device; nothing to do for one that has no autocast.

    `torch.autocast` raises RuntimeError for such a type even where it is only to be turned off.
    """
    available: bool = torch.amp.is_autocast_available(device_type)
    context: AbstractContextManager[object] = torch.autocast(device_type, enabled=False) if available else nullcontext()
    return context
