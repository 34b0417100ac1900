"""Checkouts of other codes, named by the environment: they are tested instead of what is installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

LTX2 = os.environ.get("LTXTUI_LTX2")
"""A checkout of Lightricks/LTX-2, instead of the packages that are installed."""
COMFYUI = str(Path(found).absolute()) if (found := os.environ.get("LTXTUI_COMFYUI")) else ""
"""A checkout of ComfyUI. It is no package, so there is no other way."""


def use_ltx2() -> None:
    """Import ltx-core and ltx-pipelines from the checkout, if one is named."""
    if LTX2:
        for package in ("ltx-pipelines", "ltx-core"):
            sys.path.insert(0, str(Path(LTX2) / "packages" / package / "src"))
