"""Our archive writer and strict reader against zarr-python, on the same archive: `python -m benchmarks.zarr_python`.

The archive has the groups of a run of one stage and arrays of 50 steps, one chunk each. Both sides write the same bytes
for chunks and equal documents, and read each other's archive to equal values, which is checked. zarr-python is used in
its fastest way, `create_hierarchy`; `create_array`, one by one, is shown as well. Times are CPU time of the process
with all its threads, since zarr-python works in threads that a sampler would have to share its cores with.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recorder.archive.zarr_writer import StoreWriter
from recorder.format import paths
from recorder.format.array_document import array_document
from replay.archive.store import StoreReader

ARRAYS = 110
REPEATS = 9
STEPS = 50
ATTRIBUTES = {"units": "1", "long_name": "a metric", "description": "what it is " * 8}
_IMPORTS = {
    "ours": "import recorder.archive.zarr_writer, replay.archive.store",
    "zarr-python": "import zarr",
}
_IMPORT = "import time; began = time.process_time(); {}; print(time.process_time() - began)"

Arrays = dict[str, NDArray[np.float32]]
Seconds = dict[str, list[float]]


def hierarchy(count: int) -> tuple[list[str], Arrays]:
    """Groups of a run of one stage, and arrays [steps, batch] for half as many metrics of each stream."""
    streams = [paths.stream(0, name) for name in ("video", "audio")]
    rng = np.random.default_rng(0)
    arrays = {f"{streams[i % 2]}/metric_{i}": rng.random((STEPS, 1), np.float32) for i in range(count)}
    return [paths.stage(0), *streams], arrays


def documents(arrays: Arrays) -> dict[str, dict[str, Any]]:
    """Documents of the arrays, as both sides write them."""
    return {
        name: array_document(values.shape, "float32", values.shape, ("step", "batch"), ATTRIBUTES)
        for name, values in arrays.items()
    }


def ours(path: Path, groups: list[str], arrays: Arrays) -> Iterator[str]:
    """Write the archive with our writer; yields the name of each part once it is done."""
    store = StoreWriter(path, {})
    for group in groups:
        store.group(group, {})
    made = {
        name: store.array(name, values.shape, "float32", ("step", "batch"), ATTRIBUTES)
        for name, values in arrays.items()
    }
    yield "create"
    for name, values in arrays.items():
        made[name].write(0, values)
    yield "write chunks"
    store.consolidate({})
    yield "consolidate"
    store.close()


def zarr_python(path: Path, groups: list[str], arrays: Arrays) -> Iterator[str]:
    """Write the same archive with zarr-python."""
    import zarr
    from zarr.core.group import GroupMetadata
    from zarr.core.metadata import ArrayV3Metadata

    nodes: dict[str, Any] = {name: GroupMetadata() for name in ("", *groups)}
    nodes |= {name: ArrayV3Metadata.from_dict(dict(d)) for name, d in documents(arrays).items()}
    store = zarr.storage.LocalStore(path)
    made = dict(zarr.create_hierarchy(store=store, nodes=nodes))
    yield "create"
    for name, values in arrays.items():
        array: Any = made[name]
        array[:] = values
    yield "write chunks"
    _consolidate(store)
    yield "consolidate"


def one_by_one(path: Path, groups: list[str], arrays: Arrays) -> Iterator[str]:
    """Write the same archive with `create_array` for each array."""
    import zarr

    root = zarr.open_group(str(path), mode="w")
    for group in groups:
        root.create_group(group)
    settings: dict[str, Any] = {"compressors": None, "fill_value": float("nan"), "attributes": ATTRIBUTES}
    made = {
        name: root.create_array(
            name, shape=v.shape, chunks=v.shape, dtype="float32", dimension_names=("step", "batch"), **settings
        )
        for name, v in arrays.items()
    }
    yield "create"
    for name, values in arrays.items():
        made[name][:] = values
    yield "write chunks"
    _consolidate(root.store)
    yield "consolidate"


def _consolidate(store: Any) -> None:
    import zarr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # consolidated metadata are not in the specification yet
        zarr.consolidate_metadata(store)


def read_ours(path: Path, names: list[str]) -> Arrays:
    store = StoreReader(path)
    return {name: store.array(name).read() for name in names}


def read_zarr_python(path: Path, names: list[str]) -> Arrays:
    import zarr

    root: Any = zarr.open_group(str(path), mode="r")
    return {name: np.asarray(root[name][:]) for name in names}


WRITERS: dict[str, Callable[[Path, list[str], Arrays], Iterator[str]]] = {
    "ours": ours, "zarr-python": zarr_python, "zarr-python, create_array": one_by_one,
}  # fmt: skip
READERS = {"ours": read_ours, "zarr-python": read_zarr_python}


def measure(folder: Path, count: int, repeats: int) -> dict[str, Seconds]:
    """CPU seconds of every part by the side that did it; the first round only warms up.

    Args:
        folder: where archives are made and removed again.
        count: arrays of an archive.
        repeats: rounds that are measured.

    Raises:
        ValueError: if one side does not read what the other has written.
    """
    found: dict[str, Seconds] = {side: {} for side in WRITERS}
    groups, arrays = hierarchy(count)
    for round_ in range(repeats + 1):
        for side, write in WRITERS.items():
            path = folder / "run.zarr"
            _note(found[side], write(path, groups, arrays), round_ > 0)
            for reader, read in READERS.items():
                began = time.process_time()
                values = read(path, list(arrays))
                if round_ and reader == side:
                    found[side].setdefault("read", []).append(time.process_time() - began)
                if not all(np.array_equal(values[name], arrays[name]) for name in arrays):
                    raise ValueError(f"{reader} does not read what {side} has written")
            shutil.rmtree(path)
    for side, statement in _IMPORTS.items():
        found[side]["import"] = [_import(statement) for _ in range(repeats)]
    return found


def _note(seconds: Seconds, parts: Iterator[str], kept: bool) -> None:
    whole = began = time.process_time()
    for part in parts:
        now = time.process_time()
        if kept:
            seconds.setdefault(part, []).append(now - began)
        began = now
    if kept:
        seconds.setdefault("write in all", []).append(began - whole)


def _import(statement: str) -> float:
    """CPU seconds of an import in a fresh process."""
    done = subprocess.run([sys.executable, "-c", _IMPORT.format(statement)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def table(found: dict[str, Seconds]) -> str:
    """Medians in milliseconds, with the ratio to ours, as a table of Markdown."""
    sides = list(found)
    lines = [f"| CPU ms | {' | '.join(sides)} |", "| --- " * (len(sides) + 1) + "|"]
    for part in ("create", "write chunks", "consolidate", "write in all", "read", "import"):
        base = statistics.median(found["ours"][part])
        cells = []
        for side in sides:
            seconds = found[side].get(part)
            if seconds is None:
                cells.append("")
            else:
                middle = statistics.median(seconds)
                times = "" if side == "ours" or not base else f" ({middle / base:.1f}×)"
                cells.append(f"{1000 * middle:.1f}{times}")
        lines.append(f"| {part} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.zarr_python",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m benchmarks.zarr_python --arrays 110 --repeats 9",
    )
    parser.add_argument("--arrays", type=int, default=ARRAYS, help="arrays of an archive [%(default)s]")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="rounds that are measured [%(default)s]")
    chosen = parser.parse_args(arguments)
    if chosen.arrays < 1 or chosen.repeats < 1:
        parser.error("--arrays and --repeats must be at least 1")
    folder = Path(tempfile.mkdtemp(prefix="ltx-bench-"))
    try:
        found = measure(folder, chosen.arrays, chosen.repeats)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    from importlib.metadata import version

    print(f"{platform.machine()}, Python {platform.python_version()}, zarr {version('zarr')}, numpy {np.__version__}")
    print(f"{chosen.arrays} arrays of [{STEPS}, 1] float32, medians of {chosen.repeats} rounds\n")
    print(table(found))


if __name__ == "__main__":
    main()
