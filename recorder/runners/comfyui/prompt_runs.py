"""One run per prompt: opened and completed in threads of their own, so that ComfyUI's queue does not wait."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recorder.format.events import reason_of
from recorder.recording import RunHandle
from recorder.runners.comfyui import workflow
from recorder.runners.comfyui.host import ExecutingNode, Host
from recorder.runners.targets import Targets
from recorder.sampling.metadata import command, device_name, versions
from recorder.session import Recording
from recorder.writing.machine_load import Gpu, gpu_of

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


class CancelledInComfyUI(BaseException):
    """The prompt was cancelled; the name is what the run's `error` says."""


@dataclass(frozen=True)
class RecordingOptions:
    """How samplings are recorded.

    Attributes:
        name: follows the time in the run's name; empty for two random words.
        save_latents: also keep the sample and the predicted clean sample of every step.
        allow_control: let viewers of the same user stop and shock.
        runs_dir: where runs go; empty for the host's folder.
    """

    name: str = ""
    save_latents: bool = False
    allow_control: bool = True
    runs_dir: str = ""


class PromptRun:
    """The run of one prompt, which opens in the background."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._run: RunHandle | None = None
        self._thread = threading.Thread(target=self._open, name="ltxtui-comfy-opener", daemon=True)
        self.failure: BaseException | None = None
        """Why the last sampling of the prompt ended early."""
        self._thread.start()

    def _open(self) -> None:
        try:
            self._run = self._recording.start()
            logger.info("recording %s", self._run.path)
        except Exception as error:  # noqa: BLE001 - such as a folder that cannot be written
            logger.error("this prompt is not recorded: %s", reason_of(error))

    def handle(self) -> RunHandle | None:
        """The run, once it is open; None if it cannot be recorded."""
        self._thread.join()
        return self._run

    @property
    def opened(self) -> RunHandle | None:
        """The run if it is open already."""
        return None if self._thread.is_alive() else self._run

    def close(self) -> Path | None:
        """Complete the archive; takes a while. Returns its path, or None if nothing is kept."""
        run = self.handle()
        if run is None:
            return None
        # A viewer's stop is a cancel too, and the run names it.
        self._recording.end(None if run.stopping else self.failure)
        if run.kept:
            logger.info("%s: %s", run.path, run.standing)
        return run.path if run.kept else None


class PromptRuns:
    """The runs of the prompts under way. Thread-safe."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._open: dict[str, PromptRun] = {}
        self._unwatch: Callable[[], None] | None = None
        self._closers: list[threading.Thread] = []
        self.kept: Callable[[Path], None] = lambda path: None
        """Called with the archive of each prompt, once it is complete."""

    def of(self, place: ExecutingNode, guider: Any, options: RecordingOptions) -> tuple[str, PromptRun]:
        """The run of a prompt, begun if it is not there, and the key to end it with."""
        key = place.prompt or f"sampling-{id(guider)}"
        with self._lock:
            if key not in self._open:
                self._open[key] = PromptRun(_recording(self._host, place, guider, options))
                if self._unwatch is None:
                    self._unwatch = self._host.watch_prompts(self.ended)
            return key, self._open[key]

    def sampled(self, key: str, place: ExecutingNode) -> None:
        """A sampling has ended. Where the end of its prompt is not reported, so has its run."""
        if place.prompt is None or not self._host.knows_prompts:
            self.ended(key)

    def ended(self, key: str) -> None:
        """A prompt has ended: its run is completed in the background. Unknown ones are ignored."""
        with self._lock:
            run = self._open.pop(key, None)
            if run is not None and not self._open and self._unwatch is not None:
                self._unwatch()
                self._unwatch = None
        if run is None:
            return
        # Not a daemon: the process waits for it, so that the last archive is complete.
        closer = threading.Thread(target=partial(_closed, run, self.kept), name="ltxtui-comfy-closer")
        self._closers = [*(t for t in self._closers if t.is_alive()), closer]
        closer.start()

    def wait(self) -> None:
        """Wait until the archives of all prompts that have ended are complete."""
        for closer in self._closers:
            closer.join()


def _closed(run: PromptRun, kept: Callable[[Path], None]) -> None:
    try:
        if (path := run.close()) is not None:
            kept(path)
    except Exception as error:  # noqa: BLE001 - nothing of ours may end ComfyUI
        logger.error("a run could not be completed: %s", reason_of(error))


def _recording(host: Host, place: ExecutingNode, guider: Any, options: RecordingOptions) -> Recording:
    """A recording that is not begun. What belongs to the sampling thread is read here."""
    device = guider.model_patcher.load_device
    make = partial(
        RunHandle,
        Path(os.path.abspath(options.runs_dir or host.runs_dir())),  # noqa: PTH100 - keeps links
        options.name or None,
        _known(host, place, guider, device),
        save_latents=options.save_latents,
        eigenvalue=None,
        previews=True,
        sync=False,
        gpu=_gpu(device),
        allow_control=options.allow_control,
    )
    return Recording(lambda recording: partial(recording.open, make, Targets(), None))


def _gpu(device: torch.device) -> Gpu | None:
    return gpu_of() if device.type == "cuda" else None


def _known(host: Host, place: ExecutingNode, guider: Any, device: torch.device) -> dict[str, Any]:
    """The metadata of a run that is known when it begins."""
    graph = host.workflow()
    comfyui = {
        "version": host.version,
        "prompt_id": place.prompt,
        "port": host.port(),
        "node_packs": host.node_packs(),
        **workflow.described(graph),
    }
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "command": command(),
        "pipelines": ["ComfyUI"],
        "model": workflow.model_file(graph, place.node) or model_path(guider),
        "device": device_name(device),
        "versions": {**versions(), "comfyui": host.version},
        "shocks": [],
        "user": {},
        "comfyui": comfyui,
    }


def model_path(guider: Any) -> str:
    """The name of the file that a guider's model was loaded from; empty if it is unknown."""
    try:
        _, arguments = guider.model_patcher.cached_patcher_init
        return Path(str(arguments[0])).name
    except (AttributeError, TypeError, ValueError, IndexError):
        return ""
