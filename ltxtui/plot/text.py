"""Text for a terminal: text of a run made harmless, numbers and times made short, everything in ASCII when asked."""

from __future__ import annotations

import math
import re
import unicodedata

from rich.cells import cell_len, set_cell_size

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movement
    r"|\x1b[\]PX^_].*?(?:\x1b\\|\x07|\x9c|$)"  # OSC, DCS and the other strings, up to their terminator
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
_SPACE = re.compile(r"\s+")
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_MARKS = frozenset({"Mn", "Me", "Mc"})
_MAX_MARKS = 2

_ASCII = {
    "σ": "sigma", "ε": "eps", "Δ": "d", "·": "|", "…": "...", "–": "-", "—": "-", "−": "-", "×": "x", "∞": "inf",
    "→": "->", "←": "<-", "↑": "up", "↓": "down", "●": "*", "■": "#", "►": ">", "‖": "=", "◌": "o", "⚠": "!",
    "─": "-", "╌": "=", "│": "|", "“": '"', "”": '"', "’": "'", "½": "1/2", "¼": "1/4", "⅛": "1/8",
}  # fmt: skip


_CELLS = {sign: said for sign, said in _ASCII.items() if len(said) == 1} | {"…": ".", "→": ">", "←": "<"}


def clean(value: object, limit: int = 2000) -> str:
    """Text from a run as one harmless line: no escapes, controls, bidi marks or line breaks, at most `limit` long.

    Runs come from other users and machines. Their text is shown, never interpreted.
    """
    text = _SPACE.sub(" ", _ESCAPES.sub("", str(value)[: 4 * limit]))
    line = text.strip() if text.isascii() and text.isprintable() else _harmless(text)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _harmless(text: str) -> str:
    """The characters that do nothing but show, sign by sign: thirty times as slow as to see that all of them are."""
    kept: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        if category in _DROPPED:
            continue
        marks = marks + 1 if category in _MARKS else 0
        if marks <= _MAX_MARKS:
            kept.append(character)
    return _SPACE.sub(" ", "".join(kept)).strip()


def to_ascii(text: str) -> str:
    """The same in ASCII: known signs spelled out, accents dropped, the rest as question marks."""
    if text.isascii():
        return text
    spelled = "".join(_ASCII.get(c, c) for c in text)
    plain = (c for c in unicodedata.normalize("NFKD", spelled) if unicodedata.category(c) not in _MARKS)
    return "".join(c if c.isascii() else "?" for c in plain)


def ascii_cells(text: str) -> str:
    """The same in ASCII and in as many cells, sign for sign, for text with escape sequences that is laid out."""
    return "".join(c if c.isascii() else _CELLS.get(c, "?") * cell_len(c) for c in text)


def fit(text: str, cells: int) -> str:
    """Text cut to a number of terminal cells, with an ellipsis where something is missing."""
    if cell_len(text) <= cells:
        return text
    ellipsis = "..." if text.isascii() and cells > 6 else "…" if not text.isascii() else "."
    if cells <= len(ellipsis):
        return ellipsis[: max(0, cells)]
    return set_cell_size(text, cells - len(ellipsis)).rstrip() + ellipsis


def number(value: float, width: int = 6) -> str:
    """A number in at most `width` characters (5 or more), four significant digits where they fit."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    magnitude = abs(value)
    if 1e-3 <= magnitude < 10 ** (width - (value < 0)) - 0.5:
        decimals = max(0, min(3 - math.floor(math.log10(magnitude)), width - 2))
        while len(text := f"{value:.{decimals}f}") > width and decimals > 0:
            decimals -= 1
        return text
    for decimals in (2, 1, 0):
        mantissa, exponent = f"{value:.{decimals}e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
        if len(text) <= width:
            break
    return text


def significant(value: float, digits: int = 3) -> str:
    """`digits` significant digits, and all of those before the point: `0.0123`, `12.3`, `1234`; never `1e+03`."""
    return f"{value:.{digits}g}" if abs(value) < 10**digits - 0.5 else f"{value:.0f}"


def one_of(index: int, count: int) -> str:
    """A place among several, counted from 0, with where it can be: `1 of 0–1`; alone where it is the only one."""
    return f"{index} of 0–{count - 1}" if count > 1 else str(index)


def duration(seconds: float) -> str:
    """A stretch of time, short: `1.5 ms`, `0.05 s`, `12.3 s`, `4 m 05 s`, `2 h 10 m`."""
    if not math.isfinite(seconds):
        return "–"
    seconds = max(0.0, seconds)
    if seconds < 0.01:
        return f"{number(seconds * 1000, 5)} ms" if seconds else "0 s"
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} m"


def ago(seconds: float) -> str:
    """How long ago something was, short: `now`, `30 s`, `5 min`, `3 h`, `12 d`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return "now" if seconds < 5 else f"{seconds:.0f} s"


def size(count: int) -> str:
    """Bytes as `180 KB`, `2.1 MB` or `3.4 GB`."""
    for unit, length in (("GB", 1e9), ("MB", 1e6)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count / 1000:.0f} KB"
