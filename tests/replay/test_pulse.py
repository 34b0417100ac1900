"""When a run that is being recorded counts as stalled: pure decisions, then a recorder that is really stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ltxtui.cli import cli
from recorder.format import protocol
from recorder.format.protocol import Message
from recorder.writing.items import RowItem
from recorder.writing.journal_thread import Pump
from replay import control
from replay.library import listing
from replay.library import live_runs as live_runs_module
from replay.library.journal_tail import JournalTail
from replay.library.live_runs import live_runs
from replay.library.watcher import RunWatcher
from replay.model import pulse
from replay.model.pulse import Pulse, RunState, Signs, stalled, state
from replay.sources.interface import Liveness
from tests.waiting import until

NAN = float("nan")


@pytest.mark.parametrize(
    ("signs", "said"),
    [
        (Signs(7.9, True, None, NAN), None),
        (Signs(8.0, True, None, NAN), "silent"),
        (Signs(3600.0, False, None, NAN), None),  # a recorder that never sent a sample
        (Signs(0.1, True, 9.9, 0.5), None),
        (Signs(0.1, True, 10.0, 0.5), "no step"),
        (Signs(0.1, True, 59.0, 20.0), None),  # three usual steps
        (Signs(0.1, True, 60.0, 20.0), "no step"),
        (Signs(60.0, False, 60.0, 20.0), "no step"),
        (Signs(0.1, True, None, NAN), None),
    ],
)
def test_stalled_is_decided_by_silence_or_by_three_usual_steps(signs: Signs, said: str | None) -> None:
    found = stalled(signs)
    assert (None if found is None else "silent" if found.silent else "no step") == said


def test_a_state_is_one_of_five() -> None:
    stall = pulse.Stall(9.0, silent=True)
    assert state(Liveness.LIVE, None) is RunState.LIVE and state(Liveness.LIVE, stall) is RunState.STALLED
    assert (
        state(Liveness.LIVE, stall, 0.0) is RunState.RECONNECTING and state(Liveness.LIVE, None, 60.0) is RunState.LOST
    )
    assert {state(way, stall, 99.0) for way in (Liveness.FINISHED, Liveness.UNFINISHED)} == {RunState.ENDED}


class Watched:
    """A recorder and a viewer with separate clocks, which differ by years."""

    def __init__(self, planned: int = 20) -> None:
        self.now, self.offset = 1000.0, 1.7e9
        self.pulse = Pulse(clock=lambda: self.now)
        stage = {"t": protocol.STAGE, "stage": 0, "sigmas": [0.5] * planned}
        self.pulse.feed([{"t": protocol.HEADER, "time": self.offset}, stage])
        self.steps = 0

    @property
    def time(self) -> float:
        return self.now + self.offset

    def beats(self, seconds: float) -> list[pulse.Stall | None]:
        found = []
        for _ in range(round(2 * seconds)):
            self.now += 0.5
            self.pulse.feed([{"t": protocol.SYSTEM, "time": self.time, "values": {}}])
            found.append(self.pulse.stall)
        return found

    def step(self) -> None:
        for stream in protocol.STREAMS:
            row = {"t": protocol.STEP, "stage": 0, "stream": stream, "step": self.steps, "time": self.time}
            self.pulse.feed([row])
        self.steps += 1


def test_loading_and_decoding_are_no_stall_and_slow_steps_have_three_of_them() -> None:
    seen = Watched(planned=4)
    assert not any(seen.beats(300)), "the model is loaded"
    for _ in range(3):
        seen.step()
        assert not any(seen.beats(20)), "steps of twenty seconds"
    late = seen.beats(41)
    assert late[-1] is not None and not late[-1].silent and late[-1].usual == pytest.approx(20) and late[38 * 2] is None
    seen.step()
    assert not any(seen.beats(300)), "the VAE decodes after the last step"


def test_a_loop_that_a_viewer_has_stopped_is_not_stalled() -> None:
    seen = Watched()
    for _ in range(3):
        seen.step()
        seen.beats(1)
    payload = {"command": "stop", "accepted": True}
    seen.pulse.feed([{"t": protocol.EVENT, "kind": "control", "stage": 0, "payload": payload}])
    assert not any(seen.beats(60))


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_jumps_makes_no_stall(jump: float) -> None:
    seen = Watched()
    for _ in range(4):
        seen.step()
        seen.beats(2)
    seen.offset += jump
    assert not any(seen.beats(2))
    seen.step()
    assert not any(seen.beats(2)) and seen.beats(9)[-1] is not None


def test_silence_is_told_and_taken_back() -> None:
    seen = Watched()
    seen.step()
    seen.beats(1)
    seen.now += 3600
    assert seen.pulse.stall == pulse.Stall(3600.0, silent=True)
    assert not any(seen.beats(1))


def test_the_age_of_a_file_is_believed_once_nothing_comes() -> None:
    seen = Watched()
    seen.beats(1)
    seen.pulse.aged(30)
    assert seen.pulse.stall is None and seen.pulse.suspect
    seen.beats(0.5)  # its clock was another one
    assert seen.pulse.stall is None and not seen.pulse.suspect
    seen.pulse.aged(30)
    seen.now += pulse.CONFIRM_SECONDS
    assert seen.pulse.stall is not None and seen.pulse.stall.seconds >= 30


class _Journal:
    error, notes, synced_only = None, (), False

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def append(self, data: bytes, vital: bool) -> None:
        self.written.append(data)


class _Archivist:
    dropped_snapshots = 0

    def put(self, message: Message) -> None: ...


def test_samples_are_sent_while_a_row_waits_for_the_device() -> None:
    journal, computed = _Journal(), threading.Event()
    pump = Pump(journal, _Archivist(), lambda: None)  # type: ignore[arg-type]
    row = RowItem(0, "video", 0, 1.0, (), torch.zeros(1), lambda: bool(computed.wait(60)), lambda step, values: [])
    pump.put(row)
    until(lambda: pump._device_waits)
    pump.put({"t": protocol.SYSTEM, "time": 1.0, "values": {}})
    assert len(journal.written) == 1 and pump.tally.rows == 0
    computed.set()
    assert pump.close({"t": protocol.END, "time": 2.0, "status": "complete", "error": None})
    assert pump.tally.rows == 1 and len(journal.written) == 3


RECORDER = """
import os, sys, time
from pathlib import Path
from recorder.reserve import make_server
from recorder.journal.journal import Journal
from recorder.format.framing import encode
from tests import recorded
folder = Path(sys.argv[1])
journal = Journal(folder / "x.journal")
server = make_server(journal, "x", lambda _: True, lambda _: None)
def put(*messages):
    for message in messages:
        journal.append(encode(message))
    server.notify()
whole = recorded.whole("x", steps=50, at=time.time(), end=None)
head = {**whole[0], "archive": str(folder / "x.zarr"), "control": True}
head["metadata"] = {**head["metadata"], "process": os.getpid()}
put(head, *whole[1:40])
print("ready", flush=True)
while True:
    put({"t": "system", "time": time.time(), "values": {}})
    time.sleep(0.05)
"""


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    monkeypatch.setattr(pulse, "SILENT_SECONDS", 2.0)
    monkeypatch.setattr(pulse, "STEP_SECONDS", 1e6)
    monkeypatch.setattr(live_runs_module, "HEADER_SECONDS", 0.5)
    with subprocess.Popen(
        [sys.executable, "-c", RECORDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_a_stopped_recorder_is_stalled_everywhere_and_goes_on(tmp_path: Path, recorder: subprocess.Popen[str]) -> None:
    def listed() -> dict[str, object]:
        result = CliRunner().invoke(cli, ["runs", "--runs-dir", str(tmp_path), "--json"])
        (line,) = json.loads(result.stdout)["runs"]
        return dict(line)

    shelf = RunWatcher(tmp_path)

    def at_home() -> str:
        shelf.update()
        (line,) = shelf.runs
        return line.status

    def goes_on() -> bool:
        """A machine that is too busy to run the recorder for a moment shows it as stalled, rightly."""
        return at_home() == "live" and listed()["status"] == "live" and [r.answers for r in live_runs()] == [True]

    until(goes_on)
    os.kill(recorder.pid, signal.SIGSTOP)
    until(lambda: at_home() == "stalled")
    until(lambda: listed()["status"] == "stalled")
    seconds = listed()["stalled_seconds"]
    assert isinstance(seconds, float) and seconds >= 2.0
    table = CliRunner().invoke(cli, ["runs", "--runs-dir", str(tmp_path)]).stdout
    assert "stalled for" in table
    result = CliRunner().invoke(cli, ["control", "stop"])
    said = result.output
    assert result.exit_code == 1 and "x is stalled" in said and f"kill -CONT {recorder.pid}" in said, said
    (silent,) = live_runs()
    assert not silent.answers and silent.process == recorder.pid
    with pytest.raises(control.Stalled, match="not sent"):
        control.send(silent.socket, "stop")
    os.kill(recorder.pid, signal.SIGCONT)
    until(goes_on)
    until(lambda: listed()["stalled_seconds"] is None)
    shelf.close()


def test_a_list_does_not_believe_the_time_of_a_file(
    tmp_path: Path, recorder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JournalTail, "_age", lambda self: 3600.0)
    until(lambda: listing.describe_run(tmp_path / "x.zarr").status == "live")
