"""How a process of the tests becomes one of ComfyUI: on the CPU, one thread, from any folder.

Stand-ins take the place of torchvision and torchaudio where these are missing, or are empty files: ComfyUI imports both
at its start and needs neither for sampling latents.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

OPTIONS = ("--cpu", "--use-pytorch-cross-attention")
"""Without the second one attention takes twice as long on a CPU."""


class _Anything(types.ModuleType):
    """A module in which every name is there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        full = f"{self.__name__}.{name}"
        return sys.modules.get(full) or _made(full)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self


def _made(name: str) -> types.ModuleType:
    module = _Anything(name)
    module.__path__ = []
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    sys.modules[name] = module
    return module


def _is_missing(name: str) -> bool:
    found = importlib.util.find_spec(name)
    return found is None or (found.origin is not None and not Path(found.origin).stat().st_size)


class _Finder:
    def __init__(self) -> None:
        self.missing = {name for name in ("torchvision", "torchaudio") if _is_missing(name)}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in self.missing:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        return _made(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def stand_in() -> None:
    """Put the stand-ins in place."""
    sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]


def start(root: str) -> None:
    """Let this process import the modules of the ComfyUI in a folder."""
    sys.argv = [sys.argv[0], *OPTIONS]  # ComfyUI reads its options from there
    sys.path.insert(0, root)
    stand_in()
    import torch

    torch.set_num_threads(1)
    import comfy.options

    comfy.options.enable_args_parsing()


def version(root: Path) -> str:
    """The version that a checkout names."""
    found: dict[str, str] = {}
    path = root / "comfyui_version.py"
    if path.is_file():
        exec(path.read_text(encoding="utf-8"), found)
    return found.get("__version__", "?")


def has_ltxav(root: str | Path) -> bool:
    """Whether a ComfyUI knows models of video and audio."""
    return Path(root, "comfy/ldm/lightricks/av_model.py").is_file()
