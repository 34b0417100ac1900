"""Colours, dark and light: hues that the colour-blind tell apart and that sixteen colours keep apart."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final

from textual.theme import Theme

from ltxtui.plot.line_plot import Style

DARK: Final = Theme(
    name="ltxtui-dark",
    primary="#56b4e9",
    foreground="#d5dbe1",
    background="#0e1216",
    surface="#0e1216",
    panel="#1a2027",
    warning="#e69f00",
    error="#ff7b54",
    dark=True,
    variables={
        "line-1": "#56b4e9",
        "line-2": "#f0a830",
        "line-3": "#e58ac0",
        "ghost": "#8a949e",
        "rule": "#5a646e",
        "faint": "#99a3ad",
        "cursor": "#2f3b48",
        "good": "#56b4e9",
        "note": "#ff7b54",
    },
)
LIGHT: Final = Theme(
    name="ltxtui-light",
    primary="#0064a6",
    foreground="#1c2127",
    background="#fbfbf8",
    surface="#fbfbf8",
    panel="#e9eaec",
    warning="#a35200",
    error="#b02a00",
    dark=False,
    variables={
        "line-1": "#0064a6",
        "line-2": "#a85400",
        "line-3": "#8b2f78",
        "ghost": "#77797c",
        "rule": "#9a9c9f",
        "faint": "#5b6066",
        "cursor": "#d3dce6",
        "good": "#0064a6",
        "note": "#b02a00",
    },
)
SAFE: Final = Theme(
    name="ltxtui-safe",
    primary="#6a95ff",
    foreground="#e6e9ec",
    background="#000000",
    surface="#000000",
    panel="#16191d",
    warning="#ffb000",
    error="#ffb000",
    dark=True,
    variables={
        "line-1": "#ffffff",
        "line-2": "#ffb000",
        "line-3": "#6a95ff",
        "ghost": "#969ca3",
        "rule": "#6a7077",
        "faint": "#a4abb3",
        "cursor": "#39424d",
        "good": "#6a95ff",
        "note": "#ffb000",
    },
)
"""White, amber and blue differ in lightness and along the axis that every kind of colour vision keeps."""
THEMES: Final = (DARK, LIGHT, SAFE)


def first_theme(environment: Mapping[str, str] = os.environ) -> str:
    """Light where the terminal says that its background is, else dark."""
    background = environment.get("COLORFGBG", "").rpartition(";")[2]
    return LIGHT.name if background in ("7", "15") else DARK.name


def first_drawing(environment: Mapping[str, str] = os.environ) -> Style:
    """Braille, or ASCII where the locale is not UTF-8 or the terminal has no font for it."""
    chosen = next((v for k in ("LC_ALL", "LC_CTYPE", "LANG") if (v := environment.get(k))), "C")
    encoding = chosen.partition(".")[2].partition("@")[0].lower().replace("-", "")
    unicode = encoding == "utf8" or (sys.platform == "darwin" and not encoding)
    return Style.BRAILLE if unicode and environment.get("TERM") not in ("linux", "dumb") else Style.ASCII
