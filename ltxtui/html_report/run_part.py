"""One run as sections of the page: verdict, facts, findings, the charts of the presets, pictures, and the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import numpy as np

from ltxtui.html_report.elements import Group, Readings, section, table, text
from ltxtui.html_report.whole_run import WholeStream, lines_of
from ltxtui.panels.chart_specs import CHARTS, Line
from ltxtui.panels.other_metrics import chart_of, others
from ltxtui.plot.model import Mark
from ltxtui.plot.text import clean, duration
from ltxtui.reports.findings_text import place
from ltxtui.viewmodel.frame_quantities import QUANTITIES
from ltxtui.viewmodel.layout import PRESETS
from recorder.format import protocol
from recorder.format.numerals import counted
from replay.comparison.run_differences import facts
from replay.findings import RunFindings
from replay.model.prompts import prompt_text
from replay.model.run import Run
from replay.page import png, svg

PICTURES: Final = 8
"""Steps of which the filmstrip shows a picture."""
PICTURE_CHARACTERS: Final = 90_000
"""All pictures of a run; with fewer pixels if they are more."""
_LOWEST_COSINE: Final = 0.8
_SPECTRUM: Final = "spectrum_x0"
_MOST_EVENTS: Final = 200
_MOST_OTHERS: Final = 160


def run_part(run: Run, readings: Readings, heading: str, *, lost: bool) -> str:
    """The sections of a run.

    Args:
        run: as it was read.
        readings: gets the numbers that the cursor reads.
        heading: its letter among several runs, or empty.
        lost: whether it has no end and no recorder any more.
    """
    examined = RunFindings(run)
    examined.lost = lost
    verdict = examined.verdict
    letter = f'<span class="letter">{text(heading)}</span> ' if heading else ""
    name = text(run.name, 200) or "a run"
    parts = [
        f'<article><h1>{letter}{name} <span class="verdict {verdict.severity}">{text(verdict.text, 200)}</span></h1>',
        f'<p class="standing">{text(run.standing, 300)}</p>',
        _facts(run),
        section("Findings", "".join(_findings(examined, run)), "findings"),
    ]
    names = [n for n in protocol.STREAMS if any(n in s.streams and s.streams[n].rows for s in run.stages)]
    if names:
        streams = [WholeStream(run, name) for name in names]
        sigma = streams[0].values(Line("sigma", "σ", Mark.FIRST))
        group = readings.group(streams[0].x, {} if sigma is None else {"σ": sigma})
        parts += _presets(streams, group)
        parts.append(_rest(streams, group))
    parts.append(_events(run))
    known = json.dumps(run.metadata, indent=1, default=str, ensure_ascii=False)[:8000]
    body = "\n".join(text(line, 400) for line in known.splitlines())
    parts.append(
        f"<details><summary>Everything that was recorded about it</summary><pre>{body}</pre></details></article>"
    )
    return "".join(parts)


def _facts(run: Run) -> str:
    known, first = facts(run), run.stages[0].metadata if run.stages else {}
    rows = [
        ("prompt", prompt_text(known.prompt) if known.prompt else ""), ("seed", known.seed),
        ("model", run.metadata.get("model")), ("steps", f"{run.steps:,} in {counted(len(run.stages), 'stage')}"),
        ("evaluations", f"{known.evaluations:,}"),
        ("took", duration(known.seconds) if known.seconds == known.seconds else ""),
        ("scheduler", _scheduler(first.get("scheduler"))), ("device", run.metadata.get("device")),
        ("host", run.metadata.get("host")), ("damage", run.damage), ("note", run.note),
    ]  # fmt: skip
    return table([(n, clean(v, 600)) for n, v in rows if v not in (None, "")], style="facts")


def _scheduler(known: object) -> object:
    """Its class; what it was configured with is among the rest."""
    return known.get("class") if isinstance(known, dict) else known


def _findings(examined: RunFindings, run: Run) -> Iterator[str]:
    for found in examined.update():
        where = place(found, run)
        yield (
            f'<div class="finding {found.severity}"><b>{text(found.severity)}</b> <code>{text(found.id)}</code> '
            f"<small>{text(where)}</small><p>{text(found.text, 600)}</p><p>try: {text(found.advice, 600)}</p></div>"
        )


def _presets(streams: list[WholeStream], group: Group) -> Iterator[str]:
    """Every chart once, under the first preset that has it; what no preset names follows."""
    shown: set[str] = set()
    for preset in PRESETS:
        ids = [i for i in preset.panels if i not in shown]
        shown |= set(ids)
        yield section(preset.name.capitalize(), "".join(_panel(i, streams, group) for i in ids))
    rest = [chart.id for chart in CHARTS if chart.id not in shown]
    yield section("More", "".join(_panel(i, streams, group) for i in rest))


def _panel(id: str, streams: list[WholeStream], group: Group) -> str:
    if id == "frames":
        return "".join(_frames(streams, group))
    if id == "waterfall":
        return "".join(_waterfall(streams, group))
    if id == "filmstrip":
        return _filmstrip(streams)
    chart = next((c for c in CHARTS if c.id == id), None)
    if chart is None:
        return ""
    found = []
    for stream in streams:
        if lines := lines_of(chart, stream):
            infos = [stream.info(line.metric) for line in chart.lines]
            units = {info.unit for info in infos if info is not None}
            about = "; ".join(info.description for info in infos if info is not None and info.description)
            title = chart.title if len(streams) == 1 else f"{chart.title}, {stream.name}"
            plot = svg.SvgPlot(stream.x, lines, chart.include, chart.references, stream.marks())
            found.append(group.figure(title, units.pop() if len(units) == 1 else chart.word, plot, about))
    return "".join(found)


def _frames(streams: list[WholeStream], group: Group) -> Iterator[str]:
    for quantity in QUANTITIES.values():
        for stream in streams:
            values = stream.table(quantity.metric)
            if values is None or not (known := values[np.isfinite(values)]).size:
                continue
            high = 1.0 if quantity.cosine else float(known.max())
            low = min(_LOWEST_COSINE, float(known.min())) if quantity.cosine else float(known.min())
            title = f"{quantity.name.capitalize()} of each frame, {svg.number(low, 3)} to {svg.number(high, 3)}"
            yield _heat(stream, group, title, values, (low, high), "latent frame", downwards=True)


def _waterfall(streams: list[WholeStream], group: Group) -> Iterator[str]:
    for stream in streams:
        values = stream.table(_SPECTRUM)
        if values is None:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            levels = np.log10(values)
        if (known := levels[np.isfinite(levels)]).size:
            low, high = float(known.min()), float(known.max())
            title = f"Spectrum of x0, {stream.name}, {svg.number(10**low, 2)} to {svg.number(10**high, 2)}, logarithmic"
            yield _heat(stream, group, title, levels, (low, high), "frequency, low at the bottom", downwards=False)


def _heat(
    stream: WholeStream, group: Group, title: str, values: svg.Values, scale: tuple[float, float], unit: str, *,
    downwards: bool,
) -> str:  # fmt: skip
    step = -(-len(values) // 1000)
    rows = values[::step].T
    pixels = png.colours(rows if downwards else rows[::-1], *scale)
    count = values.shape[1]
    y = (count - 0.5, -0.5) if downwards else (-0.5, count - 0.5)
    plot = svg.SvgPlot(stream.x, marks=stream.marks(), image=(png.data_uri(pixels), *y))
    return group.figure(title, unit, plot)


def _filmstrip(streams: list[WholeStream]) -> str:
    found = []
    for stream in streams:
        for _, stage, data in stream.parts:
            steps = sorted(data.previews)
            chosen = sorted(
                {steps[round(n)] for n in np.linspace(0, len(steps) - 1, min(PICTURES, len(steps)))} if steps else ()
            )
            prefix = f"stage {stage.index}, " if len(stream.run.stages) > 1 else ""
            for step in chosen:
                try:
                    found.append((f"{prefix}step {step}", data.previews[step].pixels()))
                except ValueError:  # it is damaged
                    continue
    for widest in (960, 480, 240, 120):
        uris = [(label, png.data_uri(png.strip(pixels, widest))) for label, pixels in found[:64]]
        if sum(len(uri) for _, uri in uris) <= PICTURE_CHARACTERS:
            break
    strips = "".join(
        f'<div><small>{text(label)}</small><img alt="predicted clean video" src="{uri}"></div>' for label, uri in uris
    )
    return f'<figure class="film"><figcaption>Predicted clean video</figcaption>{strips}</figure>' if strips else ""


def _rest(streams: list[WholeStream], group: Group) -> str:
    """All metrics that no chart shows: first, last, lowest and highest value."""
    rows = []
    for name, info in list(others(streams[0].run).items())[:_MOST_OTHERS]:
        for stream in streams:
            values = stream.values(chart_of(info).lines[0])
            if values is None or not (known := values[np.isfinite(values)]).size:
                continue
            label = f"{info.label or name}, {stream.name}" if len(streams) > 1 else info.label or name
            numbers = (known[0], known[-1], known.min(), known.max())
            rows.append((label, "" if info.unit == "1" else info.unit, *(svg.number(float(v)) for v in numbers)))
    found = table(rows, ("metric", "unit", "first", "last", "lowest", "highest"), "numbers")
    return f"<details><summary>Other metrics</summary>{found}</details>" if found else ""


def _events(run: Run) -> str:
    rows = [
        (str(e.get("kind")), "" if e.get("stage") is None else f"stage {e['stage']}",
         "" if e.get("step") is None else f"step {e['step']}", clean(e.get("text", ""), 400))
        for e in run.events[:_MOST_EVENTS]
    ]  # fmt: skip
    found = table(rows, ("event", "", "", ""), "events")
    return f"<details><summary>Events ({len(run.events):,})</summary>{found}</details>" if found else ""
