"""The sweep's own folder: the proof that nodes share it, and runs that come home from their disks."""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

from recorder.format import locations
from recorder.sweep import spec
from recorder.sweep.on_ray.maker import Made, SharedFolder
from recorder.system import open_folders


@contextlib.contextmanager
def marked(folder: Path) -> Iterator[SharedFolder]:
    """While the block runs, a file proves to workers that they see this very folder."""
    mark = f".ray-{secrets.token_hex(8)}"
    folder = folder.absolute()
    open_folders.replace_file(folder / mark, b"")
    try:
        yield SharedFolder(str(folder), mark)
    finally:
        (folder / mark).unlink(missing_ok=True)


def bring_home(folder: Path, made: Made) -> None:
    """Write a run that came packed: its measures first, so that no complete run lacks them. Raises OSError."""
    if made.archive is None:
        return
    first = name = Path(made.name).name
    for number in itertools.count(2):
        archive = folder / spec.RUNS / f"{name}{locations.PACKED_SUFFIX}"
        if not archive.exists():
            break
        name = f"{first}-{number}"  # two nodes had the same name for two runs
    measures = json.dumps({"run": name, "measures": made.measures})
    spec.replace_file(spec.measures_file(folder, name), f"{measures}\n")
    open_folders.replace_file(archive, made.archive, sync=True)
