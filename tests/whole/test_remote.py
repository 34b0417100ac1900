"""Runs of other machines: relays as real processes, reached by an ssh that runs commands here."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ltxtui.app import Dashboard, Options
from ltxtui.home import draw
from ltxtui.home.columns import seconds_left
from ltxtui.home.model import HomeModel
from ltxtui.home.remote import RemoteRuns
from ltxtui.plot.line_plot import Style
from ltxtui.plot.rows import TextRow
from ltxtui.screens import home as module
from ltxtui.screens.compare import CompareScreen
from ltxtui.screens.home import Home
from ltxtui.screens.run import RunScreen
from ltxtui.settings import parse
from recorder.format.framing import encode
from recorder.format.protocol import Message
from recorder.journal.journal import Journal
from recorder.journal.server import Server
from recorder.shocks.parse import parse_shock
from replay.control import NoAnswer, send
from replay.library.run_info import RunInfo
from replay.model.run import Run
from replay.remote import sessions
from replay.remote.address import BadAddress, RemoteHost, named_hosts, parse_address, read_host
from replay.remote.asked import Asked
from replay.remote.child import explain
from replay.remote.fleet import FleetWatcher
from replay.remote.hello import NotALine
from replay.remote.run import NotReached, RemoteRun, RemoteSource, SeveralRuns, fetch, open_remote
from replay.remote.run_lines import as_line, path_there, read_run
from replay.sources.interface import Liveness, Source
from replay.sources.open import load
from tests import recorded
from tests.loopback_ssh import MISSING, Sshd, fake_ssh, loopback_sshd, ltxtui_in
from tests.ltxtui import driving
from tests.waiting import PATIENCE_SECONDS, until

BOX = RemoteHost("box", "box")
NAME = "20261122-143015-red-disc"
HELLO = '{"ltxtui": "%s", "relay": %d, "oldest": %d}'


@pytest.fixture(autouse=True)
def connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has its own: the `box` of one is not that of the next."""
    monkeypatch.setattr(sessions, "_opened", {})


class LiveRun:
    """A run that is being recorded in this process: its journal, its archive's place, and its socket."""

    def __init__(self, folder: Path, sockets: Path, name: str = NAME) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.archive = folder / f"{name}.zarr"
        whole = recorded.whole(name, steps=30, at=time.time())
        whole[0] = {**whole[0], "archive": str(self.archive), "control": True}
        self.left = self.all = whole
        self.heard: list[Message] = []
        self.journal = Journal(folder / f"{name}.journal")
        self.server = Server(self.journal, sockets / f"{name}.sock", self._hear)

    def _hear(self, message: Message) -> bool:
        self.heard.append(message)
        return True

    def send(self, count: int) -> None:
        for message in self.left[:count]:
            self.journal.append(encode(message))
        self.left = self.left[count:]
        self.server.notify()

    def close(self) -> None:
        self.journal.release(remove=True)
        self.server.close()
        self.server.join(PATIENCE_SECONDS)


@pytest.fixture
def live(tmp_path: Path, runtime_dir: Path) -> Iterator[LiveRun]:
    made = LiveRun(tmp_path / "runs", runtime_dir)
    yield made
    made.close()


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes what ssh does: the `ltxtui` of the host, and shell commands that run before every command."""

    def made(program: str | None = None, before: str = "", *, missing: bool = False) -> None:
        there = ltxtui_in(tmp_path / "bin", program)
        if missing:
            (there / "ltxtui").unlink()
        (there / "python3").unlink(missing_ok=True)
        (there / "python3").symlink_to(sys.executable)
        path = f"PATH={there}:/usr/bin:/bin; export PATH; cd {tmp_path}\n"
        monkeypatch.setenv("LTXTUI_SSH", fake_ssh(tmp_path / "ssh", path + before))

    return made


def gather(source: Source, into: list[Message], enough: Callable[[], object]) -> None:
    def some() -> object:
        into.extend(source.poll())
        return enough()

    until(some)


def test_a_live_run_is_watched_and_a_killed_connection_loses_nothing(live: LiveRun, box: Callable[..., None]) -> None:
    box(before="printf 'Welcome to the machine'; echo oops >&2")  # a .bashrc that talks, without a line's end
    live.send(20)
    source = open_remote(BOX, Asked())
    seen: list[Message] = []
    gather(source, seen, lambda: len(seen) == 20)
    assert source.note == "" and source.liveness is Liveness.LIVE and source.connected
    first = source.connection
    assert first is not None and first.run == NAME
    os.killpg(first.pid, signal.SIGKILL)  # with its relay: here there is no other machine that would end it
    gather(source, seen, lambda: source.reconnecting)
    assert "connection lost" in source.note or "connecting to box" in source.note
    live.send(len(live.left))
    gather(source, seen, lambda: source.liveness is Liveness.FINISHED)
    assert [m["t"] for m in seen] == [m["t"] for m in live.all]
    steps = [(m["stage"], m["stream"], m["step"]) for m in seen if m["t"] == "step"]
    assert steps == [(m["stage"], m["stream"], m["step"]) for m in live.all if m["t"] == "step"]
    source.close()


def test_a_run_that_has_ended_is_fetched_once_and_equals_its_folder(tmp_path: Path, box: Callable[..., None]) -> None:
    box()
    archive = recorded.archive(tmp_path / "runs", NAME)
    host = RemoteHost("box", "box", runs_dir=str(tmp_path / "runs"))
    packed = fetch(host, "red-disc")
    here, there = load(archive), load(packed)
    stream = next(iter(here.stages[0].streams))
    for name in ("sigma", "velocity_rms"):
        ours, theirs = (np.asarray(run.stages[0].streams[stream].values(name)) for run in (here, there))
        assert np.array_equal(ours, theirs, equal_nan=True)
    was = packed.stat().st_ino
    source = RemoteRuns([host]).open(RunInfo(**{**_line(), "path": Path(f"ssh://box/{archive}"), "host": "box"}))
    seen: list[Message] = []
    gather(source, seen, lambda: source.liveness is Liveness.FINISHED and not source.poll())
    assert seen[0]["run"] == NAME and packed.stat().st_ino == was  # from the cache
    source.close()
    with pytest.raises(NotReached, match="none in"):
        fetch(host, "blue")
    assert not [path for path in packed.parents[1].rglob("*") if path.name.startswith(".part-")]


def _line() -> dict[str, object]:
    return {
        "name": NAME, "started": 1.0, "stages": 1, "steps": 4, "planned": 10, "seconds": 20.0, "status": "live",
        "bytes": 5, "prompt": "a fox",
    }  # fmt: skip


def test_a_host_without_ltxtui_is_read_through_the_socket(
    live: LiveRun, runtime_dir: Path, box: Callable[..., None]
) -> None:
    box(missing=True)
    live.send(30)
    with contextlib.closing(open_remote(BOX, Asked("red"))) as source:
        seen: list[Message] = []
        gather(source, seen, lambda: len(seen) == 30)
        assert source.note == "box has no ltxtui on its PATH: the socket of the run is read directly"
        with pytest.raises(NoAnswer):  # this recorder takes commands, and answers none
            send(source.command_socket, "shock", shock=parse_shock("renoise:db=3"), timeout=0.5)
        assert until(lambda: live.heard)[0]["command"] == "shock"
    other = LiveRun(live.archive.parent, runtime_dir, "20261122-150000-red-kite")
    other.send(5)
    with pytest.raises(SeveralRuns) as several:
        open_remote(BOX, Asked("red"))
    assert [one["name"] for one in several.value.choices] == [NAME, "20261122-150000-red-kite"]
    other.close()
    with pytest.raises(NotReached, match=r"no live run with 'blue' in its name; without ltxtui there"):
        open_remote(BOX, Asked("blue"))
    with pytest.raises(NotReached, match="has no ltxtui on its PATH; install it there"):
        fetch(BOX, "red")


def test_the_next_run_is_waited_for(tmp_path: Path, runtime_dir: Path, box: Callable[..., None]) -> None:
    box(missing=True)
    with contextlib.closing(open_remote(BOX, Asked(wait=True))) as source:
        assert source.poll() == [] and source.note == "waiting for the next run to begin on box"
        run = LiveRun(tmp_path / "runs", runtime_dir)
        run.send(5)
        seen: list[Message] = []
        gather(source, seen, lambda: len(seen) == 5)
        run.close()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (HELLO % ("0.0.1", 0, 0), "box has ltxtui 0.0.1, which is too old for this one (0.1.0); upgrade it there"),
        (HELLO % ("9.0.0", 9, 2), "box has ltxtui 9.0.0, which no longer speaks to this one (0.1.0); upgrade here"),
        ('{"ltxtui": 1}', "keep its .bashrc silent"),
        ("[fortune] hello", "box sent '[fortune] hello' and no relay; keep its .bashrc silent"),
        (HELLO % ("0.2.0", 2, 1) + "\n" + '{"error": "no live run"}', "box: no live run"),
        (HELLO % ("0.2.0", 2, 1) + "\n" + '{"news": 1}', "an answer that this program does not know"),
    ],
)
def test_other_versions_and_noise_are_reported_in_one_line(said: str, expected: str, box: Callable[..., None]) -> None:
    box(f"#!/bin/sh\ncat <<'end'\n{said}\nend\n")
    with pytest.raises(NotReached) as told:
        open_remote(BOX, Asked("red"))
    assert expected in str(told.value) and "\n" not in str(told.value)


def test_a_newer_host_that_still_understands_this_program_is_watched(live: LiveRun, box: Callable[..., None]) -> None:
    live.send(10)
    lines = HELLO % ("0.2.0", 2, 1) + "\n" + '{"run": "x", "stream": true, "live": true, "more": [1]}'
    join = f"exec {sys.executable} -c \"from replay.remote import plain; plain.join(plain.connected('{NAME}'))\""
    box(f"#!/bin/sh\ncat <<'end'\n{lines}\nend\ncd {Path(__file__).parents[2]}\n{join}\n")
    with contextlib.closing(open_remote(BOX, Asked())) as source:
        seen: list[Message] = []
        gather(source, seen, lambda: len(seen) == 10)
        assert source.note == "box has ltxtui 0.2.0, this machine 0.1.0"


def text_of(row: TextRow) -> str:
    return "".join(span.text for span in row.spans)


def test_a_fleet_shows_every_host_that_answers_and_says_which_do_not(live: LiveRun, box: Callable[..., None]) -> None:
    box(before='case $SSH_HOST in dead) sleep 60;; shut) echo "Connection refused" >&2; exit 255;; esac')
    live.send(30)
    hosts = [RemoteHost(name, name) for name in ("dead", "shut", "box")]
    fleet = FleetWatcher(hosts)

    def there() -> list[RunInfo]:
        fleet.update(0.05)
        return fleet.runs

    (run,) = until(there)
    assert (run.name, run.host, run.status) == (NAME, "box", "live") and run.steps > 0
    until(lambda: [fleet.update(0.05), len(fleet.unreadable) == 2][1])
    problems = {each.name: each.text for each in fleet.unreadable}
    assert "no answer for" in problems["dead"] and "Connection refused" in problems["shut"]
    assert "ssh shut" in problems["shut"]
    model = HomeModel()
    model.remote, model.unreadable = True, fleet.unreadable
    model.set_runs([run])
    heading = text_of(draw.heading(model, 120, ascii_only=True))
    assert "HOST" in heading and "LEFT" in heading
    assert "box" in text_of(draw.runs(model, 120, 5, Style.ASCII, time.time())[0])
    live.send(len(live.left))
    until(lambda: [run for run in there() if run.steps == 30 or run.status == "complete"])
    fleet.close()


async def test_the_list_of_a_host_opens_and_compares_its_runs(
    live: LiveRun, tmp_path: Path, box: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    box()
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.25)
    live.send(30)
    for number in range(2):
        recorded.archive(tmp_path / "runs", f"20261121-10000{number}-old-{number}")
    app = Dashboard(options=Options(drawing=Style.ASCII, hosts=[BOX], only_hosts=True))
    async with app.run_test(size=(140, 40)) as pilot:
        home = app.screen
        assert isinstance(home, Home) and home.command() == ["ltxtui", "ssh://box"]
        await driving.until(pilot, lambda: len(home.model.runs) == 3)
        assert "ssh://box" in driving.shown(pilot, "#home-title") and "HOST" in driving.shown(pilot, "#home-heading")
        await pilot.press("x")
        assert app.screen is home  # nothing is deleted from here
        await pilot.press("enter")
        await driving.until(pilot, lambda: isinstance(app.screen, RunScreen) and app.deck.run.name == NAME)
        assert app.screen.origin == ("watch", f"ssh://box/{NAME}")  # type: ignore[attr-defined]
        await pilot.press("q")
        await driving.until(pilot, lambda: app.screen is home)
        await pilot.press("down", "space", "space", "c")
        await driving.until(pilot, lambda: isinstance(app.screen, CompareScreen))
        await driving.until(pilot, lambda: all(m.run is not None for m in app.screen.deck.members))  # type: ignore[attr-defined]
        app.exit()


def test_time_left_is_at_the_pace_so_far() -> None:
    run = RunInfo(**{**_line(), "path": Path("x")})  # type: ignore[arg-type]
    assert seconds_left(run) == 30.0
    assert seconds_left(RunInfo(**{**_line(), "path": Path("x"), "status": "complete"})) is None  # type: ignore[arg-type]


def test_a_line_of_a_run_is_the_same_there_and_here(tmp_path: Path) -> None:
    run = RunInfo(**{**_line(), "path": tmp_path / "x.zarr", "sigmas": (1.0, 0.5), "tags": ("a",)})  # type: ignore[arg-type]
    found = read_run(as_line(run), "box", "ssh://me@box:22")
    assert path_there("ssh://me@box:22", found.path) == str(tmp_path / "x.zarr") and not found.path.exists()
    assert (found.name, found.sigmas, found.tags, found.host) == (run.name, run.sigmas, run.tags, "box")
    for wrong in ({"steps": -1}, {"steps": True}, {"name": 3}, {"started": float("inf")}, {"verdict": ["x", "y"]}):
        with pytest.raises(NotALine):
            read_run({**as_line(run), **wrong}, "box", "ssh://box")


def test_addresses() -> None:
    settings, problems = parse('[hosts]\nbox = "ssh://me@gpu"\nbad = 3\n')
    assert parse_address("ssh://box/x", settings.hosts).host.destination == "me@gpu"
    assert [(p.line, p.text[:9]) for p in problems] == [(3, "hosts.bad")]
    known = {"node": read_host("node", {"prefix": "srun --jobid 7 --overlap", "command": "/opt/lt/ltxtui"})}
    address = parse_address("ssh://me@box:2222/red-disc")
    assert (address.host.destination, address.host.port, address.run) == ("me@box", 2222, "red-disc")
    assert address.host.address == "ssh://me@box:2222" and address.host.ssh()[-2:] == ["--", "me@box"]
    assert parse_address("ssh://[::1]/x").host.destination == "::1"
    node = parse_address("host://node/red", known)
    command = node.host.reached(node.host.relay("--list"))
    assert command == ["srun", "--jobid", "7", "--overlap", "/opt/lt/ltxtui", "relay", "--list"]
    assert [host.name for host in named_hosts("a, node,ssh://me@c:22", known)] == ["a", "node", "c"]
    for wrong in ("ssh://", "ssh://-oProxyCommand=x", "ssh://a b", "ssh://me:word@box", "ssh://box/a/b", "ssh://box:x",
                  "ssh://box?x", "host://other/x", "ssh://-l@box"):  # fmt: skip
        with pytest.raises(BadAddress):
            parse_address(wrong, known)
    for value in (
        3,
        {"prefix": 3},
        {"new": "x"},
        {"address": "ssh://a", "prefix": "b"},
        "ssh://a/run",
        {"prefix": "'"},
    ):
        with pytest.raises(BadAddress):
            read_host("box", value)


@pytest.mark.parametrize(
    ("status", "stderr", "expected"),
    [
        (127, "bash: line 1: ltxtui: command not found", "box has no ltxtui on its PATH; install it there"),
        (1, "exec: \"ltxtui\": executable file not found in $PATH", "box has no ltxtui on its PATH"),
        (2, "Error: No such command 'relay'.", "too old to be watched from here; upgrade it there"),
        (255, "me@box: Permission denied (publickey,password).", "refused the key, or asks for a password; test"),
        (255, "Host key verification failed.", "the host key of box is not known, or has changed; test it"),
        (255, "ssh: Could not resolve hostname box: Name or service not known", "box does not answer (Could not"),
        (255, "Timeout, server box not responding.", "box does not answer (Timeout, server box not responding)"),
        (1, "", "box sent no runs (it ended with status 1)"),
    ],
)  # fmt: skip
def test_every_failure_has_a_way_out(status: int, stderr: str, expected: str) -> None:
    assert expected in explain(BOX, status, stderr).text


def test_a_relay_imports_neither_a_model_nor_a_screen() -> None:
    program = "import sys, ltxtui.cli.relay, replay.remote.serve_list, replay.remote.serve_run\n"
    program += "print(sorted({'torch', 'textual', 'zarr', 'diffusers'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if MISSING:
        pytest.skip(MISSING)
    folder = Path(shutil.os.path.realpath(tmp_path_factory.mktemp("sshd")))
    home = folder / "home"
    home.mkdir()
    # Sessions of sshd take what is given here at their start: each test writes its own.
    (home / ".bashrc").write_text(f"echo fortune; . {folder / 'session'}\n")
    (folder / "session").write_text("")
    with loopback_sshd(folder, {"HOME": str(home), "BASH_ENV": str(folder / "session")}) as made:
        yield made


@pytest.mark.slow
def test_over_a_real_ssh(
    sshd: Sshd, live: LiveRun, tmp_path: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watch, kill, list, fetch and the fallback, over one connection that they share; nothing stays behind."""
    there = ltxtui_in(tmp_path / "bin")
    session = sshd.config.parent / "session"
    cache = os.environ["LTXTUI_CACHE"]
    begin = f"PATH={there}:/usr/bin:/bin LTXTUI_RUNTIME_DIR={runtime_dir} LTXTUI_CACHE={cache}\n"
    session.write_text(begin + "export PATH LTXTUI_RUNTIME_DIR LTXTUI_CACHE\n")
    monkeypatch.setenv("LTXTUI_SSH", sshd.command)
    archive = recorded.archive(tmp_path / "runs", "20261122-120000-blue-disc")
    host = RemoteHost("box", "box", runs_dir=str(tmp_path / "runs"))
    assert sessions.open_session(host, ask=False) and list(runtime_dir.glob("ssh-*"))
    live.send(20)
    source = open_remote(host, Asked("red"))
    seen: list[Message] = []
    gather(source, seen, lambda: len(seen) == 20)
    assert source.connection is not None
    os.kill(source.connection.pid, signal.SIGKILL)
    gather(source, seen, lambda: source.reconnecting)
    fleet = FleetWatcher([host])
    until(lambda: [fleet.update(0.05), len(fleet.runs) == 2][1])
    fleet.close()
    packed = fetch(host, "blue")
    run = Run()
    for message in live.all:
        run.feed(message)
    assert load(packed).name == load(archive).name
    live.send(len(live.left))
    gather(source, seen, lambda: source.liveness is Liveness.FINISHED)
    assert [m["t"] for m in seen] == [m["t"] for m in live.all]
    source.close()
    sessions.close_sessions()
    until(lambda: not list(runtime_dir.glob("ssh-*")))


@pytest.mark.slow
def test_over_a_real_ssh_without_ltxtui_and_with_a_refused_key(
    sshd: Sshd, live: LiveRun, tmp_path: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    session = sshd.config.parent / "session"
    session.write_text(f"export PATH={tmp_path / 'bin'}:/usr/bin:/bin LTXTUI_RUNTIME_DIR={runtime_dir}\n")
    monkeypatch.setenv("LTXTUI_SSH", sshd.command)
    live.send(20)
    with contextlib.closing(RemoteSource(RemoteRun(BOX, Asked()))) as source:
        seen: list[Message] = []
        gather(source, seen, lambda: len(seen) == 20)
        assert "has no ltxtui on its PATH" in source.note
    refused = RemoteHost("refused", "refused")
    assert not sessions.open_session(refused, ask=False)
    with pytest.raises(NotReached, match="refused the key, or asks for a password"):
        open_remote(refused, Asked())
