"""Whether this process is shown in a browser instead of a terminal, as textual-serve says it. Light to import."""

from __future__ import annotations

import os
from typing import Final

DRIVER: Final = "textual.drivers.web_driver:WebDriver"
VARIABLE: Final = "TEXTUAL_DRIVER"


def is_served() -> bool:
    """Whether a program that serves it shows this process in a browser."""
    return os.environ.get(VARIABLE) == DRIVER
