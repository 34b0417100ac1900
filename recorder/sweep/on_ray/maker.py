"""What makes runs on a node of a Ray cluster: one model on one GPU, in a process that Ray starts and ends.

Imports no Ray: the pool makes an actor of the class.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from recorder.format import locations
from recorder.format.version import VERSION
from recorder.sweep import spec, worker
from recorder.sweep.spec import Job, Sweep

PREFIX: Final = "ltxtui-sweep-"
"""Of the folder, on the node's own disk, of a run that is being made."""


@dataclass(frozen=True)
class SharedFolder:
    """The sweep's folder on a disk that all nodes have at the same path; `mark` is a file in it that proves so."""

    path: str
    mark: str


@dataclass(frozen=True)
class Ready:
    """A worker that has loaded its model, or why it cannot make runs.

    Attributes:
        node: the host's name.
        versions: of the software there.
        error: one line; None if it is ready.
        log: the traceback of the error.
    """

    node: str
    versions: dict[str, str]
    error: str | None = None
    log: str = ""


@dataclass(frozen=True)
class Made:
    """One run that was made, or why not.

    Attributes:
        seconds: the generation alone.
        error: one line; None if the run is complete.
        no_plan: the arm's shocks cannot act on this schedule, with any seed.
        log: the traceback of the error.
        name: of the run.
        archive: the packed archive; None if it is in the shared folder.
        measures: what was measured on its final latents.
    """

    seconds: float
    error: str | None = None
    no_plan: bool = False
    log: str = ""
    name: str = ""
    archive: bytes | None = None
    measures: dict[str, Any] = field(default_factory=dict)


class RunMaker:
    """Makes runs of one sweep, one at a time. The model is loaded once, by `ready`."""

    def __init__(self, made: dict[str, Any], shared: SharedFolder | None) -> None:
        """`made` is the sweep, by `Sweep.as_dict`. Nothing is read before the versions are known to agree."""
        self._made = made
        self._shared = shared
        self._sweep: Sweep
        self._folder: Path
        self._pipe: Any = None
        self._lock: int | None = None

    def ready(self, version: str) -> Ready:
        """Load the model. `version` is that of ltxtui in the process that asks: jobs and answers are of its form."""
        node = socket.gethostname()
        if version != VERSION:
            return Ready(node, {}, f"ltxtui {VERSION} is installed there, {version} here; install the same version")
        from recorder.sampling.metadata import versions

        try:
            self._sweep = Sweep.from_dict(self._made)
            self._check_shared()
            self._pipe = worker.load(self._sweep)
            self._folder = self._find_folder()
        except worker.EXPECTED as error:
            return Ready(node, versions(), worker.described(error)[0], traceback.format_exc())
        return Ready(node, versions())

    def make(self, arm: str, seed: int) -> Made:
        """Make one run."""
        job, began = Job(arm, seed), time.monotonic()
        try:
            path = worker.make_run(self._pipe, self._sweep, job, self._folder, pack=self._shared is None)
            seconds = time.monotonic() - began
            if self._shared is not None:
                return Made(seconds, name=locations.run_name(path))
            name = locations.run_name(path)
            measures = spec.measures_file(self._folder, name)
            measured = json.loads(measures.read_bytes())["measures"]
            made = Made(seconds, name=name, archive=path.read_bytes(), measures=measured)
            path.unlink()
            measures.unlink()
            return made
        except worker.EXPECTED as error:
            said, no_plan = worker.described(error)
            return Made(time.monotonic() - began, said, no_plan, traceback.format_exc())

    def leave(self) -> None:
        """Remove what is on the node's disk, also while a run is being made: it will not be completed."""
        if self._lock is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _check_shared(self) -> None:
        """Raises FileNotFoundError if the shared folder is not there, or another one is."""
        if self._shared is not None and not (Path(self._shared.path) / self._shared.mark).is_file():
            raise FileNotFoundError(f"{self._shared.path} is not the shared folder there; leave out --ray-shared")

    def _find_folder(self) -> Path:
        """Where runs are written: the shared folder, or a new one on the node's disk. Raises OSError."""
        if self._shared is not None:
            return Path(self._shared.path)
        _remove_leftovers()
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = spec.worker_lock(folder)
        spec.write(folder, self._sweep)
        return folder


def _remove_leftovers() -> None:
    """Remove the folders of this user's workers that were killed on this node; those of living ones are locked."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            found = folder.stat()
            # A young one may not be locked yet.
            if found.st_uid == os.getuid() and time.time() - found.st_mtime > 60 and not spec.working(folder):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # it has just been removed by another worker
