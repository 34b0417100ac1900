"""Rewrites the tables and forest plots of docs/shock-study.md from the committed results.csv files.

    .venv/bin/python docs/shock_study.py

A part lies between `<!-- begin NAME -->` and `<!-- end -->`; NAME is a folder under docs/shock-study.
"""

from __future__ import annotations

import re
from pathlib import Path

from ltxtui.reports import forest_plot, sweep_text
from recorder.sweep import spec
from replay.sweep.analysis import Analysis, analyse
from replay.sweep.results import from_csv

DOCS = Path(__file__).parent
PAGE = DOCS / "shock-study.md"
DATA = DOCS / "shock-study"
PART = re.compile(r"(?<=<!-- begin )(?P<name>\w+) -->\n.*?(?=<!-- end -->)", re.DOTALL)


def analysis(name: str) -> Analysis:
    """What the runs of one sweep come to."""
    sweep = spec.read(DATA / name)
    return analyse(sweep, from_csv((DATA / name / spec.RESULTS).read_text("utf-8"), sweep))


def part(name: str) -> str:
    """One sweep's part of the page."""
    return f"{name} -->\n\n{sweep_text.markdown(analysis(name)).strip()}\n\n"


def page(text: str) -> str:
    """The page with all its parts generated again."""
    return PART.sub(lambda match: part(match["name"]), text)


def main() -> None:
    for match in PART.finditer(PAGE.read_text("utf-8")):
        found = analysis(match["name"])
        drawn = forest_plot.svg(sweep_text.effects(found), sweep_text.TITLE, sweep_text.subtitle(found))
        (DATA / f"{match['name']}.svg").write_text(drawn, "utf-8")
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
