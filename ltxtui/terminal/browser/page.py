"""The page: textual-serve's terminal, with our own frame around it, which asks only its own server."""

from __future__ import annotations

import html
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

_TERMINAL: Final = resources.files("textual_serve") / "static"
_OWN: Final = resources.files("ltxtui.terminal.browser")
_STATIC: Final = {
    "page.js": (_OWN / "page.js", "text/javascript"),
    "page.css": (_OWN / "page.css", "text/css"),
    "textual.js": (_TERMINAL / "js" / "textual.js", "text/javascript"),
    "xterm.css": (_TERMINAL / "css" / "xterm.css", "text/css"),
    "mono.ttf": (_TERMINAL / "fonts" / "RobotoMono-VariableFont_wght.ttf", "font/ttf"),
}
HEADERS: Final = {
    # The terminal sets styles of its own, and draws its characters from data: and blob: pictures.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "font-src 'self'; img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every answer: nothing from other sites, and the token goes to none of them."""


@dataclass(frozen=True)
class File:
    """What a part of the page is made of."""

    data: bytes
    kind: str


def static(name: str) -> File | None:
    """A file of the page; None if it has none of this name."""
    if name not in _STATIC:
        return None
    source, kind = _STATIC[name]
    return File(source.read_bytes(), kind)


def page(title: str, *, read_only: bool) -> str:
    """The page for one viewer. Its addresses are relative, so that it works behind `ssh -L` and other proxies."""
    said = "read-only" if read_only else "may stop and change runs"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title>"
        '<link rel="icon" href="data:,"><link rel="stylesheet" href="xterm.css"><link rel="stylesheet" href="page.css">'
        '<script src="page.js"></script><script src="textual.js"></script></head><body>'
        f'<p id="wait">{html.escape(title)} ({said}) …</p>'
        '<p id="over">The dashboard has ended. <button type="button">Open it again</button></p>'
        '<div id="terminal" class="textual-terminal" data-font-size="15"></div></body></html>\n'
    )


def full(most: int) -> str:
    """The page for a viewer too many."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>ltxtui</title>'
        '<link rel="stylesheet" href="page.css"></head>'
        f'<body class="-full"><p>{most} viewers are connected already. Close one of them, then reload this page.</p>'
        "</body></html>\n"
    )


def check_files() -> Path | None:
    """The first file of textual-serve that is missing, as another version may lack it; None if all are there."""
    for source, _ in _STATIC.values():
        if not source.is_file():
            return Path(str(source))
    return None
