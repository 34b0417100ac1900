"""What a metric is called, its unit and its description: as the run declares it, else as this version does."""

from __future__ import annotations

from typing import NamedTuple

from ltxtui.plot.text import clean
from ltxtui.viewmodel.selection import Selection
from recorder.format import declarations
from replay.model.run import MetricInfo, Run

_LONGEST = 2000


class Declaration(NamedTuple):
    """Label, unit and description of a metric, as harmless text; the unit is empty for pure numbers."""

    label: str
    unit: str = ""
    description: str = ""

    @classmethod
    def of(cls, declared: MetricInfo | declarations.Metric) -> Declaration:
        """The words of a declaration; the name stands for a label that is missing."""
        unit = "" if declared.unit == "1" else clean(declared.unit, 20)
        return cls(clean(declared.label, 40) or declared.name, unit, clean(declared.description, _LONGEST))


def declared_in(run: Run, metric: str) -> MetricInfo | None:
    """The first declaration of a metric in a run; None if no stream has it."""
    found = (stream.metrics.get(metric) for stage in run.stages for stream in stage.streams.values())
    return next((info for info in found if info is not None), None)


def declaration(look: Selection, metric: str, stream: str | None = None) -> Declaration:
    """What a metric is, on the selected or a named stream.

    A run carries the declarations of the version that recorded it: they are right for its values. The table of this
    version is for metrics that the run does not declare.
    """
    selected = look.stream_of(stream)
    info = selected.metrics.get(metric) if selected is not None else None
    info = info or declared_in(look.run, metric)
    if info is not None:
        return Declaration.of(info)
    known = declarations.METRICS.get(metric)
    return Declaration.of(known) if known is not None else Declaration(metric)
