"""The parts of a run that are NaN or Inf: read from its events, and summarised in a few words. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

MOST_ITEMS: Final = 64
"""Batch items that are listed separately; a run rarely has more than eight."""
MOST_BROKEN: Final = 256


@dataclass(frozen=True)
class Broken:
    """A batch item of one stream of one stage whose sample has values that are NaN or Inf.

    Attributes:
        step: the first step after which it has.
        item: of the batch, from 0; None if the event does not name it.
        share: of the item's values, 0 to 1, as last reported; NaN if unknown.
    """

    stage: int
    stream: str
    step: int
    item: int | None = None
    share: float = math.nan

    def as_json(self) -> dict[str, Any]:
        share = self.share if math.isfinite(self.share) else None
        return {"stage": self.stage, "stream": self.stream, "step": self.step, "item": self.item, "share": share}


def read_broken(event: Mapping[str, Any]) -> list[Broken]:
    """The content of a `nan` event; events of older recorders do not name the items. Its values are validated."""
    stage, step, stream, payload = event.get("stage"), event.get("step"), event.get("stream"), event.get("payload")
    if type(stage) is not int or not (type(step) is int or step is None):
        return []
    bare = Broken(stage, stream if isinstance(stream, str) else "", step or 0)
    items = payload.get("items") if isinstance(payload, Mapping) else None
    shares = payload.get("share") if isinstance(payload, Mapping) else None
    if not isinstance(items, list | tuple) or not items:
        return [bare]
    shares = shares if isinstance(shares, list | tuple) and len(shares) == len(items) else [math.nan] * len(items)
    found = []
    for item, share in list(zip(items, shares, strict=True))[:MOST_ITEMS]:
        if type(item) is int and 0 <= item < 1 << 20:
            known = type(share) in (int, float) and 0 <= share <= 1
            found.append(Broken(bare.stage, bare.stream, bare.step, item, float(share) if known else math.nan))
    return found or [bare]


class BrokenItems:
    """Everything that the `nan` events of a run report: by item its first step, and its last reported share."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str, int | None], Broken] = {}

    def feed(self, event: Mapping[str, Any]) -> None:
        """Take in an event; events of other kinds than `nan` are ignored."""
        if event.get("kind") != "nan":
            return
        for new in read_broken(event):
            key = (new.stage, new.stream, new.item)
            known = self._found.get(key)
            if known is not None:
                share = new.share if math.isfinite(new.share) else known.share
                self._found[key] = Broken(known.stage, known.stream, min(known.step, new.step), known.item, share)
            elif len(self._found) < MOST_BROKEN:
                self._found[key] = new

    @property
    def found(self) -> tuple[Broken, ...]:
        return tuple(self._found.values())


def broken_text(stream: str, batch: int, items: Mapping[int, float] | Iterable[int]) -> str:
    """`video clip 2 of 2 (item 1): 37 % of the values are`, for some items and the share of each, if it is known."""
    shares = dict(items) if isinstance(items, Mapping) else dict.fromkeys(items, math.nan)
    texts = []
    for item, share in shares.items():
        how = "values are" if not math.isfinite(share) else f"{percent(share)} of the values are"
        texts.append(f"clip {item + 1} of {batch} (item {item}): {how}" if batch > 1 else f": {how}")
    if batch <= 1:
        return f"{stream}{texts[0]}"
    return (
        f"{stream} {'; '.join(s.removesuffix(' are') for s in texts[:-1])}{'; ' if len(texts) > 1 else ''}{texts[-1]}"
    )


def percent(share: float) -> str:
    """A share above 0 and below 1 never reads as none or all."""
    if share >= 1:
        return "all"
    if share > 0.99:
        return "over 99 %"
    return f"{100 * share:.2g} %" if share >= 0.001 else "under 0.1 %"


def broken_words(found: Iterable[Broken]) -> str:
    """`NaN in video item 1 (37 %)`, `NaN`: for a status in a list or a header; empty if nothing is broken."""
    by_item: dict[tuple[str, int | None], Broken] = {}
    for one in found:
        by_item[one.stream, one.item] = one
    if not by_item:
        return ""
    parts = []
    for (stream, item), one in list(by_item.items())[:3]:
        where = " ".join(p for p in (stream, "" if item is None else f"item {item}") if p)
        parts.append(f"{where} ({percent(one.share)})" if math.isfinite(one.share) else where)
    more = f" and {len(by_item) - 3} more" if len(by_item) > 3 else ""
    text = ", ".join(p for p in parts if p)
    return f"NaN in {text}{more}" if text else "NaN"
