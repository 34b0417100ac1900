"""What does not fit: messages that cannot be sent whole, runs of hours and of many stages, disks that are slow."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recorder import record
from recorder.archive.tables import MOST_BYTES, create_previews, write_system
from recorder.archive.writer import ArchiveWriter
from recorder.archive.zarr_writer import StoreWriter
from recorder.format import protocol
from recorder.journal.journal import Journal, JournalReader
from recorder.writing import archive_thread as archivist_module
from recorder.writing.archive_thread import Archivist
from recorder.writing.items import RequestedSnapshot
from recorder.writing.journal_thread import Pump
from replay.model.run import Run
from replay.sources.open import load

END = {"t": protocol.END, "time": 9.0, "status": "complete", "error": None}


def header(**more: Any) -> dict[str, Any]:
    known = {"t": protocol.HEADER, "format": protocol.FORMAT, "version": 1, "run": "r", "time": 1.0, "control": False}
    return {**known, "archive": "/x/r.zarr", "metadata": {}, **more}


def stage(**more: Any) -> dict[str, Any]:
    known = {"t": protocol.STAGE, "stage": 0, "call": 0, "tile": None, "time": 1.0}
    return {**known, "sigmas": [0.9, 0.8, 0.7], "metadata": {"prompt": "a ball"}, **more}


def stream(name: str = "video", shape: tuple[int, ...] = (), **more: Any) -> dict[str, Any]:
    metric = {"name": "sigma", "dims": ["step"], "shape": [], "unit": "1", "label": "", "description": ""}
    wide = {**metric, "name": "wide", "dims": ["step", "batch"], "shape": list(shape)}
    known = {
        "t": protocol.STREAM,
        "stage": 0,
        "stream": name,
        "grid": [1, 2, 2],
        "shape": [1, 4, 2],
        "dtype": "float32",
    }
    return {**known, "metrics": [metric, wide] if shape else [metric], "coordinates": {}, **more}


def step(number: int, name: str = "video", width: int = 1) -> dict[str, Any]:
    data = np.full(width, number, "<f4").tobytes()
    return {"t": protocol.STEP, "stage": 0, "stream": name, "step": number, "time": 2.0 + number, "data": data}


def kept(folder: Path, messages: list[dict[str, Any]]) -> tuple[Run, Run]:
    """A run of these messages as its journal and as its archive have it."""
    journal = Journal(folder / "r.journal")
    archivist = Archivist(ArchiveWriter(folder / "r.zarr"), lambda event: None)
    pump = Pump(journal, archivist, lambda: None)
    for message in messages:
        pump.put(message)
    assert pump.close(END) and archivist.close() and archivist.error is None
    journal.release(remove=False)
    journal.close()
    followed = Run()
    for message in JournalReader(folder / "r.journal").poll():
        followed.feed(message)
    (folder / "r.journal").unlink()
    return followed, load(folder / "r.zarr")


@pytest.mark.parametrize(
    ("of", "change", "said"),
    [
        ("header", {"archive": "/data/caf\udce9/r.zarr"}, None),
        ("header", {"metadata": {"command": ["ltxtui", "caf\udce9"], "user": {"n": 1 << 70}}}, None),
        ("header", {"metadata": {"user": {"n": 1 << 20_000}}}, None),
        (
            "header",
            {"metadata": {"user": {"note": "x" * (1 << 20)}}},
            "the ends of long texts were left out of a header message",
        ),
        ("stage", {"metadata": {"pipe": "x" * (1 << 20)}}, "the ends of long texts were left out of a stage message"),
        ("stage", {"sigmas": [0.5] * 120_000}, "metadata and sigmas were left out of a stage message"),
    ],
    ids=["path", "numbers", "long number", "large", "stage", "plan"],
)
def test_what_cannot_be_sent_of_a_declaration_is_left_out_and_told(
    tmp_path: Path, of: str, change: dict[str, Any], said: str | None
) -> None:
    declared = [header(**change) if of == "header" else header(), stage(**change) if of == "stage" else stage()]
    for found in kept(tmp_path, [*declared, stream(), *map(step, range(3))]):
        assert found.stages[0].streams["video"].values("sigma").tolist() == [0, 1, 2]
        assert found.end is not None
        texts = [event["text"] for event in found.events]
        assert (texts == []) if said is None else (len(texts) == 1 and texts[0].startswith(said))


def test_rows_of_a_stream_that_cannot_be_declared_are_left_out_and_the_others_stay(tmp_path: Path) -> None:
    huge = stream("audio", coordinates={"k": {"values": list(range(400_000)), "attributes": {}}})
    rows = [step(n, name) for n in range(3) for name in ("video", "audio")]
    for found in kept(tmp_path, [header(), stage(), stream(), huge, *rows]):
        assert list(found.stages[0].streams) == ["video"]
        assert found.stages[0].streams["video"].values("sigma").tolist() == [0, 1, 2]
        assert [e["text"] for e in found.events if "left out" in e["text"]]


def test_a_run_with_a_plan_of_too_many_levels_is_complete(tmp_path: Path) -> None:
    with record(runs_dir=tmp_path, previews=False, metadata={"n": 1 << 80, "text": "caf\udce9"}) as run:
        run.stage([1 - i / 200_000 for i in range(200_000)])
        x = torch.randn(1, 4, 3, 4, 6)
        for i in range(2):
            run.step(sigma=1 - i / 9, sigma_next=1 - (i + 1) / 9, sample=x, velocity=x)
    found = load(run.path)
    assert found.end is not None and found.end["status"] == "complete" and found.steps == 2


class Counted(dict[str, float]):
    """Counts how often it is asked."""

    asked = 0

    def get(self, *arguments: Any) -> Any:
        Counted.asked += 1
        return super().get(*arguments)


def test_the_load_of_a_long_run_is_read_once(tmp_path: Path) -> None:
    store = StoreWriter(tmp_path / "r.zarr", {})
    samples = [{"time": float(n), "values": Counted(a=n, b=2 * n)} for n in range(500)]
    samples[7]["values"]["late"] = 1.0  # type: ignore[index]
    Counted.asked = 0
    write_system(store, samples)
    assert Counted.asked == 500 * 3
    late = np.fromfile(tmp_path / "r.zarr/system/late/c/0", "<f8")
    assert late[7] == 1.0 and np.isnan(np.delete(late, 7)).all()
    np.testing.assert_array_equal(np.fromfile(tmp_path / "r.zarr/system/b/c/0", "<f8"), 2.0 * np.arange(500))


def test_pictures_are_written_once_however_many_stages_follow(tmp_path: Path) -> None:
    store = StoreWriter(tmp_path / "r.zarr", {})
    store.group("stage_0", {})
    store.group("stage_0/video", {})
    pictures = create_previews(store, "stage_0/video", 4, {"shape": [1, 2, 2, 3], "frames": [0]})
    pictures.add(0, 1, np.full((1, 2, 2, 3), 7, np.uint8))
    pictures.write()
    written = store.written
    pictures.write()
    assert store.written == written
    pictures.add(1, 1, np.full((1, 2, 2, 3), 9, np.uint8))
    pictures.write()
    assert store.written == written + 2
    found = np.fromfile(tmp_path / "r.zarr/stage_0/video/preview/c/0/0/0/0/0", np.uint8).reshape(4, -1)
    assert found[:, 0].tolist() == [7, 9, 0, 0]


def test_a_slow_disk_is_waited_for_as_long_as_it_gets_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a run is one message, however many files it writes."""
    monkeypatch.setattr(archivist_module, "MAX_PATIENCE_SECONDS", 1.0)
    real, slow = ArchiveWriter.finish, threading.Event()

    def finish(self: ArchiveWriter, end: dict[str, Any]) -> None:
        for number in range(6):
            time.sleep(0.4)
            self.store.group(f"slow_{number}", {})
        slow.set()
        real(self, end)

    monkeypatch.setattr(ArchiveWriter, "finish", finish)
    archivist = Archivist(ArchiveWriter(tmp_path / "r.zarr"), lambda event: None)
    for message in (header(), stage(), stream(), step(0), END):
        archivist.put(message)
    assert archivist.close() and slow.is_set() and archivist.error is None


def test_latents_after_the_archive_has_failed_are_counted_and_wait_no_longer(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    archivist = Archivist(ArchiveWriter(tmp_path / "r.zarr"), told.append)
    archivist.put(stage())  # without a header
    done: list[int] = []
    tensor = torch.zeros(1, 1, 1, 1, 2)
    for number in range(3):
        archivist.put_kept(RequestedSnapshot(0, "video", number, 0.5, None, {"x": tensor}, lambda: done.append(1)))
    assert archivist.close() and len(done) == 3 and archivist.lost_latents == 3
    assert len(told) == 1 and told[0]["text"].endswith("the journal keeps everything but latents")


def test_after_that_a_viewer_is_refused_its_snapshots(tmp_path: Path) -> None:
    with record(runs_dir=tmp_path, previews=False, allow_control=True) as run:
        run._archivist._fail(OSError(28, "No space left on device"))
        x = torch.randn(1, 4, 3, 4, 6)
        run.step(sigma=0.9, sigma_next=0.8, sample=x, velocity=x)
        assert run.control.take({"t": protocol.CONTROL, "id": "1", "command": "snapshot"})
        run.step(sigma=0.8, sigma_next=0.7, sample=x, velocity=x)
    answers = [e["payload"] for e in load(run.path).events if e["kind"] == "control"]
    assert [(a["accepted"], a["reason"]) for a in answers] == [(False, "the archive cannot be written")]


def test_a_file_of_wide_rows_is_not_much_longer_than_they_are(tmp_path: Path) -> None:
    width = 100_000
    messages = [header(), stage(sigmas=[]), stream(shape=(width,)), *(step(n, width=width + 1) for n in range(2))]
    followed, archived = kept(tmp_path, messages)
    for found in (followed, archived):
        assert found.stages[0].streams["video"].values("wide").shape == (2, width)
    sizes = [f.stat().st_size for f in (tmp_path / "r.zarr").rglob("c/*/*")]
    assert sizes and max(sizes) <= max(MOST_BYTES, 4 * width) and math.isclose(max(sizes), MOST_BYTES, rel_tol=0.7)
