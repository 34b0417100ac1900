"""Reads an archive as messages: the ones its run was streamed as, rows in blocks."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recorder import words
from recorder.words import Message
from replay.run import NotARun, check_header

if TYPE_CHECKING:
    import zarr

MAX_METADATA_BYTES = 64 << 20


def root_attributes(path: Path) -> dict[str, Any]:
    """The root attributes of an archive, read without zarr.

    Raises:
        NotARun: if `path` is not an archive of a run in a format that this version reads.
        OSError: if it cannot be read.
    """
    file = path / "zarr.json"
    if not path.exists():
        raise NotARun(f"{path} does not exist")
    if not file.is_file():
        raise NotARun(f"{path} is not a recorded run (it has no zarr.json)")
    if file.stat().st_size > MAX_METADATA_BYTES:
        raise NotARun(f"{path} is not a recorded run (its metadata is larger than {MAX_METADATA_BYTES >> 20} MiB)")
    try:
        attributes = json.loads(file.read_bytes()).get("attributes", {})
    except (ValueError, AttributeError, RecursionError) as error:
        raise NotARun(f"{path} has damaged metadata: {error}") from error
    try:
        check_header(attributes)
    except NotARun as error:
        raise NotARun(f"{path}: {error}") from error
    return dict(attributes)


def read_messages(path: Path) -> Iterator[Message]:
    """All messages of an archive, in an order that a reader of a live run would accept.

    Raises:
        NotARun: if it is not one, or if what it says of itself does not fit together.
    """
    attributes = root_attributes(path)
    ended = "ended" in attributes
    own = {"status", "rows", "previews", "error", "ended", "planned", "prompt", "summary"}
    yield {"t": words.HEADER, **{k: v for k, v in attributes.items() if k not in own}}
    import zarr

    try:
        root = zarr.open_group(str(path), mode="r")
        yield from _stages(root, attributes["rows"], attributes.get("previews", {}))
        yield from _events(root)
        yield from _system(root)
    except (KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise NotARun(f"{path} is damaged: {error!r}") from error
    if ended:
        yield {
            "t": words.END,
            "time": attributes["ended"],
            "status": attributes["status"],
            "error": attributes.get("error"),
        }


def _stages(root: zarr.Group, rows: dict[str, int], previews: dict[str, int]) -> Iterator[Message]:
    index = 0
    while (name := f"stage_{index}") in root:
        stage = root[name]
        yield {"t": words.STAGE, **dict(stage.attrs)}
        for stream in words.STREAMS:
            if stream in stage:  # type: ignore[operator]
                key = f"{name}/{stream}"
                yield from _stream(stage[stream], int(rows.get(key, 0)))  # type: ignore[index,arg-type]
                yield from _previews(stage[stream], int(previews.get(key, 0)))  # type: ignore[index,arg-type]
        index += 1


def _stream(group: zarr.Group, rows: int) -> Iterator[Message]:
    declaration: Message = {"t": words.STREAM, **dict(group.attrs)}
    yield declaration
    if rows <= 0:
        return
    columns = [np.asarray(group[m["name"]][:rows], "<f4").reshape(rows, -1) for m in declaration["metrics"]]  # type: ignore[index]
    data = np.ascontiguousarray(np.concatenate(columns, axis=1))
    times = np.asarray(group["time"][:rows], "<f8")  # type: ignore[index]
    step: Message = {"t": words.STEP, "stage": declaration["stage"], "stream": declaration["stream"], "step": 0}
    if rows == 1:
        yield {**step, "time": float(times[0]), "data": data.tobytes()}
    else:
        yield {**step, "count": rows, "time": times.tobytes(), "data": data.tobytes()}


def _previews(group: zarr.Group, count: int) -> Iterator[Message]:
    """Preview messages whose pixels are read when somebody looks at them: curves must not wait for pictures."""
    if count <= 0:
        return
    array: zarr.Array[Any] = group["preview"]  # type: ignore[assignment]
    fits = np.asarray(group["preview_fit"][:count])  # type: ignore[index]
    declaration = group.attrs
    frames = np.asarray(group["preview_frame"][...]).tolist()  # type: ignore[index]
    for step in np.flatnonzero(fits).tolist():
        yield {
            "t": words.PREVIEW,
            "stage": declaration["stage"],
            "stream": declaration["stream"],
            "step": step,
            "shape": list(array.shape[1:]),
            "frames": frames,
            "fit": int(fits[step]),
            "data": functools.partial(_pixels, array, step),
        }


def _pixels(array: zarr.Array[Any], step: int) -> bytes:
    try:
        return np.asarray(array[step], np.uint8).tobytes()
    except (KeyError, ValueError, TypeError, OSError, RuntimeError) as error:
        raise NotARun(f"the preview of step {step} is damaged: {error!r}") from error


def _events(root: zarr.Group) -> Iterator[Message]:
    if "events" in root:
        for event in root["events"].attrs["messages"]:  # type: ignore[union-attr]
            yield {"t": words.EVENT, **event}  # type: ignore[dict-item]


def _system(root: zarr.Group) -> Iterator[Message]:
    if "system" not in root:
        return
    group = root["system"]
    columns = {name: np.asarray(array[...]) for name, array in group.arrays()}  # type: ignore[union-attr]
    times = columns.pop("time")
    for i, time in enumerate(times):
        values = {name: float(column[i]) for name, column in columns.items() if not np.isnan(column[i])}
        yield {"t": words.SYSTEM, "time": float(time), "values": values}
