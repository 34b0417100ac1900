"""Takes over from a damaged archive what messages do not hold: latents of steps, and snapshots of viewers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recorder.archive.stream_writer import SNAPSHOT_LABELS
from recorder.archive.writer import ArchiveWriter
from recorder.format import paths, protocol
from replay.archive.safe_files import Damaged
from replay.archive.store import StoreReader
from replay.model.run import Run

Skip = Mapping[str, frozenset[str]]
"""By array, keys of chunks that are known to be damaged."""


def carry_over(writer: ArchiveWriter, run: Run, old: StoreReader, skip: Skip, lost: list[str]) -> None:
    """Write latents and snapshots of the old archive into the new one.

    Args:
        writer: of the new archive, which has been fed with the run's messages but for its end.
        run: what those messages make.
        old: the archive that is repaired.
        skip: by array, keys of chunks that are known to be damaged.
        lost: gets a line for each thing that cannot be read.

    Raises:
        OSError: if the new archive cannot be written.
    """
    writer.write_rows()
    for stage in run.stages:
        for name, stream in stage.streams.items():
            for label in SNAPSHOT_LABELS if name in protocol.STREAMS else ():
                key = f"{paths.stream(stage.index, name)}/{label}"
                if not old.folder(key):
                    continue
                try:
                    array = old.array(key)
                    if array.dtype.name != "float16" or array.chunk_rows != 1:
                        raise Damaged(f"is {array.dtype.name} in chunks of {array.chunk_rows} steps")
                    for step in array.steps(min(array.rows, stream.rows)):
                        try:
                            values = array.read_whole(step, step + 1, skip.get(key, frozenset()))[0]
                        except Damaged as error:
                            lost.append(f"{key} of step {step}: {array.key(step)} {error}")
                            continue
                        writer.add_snapshot(stage.index, name, step, {label: values})
                except (Damaged, OSError) as error:
                    lost.append(f"{key} {error}")
    for group in old.names(paths.SNAPSHOTS):
        _carry_kept(writer, f"{paths.SNAPSHOTS}/{group}", old, skip, lost)


def _carry_kept(writer: ArchiveWriter, group: str, old: StoreReader, skip: Skip, lost: list[str]) -> None:
    """One snapshot that a viewer asked for."""
    place = paths.parse_snapshot(group)
    if place is None:
        lost.append(f"{group} is not a snapshot")
        return
    found: dict[str, dict[str, Any]] = {}
    sigma, frames = 0.0, None
    try:
        given = old.attributes(group).get("sigma")
        sigma = float(given) if isinstance(given, int | float) else 0.0
    except Damaged as error:
        lost.append(f"{group} {error}")
    for name in old.names(group):
        key = f"{group}/{name}"
        try:
            array = old.array(key)
            values = array.read_whole(0, array.rows, skip.get(key, frozenset()))
            if name == paths.SNAPSHOT_FRAME and values.ndim == 1 and values.dtype.kind == "i":
                frames = tuple(int(n) for n in values)
            elif (tensor := paths.parse_tensor(name)) and values.dtype.name == "float32":
                found.setdefault(tensor[0], {})[tensor[1]] = values
            else:
                raise Damaged("is not part of a snapshot")
        except (Damaged, OSError) as error:
            lost.append(f"{key} {error}")
    for stream, tensors in found.items():
        writer.keep(place[0], stream, place[1], sigma, frames if stream == "video" else None, tensors)
