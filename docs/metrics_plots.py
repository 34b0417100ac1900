"""Rewrites the generated parts of docs/metrics.md from the declarations, a recorded nano run and the drift study.

    .venv/bin/python docs/metrics_plots.py

A part lies between `<!-- begin WHAT -->` and `<!-- end -->`. WHAT is `metrics: a b+c …`, where metrics joined by `+`
share a plot, `summaries`, `drift` or `content drift`. Declared metrics that no part names are added to the part
`metrics: others`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ltxtui.plot.line_plot import curve_text
from ltxtui.plot.model import Curve, Mark
from recorder.format.declarations import METRICS, SUMMARIES, Metric
from replay.model.run import StreamData

PAGE = Path(__file__).parent / "metrics.md"
PART = re.compile(r"(?<=<!-- begin )(?P<what>[^\n]*?) -->\n.*?(?=<!-- end -->)", re.DOTALL)
WIDTH, HEIGHT = 76, 9
MARKS = (Mark.FIRST, Mark.SECOND, Mark.THIRD)
NOTHING = "Nothing to plot: without a shock or a given frame, and on a CPU, it is 0 or not known."


def groups(what: str, page: str) -> list[list[str]]:
    """The metrics that a part names, those of one plot together; for `others` whatever no part names."""
    if what != "others":
        return [group.split("+") for group in what.split()]
    named = set(re.findall(r"\w+", " ".join(re.findall(r"<!-- begin metrics: (.*?) -->", page))))
    return [[name] for name in METRICS if name not in named]


def cell(text: str) -> str:
    """Text that may stand in a Markdown table."""
    return text.replace("|", "\\|")


def metric_table(metrics: list[Metric]) -> str:
    """Name, unit, dimensions, formula and source of some metrics, as declared."""
    lines = ["| metric | unit | dimensions | formula | source |", "| --- | --- | --- | --- | --- |"]
    for m in metrics:
        only = "" if len(m.streams) > 1 else f" ({m.streams[0]} only)"
        source = m.source or "this project"
        lines.append(f"| `{m.name}` | {m.unit} | {', '.join(m.dims)}{only} | {cell(m.description)} | {cell(source)} |")
    return "\n".join(lines)


def summary_table() -> str:
    """What is said of a stage at its end, as declared."""
    lines = ["| summary | unit | formula | source |", "| --- | --- | --- | --- |"]
    for s in SUMMARIES.values():
        only = "" if len(s.streams) > 1 else f" ({s.streams[0]} only)"
        lines.append(f"| `{s.name}` | {s.unit} | {cell(s.description)}{only} | {cell(s.source or 'this project')} |")
    return "\n".join(lines)


def curves(stream: StreamData, metric: Metric) -> list[Curve]:
    """A metric over the steps: itself, or its first, middle and last place where it has several."""
    unit = "" if metric.unit == "1" else f" {metric.unit}"
    values = stream.values(metric.name).astype(np.float64)
    if metric.unit == "power":
        # Powers of different frequencies lie orders of magnitude apart.
        with np.errstate(divide="ignore"):
            values, unit = 10 * np.log10(values), " dB"
    label = f"{metric.label}{unit}"
    if len(metric.dims) < 3:
        return [Curve(label, values.reshape(len(values), -1)[:, 0])]
    dimension = metric.dims_on(stream.name)[2]
    places = np.flatnonzero(np.isfinite(values[:, 0]).any(axis=0))
    # The coefficient of no change over time is nothing by definition.
    places = places[1:] if dimension == "frame_frequency" else places
    chosen = dict.fromkeys(int(places[i]) for i in (0, len(places) // 2, -1)) if len(places) else {}
    at = stream.coordinates[dimension]["values"]
    return [Curve(f"{label if i == 0 else ''} {at[p]:.3g}".strip(), values[:, 0, p]) for i, p in enumerate(chosen)]


def plot(stream: StreamData, names: list[str]) -> str:
    """One text plot of up to three curves."""
    drawn = [c for name in names for c in curves(stream, METRICS[name]) if np.isfinite(c.values).any()]
    if not drawn:
        return NOTHING
    marked = [Curve(c.label, c.values, mark) for c, mark in zip(drawn, MARKS, strict=False)]
    return f"```text\n{curve_text(marked, WIDTH, HEIGHT)}\n```"


def part(what: str, page: str, stream: Callable[[], StreamData], drift: Callable[[], str]) -> str:
    """The text of one part."""
    if what == "summaries":
        return summary_table()
    if what == "drift":
        return drift()
    if what == "content drift":
        from recorder.nano.drift_study import content_table

        return content_table()
    found = groups(what.removeprefix("metrics: "), page)
    if not found:
        return ""
    table = metric_table([METRICS[name] for group in found for name in group])
    return "\n\n".join([table, *(f"{', '.join(f'`{n}`' for n in g)}:\n\n{plot(stream(), g)}" for g in found)])


@contextmanager
def recorded() -> Iterator[StreamData]:
    """The video stream of a fully guided nano run; its rows are read where they are needed."""
    from recorder.generate import Request, generate
    from replay.sources.open import load

    with tempfile.TemporaryDirectory() as folder:
        request = Request(model="nano", prompt="a red ball moving left", steps=30, runs_dir=Path(folder))
        yield load(generate(request).archive).stages[0].streams["video"]


def main() -> None:
    from recorder.nano import drift_study

    page = PAGE.read_text()
    with recorded() as stream:

        def rewritten(match: re.Match[str]) -> str:
            text = part(match["what"], page, lambda: stream, drift_study.table)
            return f"{match['what']} -->\n\n{text}\n\n" if text else f"{match['what']} -->\n"

        PAGE.write_text(PART.sub(rewritten, page))


if __name__ == "__main__":
    main()
