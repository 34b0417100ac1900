"""`ltxtui export` without any library: tables as CSV, several runs, runs that go on, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ltxtui.cli import cli
from recorder.archive.writer import ArchiveWriter
from recorder.format.framing import encode
from recorder.format.protocol import Message
from recorder.journal.journal import Journal
from recorder.journal.server import Server
from replay.export import names, problems
from replay.export.metadata import plain, printable
from replay.export.problems import ExportProblem
from replay.export.steps import ExportedStep, Picture, scalars
from replay.export.table_files import CsvFile, TableTarget
from replay.export.tables import WideSteps
from replay.export.trackers import Tracker, TrackerTarget
from replay.export.walk import Walk
from replay.model.run import Run
from replay.packed.pack import pack
from replay.sources.open import load
from replay.sources.reconnect import open_live
from tests.libraries import LIBRARIES
from tests.replay import exported
from tests.waiting import PATIENCE_SECONDS, until

Rows = list[dict[str, str]]


def export(*words: object) -> Result:
    return CliRunner().invoke(cli, ["export", *map(str, words)])


def rows(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float:
    return float(np.float32(text))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported.archive(tmp_path_factory.mktemp("export"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_value_is_in_the_wide_table(archive: Path, here: Path) -> None:
    done = export(archive, "--to", "csv")
    assert done.exit_code == 0 and done.output == f"{exported.NAME}.csv\n"
    run, expected = exported.expected(archive)
    found = rows(here / f"{exported.NAME}.csv")
    assert len(found) == run.steps * 2 * exported.BATCH
    checked = 0
    for row in found:
        values = expected[int(row["run_step"])]
        for name in run.stages[0].streams[row["stream"]].metrics:
            plain_tag = f"{row['stream']}/{name}"
            wanted = values.get(plain_tag, values.get(f"{plain_tag}/{row['item']}"))
            assert wanted is not None
            cell = row[name]
            given = [np.nan if v is None else v for v in json.loads(cell)] if cell.startswith("[") else [float(cell)]
            np.testing.assert_array_equal(np.float32(given), wanted, err_msg=f"{name} {row['run_step']}")
            checked += len(given)
    assert checked > 8_000
    assert {row["motion"] for row in found if row["stream"] == "audio"} == {""}, "what a stream lacks is empty"
    assert [float(r["time"]) for r in found[:: 2 * exported.BATCH]] == pytest.approx(exported.times(run))


def test_every_value_is_in_the_long_table_with_its_place(archive: Path, here: Path) -> None:
    done = export(archive, "--to", "csv", "--layout", "long", "-o", "-")
    assert done.exit_code == 0
    run, expected = exported.expected(archive)
    left = {(step, tag): values for step, row in expected.items() for tag, values in row.items()}
    gathered: dict[tuple[int, str], list[float]] = {}
    for row in csv.DictReader(io.StringIO(done.stdout)):
        info = run.stages[0].streams[row["stream"]].metrics[row["metric"]]
        tag = f"{row['stream']}/{row['metric']}" + (f"/{row['item']}" if row["item"] else "")
        of = gathered.setdefault((int(row["run_step"]), tag), [])
        assert row["unit"] == info.unit and row["index"] == (str(len(of)) if row["axis"] else "")
        assert row["axis"] == "" or info.dims[-1] == row["axis"]
        of.append(number(row["value"]))
    assert gathered.keys() == left.keys()
    for place, values in gathered.items():
        np.testing.assert_array_equal(np.float32(values), left[place], err_msg=str(place))


def test_all_tables_have_stages_events_noise_load_and_settings(archive: Path, here: Path) -> None:
    done = export(archive, "--to", "csv", "--table", "all", "-o", "tables")
    assert done.exit_code == 0
    tables = {name: rows(here / "tables" / f"{name}.csv") for name in names.TABLES}
    run = load(archive)
    assert [json.loads(row["payload"]) for row in tables["events"] if row["kind"] == "shock"] == [exported.NOISE] * 2
    assert len(tables["events"]) == len(run.events) and {"nan", "stage_end"} <= {e["kind"] for e in tables["events"]}
    assert [(float(r["time"]), float(r["value"])) for r in tables["load"] if r["quantity"] == "process_cpu"] == [
        (sample["time"], sample["values"]["process_cpu"]) for sample in run.system
    ]
    assert [(r["steps"], r["planned"], r["ended"]) for r in tables["stages"]] == [("6", "6", "1")] * 2
    settings = json.loads(tables["stages"][1]["settings"])
    assert settings["prompt"] == 'a "red" ball,\nσ ≤ 1' and settings["sigmas"] == list(run.stages[1].sigmas)
    (one,) = tables["runs"]
    assert one["status"] == "complete" and json.loads(one["settings"])["host"] == "gpu-box"
    drift = [float(r["value"]) for r in tables["summaries"] if r["summary"] == "content_drift"]
    assert drift == [0.2, 0.4, 0.2, 0.4] and not [p for p in here.rglob("*.part")]


def test_several_runs_are_one_table_and_packed_runs_are_equal(archive: Path, here: Path) -> None:
    other = exported.archive(here, "other", steps=4, batch=1)
    packed = pack(other, here / "packed" / "other.zarr.zip") if (here / "packed").mkdir() is None else other
    assert export(archive, other, "--to", "csv", "-o", "folder.csv").exit_code == 0
    assert export(archive, packed, "--to", "csv", "-o", "packed.csv").exit_code == 0
    assert (here / "folder.csv").read_bytes() == (here / "packed.csv").read_bytes()
    found = rows(here / "folder.csv")
    assert {r["run"]: sum(r["run"] == s["run"] for s in found) for r in found} == {exported.NAME: 48, "other": 16}
    again = export("other", "--to", "csv", "-o", here, "--runs-dir", here)
    assert again.output == f"{here / 'other.csv'}\n" and len(rows(here / "other.csv")) == 16


def test_nothing_is_written_over_unless_asked(archive: Path, here: Path) -> None:
    (here / "kept.csv").write_text("mine")
    done = export(archive, "--to", "csv", "-o", "kept.csv")
    assert (done.exit_code, (here / "kept.csv").read_text()) == (1, "mine")
    assert done.output == (
        "ltxtui: kept.csv exists; choose another name with --output, or replace it with --overwrite\n"
    )
    assert export(archive, "--to", "csv", "-o", "kept.csv", "--overwrite", "--table", "events").exit_code == 0
    assert (here / "kept.csv").read_text().startswith("run,stage,stream,step,time,kind")


def test_a_table_is_written_through_links_and_into_pipes(archive: Path, here: Path) -> None:
    (here / "link.csv").symlink_to("table.csv")
    assert export(archive, "--to", "csv", "-o", "link.csv").exit_code == 0
    assert (here / "link.csv").is_symlink() and rows(here / "table.csv")
    os.mkfifo(here / "pipe")
    with subprocess.Popen(["cat", "pipe"], cwd=here, stdout=subprocess.PIPE) as reader:
        try:
            assert export(archive, "--to", "csv", "-o", "pipe", "--overwrite").exit_code == 0
            assert (here / "pipe").is_fifo()
            assert reader.communicate(timeout=PATIENCE_SECONDS)[0] == (here / "table.csv").read_bytes()
        finally:
            reader.kill()


@pytest.mark.parametrize("to", LIBRARIES)
def test_a_missing_library_names_the_extra_and_how_to_install_it(
    to: str, archive: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without(LIBRARIES[to], monkeypatch)
    done = export(archive, "--to", to, "-o", here / "out")
    assert done.exit_code == 1 and not list(here.iterdir())
    assert done.output == (
        f"ltxtui: {to} needs {LIBRARIES[to]}, which is not installed; install it with: pip install 'ltxtui[{to}]'\n"
    )


def test_metrics_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    _without("prometheus_client", monkeypatch)
    done = CliRunner().invoke(cli, ["metrics"])
    assert done.exit_code == 1
    assert done.output == (
        "ltxtui: metrics needs prometheus_client, which is not installed; install it with: "
        "pip install 'ltxtui[metrics]'\n"
    )


def test_every_extra_of_an_export_is_declared() -> None:
    extras = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())["project"]
    assert {*LIBRARIES, "metrics"} <= extras["optional-dependencies"].keys() and {*LIBRARIES, "csv"} == {*names.TO}


def _without(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        if name.partition(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return __import__(name)

    monkeypatch.setattr(problems, "import_module", missing)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--to", "csv", "--offline"], 2, "--offline is for --to wandb"),
        (["--to", "wandb", "--layout", "long"], 2, "--layout is for --to csv and parquet"),
        (["--to", "xlsx"], 2, "'xlsx' is not one of"),
        ([], 2, "Missing option '--to'"),
        (["--to", "csv", "--table", "all", "-o", "-"], 1, "standard output takes one table, as CSV"),
        (["--to", "csv", "-o", "s3://bucket/x.csv"], 1, "s3://bucket/x.csv"),
        (["--to", "csv", "-o", "nowhere/x.csv"], 1, "nowhere/x.csv cannot be written: No such file or directory"),
    ],
)
def test_bad_input_is_one_line(words: list[str], status: int, said: str, archive: Path, here: Path) -> None:
    done = export(archive, *words)
    assert done.exit_code == status and said in done.output, done.output
    assert len(done.output.splitlines()) == 1 or status == 2
    assert "Traceback" not in done.output and not list(here.iterdir())


def test_a_run_that_does_not_exist_or_is_not_live_is_one_line(here: Path) -> None:
    assert "nothing does not exist" in export("nothing", "--to", "csv").output
    assert "no runs in runs" in export("--to", "csv").output
    assert "no live run; start one with: ltxtui record" in export("--follow", "--to", "csv").output


def test_text_of_a_run_is_neither_a_formula_nor_a_control(here: Path) -> None:
    path = here / "hostile.zarr"
    writer = ArchiveWriter(path)
    for message in exported.messages("hostile", steps=2, batch=1):
        if message["t"] == "event":
            message = {**message, "text": '=HYPERLINK("x")\x1b[2J\u202e\n'}
        writer.feed(message)
    assert export(path, "--to", "csv", "--table", "events").exit_code == 0
    for row in rows(here / "hostile-events.csv"):
        assert row["text"].startswith("'=HYPERLINK") and row["text"].isprintable()
    assert printable("\ud800\x9b") == "? " and plain({"a": [float("nan"), b"x", {1: None}]}) == {
        "a": ["nan", "b'x'", {"1": None}]
    }


# -- runs that go on


class Served:
    """A journal and a socket in the runtime folder, fed with messages: a live run."""

    def __init__(self, folder: Path, name: str = exported.NAME) -> None:
        self.archive = folder / f"{name}.zarr"
        self.left = list(exported.messages(name))
        self.left[0] = {**self.left[0], "archive": str(self.archive)}
        self.journal = Journal(folder / f"{name}.journal")
        self.server = Server(self.journal, folder / f"{name}.sock")

    def send(self, count: int) -> None:
        for message in self.left[:count]:
            self.journal.append(encode(message))
        del self.left[:count]
        self.server.notify()

    def close(self) -> None:
        self.journal.release(remove=False)
        self.server.close()
        self.server.join(PATIENCE_SECONDS)


@pytest.fixture
def served(runtime_dir: Path) -> Iterator[Served]:
    made = Served(runtime_dir)
    yield made
    made.close()


def test_a_live_run_is_exported_as_it_is_recorded(served: Served, archive: Path, here: Path) -> None:
    served.send(20)
    done: list[Result] = []
    thread = threading.Thread(target=lambda: done.append(export("--follow", "--to", "csv", "-o", "live.csv")))
    thread.start()
    until(lambda: (here / "live.csv").is_file() and len(rows(here / "live.csv")) >= 8)
    while served.left:
        served.send(5)
    thread.join(PATIENCE_SECONDS)
    assert done[0].exit_code == 0 and done[0].stdout == "live.csv\n", done[0].output
    assert export(archive, "--to", "csv", "-o", "whole.csv").exit_code == 0
    assert rows(here / "live.csv") == rows(here / "whole.csv")


class Stuck:
    """A tracker whose network hangs: `log` waits until it is let go."""

    def __init__(self) -> None:
        self.go_on, self.reached = threading.Event(), threading.Event()
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.rows: list[dict[str, Any]] = []
        self.finished: bool | None = None

    def log(self, row: dict[str, Any], step: int) -> None:
        self.reached.set()
        assert self.go_on.wait(PATIENCE_SECONDS)
        self.rows.append({"step": step, **row})

    def Image(self, pixels: Any, caption: str) -> Any:
        return pixels

    def Table(self, columns: list[str], data: list[Any]) -> Any:
        return [dict(zip(columns, row, strict=True)) for row in data]

    @property
    def tracker(self) -> Tracker:
        def start(name: str, config: dict[str, Any]) -> Stuck:
            self.config = {"name": name, **config}
            return self

        def finish(run: Any, complete: bool) -> None:
            self.finished = complete

        class Update(dict[str, Any]):
            def update(self, *args: Any, allow_val_change: bool = True, **more: Any) -> None:
                super().update(*args, **more)

        def place(run: Any) -> str:
            self.config = Update(self.config)
            return "here"

        return Tracker(self, start, finish, place, keeps=True, own_time="_timestamp")


def test_a_target_that_hangs_does_not_hold_the_run_and_gets_everything_later(served: Served, archive: Path) -> None:
    stuck = Stuck()
    walk = Walk(TrackerTarget(stuck.tracker))
    source = open_live(served.server.path, served.archive)

    def follow() -> None:
        while walk.run.end is None:
            walk.feed(source.poll())
            walk.turn(over=walk.run.end is not None)

    thread = threading.Thread(target=follow)
    served.send(20)
    thread.start()
    assert stuck.reached.wait(PATIENCE_SECONDS)
    while served.left:
        served.send(5)  # the recorder is never waiting
    assert thread.is_alive() and not stuck.rows
    stuck.go_on.set()
    thread.join(PATIENCE_SECONDS)
    source.close()
    assert stuck.finished is True
    _same_history(stuck, archive)


def _same_history(stuck: Stuck, archive: Path) -> None:
    run, expected = exported.expected(archive)
    history: dict[int, dict[str, Any]] = {}
    for row in stuck.rows:
        history.setdefault(row["step"], {}).update(row)
    assert [row["step"] for row in stuck.rows] == sorted(row["step"] for row in stuck.rows)
    assert history.keys() == expected.keys()
    for step, values in expected.items():
        for tag, wanted in values.items():
            np.testing.assert_array_equal(np.float32(np.atleast_1d(history[step][tag])), wanted, err_msg=tag)
    for place in exported.PICTURES:
        np.testing.assert_array_equal(history[6 + place]["video/x0"], exported.strip(run, 1, place))
    assert stuck.config["seed"] == 0 and stuck.config["stage_1"]["prompt"] == run.stages[1].metadata["prompt"]
    assert stuck.summary["status"] == "complete" and stuck.summary["summary/video/content_drift/1"] == 0.4
    assert [e["kind"] for e in history[11]["events"]] == [e["kind"] for e in run.events]


class Seen:
    """A target that keeps the order of what it takes."""

    wants_pictures = True

    def __init__(self) -> None:
        self.found: list[tuple[str, int]] = []

    def begin(self, run: Run) -> None:
        self.found.append(("begin", 0))

    def stage(self, stage: Any) -> None:
        self.found.append(("stage", stage.index))

    def step(self, step: ExportedStep) -> None:
        assert scalars(step)
        self.found.append(("step", step.run_step))

    def picture(self, picture: Picture) -> None:
        self.found.append((picture.kind, picture.run_step))

    def event(self, event: Message, run_step: int) -> None:
        self.found.append((event["kind"], run_step))

    def sample(self, sample: Message, run_step: int) -> None:
        self.found.append(("sample", run_step))

    def end(self, run: Run) -> None:
        self.found.append(("end", run.steps))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def _walked(turns: Callable[[int], bool]) -> list[tuple[str, int]]:
    seen = Seen()
    walk = Walk(seen)
    for count, message in enumerate(exported.messages()):
        walk.feed([message])
        if turns(count):
            walk.turn()
    walk.turn(over=True)
    return seen.found


def test_a_run_is_passed_on_in_one_order_however_it_comes() -> None:
    whole = _walked(lambda count: False)
    assert [at for what, at in whole if what == "step"] == list(range(12))
    assert [at for what, at in whole if what == "x0"] == [0, 2, 5, 6, 8, 11]
    assert whole.index(("nan", 3)) < whole.index(("step", 4)) and whole.index(("sample", 3)) > whole.index(("step", 3))
    assert whole[-1] == ("end", 12) and ("decoded", 11) in whole
    for every in (1, 7):
        found = _walked(lambda count, every=every: count % every == 0)  # type: ignore[misc]
        assert sorted(found) == sorted(whole)
        assert [one for one in found if one[0] in ("step", "x0")] == [one for one in whole if one[0] in ("step", "x0")]


def test_a_table_that_is_written_already_gets_no_new_columns() -> None:
    text = io.StringIO()
    walk = Walk(TableTarget([(WideSteps(), lambda columns: CsvFile(text, columns, keep=True))]))
    with pytest.raises(ExportProblem, match="use --layout long"):
        for message in exported.messages():
            if message["t"] == "stream" and message["stage"] == 1:
                message["metrics"] = [{**message["metrics"][0], "name": "another"}, *message["metrics"][1:]]
            walk.feed([message])
            walk.turn()
    assert text.getvalue().count("\n") == 1 + 24, "what was exported stays"
