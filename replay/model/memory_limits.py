"""How much of a run a viewer keeps in memory, whatever is sent to it, and how it reports the rest.

Each kind of message has a budget in bytes. Rows beyond it go to a temporary file (`spill_file`); of everything
else the densest part is dropped. What is dropped is counted and reported: the run's files have all of it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import chain, compress
from typing import Any, Final, get_args

from recorder.format import protocol
from recorder.format.protocol import Message
from replay.model.stream import StreamData

EVENT_BYTES: Final = 32 << 20
"""Of events: some 15,000 usual ones."""
SAMPLE_BYTES: Final = 32 << 20
"""Of samples of the machine's load."""
PICTURE_BYTES: Final = 128 << 20
"""Of pictures of all streams."""
DECLARED_BYTES: Final = 128 << 20
"""Of declarations of stages and streams, and of what stages came to: some 7,000 stages of a usual run."""
ROW_BYTES: Final = 128 << 20
"""Of rows of all streams that are in memory; the others are in a file."""
_KINDS: Final = frozenset(get_args(protocol.EventKind))
_SHARED: Final = ("metrics", "coordinates")
_METRIC_BYTES: Final = 800
"""Of a metric that is unpacked, besides its declaration."""
_OVERHEAD: Final = 2048
"""Of a stage or stream and what a viewer keeps of it, besides what was sent."""
_PART: Final = 4
"""One message takes at most this part of its budget, so that it cannot push out all the others."""

Choice = Callable[[list[Message], list[int], int], list[bool]]
"""Which messages stay, given their costs and the bytes that they may take in all."""


def footprint(value: Any) -> int:
    """Bytes of memory that a decoded value takes, everything inside it included, as if nothing in it were shared."""
    found, level = 0, [value]
    while level:
        found += sum(map(sys.getsizeof, level))
        level = [inner for outer in level if isinstance(outer, dict | list | tuple) for inner in _inside(outer)]
    return found


def _inside(value: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> Iterable[Any]:
    return chain(value.keys(), value.values()) if isinstance(value, dict) else value


def fingerprint(value: Any) -> bytes:
    """The same 16 bytes for equal values, in whatever order their maps are."""
    try:
        text = json.dumps(value, sort_keys=True, default=repr)
    except (TypeError, ValueError):
        text = repr(value)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


class Budget:
    """Keeps a list of messages within a number of bytes."""

    def __init__(self, limit: int, choose: Choice) -> None:
        self._limit, self._choose = limit, choose
        self._costs: list[int] = []
        self._bytes = 0
        self.dropped = 0

    def added(self, kept: list[Message], message: Message) -> list[Message]:
        """The list with a message at its end: the same list, or another one once some of them had to go."""
        cost = footprint(message)
        if cost > self._limit // _PART:
            self.dropped += 1
            return kept
        if len(kept) != len(self._costs):  # the caller changed the list
            self._costs = [footprint(m) for m in kept]
            self._bytes = sum(self._costs)
        kept.append(message)
        self._costs.append(cost)
        self._bytes += cost
        return kept if self._bytes <= self._limit else self.thinned(kept)

    def thinned(self, kept: list[Message]) -> list[Message]:
        """A list of those that fit into half of the budget, so that thinning is rare."""
        stay = self._choose(kept, self._costs, self._limit // 2)
        found = list(compress(kept, stay))
        self._costs = list(compress(self._costs, stay))
        self._bytes = sum(self._costs)
        self.dropped += len(kept) - len(found)
        return found


class DeclarationBudget:
    """What stages and streams declare, within a number of bytes; streams with equal declarations share one.

    Once one declaration had no room, no new one is taken: stages are numbered without gaps.
    """

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._costs: dict[Hashable, int] = {}
        self._shared: dict[bytes, StreamData] = {}
        self.full = False

    def takes(self, key: Hashable, value: Any) -> bool:
        """Whether there is room for what is kept under a key, in the place of what was under it."""
        return self._pays(key, footprint(value))

    def takes_stream(self, made: StreamData) -> bool:
        """The same for a new stream, which has the metrics of an equal one from then on."""
        declared = [made.declaration["metrics"], made.declaration["coordinates"]]
        mark = fingerprint(declared)
        equal = self._shared.get(mark)
        own = {k: v for k, v in made.declaration.items() if k not in _SHARED}
        rest = 0 if equal else footprint(declared) + _METRIC_BYTES * len(made.metrics)
        if not self._pays((made.stage, made.name), footprint(own) + rest):
            return False
        if equal is None:
            self._shared[mark] = made
        else:
            made.metrics, made.coordinates = equal.metrics, equal.coordinates
            made.declaration = {**made.declaration, **{k: equal.declaration[k] for k in _SHARED}}
        return True

    def _pays(self, key: Hashable, cost: int) -> bool:
        more = cost + _OVERHEAD - self._costs.get(key, 0)
        if (self.full and key not in self._costs) or more > self._left:
            self.full = True
            return False
        self._costs[key] = cost + _OVERHEAD
        self._left -= more
        return True


def newest_of_each_kind(events: list[Message], costs: list[int], limit: int) -> list[bool]:
    """Of the kind of events that takes the most the older half is dropped, repeatedly: a flood leaves the others."""
    places: dict[str, list[int]] = {}
    for at, event in enumerate(events):
        kind = event.get("kind")
        places.setdefault(kind if isinstance(kind, str) and kind in _KINDS else "", []).append(at)
    sizes = {kind: sum(costs[at] for at in found) for kind, found in places.items()}
    stay = [True] * len(events)
    while sum(sizes.values()) > limit:
        kind = max(sizes, key=sizes.__getitem__)
        half = -(-len(places[kind]) // 2)
        for at in places[kind][:half]:
            stay[at] = False
            sizes[kind] -= costs[at]
        places[kind] = places[kind][half:]
    return stay


def every_second(messages: list[Message], costs: list[int], limit: int) -> list[bool]:
    """Samples get less dense, all along."""
    step = 2
    while step < len(messages) and sum(costs[::step]) > limit:
        step *= 2
    return [at % step == 0 for at in range(len(messages))]


def left_out_note(dropped: Mapping[str, int]) -> str:
    """One line on what is not kept; empty if everything is."""
    parts = [f"{count:,} {what}" for what, count in dropped.items() if count]
    return f"not kept in memory: {', '.join(parts)}; the run's files have them" if parts else ""
