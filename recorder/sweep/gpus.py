"""Which GPUs the workers of a sweep get, one each. Imports no torch: CUDA is initialised in no parent process."""

from __future__ import annotations

import os
from collections.abc import Sequence

ALL = "all"


def visible_gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; empty if there is none.

    If that variable is set, as by a batch system, its entries; otherwise all, by their UUIDs, in the order of
    nvidia-smi, since CUDA may number them in another one.
    """
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [entry.strip() for entry in allowed.split(",") if entry.strip() and entry.strip() != "-1"]
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001 - no library, no driver, or one of another version: no GPU is known
        return []
    try:
        devices = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        uuids = [pynvml.nvmlDeviceGetUUID(device) for device in devices]
    finally:
        pynvml.nvmlShutdown()
    return [uuid.decode() if isinstance(uuid, bytes) else str(uuid) for uuid in uuids]


def chosen_gpus(text: str, there: Sequence[str]) -> tuple[str, ...]:
    """The GPUs of `--gpus`: `all`, or numbers and names with commas between them.

    Args:
        text: as given.
        there: what `visible_gpus` found.

    Raises:
        ValueError: naming what is not there.
    """
    if not there:
        raise ValueError("no NVIDIA GPU was found here; nvidia-smi -L lists those that the driver knows")
    if text == ALL:
        return tuple(there)
    found = []
    for word in text.split(","):
        name = word.strip()
        if name.isascii() and name.isdigit() and int(name) < len(there):
            name = there[int(name)]
        if name not in there:
            count = f"0 to {len(there) - 1}" if len(there) > 1 else "only 0"
            raise ValueError(f"there is no GPU {name!r}; there is {count}. Such as: --gpus 0,1 or --gpus {ALL}")
        if name in found:
            raise ValueError(f"the GPU {word.strip()!r} is named twice; each gets one worker")
        found.append(name)
    return tuple(found)
