"""The small pictures of decoded frames that a stream has in its archive."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recorder.archive.zarr_writer import StoreWriter
from recorder.format import paths
from recorder.format.protocol import Message


@dataclass
class DecodedWriter:
    """Gathers the pictures of a stream's decoded clip, and writes them at once."""

    count: int
    shape: tuple[int, int, int]
    pictures: dict[int, tuple[int, NDArray[np.uint8]]] = field(default_factory=dict)
    """By index: the pixel frame that is shown, and its pixels."""

    @classmethod
    def begun(cls, first: Message) -> DecodedWriter:
        """For the clip that a `decoded` message is of."""
        rows, columns, rgb = first["shape"]
        return cls(int(first["count"]), (rows, columns, rgb))

    def add(self, message: Message) -> None:
        """Take in a picture. Ignored if it does not fit the others."""
        if tuple(message["shape"]) == self.shape and 0 <= int(message["index"]) < self.count:
            pixels = np.frombuffer(message["data"], np.uint8).reshape(self.shape)
            self.pictures.setdefault(int(message["index"]), (int(message["frame"]), pixels))

    def write(self, store: StoreWriter, group: str) -> None:
        """Write those that came. Raises OSError when the disk does."""
        if not self.pictures:
            return
        found = [self.pictures[i] for i in sorted(self.pictures)]
        frames = np.array([frame for frame, _ in found], np.int64)
        pixels = np.stack([picture for _, picture in found])
        dims = (paths.DECODED_FRAME, "decoded_row", "decoded_column", "rgb")
        labels = {"units": "1", "long_name": "decoded frame", "description": "frames of the decoded clip, reduced"}
        store.array(f"{group}/{paths.DECODED}", pixels.shape, "uint8", dims, labels, values=pixels)
        store.array(
            f"{group}/{paths.DECODED_FRAME}",
            frames.shape,
            "int64",
            (paths.DECODED_FRAME,),
            {"units": "pixel frame"},
            values=frames,
        )
        self.pictures = {}
