"""Which events and samples of a run were given on already, in bounded memory."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final

from recorder.format import protocol
from recorder.format.protocol import Message
from replay.model.memory_limits import fingerprint

MOST: Final = 1 << 16
"""Events and samples that are known one by one; of older ones only the time is, so that memory is bounded."""


class Told:
    """Remembers events and samples by what tells them from others. What is older than all that is known was told."""

    def __init__(self) -> None:
        self._counts: OrderedDict[bytes, tuple[int, float]] = OrderedDict()
        self._forgotten = -math.inf
        """Time of the newest one that is not known one by one any more."""

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, message: Message) -> None:
        """Count an event or a sample; nothing else is."""
        key = _key(message)
        if key is None:
            return
        count, _ = self._counts.get(key, (0, 0.0))
        self._counts[key] = count + 1, _time(message)
        if len(self._counts) > MOST:
            _, (_, time) = self._counts.popitem(last=False)
            self._forgotten = max(self._forgotten, time)

    def __contains__(self, message: Message) -> bool:
        """Whether it was told; never of what is neither event nor sample."""
        key = _key(message)
        return key is not None and (key in self._counts or _time(message) <= self._forgotten)

    def take(self, message: Message) -> bool:
        """Whether it was told; of equal ones as many are as were counted."""
        key = _key(message)
        if key is None or key not in self._counts:
            return key is not None and _time(message) <= self._forgotten
        count, time = self._counts[key]
        if count > 1:
            self._counts[key] = count - 1, time
        else:
            del self._counts[key]
        return True

    def copy(self) -> Told:
        found = Told()
        found._counts, found._forgotten = self._counts.copy(), self._forgotten
        return found


def _key(message: Message) -> bytes | None:
    if message["t"] == protocol.EVENT:
        return fingerprint([str(message.get(key)) for key in ("time", "stage", "step", "kind", "stream", "text")])
    if message["t"] == protocol.SYSTEM:
        return fingerprint(["system", str(message.get("time"))])
    return None


def _time(message: Message) -> float:
    time = message.get("time")
    return float(time) if type(time) is float and math.isfinite(time) else -math.inf
