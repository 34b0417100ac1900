"""Inspects every row on the host, outside the sampling thread, and makes events of what is notable."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from recorder.format.events import event
from recorder.format.nonfinite import broken_text
from recorder.format.protocol import Message
from recorder.metrics.critical_phase import TEXTS, CriticalPhase, CriticalPhaseDetector
from recorder.metrics.stage_summary import StageSummary


class StreamWatch:
    """Follows the rows of one stream of one stage.

    `columns` maps a metric to its columns in the row; missing metrics are ignored. `size` is the number of values
    of one batch item of a sample; 0 if unknown.
    """

    def __init__(
        self,
        stage: int,
        stream: str,
        batch: int,
        columns: dict[str, slice],
        eigenvalue: float | None = None,
        size: int = 0,
    ) -> None:
        self._stage = stage
        self.stream = stream
        self._summary = StageSummary(batch)
        self._columns = columns
        self._batch, self._size = batch, size
        self._broken: dict[int, float] = {}
        """Share of the values that are NaN or Inf, by batch item, as last reported."""
        # Phases belong to the clip, so they are looked for only in the video.
        self._phase = CriticalPhaseDetector(eigenvalue) if stream == "video" else None
        self._rows = 0
        self._noise = [0.0, 0.0]
        self._shocked = False

    def take(self, step: int, row: NDArray[np.float32]) -> list[Message]:
        """Events about this row, in order."""
        self._summary.add({name: row[self._columns[name]] for name in StageSummary.NEEDS})
        return [*self._health(step, row), *self._critical(step, row)]

    def summary(self, measured: dict[str, NDArray[np.float32]]) -> dict[str, list[float | None]]:
        """The summary of all rows and of what was measured over the stage; one value per batch item."""
        found = self._summary.finish(measured)
        return {name: [float(v) if math.isfinite(v) else None for v in values] for name, values in found.items()}

    def _value(self, row: NDArray[np.float32], metric: str) -> float:
        """A metric's mean over the batch; NaN if the row does not have it."""
        place = self._columns.get(metric)
        return math.nan if place is None else float(row[place].mean())

    def _health(self, step: int, row: NDArray[np.float32]) -> list[Message]:
        """An event for each broken batch item, and a second one when all of its values are broken."""
        nan, inf = (np.nan_to_num(row[self._columns[m]].astype(np.float64)) for m in ("nan_count", "inf_count"))
        counts = nan + inf
        shares = np.minimum(counts / self._size, 1.0) if self._size else np.where(counts > 0, 1.0, 0.0)
        news = [
            item
            for item in np.flatnonzero(counts > 0).tolist()
            if item not in self._broken or shares[item] >= 1 > self._broken[item]
        ]
        if not news:
            return []
        self._broken.update({item: float(shares[item]) for item in news})
        what = " or ".join(word for word, there in (("NaN", nan[news].any()), ("Inf", inf[news].any())) if there)
        text = broken_text(self.stream, self._batch, {i: float(shares[i]) for i in news} if self._size else news)
        payload = {
            "items": news,
            "share": [float(shares[i]) for i in news] if self._size else [],
            "count": int(counts[news].sum()),
        }
        return [
            event(
                "nan",
                f"{text} {what} from step {step} on",
                stage=self._stage,
                step=step,
                stream=self.stream,
                payload=payload,
            )
        ]

    def ended(self) -> list[Message]:
        """Events that need the whole stage."""
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

    def _events(self, found: list[CriticalPhase], seen_at: int) -> list[Message]:
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


def _sure(found: CriticalPhase) -> str:
    return f", {100 * found.confidence:.3g} % sure that it is a peak" if found.confidence < 1 else ""
