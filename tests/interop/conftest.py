"""The nano model, and its export in Lightricks' layout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recorder import nano


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
    from recorder.nano import lightricks

    path = tmp_path_factory.mktemp("lightricks") / "nano.safetensors"
    lightricks.export(pipe, path)
    lightricks.export_contexts(pipe, path.with_name("contexts.safetensors"))
    return path
