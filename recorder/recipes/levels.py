"""Noise levels as text, in any usual writing: with brackets, commas, spaces, and a closing 0 or not. No torch."""

from __future__ import annotations

import re
from typing import Final

from recorder.format.numerals import real
from recorder.shocks.schedules import free

EXAMPLE: Final = "1, 0.97, 0.9, 0.7, 0.4, 0"


def read_levels(text: str) -> tuple[float, ...]:
    """The levels of the model calls, without the closing 0.

    Takes `1,0.9,0.5`, `[1.0, 0.9, 0.5, 0.0]`, `(1 .9 .5)` and `tensor([1., 0.9000])` alike.

    Raises:
        ValueError: if something is not a number, or a level is not in (0, 1].
    """
    body = re.sub(r"^\s*(?:torch\.|np\.)?(?:tensor|array|FloatTensor)?\s*\(?\s*[\[(]?", "", text)
    body = re.sub(r"[\])\s,;]*$", "", body)
    parts = re.sub(r"[,;]", " ", body).split()
    return free([_level(part) for part in parts])


def _level(part: str) -> float:
    """A number; `1.` and `.5` are usual in lists that were printed or typed into ComfyUI."""
    plain = re.sub(r"^([+-]?)\.(?=\d)", r"\g<1>0.", re.sub(r"(?<=\d)\.$", "", part))
    return real(plain)


def is_list(text: str) -> bool:
    """Whether a text is a list of levels rather than the name of a schedule."""
    return bool(re.match(r"\s*[\[(]?\s*[+-]?[.\d]", text)) or text.lstrip().startswith(("[", "(", "tensor", "torch"))
