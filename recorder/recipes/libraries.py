"""The libraries that run a model: whether they are installed, and their warnings. Imports none of them."""

from __future__ import annotations

import logging
import os
import sys
from importlib.util import find_spec

MISSING_EXTRA = "generating needs torch and diffusers; install them: pip install 'ltxtui[ltx]'"


class CannotGenerate(RuntimeError):
    """A generation that cannot run as requested; the message names what to change."""


def check_extra() -> None:
    """Raise CannotGenerate if torch, diffusers, transformers or accelerate is missing; imports none of them."""
    if any(find_spec(package) is None for package in ("torch", "diffusers", "transformers", "accelerate")):
        raise CannotGenerate(MISSING_EXTRA)


def quiet() -> None:
    """Silence the libraries' warnings; errors are still shown."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    if not sys.warnoptions:
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").setLevel(logging.ERROR)


def no_loading_bars() -> None:
    """Turn off progress bars of loading: the nano model loads in a second."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
