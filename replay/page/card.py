"""How a run shows itself in a notebook: its standing and four charts, as one element without script or style sheet."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from replay.page import png, svg

if TYPE_CHECKING:
    from replay.model.run import Run
    from replay.model.stream import StreamData

CHARTS: Final = (
    ("σ", (("sigma", "σ"),)),
    ("SNR, dB", (("snr_measured_db", "measured"), ("snr_schedule_db", "schedule"))),
    ("Velocity RMS", (("velocity_rms", "RMS"),)),
    ("x0 change RMS", (("x0_change_rms", "RMS"),)),
)
_STYLES: Final = tuple(svg.COLOURS)


def card(run: Run) -> str:
    """The element. It shows the last stage with rows, the mean over the batch, and the last picture."""
    stream = _shown(run)
    parts = [f"<b>{_text(run.name) or 'a run'}</b> · {_text(run.standing)} · {run.steps:,} steps"]
    prompt = run.stages[0].metadata.get("prompt") if run.stages else None
    if isinstance(prompt, str):
        parts.append(f"<br>{_text(prompt[:300])}")
    if stream is not None:
        stage = f"stage {stream.stage}, " if len(run.stages) > 1 else ""
        parts.append(f"<br><small>{stage}{_text(stream.name)}</small>")
        parts.append(f'<div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(_charts(stream))}</div>')
        parts.append(_picture(stream))
    return f'<div style="max-width:920px;font-family:sans-serif">{"".join(parts)}</div>'


def _shown(run: Run) -> StreamData | None:
    for stage in reversed(run.stages):
        if found := [s for s in stage.streams.values() if s.rows]:
            return min(found, key=lambda s: s.name != "video")
    return None


def _charts(stream: StreamData) -> Iterator[str]:
    for title, metrics in CHARTS:
        lines = [
            svg.SvgLine(label, mean_of(stream, name), _STYLES[n])
            for n, (name, label) in enumerate(metrics)
            if name in stream.metrics and len(stream.metrics[name].shape) <= 1
        ]
        if lines:
            drawn = svg.draw(svg.SvgPlot(np.arange(stream.rows, dtype=float), lines))
            yield f'<div style="flex:1 1 400px"><small>{title}</small>{drawn}</div>'


def mean_of(stream: StreamData, metric: str) -> svg.Values:
    """A scalar metric over the steps, the mean over the batch."""
    values = stream.values(metric).astype(np.float64).reshape(stream.rows, -1)
    return values.mean(axis=1) if values.shape[1] else np.full(stream.rows, np.nan)


def _picture(stream: StreamData) -> str:
    steps: Mapping[int, Any] = stream.previews
    if not steps:
        return ""
    last = max(steps)
    try:
        uri = png.data_uri(png.strip(steps[last].pixels()))
    except ValueError:  # it is damaged
        return ""
    return f'<small>step {last}</small><br><img alt="predicted clean video" src="{uri}" style="max-width:100%">'


def _text(value: object) -> str:
    return html.escape("".join(c if c.isprintable() else " " for c in str(value)).encode("utf-8", "replace").decode())
