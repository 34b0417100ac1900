"""The examples of help texts, README and the page of shocks work: run, or parsed if they need another model."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import re
import shlex
import shutil
import threading
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import IO, Any

import click
import pytest
from click.testing import CliRunner, Result
from fsspec.implementations.memory import MemoryFileSystem

from ltxtui.cli import cli, common, watch_replay
from ltxtui.cli.demo import Recorder
from ltxtui.cli.options.setup import read_setup
from ltxtui.cli.options.shock import read_shocks
from ltxtui.cli.record import record as record_command
from ltxtui.cli.run import become
from ltxtui.state import SavedState
from ltxtui.terminal import endings
from recorder import nano, record
from recorder.format.locations import run_name
from recorder.generate import Request, generate
from recorder.nano import components
from recorder.recording import RunHandle
from recorder.sweep import runner, worker
from recorder.sweep.jobs import JobSource
from recorder.sweep.spec import read
from replay.control import ControlError, send
from replay.export import metrics_server
from replay.library.listing import live_runs
from replay.packed.pack import pack
from replay.remote.address import is_address
from tests import recorded
from tests.conftest import SMALL, nano_call
from tests.faults.scenarios import await_viewer
from tests.libraries import LIBRARIES
from tests.loopback_ssh import fake_ssh, ltxtui_in
from tests.recorder.runners.comfyui.fakes import comfyui_folder
from tests.waiting import PATIENCE_SECONDS, until

SMOOTH, SPIKE, DISC = "20261122-143015-smooth", "20261122-143109-spike", "20261122-143015-red-disc"
SIZE = ["--height", "64", "--width", "96", "--frames", "17", "--guidance-scale", "1"]
NOT_OF_A_REQUEST = ("like", "as_json", "notify", "upload_to")
STORES = ("s3://bucket", "gs://bucket", "hf://datasets/me")
MAX_STEPS = 4000
FEW = 10
"""Of a live run, which ends with its test."""


@dataclass(frozen=True)
class Example:
    """A line of a help text: the words of the command, and the filter of `| jq FILTER` behind it."""

    words: tuple[str, ...]
    filter: str | None

    @property
    def needs_another_model(self) -> bool:
        return any(word.startswith("diffusers/") for word in self.words)

    @property
    def needs_a_cluster(self) -> bool:
        """Whether it needs a Ray cluster; `make ray` starts one."""
        return "--ray" in self.words

    @property
    def needs_a_library(self) -> bool:
        """Whether it needs an extra that is not installed; `make bridges` installs all of them."""
        used = {**LIBRARIES, "metrics": "prometheus_client"} if self.words[:1] in (("export",), ("metrics",)) else {}
        return any(used.get(word) is not None and find_spec(used[word]) is None for word in self.words)


def commands(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words that call each command, none for `ltxtui` itself."""
    yield path
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from commands(each, (*path, name))


def help_of(path: tuple[str, ...]) -> str:
    done = CliRunner().invoke(cli, [*path, "--help"], env={"COLUMNS": "100"})
    assert done.exit_code == 0
    return done.output


def examples_in(text: str) -> Iterator[Example]:
    """The lines that start with `ltxtui`; two spaces and more begin a remark, a backslash continues a line."""
    for line in re.findall(r"^ +(ltxtui\b.*)$", re.sub(r"\\\n *", "", text), re.MULTILINE):
        quoted = re.compile(r"""('[^']*'|"[^"]*")|( {2,}.*)""")
        command = quoted.sub(lambda found: found[1] or "", line)
        head, _, tail = command.partition(" | ")
        filter = shlex.split(tail)[-1] if tail.startswith("jq") else None
        yield Example(tuple(shlex.split(head)[1:]), filter)


def pages() -> Iterator[str]:
    """Texts with examples: all help texts, and the code blocks of two pages."""
    yield from map(help_of, commands())
    for page in ("README.md", "docs/shocks.md"):
        text = (Path(__file__).parents[2] / page).read_text("utf-8")
        for block in re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield re.sub("^", "  ", block, flags=re.MULTILINE)


EXAMPLES = list(dict.fromkeys(e for page in pages() for e in examples_in(page)))


@pytest.mark.parametrize("path", [*commands()], ids=" ".join)
def test_every_help_has_examples(path: tuple[str, ...]) -> None:
    text = help_of(path)
    assert "Examples:" in text
    own = [e for e in examples_in(text.partition("Examples:")[2]) if e.words[: len(path)] == path]
    assert own, text


def test_remarks_and_filters_of_examples_are_not_part_of_the_command() -> None:
    text = "  ltxtui a 'b  c' --d      a remark | more\n  ltxtui e \\\n      --f | jq -r .g.h\n  not one: ltxtui x\n"
    assert list(examples_in(text)) == [Example(("a", "b  c", "--d"), None), Example(("e", "--f"), ".g.h")]


# -- the surroundings that the examples speak of


@pytest.fixture(scope="module")
def loaded(nano_pipe: Any) -> Iterator[Any]:
    """The nano pipeline is loaded once; each generation gives it the scheduler of its request."""

    def load_again(**given: Any) -> Any:
        nano_pipe.scheduler = components.scheduler()
        return nano_pipe

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano, "load", load_again)
        yield nano_pipe
        nano_pipe.scheduler = components.scheduler()


@pytest.fixture(scope="module")
def folder(loaded: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recorded nano runs of the names in the examples, and a sweep."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(runner, "run_jobs", in_process(loaded))
        for name, more in ((SMOOTH, []), (DISC, []), (SPIKE, ["--shock", "restart:sigma=0.9,db=3"])):
            done = CliRunner().invoke(cli, ["record", "--model", "nano", "--steps", "5", "--json", *SIZE, *more])
            assert done.exit_code == 0, done.output
            Path(json.loads(done.stdout)["archive"]).rename(folder / "runs" / f"{name}.zarr")
        small = ["--shock", "spikes:at=0.95+0.9+0.8,db=3", "--seeds", "2", "--steps", "5", *SIZE]
        done = CliRunner().invoke(cli, ["sweep", "my-sweep", "--model", "nano", *small])
        assert done.exit_code == 0, done.output
    shared = folder / "shared"
    shutil.copytree(folder / "runs", shared)
    shutil.rmtree(shared / f"{DISC}.zarr")
    left = recorded.Recording(shared, DISC)
    left.write(recorded.whole(DISC))
    left.die()
    shutil.copy(nano.WEIGHTS / "scheduler" / "scheduler_config.json", folder)
    return folder


def in_process(pipe: Any, most: int = 9) -> Callable[..., list[Any]]:
    """In place of the workers of a sweep: a few of its runs, made here."""

    def run_jobs(folder: Path, jobs: JobSource, workers: int, told: Callable[..., None], **_: Any) -> list[Any]:
        sweep = read(folder)
        for job in islice(iter(jobs.next, None), most):
            pipe.scheduler = components.scheduler()
            jobs.done(job, run_name(worker.make_run(pipe, sweep, job, folder)))
            told(runner.JobResult(job, None, 0.1), 0)
        return []

    return run_jobs


class Live:
    """A nano run that is being recorded in a thread, until it is stopped."""

    def __init__(self, pipe: Any, runs_dir: Path, steps: int = MAX_STEPS) -> None:
        self._pipe = pipe
        self._steps = steps
        self._runs_dir = runs_dir
        self._stepping = threading.Event()
        self._thread = threading.Thread(target=self._record)
        self._thread.start()
        assert self._stepping.wait(PATIENCE_SECONDS)
        self.socket = until(lambda: [run.socket for run in live_runs() if run.answers])[0]

    def _record(self) -> None:
        self._pipe.scheduler = components.scheduler()
        call = nano_call(self._steps, guidance_scale=1.0, **{**SMALL, "height": 64, "width": 96, "num_frames": 17})
        with record(self._pipe, runs_dir=self._runs_dir, name="red-disc", allow_control=True, previews=False) as run:
            self._pipe(**call, callback_on_step_end=partial(self._step, run))

    def _step(self, run: RunHandle, pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        self._stepping.set()
        if step == self._steps - FEW:  # a short run must not have ended before its viewer comes
            await_viewer(run)
        return kwargs

    def end(self) -> None:
        while self._thread.is_alive():
            with contextlib.suppress(ControlError):
                send(self.socket, "stop")
            self._thread.join(0.1)


class DemoRecorder:
    """In place of the recording process of `ltxtui demo`: the same request, smaller, in a thread."""

    def __init__(self, runs_dir: Path, prompt: str, steps: int, seed: int, more: list[str], log: IO[bytes]) -> None:
        given = ["--model", "nano", "--prompt", prompt, "--steps", str(steps), "--seed", str(seed), *more, *SIZE]
        options = record_command.make_context("record", [*given, "--runs-dir", str(runs_dir)]).params
        options = {**read_setup(options, ()), "shocks": read_shocks(options["shocks"]), "steps": min(steps, 8)}
        self._request = Request.from_dict({k: v for k, v in options.items() if k not in NOT_OF_A_REQUEST})
        self._archive: Path | None = None
        self._thread = threading.Thread(target=self._record)
        self._thread.start()
        self.process = self
        self.pid = os.getpid()

    def _record(self) -> None:
        self._archive = generate(self._request, lambda done, total: None).archive

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        return None if self._thread.is_alive() else 0

    def wait(self, timeout: float | None = None) -> int:
        self._thread.join()
        return 0

    def stop(self) -> None:
        self.wait()

    def last_line(self) -> str:
        return str(self._archive)


@dataclass
class Shown:
    """The dashboards that were opened, with the class of the screen that each showed first."""

    screens: list[str]
    before: Callable[[], None] = lambda: None

    def __call__(self, app: Any, *, mouse: bool = True) -> int:
        """In place of `show_app`: the same app without a terminal, left as soon as it has drawn."""

        async def show() -> None:
            async with app.run_test(size=(120, 40)) as pilot:
                self.before()
                await pilot.pause()
                self.screens.append(type(app.screen).__name__)

        asyncio.run(show())
        return 0


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    shown = Shown([])
    monkeypatch.setattr(endings, "show_app", shown)
    return shown


def apart(folder: Path, copy: Path, changes_runs: bool) -> Path:
    """A folder of its own for what an example writes, with the runs, or with copies of them if it changes runs."""
    (copy / "shared").mkdir(parents=True)
    if changes_runs:
        shutil.copytree(folder / "runs", copy / "runs", copy_function=os.link)
    else:
        (copy / "runs").symlink_to(folder / "runs")
    return copy


@pytest.fixture
def here(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: Example, request: pytest.FixtureRequest
) -> Path:
    """The current folder, with everything that the example names. What the example changes is a copy."""
    copied: dict[tuple[str, ...], str] = {("runs", "repair"): f"runs/{DISC}.zarr", ("sweep", "my-sweep"): "my-sweep"}
    if (changed := copied.get(example.words[:2])) is not None:
        shutil.copytree(folder / changed, tmp_path / "copy" / changed)
        folder = tmp_path / "copy"
    if example.words[:1] in (("pack",), ("unpack",), ("report",), ("export",)):
        folder = apart(folder, tmp_path / "copy", changes_runs="pack" in example.words[0])
    if example.words[:1] == ("unpack",):
        disc = folder / "runs" / f"{DISC}.zarr"
        shutil.copy(pack(disc), folder / "red-disc.zarr.zip")
        shutil.rmtree(disc)
    if example.words[:1] == ("comfy",):
        folder = comfyui_folder(tmp_path).parent
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setattr(webbrowser, "open", lambda url: True)
    if any(is_address(word) or word == "--hosts" for word in example.words):
        reached = f"PATH={ltxtui_in(tmp_path / 'bin')}:/usr/bin:/bin; export PATH; cd {folder}"
        monkeypatch.setenv("LTXTUI_SSH", fake_ssh(tmp_path / "ssh", reached))
    if any(word.startswith(STORES) for word in example.words):
        stored: dict[str, bytes] = {}
        if example.words[0] in ("replay", "explain", "runs"):
            packed = pack(folder / "runs" / f"{DISC}.zarr", tmp_path / f"{DISC}.zarr.zip")
            stored[f"/bucket/runs/{packed.name}"] = packed.read_bytes()
        request.addfinalizer(MemoryFileSystem.store.clear)
        MemoryFileSystem().pipe(stored)
    SavedState().set_tour_seen(True)
    return folder


# -- the examples


def parse(words: tuple[str, ...]) -> None:
    """Parse a command that cannot be run here. Raises click's errors."""
    assert isinstance(cli, click.Group)
    cli.commands[words[0]].make_context(words[0], list(words[1:]))


def shortened(words: tuple[str, ...]) -> list[str]:
    """The example with a clip and a number of steps that take no time; the last of two options counts."""
    more: list[str] = []
    if words[0] == "record" and "--model" in words:
        more = ["--steps", "5", "--runs-dir", "recorded", *SIZE]
    if words[0] == "sweep" and "--model" in words:
        more = ["--seeds", "2", "--steps", "5", *SIZE]
    if words[0] == "sweep" and "--extend" in words:
        more = ["--seeds", "3"]
    return [*words, *more]


async def ready_at_once(server: Any, port: int, ready: Callable[[int], None], over: asyncio.Event) -> None:
    """In place of serving until a signal comes."""
    ready(port)


def value_at(found: Any, filter: str) -> Any:
    """What `jq` gives for a path such as `.runs[0].path` or `.checked[].problems`."""
    for name, index in re.findall(r"\.(\w+)|\[(\d*)\]", filter):
        if name:
            found = [each[name] for each in found] if isinstance(found, list) else found[name]
        elif index:
            found = found[int(index)]
    return found


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: shlex.join(e.words) or "ltxtui")
def test_examples_work(
    example: Example, here: Path, loaded: Any, shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if example.needs_another_model or example.needs_a_library or example.needs_a_cluster:
        parse(example.words)
        return
    command = example.words[0] if example.words else ""
    command = "" if is_address(command) or command == "--hosts" else command
    live: list[Live] = []
    words = (
        [word.replace("/data/runs", str(here / "shared")) for word in shortened(example.words)] if example.words else []
    )
    for store in STORES:
        words = [word.replace(store, "memory://bucket") for word in words]
    monkeypatch.setattr(inspect.getmodule(Recorder), "Recorder", DemoRecorder)  # its module has the name of its command
    monkeypatch.setattr(runner, "run_jobs", in_process(loaded, most=2))
    monkeypatch.setattr(metrics_server, "look_on", lambda live: None)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    if "--gpus" in words:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # as if there was one
    on_screen = (command in ("", "watch", "replay") or "--tui" in words) and "--until-done" not in words
    if on_screen:
        monkeypatch.setattr(common, "has_terminal", lambda: True)
        monkeypatch.setattr(watch_replay, "has_terminal", lambda: True)
    became: list[tuple[str, ...]] = []
    if command == "run":  # it would replace this process
        its_module = inspect.getmodule(become)
        monkeypatch.setattr(its_module, "program_of", lambda name: name)
        monkeypatch.setattr(its_module, "become", lambda program, words, options: became.append(words))
    if words[:2] == ["runs", "repair"]:
        next(f for f in (here / "runs" / f"{DISC}.zarr").glob("stage_0/video/*/c/**/*") if f.is_file()).unlink()
    if command == "serve":
        server = pytest.importorskip("ltxtui.terminal.browser.server", reason="the extra `serve` is not installed")
        monkeypatch.setattr(server, "serve", ready_at_once)
    if "--wait" in words:
        shown.before = lambda: live.append(Live(loaded, tmp_path))
    elif (command in ("watch", "control") or "--follow" in words) and ".journal" not in words[-1]:
        live.append(Live(loaded, tmp_path, 2 * FEW if "--until-done" in words or "--follow" in words else MAX_STEPS))
    try:
        for run in live:
            words = [word.replace("/tmp/ltx.sock", str(run.socket)) for word in words]
        done: Result = CliRunner().invoke(cli, words)
    finally:
        for run in live:
            run.end()
    assert done.exit_code == 0, (words, done.output)
    assert len(became) == (command == "run")
    assert len(shown.screens) == on_screen
    if on_screen:
        assert shown.screens == [{"": "Home", "compare": "CompareScreen"}.get(command, "RunScreen")]
    if example.filter is not None:
        assert value_at(json.loads(done.stdout), example.filter) is not None
    if command == "sweep":
        assert "runs" in done.output
