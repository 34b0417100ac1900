"""Paths inside an archive: writers make them here, readers parse them here.

    zarr.json                               document of a node; one in every group and array
    checksums.json                          CRC-32 of every chunk file, by its path
    stage_0/video/sigma/c/0                 one chunk of an array of a stream
    snapshots/stage_0_step_2/video_x        a tensor that a viewer asked for
    events/time, system/time                tables for the run

A path is relative to the archive's root and has `/` between its parts; the root itself is the empty path. Where an
archive and its journal are in the file system is defined in `recorder.format.locations`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

DOCUMENT: Final = "zarr.json"
CHECKSUMS: Final = "checksums.json"
CHUNKS: Final = "c"
"""Folder of an array's chunk files."""

EVENTS: Final = "events"
SYSTEM: Final = "system"
SNAPSHOTS: Final = "snapshots"

STEP: Final = "step"
TIME: Final = "time"
PREVIEW: Final = "preview"
PREVIEW_FIT: Final = "preview_fit"
PREVIEW_FRAME: Final = "preview_frame"
DECODED: Final = "decoded"
DECODED_FRAME: Final = "decoded_frame"
PALETTE: Final = "palette"
"""Attribute of a stream's group: how its pictures get true colours, and the fit that they come from."""
LATENTS: Final = "latents"
X0: Final = "x0"
GENERATED_FRAME: Final = "generated_frame"
RESERVED: Final = frozenset(
    {
        *(STEP, TIME, PREVIEW, PREVIEW_FIT, PREVIEW_FRAME, DECODED, DECODED_FRAME),
        *(LATENTS, X0, GENERATED_FRAME, CHUNKS),
    }
)
"""Names in a stream's group that no metric and no coordinate may have."""

SNAPSHOT_FRAME: Final = "frame"
"""Array of a snapshot's group that lists the latent frames of its tensors."""

_STAGE: Final = "stage_"
_NUMBER: Final = "(0|[1-9][0-9]{0,5})"
_PATH: Final = re.compile(rf"{_STAGE}{_NUMBER}(?:/([A-Za-z0-9_]{{1,64}})(?:/([A-Za-z0-9_]{{1,64}}))?)?")
_SNAPSHOT: Final = re.compile(rf"{SNAPSHOTS}/{_STAGE}{_NUMBER}_step_(0|[1-9][0-9]{{0,8}})")
_TENSOR: Final = re.compile(r"(video|audio)_(x|x0)")


class Node(NamedTuple):
    """A stage, a stream of it or an array of that: the names below it are None."""

    stage: int
    stream: str | None = None
    array: str | None = None


def stage(index: int) -> str:
    """Group of a stage."""
    return f"{_STAGE}{index}"


def stream(index: int, name: str) -> str:
    """Group of a stream of a stage; also the key of its counts in the root attributes and in reports."""
    return f"{_STAGE}{index}/{name}"


def parse(path: str) -> Node | None:
    """The node of a stage that a path leads to; None for any other path.

    Numbers have at most six digits and no leading zeros, so that every node has one path.
    """
    found = _PATH.fullmatch(path)
    return None if found is None else Node(int(found[1]), found[2], found[3])


def is_part(name: str) -> bool:
    """Whether a folder in an archive's root has a name that a recorder may have given it."""
    return name in (EVENTS, SYSTEM, SNAPSHOTS) or name.startswith(_STAGE)


def snapshot(index: int, step: int) -> str:
    """Group of the latents of one step that a viewer asked for."""
    return f"{SNAPSHOTS}/{_STAGE}{index}_step_{step}"


def parse_snapshot(path: str) -> tuple[int, int] | None:
    """Stage and step of a snapshot's group; None for any other path."""
    found = _SNAPSHOT.fullmatch(path)
    return None if found is None else (int(found[1]), int(found[2]))


def tensor(stream_name: str, name: str) -> str:
    """Name of an array in a snapshot's group, such as `video_x`."""
    return f"{stream_name}_{name}"


def parse_tensor(name: str) -> tuple[str, str] | None:
    """Stream and tensor (`x` or `x0`) of an array in a snapshot's group; None for any other name."""
    found = _TENSOR.fullmatch(name)
    return None if found is None else (found[1], found[2])


def document(node: str) -> str:
    """File of a node's document."""
    return f"{node}/{DOCUMENT}" if node else DOCUMENT


def parse_document(path: str) -> str | None:
    """The node whose document a file is; None for any other file."""
    node, _, name = path.rpartition("/")
    return node if name == DOCUMENT else None


def chunk(number: int, axes: int) -> str:
    """File of a chunk from its array's folder; arrays have chunks along their first axis only.

    Args:
        number: of the chunk along the first axis.
        axes: of the array; one without axes has one chunk.
    """
    return "/".join([CHUNKS, str(number), *["0"] * (axes - 1)]) if axes else CHUNKS


def parse_chunk(path: str) -> tuple[str, str] | None:
    """The array whose chunk a file is, and the chunk's path from there; None for any other file."""
    node, found, key = path.partition(f"/{CHUNKS}/")
    return (node, f"{CHUNKS}/{key}") if found else None
