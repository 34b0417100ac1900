"""A fake ComfyUI with our nodes loaded, its runs, and what is read of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recorder.runners.comfyui import nodes
from recorder.runners.comfyui.outer import Adapter
from replay.model.run import Run
from replay.sources.open import load
from tests.recorder.runners.comfyui.fakes import (
    SAMPLERS,
    ComfyUI,
    ModelPatcher,
    levels,
    noises,
)
from tests.recorder.runners.comfyui.server import Server


class Bench:
    """A fake ComfyUI with our nodes, in which samplings are made."""

    def __init__(self, comfyui: ComfyUI, patch: pytest.MonkeyPatch) -> None:
        self.comfyui = comfyui
        self._patch = patch
        self.comfyui.install(patch)

    def load(self, record_all: bool = False) -> dict[str, type]:
        self._patch.setattr(nodes, "_adapter", None)
        return nodes.load(record_all)[0]

    def load_again(self, record_all: bool = False) -> None:
        nodes.load(record_all)

    @property
    def adapter(self) -> Adapter:
        assert nodes._adapter is not None
        return nodes._adapter

    def model(self, **options: Any) -> Any:
        """A model behind the node LTX Telemetry."""
        return nodes.LTXTelemetry().attach(ModelPatcher(), **options)[0]

    def guider(self, model: Any, cfg: float = 3.0, kind: type | None = None) -> Any:
        import comfy.samplers  # type: ignore[import-not-found]

        made = comfy.samplers.CFGGuider
        if kind is not None:
            made = type(kind.__name__, (kind, made), {})
        return made(model, cfg)

    def sampler(self, name: str, **options: Any) -> Any:
        import comfy.samplers

        return comfy.samplers.KSAMPLER(SAMPLERS[name][0], options)

    def sample(
        self,
        model: Any,
        sampler: Any = "euler",
        *,
        cfg: float = 3.0,
        sigmas: Any = None,
        batch: int = 1,
        audio: bool = True,
        mask: Any = None,
        callback: Any = None,
        kind: type | None = None,
        given: Any = None,
    ) -> Any:
        """One sampling, as a node makes it."""
        noise, empty = noises(batch, audio)
        made = self.sampler(sampler) if isinstance(sampler, str) else sampler
        return self.guider(model, cfg, kind).sample(
            noise,
            empty if given is None else given,
            made,
            levels() if sigmas is None else sigmas,
            denoise_mask=mask,
            callback=(lambda *_: None) if callback is None else callback,
            seed=42,
        )

    def runs(self) -> list[Run]:
        """The complete runs, in the order of their beginning."""
        self.adapter.runs.wait()
        folder = self.comfyui.output / "ltxtui"
        return [load(path) for path in sorted(folder.glob("*.zarr"))] if folder.exists() else []

    def run(self) -> Run:
        (run,) = self.runs()
        return run


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Bench]:
    monkeypatch.delenv("LTXTUI_RUNS_DIR", raising=False)
    monkeypatch.delenv(nodes.ENVIRONMENT, raising=False)
    caplog.set_level(logging.WARNING)
    made = Bench(ComfyUI(tmp_path / "output"), monkeypatch)
    made.load()
    yield made
    if nodes._adapter is not None:
        nodes._adapter.runs.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server, for all tests that ask it."""
    made = Server(tmp_path_factory.mktemp("comfyui"))
    yield made
    made.end()
