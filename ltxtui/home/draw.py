"""The list of runs as rows: heading, runs, details of the run under the cursor. Only visible rows are made."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from textwrap import wrap
from typing import Final

from rich.cells import cell_len

from ltxtui.home.columns import Column, fitting
from ltxtui.home.model import HomeModel
from ltxtui.home.spark import spark
from ltxtui.plot.line_plot import Style
from ltxtui.plot.rows import Span, TextRow
from ltxtui.plot.text import clean, duration, fit, number, to_ascii
from recorder.format.declarations import drift_hint
from recorder.format.numerals import counted
from replay.library.run_info import RunInfo

_VERDICT_ROLES: Final = {"error": "alert", "warning": "s2"}
_STATUS_ROLES: Final = {"failed": "alert", "interrupted": "s2", "unfinished": "s2", "complete": "dim",
                        "stalled": "alert"}  # fmt: skip
_TIME: Final = re.compile(r"\d{8}-\d{6}-")
MOST_UNREADABLE: Final = 4
"""Most rows for runs that cannot be read."""
_SHOWN_CHARACTERS: Final = 500
"""Characters of a text that are cleaned for a cell: no cell is wider."""


@lru_cache(maxsize=8192)
def cell_text(text: str) -> str:
    """Text of a run for a cell. Cached, since the same rows are drawn repeatedly."""
    return clean(text, _SHOWN_CHARACTERS)


def title(
    model: HomeModel, folder: Path | str, width: int, *, pending: int, unreadable: int, work: str = "", ascii_only: bool
) -> TextRow:
    """The folder, the number of runs, and the work in progress."""
    row = TextRow(width, ascii_only=ascii_only)
    row.add(" Runs ", "title")
    place = f"{model.cursor + 1:,} of {len(model.shown):,}" if model.shown else ""
    said = [counted(len(model.runs), "run")]
    if len(model.shown) != len(model.runs):
        said[0] = f"{len(model.shown):,} shown of {said[0]}"
    if pending:
        said.append(f"reading {pending:,} more")
    if unreadable:
        said.append(f"{unreadable:,} unreadable")
    said.append(f"sorted by {model.sort.title.lower()}")
    if model.live:
        row.add(f" {model.live} live ", "live").add(" ")
    if model.stalled:
        row.add(f" {model.stalled} stalled ", "alert").add(" ")
    if work:
        row.add(f" {work} … ", "alert").add(" ")
    if model.marks:
        row.add(f" {len(model.marks):,} marked ", "key").add(" ")
    row.add(" · ".join(said), "label")
    row.add("   ")
    row.add(fit(cell_text(str(folder)), max(0, row.room - cell_len(place) - 2)), "dim")
    return row.push_right(place + " ", "dim").filled()


def heading(model: HomeModel, width: int, *, ascii_only: bool) -> TextRow:
    """Titles of the columns; an arrow at the one that the runs are sorted by."""
    row = TextRow(width, ascii_only=ascii_only).add("   ")
    arrow = ("v" if ascii_only else "▼") if model.falling else ("^" if ascii_only else "▲")
    for column, wide in fitting(width, model.longest_name, model.without):
        here = column is model.sort
        name = column.title if column.title != "σ" or not ascii_only else "SIGMA"
        text = fit(f"{name}{arrow if here else ''}", wide)
        row.add(_aligned(text, wide, column.right) + " ", "key" if here else "tick")
    return row.filled()


def runs(model: HomeModel, width: int, height: int, style: Style, now: float) -> list[TextRow]:
    """The rows of the visible runs."""
    columns = fitting(width, model.longest_name, model.without)
    return [_run(model, index, columns, width, style, now) for index in model.window(height)]


def unreadable(model: HomeModel, width: int, height: int, *, ascii_only: bool) -> list[TextRow]:
    """Unreadable runs: a row each with the reason and what to do, below the runs; at most a third of the height."""
    most = min(MOST_UNREADABLE, height // 3)
    shown = model.unreadable if len(model.unreadable) <= most else model.unreadable[: max(0, most - 1)]
    rows = []
    for one in shown:
        row = TextRow(width, ascii_only=ascii_only).add(" ! ", "alert")
        name = fit(_ascii(cell_text(one.name), ascii_only), max(8, width // 4))
        row.add(f"{name}  ", "label")
        rows.append(row.add(_ascii(cell_text(one.text), ascii_only), "alert").filled())
    if len(shown) < len(model.unreadable) and most:
        way = "" if model.remote else "; all of them: ltxtui runs"
        text = f" ! {len(model.unreadable) - len(shown):,} more cannot be read{way}"
        rows.append(TextRow(width, ascii_only=ascii_only).add(text, "alert").filled())
    return rows


def _run(
    model: HomeModel, index: int, columns: list[tuple[Column, int]], width: int, style: Style, now: float
) -> TextRow:
    run = model.shown[index]
    plain = style is Style.ASCII
    here = index == model.cursor
    row = TextRow(width, ascii_only=plain)
    marked = run.path in model.marks
    row.put((">" if plain else "▸") if here else " ", "key", cursor=here)
    row.put(("*" if plain else "●") if marked else " ", "s2", cursor=here)
    row.put(" ", cursor=here)
    for column, wide in columns:
        if column.id == "sigma":
            _spark(row, run, wide, style, here)
        else:
            text = cell_text(column.text(run, now))
            text = _ascii(_short_name(text, wide, plain) if column.id == "name" else text, plain)
            text = fit(text, wide)
            _put(row, _aligned(text, wide, column.right), _role(column, run, here), here)
        _put(row, " ", "", here)
    _put(row, " " * row.room, "", here)
    return row


def _short_name(name: str, wide: int, plain: bool) -> str:
    """A name cut at its left while that costs only the time: the names of a sweep's runs differ at the end."""
    over = cell_len(name) - wide
    found = _TIME.match(name)
    if over <= 0 or found is None:
        return name
    sign = "..." if plain else "…"
    over += len(sign)
    return f"{sign}{name[over:]}" if over <= found.end() else name[found.end() :]


def _ascii(text: str, plain: bool) -> str:
    return to_ascii(text) if plain else text


def _put(row: TextRow, text: str, role: str, here: bool) -> None:
    """Text that fits, in cells of any width."""
    text = text if cell_len(text) <= row.room else fit(text, row.room)
    if text:
        row.spans.append(Span(text, role, here))
        row.used += cell_len(text)


def _spark(row: TextRow, run: RunInfo, wide: int, style: Style, here: bool) -> None:
    drawn = spark(run.sigmas, wide, style)
    done = wide if not run.planned else min(wide, -(-wide * run.steps // run.planned))
    _put(row, drawn[:done], "s1", here)
    _put(row, drawn[done:], "ghost", here)


def _role(column: Column, run: RunInfo, here: bool) -> str:
    if column.id == "status":
        if run.broken:
            return "alert"
        return "live" if run.status == "live" else _STATUS_ROLES.get(run.status, "")
    if column.id == "verdict" and run.verdict is not None:
        return _VERDICT_ROLES.get(run.verdict.severity, "dim")
    if column.id == "name":
        return "title" if here else ""
    if column.id == "shocks" and run.shocks:
        return "s3"
    return "dim" if column.id in ("when", "size", "model", "duration", "stages") else ""


def _aligned(text: str, width: int, right: bool) -> str:
    """Filled up to a width in cells, which is not its length where characters are wide."""
    space = " " * max(0, width - cell_len(text))
    return space + text if right else text + space


def details(model: HomeModel, width: int, height: int, *, ascii_only: bool) -> list[TextRow]:
    """The run under the cursor in full: its path and figures, and as much of its prompt as there is room for."""
    run = model.current
    rule = TextRow(width, ascii_only=ascii_only).add(" ")
    if any(run.drift is not None for run in model.runs):
        rule.add("── ", "axis").add(f"DRIFT: {drift_hint()}", "dim").add(" ")
    rows = [rule.add("─" * (rule.room - 1), "axis").filled()]
    if run is None:
        return rows
    known = [
        clean(run.standing, 120),
        f"{run.steps}/{run.planned} steps" if run.planned else counted(run.steps, "step"),
        counted(run.stages, "stage"),
        counted(run.shocks, "shock"),
    ]
    if run.drift is not None:
        known.append(f"drift {number(run.drift)}")
    if run.seconds is not None:
        known.append(duration(run.seconds))
    known += [clean(run.model, 80)] * bool(run.model)
    known += [" ".join(f"#{clean(t, 40)}" for t in run.tags)] * bool(run.tags)
    figures = TextRow(width, ascii_only=ascii_only).add(f" {clean(run.name, 120)}  ", "title")
    figures.add(" · ".join(known), "dim")
    prompt = wrap(clean(run.prompt), max(10, width - 2)) or ["no prompt"]
    room = max(1, height - 3)
    if len(prompt) > room:
        prompt = [*prompt[: room - 1], f"{prompt[room - 1]} …"]
    said = [TextRow(width, ascii_only=ascii_only).add(f" {line}", "label" if run.prompt else "dim") for line in prompt]
    # Of a run of another machine the path is an address, whose slashes a path has made one.
    place = str(run.path).replace(":/", "://", 1) if run.host else str(run.path)
    path = TextRow(width, ascii_only=ascii_only).add(f" {clean(place)}", "dim")
    return [row.filled() for row in [*rows, figures, *said, path][:height]]
