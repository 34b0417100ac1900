"""Text of a run does no harm, and numbers keep to their width."""

from __future__ import annotations

import math
import unicodedata

import pytest
from rich.cells import cell_len

from ltxtui.plot.text import clean, duration, fit, number, to_ascii


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("a red ball", "a red ball"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jgone", "gone"),
        ("\x1bcreset", "reset"),
        ("line\nbreak\r\n\ttab\u2028end", "line break tab end"),
        ("\u202egnp.exe\u202c", "gnp.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("bell\x07nul\x00del\x7f", "bellnuldel"),
        ("[bold red]markup[/] $var", "[bold red]markup[/] $var"),
        ("e" + "\u0301" * 40, "e\u0301\u0301"),
        ("広い", "広い"),
        ("", ""),
    ],
)
def test_clean(hostile: str, harmless: str) -> None:
    assert clean(hostile) == harmless


def test_clean_leaves_no_control_character_of_any_kind() -> None:
    everything = "".join(map(chr, [*range(0x3000), *range(0xE000, 0xE010), *range(0xFFF0, 0x10000)]))
    cleaned = clean(everything, limit=10**6)
    assert not {unicodedata.category(c) for c in cleaned} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@pytest.mark.parametrize(
    "text", ["", " ", "plain", "  two   words ", "a\tb\nc", "\x1b[31mred\x1b[0m", "x\x00y\x7f", "~!"]
)
def test_plain_text_is_cleaned_as_any_other(text: str) -> None:
    """ASCII takes a short way; with a sign that is none, the same text takes the long one."""
    assert clean(f"{text}é") == f"{clean(text + 'e')[:-1]}é" and clean(text) == clean(f" {text} ")
    assert clean(text) == clean(f"é{text}")[1:].strip()


def test_clean_is_short() -> None:
    assert len(clean("x" * 10_000, 100)) == 100
    assert clean(None) == "None"


@pytest.mark.parametrize("cells", [0, 1, 3, 7, 20])
@pytest.mark.parametrize("text", ["plain text that is long", "広い広い広い広い広い", "σ = 1", "e\u0301" * 30])
def test_fit(text: str, cells: int) -> None:
    assert cell_len(fit(text, cells)) <= cells
    assert cell_len(fit(text, 100)) == cell_len(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1, "1.000"), (0.83412, "0.8341"), (-40.071, "-40.07"), (12345.6, "12346"), (1e-9, "1.0e-9"),
     (123456789.0, "1.23e8"), (math.nan, "–"), (-math.inf, "-∞"), (0.00123, "0.0012")],
)  # fmt: skip
def test_number(value: float, text: str) -> None:
    assert number(value) == text


def test_numbers_keep_to_their_width() -> None:
    for power in range(-30, 31):
        for digits in (1, -1, 9.99951, -9.99951, 5.5555, -5.5555):
            assert len(number(digits * 10.0**power)) <= 6


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.05, "0.05 s"), (12.34, "12.3 s"), (59.96, "1 m 00 s"), (245, "4 m 05 s"), (7800, "2 h 10 m"), (math.nan, "–")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_to_ascii() -> None:
    assert to_ascii("σ · 1/2× …") == "sigma | 1/2x ..."
    assert to_ascii("café 広") == "cafe ?"
