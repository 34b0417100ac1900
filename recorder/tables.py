"""Arrays of an archive that are not rows of metrics: events, load and pictures; and how arrays are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recorder import words
from recorder.words import Message

if TYPE_CHECKING:
    import zarr

BLOCK_ROWS = 1024
"""Rows per chunk, and the rows of a long stage that are folded at a time."""
LEAST_ROWS = 64
"""Rows per chunk at least: a loop that outruns a short plan must not leave hundreds of tiny chunks."""
PREVIEW_STEPS = 32
"""Previews per chunk: some hundred KB, which a reader that scrubs through them decodes in a millisecond or two."""

TIME_UNITS = "seconds since 1970-01-01T00:00:00+00:00"


def plain(value: Any) -> Any:
    """A copy of JSON-like data without NaN and Inf, which JSON cannot hold: they become None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def create(
    group: zarr.Group, name: str, shape: tuple[int, ...], dtype: str, dims: tuple[str, ...], attributes: dict[str, Any]
) -> zarr.Array[Any]:
    # Uncompressed: rows are few and noisy, and one file per array of a few KB gains nothing from a codec.
    chunks = tuple(
        max(LEAST_ROWS, min(n, BLOCK_ROWS)) if d == "step" else max(1, n) for n, d in zip(shape, dims, strict=True)
    )
    fill = 0 if dtype.startswith("int") else math.nan
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        dimension_names=dims,
        attributes=attributes,
        fill_value=fill,
        compressors=None,
    )


@dataclass
class Previews:
    """The pictures of a stream, and the chunk that is being filled; `fits` is 0 where a step has none."""

    pixels: zarr.Array[Any]
    fits: zarr.Array[Any]
    chunk: NDArray[np.uint8]
    chunk_fits: NDArray[np.uint8]
    first: int = 0
    """Step that the chunk begins at."""
    end: int = 0
    """One more than the last step that has a picture."""

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

    def write(self) -> None:
        """Write the chunk as far as it is filled."""
        count = min(self.end - self.first, len(self.chunk))
        if count <= 0:
            return
        if self.first + count > self.pixels.shape[0]:
            self.resize(max(self.first + count, 2 * self.pixels.shape[0]))
        self.pixels[self.first : self.first + count] = self.chunk[:count]
        self.fits[self.first : self.first + count] = self.chunk_fits[:count]

    def resize(self, rows: int) -> None:
        self.pixels.resize((rows, *self.pixels.shape[1:]))
        self.fits.resize((rows,))


def create_previews(group: zarr.Group, capacity: int, first: Message) -> Previews:
    shape = tuple(first["shape"])
    steps = min(capacity, PREVIEW_STEPS)
    pixels = group.create_array(
        "preview",
        shape=(capacity, *shape),
        dtype="uint8",
        chunks=(steps, *shape),
        # Names of their own: kept latents have rows and columns too, and a picture may be smaller.
        dimension_names=("step", "preview_frame", "preview_row", "preview_column", "rgb"),
        attributes={
            "units": "1",
            "long_name": "picture of x0",
            "description": "three principal components of the predicted clean sample's channels as colours",
        },
        fill_value=0,
    )
    labels: dict[str, Any] = {
        "units": "1",
        "long_name": "colour fits",
        "description": "how often colours had been fixed; 0: no picture",
    }
    fits = group.create_array(
        "preview_fit", shape=(capacity,), dtype="uint8", chunks=(capacity,), dimension_names=("step",),
        attributes=labels, fill_value=0, compressors=None,
    )  # fmt: skip
    coordinate = create(group, "preview_frame", shape[:1], "int64", ("preview_frame",), {"units": "latent frame"})
    coordinate[...] = np.array(first["frames"])
    return Previews(pixels, fits, np.zeros((steps, *shape), np.uint8), np.zeros(steps, np.uint8))


KEPT_DIMS = {"video": ("batch", "frame", "row", "column", "channel"), "audio": ("batch", "latent", "audio_channel")}
KEPT_LABELS = {"x": "sample before the step", "x0": "predicted clean sample"}


def write_kept(
    root: zarr.Group,
    stage: int,
    stream: str,
    step: int,
    sigma: float,
    frames: tuple[int, ...] | None,
    tensors: dict[str, NDArray[np.float32]],
) -> None:
    """Latents of one step in `snapshots/stage_<i>_step_<k>/`: arrays such as `video_x`, one chunk each.

    Both streams share the group. A dimension that has another length there already gets the stream's name in front,
    since xarray wants one length per name.
    """
    root.require_group("snapshots")
    group = root.require_group(words.snapshot_group(stage, step))
    group.update_attributes({"stage": stage, "step": step, "sigma": sigma})
    known = {d: n for _, a in group.arrays() for d, n in zip(a.metadata.dimension_names or (), a.shape, strict=True)}  # type: ignore[union-attr]
    for name, values in tensors.items():
        named = zip(KEPT_DIMS[stream], values.shape, strict=True)
        dims = tuple(d if known.get(d, n) == n else f"{stream}_{d}" for d, n in named)
        group.create_array(
            f"{stream}_{name}",
            shape=values.shape,
            dtype="float32",
            chunks=values.shape,
            dimension_names=dims,
            attributes={"units": "1", "long_name": KEPT_LABELS[name], "sigma": sigma, "stage": stage, "step": step},
            fill_value=math.nan,
            compressors=None,
        )[...] = values
    if frames is not None:
        create(group, "frame", (len(frames),), "int64", ("frame",), {"units": "latent frame"})[...] = np.array(frames)


def write_events(group: zarr.Group, events: list[Message]) -> None:
    """Numbers as arrays along `event`, kinds as CF flags; the whole messages as JSON in the group's attributes.

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
    for name, (values, dtype, attributes) in columns.items():
        create(group, name, (len(values),), dtype, ("event",), attributes)[...] = np.array(values, dtype)
    group.update_attributes({"messages": [{k: plain(v) for k, v in e.items() if k != "t"} for e in events]})


def write_system(group: zarr.Group, samples: list[Message]) -> None:
    """One array per quantity along `sample`; NaN where a sample lacks it."""
    from recorder.system import QUANTITIES

    columns = {name: [m["values"].get(name, math.nan) for m in samples] for m in samples for name in m["values"]}
    for name, values in columns.items():
        known = QUANTITIES.get(name)
        labels = {"units": known.unit, "long_name": known.label} if known else {}
        create(group, name, (len(values),), "float64", ("sample",), labels)[...] = np.array(values, np.float64)
    times = np.array([float(m["time"]) for m in samples])
    create(group, "time", times.shape, "float64", ("sample",), {"units": TIME_UNITS})[...] = times
