"""Looks at every row on the host, off the sampling thread, and says what is worth an event."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recorder.critical import TEXTS, CriticalPhase, Found
from recorder.events import event
from recorder.standing import percent
from recorder.summary import StageSummary
from recorder.words import Message


class StreamWatch:
    """Follows the rows of one stream of one stage.

    `columns` maps a metric to its place in the row; a metric that is not there is not looked at. `size` is how many
    values each item of the batch has.
    """

    def __init__(
        self,
        stage: int,
        stream: str,
        batch: int,
        columns: dict[str, slice],
        eigenvalue: float | None = None,
        size: int | None = None,
    ) -> None:
        self._stage = stage
        self.stream = stream
        self._summary = StageSummary(batch)
        self._columns = columns
        self._size = size
        self._broken: set[int] = set()
        # Phases are the clip's, so they are looked for once: in the video.
        self._phase = CriticalPhase(eigenvalue) if stream == "video" else None
        self._rows = 0
        self._noise = [0.0, 0.0]
        self._shocked = False

    def take(self, step: int, row: NDArray[np.float32]) -> list[Message]:
        """Events that this row gives rise to, in order."""
        self._summary.add({name: row[self._columns[name]] for name in StageSummary.NEEDS})
        return [*self._health(step, row), *self._critical(step, row)]

    def summary(self, measured: dict[str, NDArray[np.float32]]) -> dict[str, list[float | None]]:
        """What the rows come to, with what was measured over the whole stage; one value per batch item."""
        found = self._summary.finish(measured)
        return {name: [float(v) if math.isfinite(v) else None for v in values] for name, values in found.items()}

    def _value(self, row: NDArray[np.float32], metric: str) -> float:
        """A metric's mean over the batch; NaN if the row does not have it."""
        place = self._columns.get(metric)
        return math.nan if place is None else float(row[place].mean())

    def _health(self, step: int, row: NDArray[np.float32]) -> list[Message]:
        """One event for the clips of the batch that have values that are not finite for the first time."""
        counts = row[self._columns["nan_count"]] + row[self._columns["inf_count"]]
        items = [i for i, count in enumerate(counts.tolist()) if count > 0 and i not in self._broken]
        if not items:
            return []
        self._broken.update(items)
        count = float(counts[items].sum())
        payload: dict[str, Any] = {"items": items, "values": [float(counts[i]) for i in items]}
        part = ""
        if self._size:
            payload["share"] = [float(counts[i]) / self._size for i in items]
            part = (
                f" ({percent(max(payload['share']))})"
                if len(items) == 1
                else f" (up to {percent(max(payload['share']))} of a clip)"
            )
        where = f", in {_of_batch(items, len(counts))}" if len(counts) > 1 else ""
        text = f"{self.stream}: {count:.0f} values{part} of the sample are NaN or Inf after step {step}{where}"
        return [event("nan", text, stage=self._stage, step=step, stream=self.stream, payload=payload)]

    def ended(self) -> list[Message]:
        """Events that can be told only now that the stage is over."""
        return [] if self._phase is None else self._events(self._phase.finish(), self._rows - 1)

    def _critical(self, step: int, row: NDArray[np.float32]) -> list[Message]:
        if self._phase is None:
            return []
        sigma, rate = self._value(row, "sigma"), self._value(row, "x0_change_rate")
        found = self._phase.take(step, sigma, rate, shocked=self._shocked)
        self._shocked = self._stands_out(self._value(row, "noise_injected"))
        self._rows = step + 1
        return self._events(found, step)

    def _stands_out(self, noise: float) -> bool:
        """Whether a step injected far more noise than the ones before: a single shock, not a stochastic sampler."""
        self._noise = [*self._noise[-8:], noise if math.isfinite(noise) else 0.0]
        return self._noise[-1] > 4 * float(np.median(self._noise)) + 1e-6

    def _events(self, found: list[Found], seen_at: int) -> list[Message]:
        return [
            event(
                "critical",
                f"{TEXTS[f.notion]} (σ {f.sigma:.4g}{_sure(f)})",
                stage=self._stage,
                step=f.step,
                stream=self.stream,
                payload={
                    "notion": f.notion,
                    "sigma": f.sigma,
                    "confirmed_at": seen_at,
                    "confidence": f.confidence,
                },
            )
            for f in found
        ]


def _of_batch(items: list[int], count: int) -> str:
    if len(items) == count:
        return f"all {count} clips of the batch"
    return f"clip{'s' * (len(items) > 1)} {', '.join(map(str, items[:8]))}{'…' * (len(items) > 8)} of {count} (from 0)"


def _sure(found: Found) -> str:
    return f", {100 * found.confidence:.3g} % sure that it is a peak" if found.confidence < 1 else ""
