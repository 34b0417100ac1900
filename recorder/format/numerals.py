"""Numbers in text: read in the digits 0 to 9 only, and written with their noun."""

from __future__ import annotations


def whole(text: str) -> int:
    """A whole number. Raises ValueError for anything else, digits of other scripts and `1_000` included."""
    return int(_plain(text))


def real(text: str) -> float:
    """A number. Raises ValueError for anything else, digits of other scripts and `1_000` included."""
    return float(_plain(text))


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 run`, `2 runs`, `1,024 runs`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _plain(text: str) -> str:
    if not text.isascii() or "_" in text:
        raise ValueError(f"{text!r} is not a number in the digits 0 to 9")
    return text
