"""Folders of many small runs, made quickly: real archives of one stream with two metrics, packed and as folders.

One archive is written by the recorder's writer. Every other one is that archive with root, stage and events of its own:
another name, start, prompt, schedule, status and drift. The arrays are the same in all: hard links in folders, equal
members in packed files. All can be opened, and `ltxtui runs check` finds them sound.
"""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from recorder.archive.writer import ArchiveWriter
from recorder.archive.zip_writer import write_zip
from recorder.format import declarations, locations, paths, protocol
from recorder.format.protocol import Message

STEPS: Final = 40
START: Final = 1_795_000_000.0
EVERY_FOLDER: Final = 4
"""One run in this many is a folder; the others are packed."""
_EVERY_SHOCK: Final = 5
"""One run in this many has a shock, and with it a schedule that no other run has."""
_METRICS: Final = ("sigma", "velocity_rms")
_STATUS: Final = ("complete", "complete", "complete", "interrupted", "failed")
_WORDS: Final = ("red", "ball", "moving", "left", "over", "a", "still", "pond", "at", "dusk", "slow", "camera", "grain")
_STAGE: Final = paths.document(paths.stage(0))
_EVENTS: Final = paths.document(paths.EVENTS)
_OWN: Final = frozenset({paths.DOCUMENT, _STAGE, _EVENTS})
"""The files that differ from run to run."""


def name_of(number: int) -> str:
    """The name of a run: its start and its number."""
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime(_started(number))) + f"-run-{number:05}"


def make(folder: Path, count: int) -> None:
    """Write `count` runs into a folder that exists; the last one is the newest."""
    template = _Template.written(folder.parent / f"{folder.name}-template")
    for number in range(count):
        template.write(folder, number)


@dataclass(frozen=True)
class _Template:
    """The archive that all others are made of: its folder, its files, and the documents that are changed."""

    folder: Path
    files: dict[str, bytes]
    folders: list[str]
    documents: dict[str, Any]

    @classmethod
    def written(cls, beside: Path) -> _Template:
        archive = beside / f"template{locations.ARCHIVE_SUFFIX}"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        writer = ArchiveWriter(archive)
        for message in _messages():
            writer.feed(message)
        found = sorted(archive.rglob("*"))
        files = {str(path.relative_to(archive)): path.read_bytes() for path in found if path.is_file()}
        folders = [str(path.relative_to(archive)) for path in found if path.is_dir()]
        return cls(archive, files, folders, {name: json.loads(files[name]) for name in _OWN})

    def write(self, folder: Path, number: int) -> None:
        own = {name: json.dumps(each).encode() for name, each in self._documents(folder, number).items()}
        archive = folder / f"{name_of(number)}{locations.ARCHIVE_SUFFIX}"
        if number % EVERY_FOLDER:
            files = {**self.files, **own}
            write_zip(locations.packed_of(archive), files, files.__getitem__, sync=False)
            return
        archive.mkdir()
        for inside in self.folders:
            os.mkdir(f"{archive}/{inside}")  # noqa: PTH102 - a hundred thousand times
        for file in self.files:
            if file in own:
                with open(f"{archive}/{file}", "wb") as out:  # noqa: PTH123
                    out.write(own[file])
            else:
                os.link(f"{self.folder}/{file}", f"{archive}/{file}")

    def _documents(self, folder: Path, number: int) -> dict[str, Any]:
        found = {name: copy.copy(document) for name, document in self.documents.items()}
        root, stage, events = (dict(found[name]["attributes"]) for name in (paths.DOCUMENT, _STAGE, _EVENTS))
        shocks = int(number % _EVERY_SHOCK == 0)
        drift = 0.2 + 0.15 * math.sin(number)
        summary = {"video": {"content_drift": [drift], "straightness": [0.3]}}
        words = (_WORDS[(number * 7 + i * i + i * number // 13) % len(_WORDS)] for i in range(60))
        root |= {
            "run": name_of(number),
            "time": _started(number),
            "archive": str(folder / f"{name_of(number)}{locations.ARCHIVE_SUFFIX}"),
            "status": _STATUS[number % len(_STATUS)],
            "ended": _started(number) + 30 + number % 60,
            "summary": {paths.stage(0): summary},
            "ltxtui.tags": ["keep"] if number % 100 == 0 else [],
        }
        stage["sigmas"] = _sigmas(number)
        stage["metadata"] = {**stage["metadata"], "prompt": f"{number:05} {' '.join(words)}"}
        events["messages"] = [
            *(_event("shock", {}) for _ in range(shocks)), _event("stage_end", {"summary": summary}),
        ]  # fmt: skip
        for name, attributes in ((paths.DOCUMENT, root), (_STAGE, stage), (_EVENTS, events)):
            found[name]["attributes"] = attributes
        consolidated = found[paths.DOCUMENT]["consolidated_metadata"]
        known = {paths.stage(0): found[_STAGE], paths.EVENTS: found[_EVENTS]}
        inside = {name: {**each, **known.get(name, {})} for name, each in consolidated["metadata"].items()}
        found[paths.DOCUMENT]["consolidated_metadata"] = {**consolidated, "metadata": inside}
        return found


def _started(number: int) -> float:
    return START + 97.0 * number


def _sigmas(number: int) -> list[float]:
    """A schedule: one of fifty, and with a shock at a level of the run's own."""
    shift = 1 + number % 50 / 10
    levels = [shift * t / (1 + (shift - 1) * t) for t in (1 - i / STEPS for i in range(STEPS))]
    if number % _EVERY_SHOCK == 0:
        levels[STEPS // 2] = 0.5 + number % 4999 / 10_000
    return levels


def _messages() -> Iterator[Message]:
    """The run of the template."""
    yield {
        "t": protocol.HEADER, "format": protocol.FORMAT, "version": protocol.FORMAT_VERSION, "run": "template",
        "time": START, "archive": "template.zarr",
        "metadata": {"model": "diffusers/LTX-2.3-Diffusers", "host": "gpu-box"},
    }  # fmt: skip
    yield {
        "t": protocol.STAGE, "stage": 0, "call": 0, "tile": None, "time": START, "sigmas": _sigmas(1),
        "metadata": {"prompt": "", "seed": 0},
    }  # fmt: skip
    metrics = [m for m in declarations.on_stream("video") if m.name in _METRICS]
    yield {
        "t": protocol.STREAM, "stage": 0, "stream": "video", "grid": [9, 10, 12], "shape": [1, 1080, 8],
        "metrics": [m.as_message("video", (1,) * len(m.dims_on("video")[1:])) for m in metrics], "coordinates": {},
    }  # fmt: skip
    for step in range(STEPS):
        row = np.full(len(metrics), 1 - step / STEPS, "<f4").tobytes()
        yield {"t": protocol.STEP, "stage": 0, "stream": "video", "step": step, "time": START + step, "data": row}
    yield _event("stage_end", {"summary": {}})
    yield {"t": protocol.END, "time": START + STEPS, "status": "complete", "error": None}


def _event(kind: str, payload: dict[str, Any]) -> Message:
    return {
        "t": protocol.EVENT, "kind": kind, "stage": 0, "step": 9, "stream": None, "time": START, "text": kind,
        "payload": payload,
    }  # fmt: skip
