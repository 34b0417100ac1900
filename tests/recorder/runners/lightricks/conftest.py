"""Both interfaces of ltx-pipelines as small fakes, which are imported as the real one is."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

HERE = Path(__file__).parent


def _forget() -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "ltx_pipelines"]:
        del sys.modules[name]


def _fake(api: str, modules: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    _forget()
    monkeypatch.syspath_prepend(str(HERE / api))
    found = SimpleNamespace(
        **{name.split(".")[-1]: importlib.import_module(f"ltx_pipelines.{name}") for name in modules}
    )
    yield found
    _forget()


@pytest.fixture
def stage_api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The interface of the repository since March 2026: `DiffusionStage`."""
    yield from _fake("stage_api", ("distilled", "utils.blocks", "utils.samplers"), monkeypatch)


@pytest.fixture
def loop_api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The interface of 1.0.0: loops that the pipelines import by name."""
    yield from _fake("loop_api", ("distilled", "utils.helpers", "utils.samplers"), monkeypatch)
