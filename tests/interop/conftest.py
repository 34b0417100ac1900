"""The nano model in Lightricks' layout, and a way to Lightricks' newer code; `make interop` runs what needs them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recorder import nano

LTX2 = os.environ.get("LTXTUI_LTX2")
"""A checkout of Lightricks/LTX-2 to test with instead of the ltx-core that is installed."""

if LTX2:
    sys.path.insert(0, str(Path(LTX2) / "packages/ltx-core/src"))


@pytest.fixture(scope="session")
def pipe() -> Iterator[Any]:
    """The nano pipeline, on one thread."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    weights = os.environ.get("LTXTUI_NANO_WEIGHTS")  # of a training that is not finished
    loaded = nano.load(weights=Path(weights)) if weights else nano.load()
    loaded.set_progress_bar_config(disable=True)
    yield loaded
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def checkpoint(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python -m recorder.nano export --layout lightricks` writes."""
    from recorder.nano import components, lightricks

    if pipe.transformer.config.audio_in_channels != components.AUDIO_TOKEN:
        pytest.skip("no other code loads the first nano, whose weights the package holds; LTXTUI_NANO_WEIGHTS=FOLDER")
    path = tmp_path_factory.mktemp("lightricks") / "nano.safetensors"
    lightricks.export(pipe, path)
    lightricks.export_contexts(pipe, path.with_name("contexts.safetensors"))
    return path
