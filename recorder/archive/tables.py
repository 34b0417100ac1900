"""Arrays of an archive that are not rows of metrics: events, load and pictures; and how arrays are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recorder.archive.zarr_writer import ArrayWriter, StoreWriter
from recorder.format import paths, protocol
from recorder.format.declarations import QUANTITIES
from recorder.format.protocol import Message

BLOCK_ROWS = 1024
"""Rows per chunk, and the rows of a long stage that are written at a time."""
MOST_ROWS = 64 * BLOCK_ROWS
"""Rows of a chunk of a run that has ended."""
MOST_BYTES = 1 << 20
"""Of a chunk, but for wider rows: a file is as long as its chunk, however few rows there are."""
SPARE = 8
"""At the end the files of an array are at most by a SPARE-th longer than its rows need."""
PREVIEW_STEPS = 32
"""PreviewWriter per chunk: some hundred KB, which a reader that scrubs through them decodes in a millisecond or two."""

TIME_UNITS = "seconds since 1970-01-01T00:00:00+00:00"


def to_json_value(value: Any) -> Any:
    """A copy of JSON-like data without NaN and Inf, which JSON cannot hold: they become None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): to_json_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        # A plan has a level for every step, so the numbers of a list are looked at here.
        return [v if type(v) is float and math.isfinite(v) else to_json_value(v) for v in value]
    return value


def rows_per_chunk(capacity: int, row_bytes: int) -> int:
    """Of arrays along `step`, while rows come."""
    return max(1, min(capacity, BLOCK_ROWS, MOST_BYTES // max(1, row_bytes)))


def trim(array: ArrayWriter, rows: int, most: int) -> None:
    """Give an array the rows that it has in the end, in few chunks whose files are barely longer than that.

    Args:
        array: along `step`.
        rows: in the end.
        most: rows of a chunk at most.

    Raises:
        OSError: when the disk does.
    """
    size, pieces = array.chunk_rows, max(1, -(-rows // most))
    chunks = max(1, -(-rows // size))
    if chunks > pieces or chunks * size - rows > rows // SPARE:
        size = max(1, -(-rows // pieces))
    if (rows, size) != (array.shape[0], array.chunk_rows):
        array.resize(rows, size)


@dataclass
class PreviewWriter:
    """The pictures of a stream, and the chunk that is being filled; `fits` is 0 where a step has none."""

    pixels: ArrayWriter
    fits: ArrayWriter
    chunk: NDArray[np.uint8]
    chunk_fits: NDArray[np.uint8]
    first: int = 0
    """Step that the chunk begins at."""
    end: int = 0
    """One more than the last step that has a picture."""
    unwritten: bool = False
    """Whether the chunk has a picture that is not on the disk."""

    def add(self, step: int, fit: int, picture: NDArray[np.uint8]) -> None:
        """Keep one picture; a chunk is written when the next one begins."""
        while step >= self.first + len(self.chunk):
            self.write()
            self.first += len(self.chunk)
            self.chunk[:] = 0
            self.chunk_fits[:] = 0
        self.chunk[step - self.first] = picture
        self.chunk_fits[step - self.first] = fit
        self.end = max(self.end, step + 1)
        self.unwritten = True

    def write(self) -> None:
        """Write the chunk as far as it is filled."""
        count = min(self.end - self.first, len(self.chunk))
        if not self.unwritten or count <= 0:
            return
        self.unwritten = False
        if self.first + count > self.pixels.shape[0]:
            self.resize(max(self.first + count, 2 * self.pixels.shape[0]))
        self.pixels.write(self.first, self.chunk[:count])
        self.fits.write(self.first, self.chunk_fits[:count])

    def resize(self, rows: int) -> None:
        self.pixels.resize(rows)
        self.fits.resize(rows)

    def trim(self, rows: int) -> None:
        """Give the arrays the rows that they have in the end; nothing is added afterwards."""
        trim(self.pixels, rows, PREVIEW_STEPS)
        trim(self.fits, rows, MOST_ROWS)


_COLOURS = {
    True: "colours of the predicted clean sample, by a map that was fitted to decoded clips of the model",
    False: "three principal components of the predicted clean sample's channels as colours",
}


def create_previews(store: StoreWriter, group: str, capacity: int, first: Message) -> PreviewWriter:
    shape, capacity = tuple(first["shape"]), max(1, capacity)
    steps = min(capacity, PREVIEW_STEPS)
    fitted = first.get("colours") == protocol.FITTED_COLOURS
    pixels = store.array(
        f"{group}/{paths.PREVIEW}",
        (capacity, *shape),
        "uint8",
        # Separate names: kept latents have rows and columns too, and a picture may be smaller.
        (paths.STEP, paths.PREVIEW_FRAME, "preview_row", "preview_column", "rgb"),
        {
            "units": "1",
            "long_name": "picture of x0",
            "description": _COLOURS[fitted],
            "colours": protocol.FITTED_COLOURS if fitted else protocol.FALSE_COLOURS,
        },
        rows=steps,
    )
    labels: dict[str, Any] = {
        "units": "1",
        "long_name": "colour fits",
        "description": "how often colours had been fixed; 0: no picture",
    }
    fits = store.array(f"{group}/{paths.PREVIEW_FIT}", (capacity,), "uint8", (paths.STEP,), labels, rows=capacity)
    frames = np.array(first["frames"], np.int64)
    store.array(
        f"{group}/{paths.PREVIEW_FRAME}",
        frames.shape,
        "int64",
        (paths.PREVIEW_FRAME,),
        {"units": "latent frame"},
        values=frames,
    )
    return PreviewWriter(pixels, fits, np.zeros((steps, *shape), np.uint8), np.zeros(steps, np.uint8))


SNAPSHOT_DIMS = {"video": ("batch", "frame", "row", "column", "channel"), "audio": ("batch", "latent", "channel")}


def snapshot_dims(store: StoreWriter, group: str, stream: str) -> tuple[str, ...]:
    """Dimensions of a step's latents; where frames were given they have fewer than the frame metrics."""
    dims = SNAPSHOT_DIMS[stream]
    declared = store.attributes(group)
    given = declared.get("conditioning_frames")
    if stream != "video" or not given:
        return dims
    name = paths.GENERATED_FRAME
    if f"{group}/{name}" not in store:
        frames = np.setdiff1d(np.arange(declared["grid"][0]), given)
        store.array(f"{group}/{name}", frames.shape, "int64", (name,), {"units": "latent frame"}, values=frames)
    return tuple(name if d == "frame" else d for d in dims)


KEPT_DIMS = {"video": ("batch", "frame", "row", "column", "channel"), "audio": ("batch", "latent", "audio_channel")}
KEPT_LABELS = {"x": "sample before the step", "x0": "predicted clean sample"}


def write_kept(
    store: StoreWriter,
    stage: int,
    stream: str,
    step: int,
    sigma: float,
    frames: tuple[int, ...] | None,
    tensors: dict[str, NDArray[np.float32]],
) -> None:
    """Latents of one step in `snapshots/stage_<i>_step_<k>/`: arrays such as `video_x`, one chunk each.

    Both streams share the group. A dimension that already has another length there gets the stream's name in front,
    since xarray wants one length per name.
    """
    if paths.SNAPSHOTS not in store:
        store.group(paths.SNAPSHOTS, {})
    group = paths.snapshot(stage, step)
    store.group(group, {"stage": stage, "step": step, "sigma": sigma})
    known = store.lengths(group)
    for name, values in tensors.items():
        named = zip(KEPT_DIMS[stream], values.shape, strict=True)
        dims = tuple(d if known.get(d, n) == n else f"{stream}_{d}" for d, n in named)
        labels = {"units": "1", "long_name": KEPT_LABELS[name], "sigma": sigma, "stage": stage, "step": step}
        store.array(f"{group}/{paths.tensor(stream, name)}", values.shape, "float32", dims, labels, values=values)
    if frames is not None:
        places = np.array(frames, np.int64)
        store.array(
            f"{group}/{paths.SNAPSHOT_FRAME}",
            places.shape,
            "int64",
            (paths.SNAPSHOT_FRAME,),
            {"units": "latent frame"},
            values=places,
        )


def write_events(store: StoreWriter, events: list[Message]) -> None:
    """Numbers as arrays along `event`, kinds as CF flags; the complete messages as JSON in the group's attributes.

    Text stays out of arrays, since strings are not settled in Zarr v3 yet and every reader would warn of them.
    """
    kinds = sorted({str(e["kind"]) for e in events})
    flags = {"flag_values": list(range(len(kinds))), "flag_meanings": " ".join(kinds)}
    columns: dict[str, tuple[list[Any], str, dict[str, Any]]] = {
        "kind": ([kinds.index(str(e["kind"])) for e in events], "int64", flags),
        "stage": ([-1 if e["stage"] is None else int(e["stage"]) for e in events], "int64", {"note": "-1: none"}),
        "step": ([-1 if e["step"] is None else int(e["step"]) for e in events], "int64", {"note": "-1: none"}),
        "time": ([float(e["time"]) for e in events], "float64", {"units": TIME_UNITS}),
    }
    store.group(paths.EVENTS, {"messages": [{k: to_json_value(v) for k, v in e.items() if k != "t"} for e in events]})
    for name, (values, dtype, attributes) in columns.items():
        store.array(
            f"{paths.EVENTS}/{name}", (len(values),), dtype, ("event",), attributes, values=np.array(values, dtype)
        )


def write_system(store: StoreWriter, samples: list[Message]) -> None:
    """One array per quantity along `sample`; NaN where a sample lacks it."""
    store.group(paths.SYSTEM, {})
    for name in dict.fromkeys(name for m in samples for name in m["values"]):
        values = [m["values"].get(name, math.nan) for m in samples]
        known = QUANTITIES.get(name)
        labels = {"units": known.unit, "long_name": known.label} if known else {}
        store.array(f"{paths.SYSTEM}/{name}", (len(values),), "float64", ("sample",), labels, values=np.array(values))
    times = np.array([float(m["time"]) for m in samples])
    store.array(
        f"{paths.SYSTEM}/{paths.TIME}", times.shape, "float64", ("sample",), {"units": TIME_UNITS}, values=times
    )
