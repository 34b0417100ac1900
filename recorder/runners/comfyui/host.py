"""The parts of ComfyUI that the adapter uses. This is the only module that imports ComfyUI's own modules."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

logger = logging.getLogger(__name__)

KEY: Final = "ltxtui"
"""Of our wrappers among those of other custom nodes."""
LTX: Final = ("LTXAV", "LTXV")
"""Classes of models that are recorded."""
WORKS_FROM: Final = "0.3.75"
SUPPORTED_FROM: Final = "0.16"
_WRAPPERS: Final = ("OUTER_SAMPLE", "PREDICT_NOISE", "CALC_COND_BATCH")


class CannotObserve(RuntimeError):
    """This ComfyUI cannot be observed rightly; the message names its version and what works."""


@dataclass(frozen=True)
class ExecutingNode:
    """What ComfyUI executes now: a prompt and a node of it; None where nothing is known."""

    prompt: str | None = None
    node: str | None = None


class Host:
    """The ComfyUI that this process runs."""

    def __init__(self) -> None:
        """Find what is needed.

        Raises:
            CannotObserve: if ComfyUI is not there, or too old.
        """
        self.version = _version()
        try:
            self.patcher = importlib.import_module("comfy.patcher_extension")
            self.samplers = importlib.import_module("comfy.samplers")
            self._utils = importlib.import_module("comfy.utils")
            management = importlib.import_module("comfy.model_management")
            self.interrupt: type[BaseException] = management.InterruptProcessingException
        except (ImportError, AttributeError) as error:
            raise CannotObserve(self._refusal(str(error))) from error
        kinds = getattr(self.patcher, "WrappersMP", None)
        if missing := [name for name in _WRAPPERS if not hasattr(kinds, name)]:
            raise CannotObserve(self._refusal(f"it has no hook {missing[0]}"))
        self._lifecycle: _Lifecycle | None = _lifecycle()
        self._executing = _optional("comfy_execution.utils", "get_executing_context")
        self._progress = _optional("comfy_execution.progress", "get_progress_state")

    def _refusal(self, reason: str) -> str:
        return (
            f"ComfyUI {self.version} cannot be recorded ({reason}): ltxtui works from {WORKS_FROM} on, and supports "
            f"{SUPPORTED_FROM} and newer"
        )

    # -- where we are

    def place(self) -> ExecutingNode:
        """The prompt and the node under way."""
        found = self._executing() if self._executing is not None else None
        return ExecutingNode() if found is None else ExecutingNode(str(found.prompt_id), str(found.node_id))

    def workflow(self) -> Mapping[str, Any]:
        """The graph of the prompt under way, in the API's form; empty if it is unknown."""
        try:
            found = self._progress().dynprompt.get_original_prompt() if self._progress is not None else {}
        except Exception as error:  # noqa: BLE001 - inner names of ComfyUI, which may change
            logger.debug("the workflow is not known: %s", error)
            return {}
        return found if isinstance(found, Mapping) else {}

    def runs_dir(self) -> Path:
        """Where runs go: `LTXTUI_RUNS_DIR`, else the folder `ltxtui` in ComfyUI's output folder."""
        if chosen := os.environ.get("LTXTUI_RUNS_DIR"):
            return Path(chosen)
        folder = _optional("folder_paths", "get_output_directory")
        return (Path(folder()) if folder is not None else Path("output")) / "ltxtui"

    def node_packs(self) -> dict[str, str]:
        """Custom nodes that are loaded: names of their folders and files, with versions where they give one."""
        nodes = sys.modules.get("nodes")
        loaded = getattr(nodes, "LOADED_MODULE_DIRS", None)
        found: dict[str, str] = {}
        for path in list(loaded.values())[:100] if isinstance(loaded, dict) else []:
            folder = Path(str(path))
            if "custom_nodes" in folder.parts and folder.name != "custom_nodes":
                found[folder.name] = _pack_version(folder)
        return found

    def port(self) -> int | None:
        """The port at which this server takes prompts; None if it is unknown."""
        found = getattr(getattr(sys.modules.get("comfy.cli_args"), "args", None), "port", None)
        return found if isinstance(found, int) else None

    # -- hooks

    def add_wrapper(self, kind: str, wrapper: Callable[..., Any], options: dict[str, Any]) -> None:
        """Add a wrapper of a kind such as `OUTER_SAMPLE` to the model options of a guider."""
        named = getattr(self.patcher.WrappersMP, kind)
        self.patcher.add_wrapper_with_key(named, KEY, wrapper, options, is_model_options=True)

    def has_wrapper(self, kind: str, options: dict[str, Any]) -> bool:
        """Whether model options have a wrapper of ours."""
        named = getattr(self.patcher.WrappersMP, kind)
        return bool(self.patcher.get_wrappers_with_key(named, KEY, options, is_model_options=True))

    def unpack(self, latents: Any, shapes: list[Any]) -> list[Any]:
        """Latents by stream: those of video and audio travel as one tensor [B, 1, N], or nested."""
        if getattr(latents, "is_nested", False):
            return list(latents.unbind())
        return list(self._utils.unpack_latents(latents, shapes)) if len(shapes) > 1 else [latents]

    @property
    def knows_prompts(self) -> bool:
        """Whether the end of a prompt is reported; without it every sampling is a run of its own."""
        return self._lifecycle is not None

    def watch_prompts(self, ended: Callable[[str], None]) -> Callable[[], None]:
        """Call a function at the end of every prompt; returns what stops that."""
        return self._lifecycle(ended) if self._lifecycle is not None else lambda: None


_Lifecycle = Callable[[Callable[[str], None]], Callable[[], None]]


def is_ltx(guider: Any) -> bool:
    """Whether a guider samples with an LTX model."""
    model = getattr(getattr(guider, "model_patcher", None), "model", None)
    return any(base.__name__ in LTX for base in type(model).__mro__)


def _version() -> str:
    try:
        return str(importlib.import_module("comfyui_version").__version__)
    except (ImportError, AttributeError):
        return "of an unknown version"


def _optional(module: str, name: str) -> Callable[..., Any] | None:
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return None
    return found


def _lifecycle() -> _Lifecycle | None:
    """How to be called at the end of a prompt: as a cache that never has anything. None before ComfyUI 0.16.5."""
    try:
        registry = importlib.import_module("comfy_execution.cache_provider")
        base = importlib.import_module("comfy_api.latest._caching").CacheProvider
        register, unregister = registry.register_cache_provider, registry.unregister_cache_provider
    except (ImportError, AttributeError):
        return None

    def watch(ended: Callable[[str], None]) -> Callable[[], None]:
        class Ends(base):  # type: ignore[misc, valid-type]
            """Is called when prompts end; stores and finds nothing."""

            async def on_lookup(self, context: Any) -> None:
                return None

            async def on_store(self, context: Any, value: Any) -> None:
                return None

            def should_cache(self, context: Any, value: Any = None) -> bool:
                return False

            def on_prompt_end(self, prompt_id: str) -> None:
                ended(prompt_id)

        provider = Ends()
        register(provider)
        return lambda: unregister(provider)

    return watch


def _pack_version(folder: Path) -> str:
    try:
        import tomllib

        with (folder / "pyproject.toml").open("rb") as file:
            return str(tomllib.load(file)["project"]["version"])[:40]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
