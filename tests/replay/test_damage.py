"""Torn, cut, flipped, missing and hand-edited files: what is readable is read, the rest is named and can be mended."""

from __future__ import annotations

import json
import random
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.mutations import valid_messages
from recorder.archive.writer import ArchiveWriter
from recorder.format import locations
from recorder.format.framing import encode
from recorder.format.protocol import Message
from recorder.journal.journal import JournalReader
from replay.archive.store import StoreReader
from replay.integrity.check import check
from replay.integrity.repair import CannotRepair, repair
from replay.library import listing
from replay.model.run import NotARun, Run
from replay.sources.open import load, open_path

SMALL = [m for m in valid_messages(1, ("video",)) if m["t"] in ("header", "stage", "stream", "step", "end")]


def test_a_journal_cut_at_every_byte_gives_exactly_the_whole_messages(tmp_path: Path) -> None:
    path = tmp_path / "x.journal"
    frames = [encode(m) for m in SMALL]
    data = b"".join(frames)
    ends = np.cumsum([len(f) for f in frames])
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        whole = int((ends <= cut).sum())
        reader = JournalReader(path)
        assert reader.poll() == SMALL[:whole]
        torn = cut - (int(ends[whole - 1]) if whole else 0)
        assert (f"torn ({torn} bytes)" in reader.note) == (torn > 0) and not reader.broken
        reader.close()
        if cut % 7 == 0:
            if whole:
                run = load(path)
                expected = sum(int(m.get("count", 1)) for m in SMALL[:whole] if m["t"] == "step")
                assert run.steps == expected and (run.end is not None) == (whole == len(SMALL))
            else:
                with pytest.raises(NotARun, match="no readable message"):
                    load(path)


def test_flipped_bits_never_give_another_row(tmp_path: Path) -> None:
    path = tmp_path / "x.journal"
    messages = valid_messages(2)
    data = b"".join(map(encode, messages))
    path.write_bytes(data)
    before = load(path)
    rng = random.Random(0)
    for _ in range(100):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 3))):
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        reader = JournalReader(path)
        found = reader.poll()
        assert found == messages[: len(found)] and reader.note
        reader.close()
        if found:
            assert_part_of(load(path), before)
            assert check(path).notes or not check(path).sound


def assert_part_of(part: Run, whole: Run) -> None:
    """Every row of a run that could be read is that of the whole one."""
    for one, other in zip(part.stages, whole.stages, strict=False):
        for name, stream in one.streams.items():
            theirs = other.streams[name]
            assert stream.rows <= theirs.rows
            np.testing.assert_array_equal(stream.data, theirs.data[: stream.rows])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of two stages; the second has one stream."""
    path = tmp_path_factory.mktemp("whole") / "run.zarr"
    writer = ArchiveWriter(path)
    for message in valid_messages():
        if not (message.get("stage") == 1 and message.get("stream") == "audio"):
            writer.feed(message)
    return path


@pytest.fixture
def archive(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run.zarr"))


def opened(path: Path) -> tuple[Run, str]:
    """The run at a path, all of it looked at, and what its source says then."""
    source, run = open_path(path), Run()
    for message in source.poll():
        run.feed(message)
    for stage in run.stages:
        for stream in stage.streams.values():
            stream.data  # noqa: B018 - reads all of it
            stream.times  # noqa: B018
            for preview in stream.previews.values():
                try:
                    preview.pixels()
                except NotARun as error:
                    assert "damaged" in str(error)
    return run, source.note


def assert_same_but_for(damaged: Run, before: Run, hurt: str) -> None:
    """All metrics are there and the same, but for those of one node, which may be NaN or gone."""
    for stage in before.stages:
        for name, stream in stage.streams.items():
            group = f"stage_{stage.index}/{name}"
            if hurt in (group, f"stage_{stage.index}/{name}/time"):
                continue
            theirs = damaged.stages[stage.index].streams[name]
            assert theirs.rows == stream.rows
            for metric in stream.metrics:
                values = theirs.values(metric)
                if hurt == f"{group}/{metric}":
                    assert values.shape == stream.values(metric).shape
                    assert (np.isnan(values) | (values == stream.values(metric))).all()
                else:
                    np.testing.assert_array_equal(values, stream.values(metric))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "removed": lambda f: f.unlink(),
    "cut": lambda f: f.write_bytes(f.read_bytes()[:-3]),
    "garbage": lambda f: f.write_bytes(random.Random(0).randbytes(300)),
    "flipped": lambda f: f.write_bytes(bytes([f.read_bytes()[0] ^ 0x41]) + f.read_bytes()[1:]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_file_of_an_archive(whole: Path, archive: Path, damage: str) -> None:
    before = load(whole)
    files = sorted(f for f in whole.rglob("*") if f.is_file())
    # Every fourth file, other ones for other damages.
    for number, file in enumerate(files[list(DAMAGES).index(damage) :: 4]):
        name = file.relative_to(whole).as_posix()
        DAMAGES[damage](archive / name)
        node = name.split("/c/")[0].removesuffix("/zarr.json")
        report = check(archive)
        assert not report.sound or (name == "checksums.json" and damage == "removed"), name
        assert name == "checksums.json" or any(node in p for p in report.problems), (name, report.problems)
        if name == "zarr.json":
            with pytest.raises(NotARun, match=r"zarr\.json"):
                load(archive)
        else:
            run, note = opened(archive)
            if damage != "flipped" or "/c/" not in name:
                assert_same_but_for(run, before, node)
            if damage != "flipped" and looked_at(node):
                assert node in note, (name, note)
        if number % 4 == 0 and not report.sound:
            mended(archive, name, before, node)
        shutil.copyfile(file, archive / name)


def looked_at(node: str) -> bool:
    """Whether readers look at a node; events and coordinates are arrays for others, and also in the attributes."""
    last = node.rpartition("/")[2]
    return node not in ("checksums.json", "system", *(f"events/{n}" for n in EVENTS)) and last not in (
        "step",
        "frequency",
    )


EVENTS = ("kind", "stage", "step", "time")


def mended(archive: Path, name: str, before: Run, node: str) -> None:
    """A damaged archive is repaired beside a copy of what it replaces, and is whole then, but for what was lost."""
    if name == "zarr.json":
        with pytest.raises(CannotRepair, match="nothing of"):
            repair(archive)
        return
    had = {f: f.read_bytes() for f in archive.rglob("*") if f.is_file()}
    done = repair(archive)
    try:
        assert {archive / f.relative_to(done.kept / archive.name): f.read_bytes() for f in files_of(done.kept)} == had
        report = check(archive)
        assert report.sound, (name, report.problems)
        run = load(archive)
        assert_same_but_for(run, before, node)
        assert run.end is not None and run.end["status"] == "complete"
        told = [e for e in run.events if e["kind"] == "warning" and e["text"].startswith("repaired; lost")]
        assert bool(told) == bool(done.lost)
        if "/c/" in name and looked_at(node):
            assert any(node in line for line in done.lost), (name, done.lost)
        else:
            assert not done.lost, "there is a copy, or it follows from the rest"
    finally:
        shutil.rmtree(archive)
        (done.kept / archive.name).rename(archive)
        done.kept.rmdir()


def files_of(folder: Path) -> list[Path]:
    return [f for f in folder.rglob("*") if f.is_file()]


def test_a_damaged_chunk_becomes_nan_where_its_checksum_is_known(archive: Path) -> None:
    DAMAGES["flipped"](archive / "stage_0/video/mean/c/0/0")
    assert np.isfinite(load(archive).stages[0].streams["video"].values("mean")).all(), "nobody can tell by looking"
    done = repair(archive)
    assert done.lost == [
        "stage_0/video/mean is not whole: its chunk cannot be read, c/0/0 has another checksum than when it was written"
    ]
    stream = load(archive).stages[0].streams["video"]
    assert np.isnan(stream.values("mean")).all() and np.isfinite(stream.values("sigma")).all()


def edit(archive: Path, node: str, change: Callable[[Any], object]) -> None:
    file = archive / node / "zarr.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def both(change: Callable[[Any], object], node: str) -> Callable[[Path], None]:
    """Edit a node and its copy in the consolidated metadata."""

    def edited(archive: Path) -> None:
        edit(archive, node, change)
        edit(archive, "", lambda root: change(root["consolidated_metadata"]["metadata"][node]))

    return edited


EDITS: dict[str, Callable[[Path], None]] = {
    "more rows than there are": lambda a: edit(
        a, "", lambda d: d["attributes"]["rows"].update({"stage_0/video": 10**12})
    ),
    "fewer rows": lambda a: edit(a, "", lambda d: d["attributes"]["rows"].update({"stage_0/video": 1})),
    "no rows": lambda a: edit(a, "", lambda d: d["attributes"]["rows"].clear()),
    "rows of stages that are not there": lambda a: edit(
        a, "", lambda d: d["attributes"]["rows"].update({"stage_999999/video": 5, "stage_3/video": 5, "x/../../y": 5})
    ),
    "a huge shape": both(lambda d: d.update(shape=[1 << 30]), "stage_0/video/sigma"),
    "another shape": both(
        lambda d: (d.update(shape=[4, 3]), d["chunk_grid"]["configuration"].update(chunk_shape=[64, 3])),
        "stage_0/video/mean",
    ),
    "another type": both(lambda d: d.update(data_type="float64"), "stage_0/video/mean"),
    "extra keys": both(lambda d: d.update(surprise={"must_understand": False}), "stage_0/video/mean"),
    "no metrics": both(lambda d: d["attributes"].update(metrics=[]), "stage_0/video"),
    "metrics of wrong types": both(lambda d: d["attributes"].update(metrics=[7, None]), "stage_0/video"),
    "a metric with a path": both(lambda d: d["attributes"]["metrics"][0].update(name="../../../x"), "stage_0/video"),
    "a stage without levels": both(lambda d: d["attributes"].update(sigmas="none"), "stage_0"),
    "a stage that is an array": both(lambda d: d.update(node_type="array"), "stage_0"),
    "events of wrong types": both(lambda d: d["attributes"].update(messages=[1, {"kind": 5}, {}]), "events"),
    "no events": both(lambda d: d["attributes"].clear(), "events"),
    "a lone surrogate": both(lambda d: d["attributes"]["metadata"].update(prompt="\ud800"), "stage_0"),
    "a status of another type": lambda a: edit(a, "", lambda d: d["attributes"].update(status=[1])),
    "pictures beyond all": lambda a: edit(
        a, "", lambda d: d["attributes"]["previews"].update({"stage_0/video": 1 << 50})
    ),
    "attributes that are a list": lambda a: edit(a, "stage_0/video", lambda d: d.update(attributes=[1])),
}


@pytest.mark.parametrize("what", EDITS)
def test_archives_edited_by_hand(whole: Path, archive: Path, what: str) -> None:
    EDITS[what](archive)
    run, _ = opened(archive)
    before = load(whole)
    assert_same_but_for(
        Run() if not run.stages else run,
        before if len(run.stages) == 2 and "audio" in run.stages[0].streams else Run(),
        "stage_0/video/mean" if what in ("another shape", "another type", "extra keys") else "stage_0/video",
    )

    assert run.stages[1].streams["video"].rows == 4, "a damaged stage hides no other"
    report = check(archive)
    if not report.sound:
        done = repair(archive)
        assert check(archive).sound and done.kept.is_dir()
    listing.list_runs(archive.parent)


@pytest.mark.parametrize("version", [2, 99, 10**30])
def test_archives_and_journals_of_a_newer_version_say_so(archive: Path, tmp_path: Path, version: int) -> None:
    edit(archive, "", lambda d: d["attributes"].update(version=version))
    with pytest.raises(NotARun, match="newer than this program's 1; upgrade"):
        load(archive)
    assert "newer than this program" in check(archive).problems[0]
    with pytest.raises(CannotRepair, match="newer"):
        repair(archive)
    if version < 1 << 60:
        path = tmp_path / "y.journal"
        path.write_bytes(encode({**SMALL[0], "version": version}))
        with pytest.raises(NotARun, match="newer"):
            load(path)


@pytest.mark.parametrize("bad", ["../../evil", "/tmp/evil", "a/b", "", ".", "..", "x\0y", "video/../../../evil"])
def test_no_name_in_a_message_leads_out_of_the_runs_folder(tmp_path: Path, bad: str) -> None:
    runs = tmp_path / "a" / "b" / "runs"
    runs.mkdir(parents=True)
    metric = {**SMALL[2]["metrics"][0], "name": bad}
    one: list[Message] = [{**SMALL[2], "stream": bad}, {**SMALL[2], "metrics": [metric]}]
    one.append({**SMALL[2], "coordinates": {bad: {"values": [1.0], "attributes": {}}}})
    for number, message in enumerate(one):
        path = runs / f"{number}.journal"
        path.write_bytes(
            b"".join(map(encode, [*SMALL[:2], message, {"t": "system", "time": 0.0, "values": {bad: 1.0}}]))
        )
        done = repair(path)
        assert check(done.archive).sound and done.lost
    assert {p.name for p in tmp_path.iterdir()} == {"a"} and {p.name for p in (tmp_path / "a/b").iterdir()} == {"runs"}
    assert not [p for p in runs.rglob("*") if "evil" in p.name]


def test_a_gap_takes_no_memory_that_a_number_asks_for() -> None:
    run = Run()
    wide = {**SMALL[2], "metrics": [{**SMALL[2]["metrics"][0], "shape": [200_000], "dims": ["step", "batch"]}]}
    step = {"t": "step", "stage": 0, "stream": "video", "time": 0.0, "data": bytes(800_000)}
    for message in (*SMALL[:2], {**wide, "coordinates": {}}):
        run.feed(message)
    run.feed({**step, "step": 3})
    assert np.isnan(run.stages[0].streams["video"].data[:3]).all(), "rows that were lost are NaN"
    with pytest.raises(NotARun, match="rows are missing"):
        run.feed({**step, "step": 1_000_000})
    assert locations.told_archive("") is None and locations.told_archive("/a/b.zarr") == Path("/a/b.zarr")


@pytest.mark.parametrize(
    "attributes",
    [
        {"grid": [2_000_000, 1, 1], "conditioning_frames": [0]},
        {"grid": [1 << 53, 1, 1], "conditioning_frames": [0]},
        {"grid": [8, 1, 1], "conditioning_frames": [[0]]},
        {"grid": [8, 1, 1], "conditioning_frames": 7},
        {"grid": [8, 1, 1], "conditioning_frames": [1 << 60]},
        {"grid": [8, 1, 1], "conditioning_frames": [0] * 5000},
        {"grid": [], "conditioning_frames": [0]},
        {"grid": [4, 1, 1], "conditioning_frames": [0, 2]},
    ],
)
def test_a_grid_takes_no_memory_that_a_number_asks_for(tmp_path: Path, attributes: dict[str, Any]) -> None:
    path = tmp_path / "run.zarr"
    writer = ArchiveWriter(path)
    for message in SMALL[:-1]:
        writer.feed(message)
    writer.add_snapshot(0, "video", 0, {"latents": np.zeros((1, 2, 1, 1, 1), np.float16)})
    writer.feed(SMALL[-1])
    both(lambda d: d["attributes"].update(attributes), "stage_0/video")(path)
    shutil.rmtree(path / "stage_0/video/sigma")
    tracemalloc.start()
    try:
        done = repair(path)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken < 8_000_000 and check(path).sound
    fine = attributes["grid"] == [4, 1, 1]
    assert load(path).stages[0].streams.keys() == ({"video"} if fine else set())
    assert fine or any("stage_0/video is damaged" in line for line in done.lost)
    if fine:
        assert StoreReader(path).array("stage_0/video/generated_frame").read().tolist() == [1, 3]
