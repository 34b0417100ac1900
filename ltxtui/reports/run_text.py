"""A recorded run in a few lines of text, with its σ and SNR curves drawn: what is printed where no dashboard is."""

from __future__ import annotations

from ltxtui.plot.line_plot import Style, curve_text
from ltxtui.plot.model import Curve, Mark
from ltxtui.plot.text import clean, duration, to_ascii
from ltxtui.themes import first_drawing
from recorder.format.numerals import counted
from replay.model.prompts import prompt_text
from replay.model.run import Run, StreamData

WIDTH, HEIGHT = 76, 10


def _curve(stream: StreamData, metric: str, mark: Mark) -> Curve:
    declared = stream.metrics[metric]
    unit = "" if declared.unit == "1" else f" {declared.unit}"
    return Curve(clean(f"{declared.label}{unit}", 60), stream.series(metric), mark)


def summary(run: Run, *, width: int = WIDTH) -> str:
    """Name, outcome and the two curves of every stage's video (or only) stream."""
    ascii_only = first_drawing() is Style.ASCII
    lines = [
        f"{clean(run.name)}: {clean(run.standing)}, {counted(run.steps, 'step')} in {counted(len(run.stages), 'stage')}"
    ]
    if run.end and run.end["error"]:
        lines.append(f"error: {clean(run.end['error'])}")
    if run.damage:
        lines.append(f"damaged: {clean(run.damage, 400)}")
    for stage in run.stages:
        stream = stage.streams.get("video") or next(iter(stage.streams.values()), None)
        if stream is None or not stream.rows:
            continue
        took = float(stream.times[-1] - stage.time)
        lines += ["", f"stage {stage.index}: {clean(prompt_text(stage.metadata.get('prompt')))} - {duration(took)}"]
        sigma = _curve(stream, "sigma", Mark.FIRST)
        lines += ["", curve_text([sigma], width, HEIGHT, ascii_only=ascii_only)]
        snr = [_curve(stream, "snr_schedule_db", Mark.SECOND), _curve(stream, "snr_measured_db", Mark.FIRST)]
        lines += ["", curve_text(snr, width, HEIGHT, ascii_only=ascii_only)]
    text = "\n".join(lines)
    return to_ascii(text) if ascii_only else text
