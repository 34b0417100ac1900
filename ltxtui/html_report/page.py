"""The page: one file without any request, whose content policy lets it run nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from ltxtui.html_report.compared_part import compared_part
from ltxtui.html_report.elements import Readings, text
from ltxtui.html_report.run_part import run_part
from recorder.format.version import VERSION
from replay.comparison.compare import letter
from replay.model.run import Run


@dataclass(frozen=True)
class Reported:
    """A run of the page, and whether it has no end and no recorder any more."""

    run: Run
    lost: bool = False


def page(reported: Sequence[Reported]) -> str:
    """The page about one run, or about several: their comparison with the first of them, then each of them."""
    readings = Readings()
    runs = [one.run for one in reported]
    several = len(runs) > 1
    body = [compared_part(runs, readings)] if several else []
    body += [run_part(one.run, readings, letter(i) if several else "", lost=one.lost) for i, one in enumerate(reported)]
    style, script = _asset("report.css"), _asset("report.js")
    policy = "; ".join((
        "default-src 'none'", "img-src data:", f"style-src {_hash(style)}", f"script-src {_hash(script)}",
        "base-uri 'none'", "form-action 'none'",
    ))  # fmt: skip
    title = text(", ".join(run.name for run in runs), 200)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="referrer" content="no-referrer"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{style}</style></head><body>"
        f'<div id="cursor" role="status">Point at a chart: all of them show that step. Arrow keys move it.</div>'
        f"<main>{''.join(body)}</main><footer>ltxtui {VERSION}</footer>"
        f"{readings.as_script()}<script>{script}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return (resources.files("ltxtui.html_report") / name).read_text("utf-8")


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
