"""Live control over real sockets and from a real second process: shock, stop, snapshot, and who may not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import xarray
from click.testing import CliRunner

from ltxtui.cli import cli
from ltxtui.panels.event_line import EventLine
from ltxtui.plot.line_plot import Style
from ltxtui.viewmodel.deck import Deck
from recorder import Shock, record
from recorder.format import protocol
from recorder.format.framing import Decoder, encode
from recorder.journal import peers, server
from recorder.journal.journal import Journal
from recorder.journal.server import Server
from recorder.recording import RunHandle
from recorder.sampling import commands
from recorder.sampling.commands import Control, InvalidCommand
from replay.control import CommandAnswer, ControlOff, NoAnswer, NotLive, send
from replay.sources.open import Liveness, load
from tests import pipelines
from tests.conftest import UNGUIDED, nano_call
from tests.waiting import PATIENCE_SECONDS, until

ROOT = Path(__file__).parents[2]
OTHER_USER = 65534


def waiting(run: RunHandle) -> int:
    """Commands that wait for the next step."""
    found = run.control
    return len(found._stops) + len(found._snapshots) + len(found._shocks)


class Remote:
    """A callback of the pipeline: after some steps it lets `ltxtui control` send a command, and then continues.

    It continues once the command has come in, so that the step that must obey is known.
    """

    def __init__(self, run: RunHandle, commands: dict[int, tuple[str, ...]]) -> None:
        self.run = run
        self.commands = commands
        self.sent: list[subprocess.Popen[str]] = []

    def __call__(self, pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        if step in self.commands:
            command = [sys.executable, "-m", "ltxtui", "control", *self.commands[step], "--json"]
            self.sent.append(
                subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )
            until(lambda: waiting(self.run) > 0)
        return kwargs

    def answers(self) -> list[tuple[int, dict[str, Any]]]:
        """Exit status and answer of every command."""
        found = []
        for process in self.sent:
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
            assert out, err
            found.append((process.returncode, json.loads(out)))
        return found


def generate(pipe: Any, **more: Any) -> Any:
    return pipe(**nano_call(**more, **UNGUIDED))


def test_a_second_process_shocks_snapshots_and_stops_a_run(pipe: Any, tmp_path: Path) -> None:
    with record(pipe, runs_dir=tmp_path, save_latents=True, allow_control=True) as run:
        commands: dict[int, tuple[str, ...]] = {
            1: ("snapshot",),
            3: ("shock", "renoise:db=6,seed=3"),
            5: (run.name[:8], "stop"),
        }
        remote = Remote(run, commands)
        latents = generate(pipe, steps=12, callback_on_step_end=remote).frames
        assert run.stopping
    assert torch.isfinite(latents).all()
    answers = remote.answers()
    assert [status for status, _ in answers] == [0, 0, 0]
    snapshot, shock, stop = (answer for _, answer in answers)

    loaded = load(run.path)
    assert loaded.header["control"] is True
    assert [s.rows for s in loaded.stages[0].streams.values()] == [7, 7]
    assert loaded.end is not None
    assert (loaded.end["status"], loaded.end["error"]) == ("interrupted", "stopped by a viewer")
    told = [e for e in loaded.events if e["kind"] == "control"]
    assert [(e["stage"], e["step"]) for e in told] == [(0, 2), (0, 4), (0, 6)]
    assert [e["payload"]["id"] for e in told] == [a["id"] for a in (snapshot, shock, stop)]
    assert all(e["payload"]["accepted"] for e in told)
    assert told[2]["text"] == stop["text"] == "control: stop after step 6 of stage 0"

    # The shock acted at the end of step 4, the one after the command, and on what came after it only.
    shocks = [e for e in loaded.events if e["kind"] == "shock"]
    assert [(e["stage"], e["step"]) for e in shocks] == [(0, 4)]
    assert shocks[0]["payload"]["live"] and shocks[0]["payload"]["shock"]["seed"] == 3
    assert (shock["accepted"], shock["stage"], shock["step"]) == (True, 0, 4)
    assert shock["details"]["sigma_down"] < shock["details"]["sigma_up"]
    for stream in loaded.stages[0].streams.values():
        assert np.flatnonzero(stream.series("noise_injected")).tolist() == [4]

    # The snapshot is the step's latents, whole.
    assert snapshot["details"] == {"group": "snapshots/stage_0_step_2"}
    tree = xarray.open_datatree(run.path, engine="zarr")
    kept = tree["snapshots/stage_0_step_2"]
    assert {n: a.dims for n, a in kept.data_vars.items()} == {
        "video_x": ("batch", "frame", "row", "column", "channel"),
        "video_x0": ("batch", "frame", "row", "column", "channel"),
        "audio_x": ("batch", "latent", "audio_channel"),
        "audio_x0": ("batch", "latent", "audio_channel"),
    }
    sigma = float(tree["stage_0/video/sigma"][2])
    assert (kept.attrs["stage"], kept.attrs["step"]) == (0, 2) and kept.attrs["sigma"] == pytest.approx(sigma)
    for stream in ("video", "audio"):
        for name, other in (("x", "latents"), ("x0", "x0")):
            exact = kept[f"{stream}_{name}"]
            assert exact.dtype == np.float32
            np.testing.assert_array_equal(exact.values.astype(np.float16), tree[f"stage_0/{stream}/{other}"][2].values)
    assert list(tree["snapshots"].children) == ["stage_0_step_2"]


def test_the_run_until_a_shock_and_without_one_is_untouched(pipe: Any, tmp_path: Path) -> None:
    plain = generate(pipe, steps=3).frames
    with record(pipe, runs_dir=tmp_path, allow_control=True):
        allowed = generate(pipe, steps=3).frames
    assert torch.equal(plain, allowed)
    assert type(pipe.scheduler).__name__ == "FlowMatchEulerDiscreteScheduler"


def test_without_permission_every_command_is_refused_and_nothing_changes(pipe: Any, tmp_path: Path) -> None:
    plain = generate(pipe, steps=4)
    with record(pipe, runs_dir=tmp_path) as run:
        assert run.socket_path is not None
        peer = Peer(run.socket_path)

        def ask(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            if step == 1:
                for command in protocol.COMMANDS:
                    peer.command(command, shock={"kind": "renoise"})
                assert len(peer.events(3)) == 3
                with pytest.raises(ControlOff, match="--allow-control"):
                    send(run.socket_path, "stop", timeout=PATIENCE_SECONDS)  # type: ignore[arg-type]
                result = CliRunner().invoke(cli, ["control", "stop"])
                assert result.exit_code == 1 and "--allow-control" in result.stderr
            return kwargs

        result = generate(pipe, steps=4, callback_on_step_end=ask)
        assert not run.stopping
    assert torch.equal(plain.frames, result.frames) and torch.equal(plain.audio, result.audio)
    loaded = load(run.path)
    assert loaded.header["control"] is False
    assert loaded.end is not None and loaded.end["status"] == "complete"
    told = [e for e in loaded.events if e["kind"] == "control"]
    off = "control is off; start the recorder with --allow-control"
    assert [e["text"] for e in told] == [f"control refused: {c}: {off}" for c in protocol.COMMANDS]
    assert all(e["payload"]["accepted"] is False and e["payload"]["reason"] == off for e in told)
    assert not (run.path / "snapshots").exists()
    peer.close()


def test_a_command_that_no_step_can_see_any_more_is_refused(pipe: Any, tmp_path: Path) -> None:
    """What comes while the last step's callback runs waits for a step that never comes."""
    with record(pipe, runs_dir=tmp_path, allow_control=True) as run:
        assert run.socket_path is not None
        peer = Peer(run.socket_path)

        def ask(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            if step == 1:
                for command in protocol.COMMANDS:
                    peer.command(command, shock={"kind": "renoise"})
                until(lambda: waiting(run) == 3)
            return kwargs

        generate(pipe, steps=2, callback_on_step_end=ask)
        late = peer.events(3)
        peer.command("stop")
        idle = peer.events(1)
    assert sorted((e["payload"]["command"], e["payload"]["reason"]) for e in late) == [
        (c, "the loop ended before the next step") for c in sorted(protocol.COMMANDS)
    ]
    assert idle[0]["payload"]["reason"] == "nothing is being generated now"
    assert run.status == "complete" and waiting(run) == 0
    peer.close()


def test_a_stopped_run_stays_stopped_in_later_calls(pipe: Any, tmp_path: Path) -> None:
    with record(pipe, runs_dir=tmp_path, allow_control=True) as run:

        def ask(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            if step == 0:
                assert run.control.take({"t": "control", "id": "1", "command": "stop"})
            return kwargs

        generate(pipe, steps=4, callback_on_step_end=ask)
        generate(pipe, steps=4)
    loaded = load(run.path)
    assert [s.steps for s in loaded.stages] == [2]
    assert "left without a step" in loaded.events[-1]["text"]
    # After the block the pipeline is as it was.
    assert len(_steps_of(pipe)) == 2


def _steps_of(pipe: Any) -> list[int]:
    seen: list[int] = []
    generate(pipe, steps=2, callback_on_step_end=lambda p, step, t, kwargs: seen.append(step) or kwargs)  # type: ignore[func-returns-value]
    return seen


# -- custom loops


def own_step(run: RunHandle, sigma: float, seed: int = 0) -> None:
    noise = torch.Generator().manual_seed(seed)
    video, velocity = (torch.randn(1, 4, 3, 6, 8, generator=noise) for _ in range(2))
    run.step(sigma=sigma, sigma_next=sigma - 0.05, sample=video, velocity=velocity)
    audio = torch.randn(2, 9, 4, generator=noise)
    run.step(sigma=sigma, sigma_next=sigma - 0.05, sample=audio, x0=audio / 2, stream="audio")
    audio.zero_()  # the loop may do what it likes with its latents
    video.zero_()


def asked(run: RunHandle, command: protocol.Command, **more: Any) -> Callable[[], CommandAnswer]:
    """Send a command from a new thread; returns a function that waits for the answer."""
    found: list[CommandAnswer | Exception] = []

    def ask() -> None:
        try:
            assert run.socket_path is not None
            found.append(send(run.socket_path, command, timeout=PATIENCE_SECONDS, **more))
        except Exception as error:  # noqa: BLE001 - handed to the test, which raises it
            found.append(error)

    before = waiting(run)
    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: waiting(run) > before or bool(found))

    def answer() -> CommandAnswer:
        thread.join(PATIENCE_SECONDS)
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    return answer


def test_a_loop_of_ones_own_is_stopped_and_kept_but_not_shocked(tmp_path: Path) -> None:
    with record(runs_dir=tmp_path, allow_control=True) as run:
        assert asked(run, "stop")().reason == commands.IDLE
        own_step(run, 0.9)
        refused = asked(run, "shock", shock=Shock("renoise"))()
        assert (refused.accepted, refused.reason) == (False, commands.OWN_LOOP)
        answer = asked(run, "snapshot")
        own_step(run, 0.8, seed=5)
        assert answer().details == {"group": "snapshots/stage_0_step_1"}
        own_step(run, 0.7)
        answer = asked(run, "stop")
        assert not run.stopping
        own_step(run, 0.6)
        assert run.stopping and answer().text == "control: stop after step 3 of stage 0"
    assert run.status == "interrupted"
    kept = xarray.open_datatree(run.path, engine="zarr")["snapshots/stage_0_step_1"]
    expected = torch.randn(1, 4, 3, 6, 8, generator=torch.Generator().manual_seed(5))
    np.testing.assert_array_equal(kept["video_x"].values, expected.permute(0, 2, 3, 4, 1).numpy())
    # A batch of another size cannot share the video's dimension.
    assert kept["audio_x"].dims == ("audio_batch", "latent", "audio_channel") and bool((kept["audio_x"] != 0).any())
    np.testing.assert_allclose(kept["audio_x0"].values, kept["audio_x"].values / 2, rtol=1e-5)


def test_snapshots_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MAX_SNAPSHOTS", 2)
    with record(runs_dir=tmp_path, allow_control=True) as run:
        run.stage()
        answers = []
        for i in range(3):
            answers.append(asked(run, "snapshot"))
            own_step(run, 0.9 - i / 10)
        assert [a().accepted for a in answers] == [True, True, False]
        assert "a run keeps no more" in answers[2]().reason
        monkeypatch.setattr(commands, "MAX_SNAPSHOTS", 64)
        until(lambda: run.control._written == run.control._sent)  # the archivist counts up until then
        run.control._written = run.control._sent - commands.MAX_UNWRITTEN  # as if the disk had stood still
        slow = asked(run, "snapshot")
        own_step(run, 0.5)
        assert "are waiting for the disk" in slow().reason
    assert sorted(p.name for p in (run.path / "snapshots").iterdir() if p.is_dir()) == [
        "stage_0_step_0",
        "stage_0_step_1",
    ]


def test_latents_of_a_clip_with_a_given_frame_open_in_xarray(nano_pipe: Any, tmp_path: Path) -> None:
    """Kept latents have fewer frames there than the frame metrics, in every step and in a snapshot."""
    image_to_video = pipelines.build(nano_pipe, "LTX2ImageToVideoPipeline")
    with record(image_to_video, runs_dir=tmp_path, save_latents=True, allow_control=True) as run:

        def ask(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            assert step or ask_for(run.control, "snapshot")
            return kwargs

        call = {"image": pipelines.picture(), "num_inference_steps": 2, **pipelines.VIDEO_UNGUIDED}
        pipelines.generate(image_to_video, callback_on_step_end=ask, **call)
    tree = xarray.open_datatree(run.path, engine="zarr")
    video, kept = tree["stage_0/video"], tree["snapshots/stage_0_step_1"]
    assert video["latents"].dims == ("step", "batch", "generated_frame", "row", "column", "channel")
    assert video["generated_frame"].values.tolist() == kept["frame"].values.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(kept["video_x"].values.astype(np.float16), video["latents"][1].values)


# -- what is answered, without a run


def made_control(allowed: bool = True) -> tuple[Control, list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    return Control(told.append, allowed), told


def ask_for(found: Control, command: Any, **more: Any) -> bool:
    return found.take({"t": "control", "id": "a", "command": command, **more})


@pytest.mark.parametrize(
    "message",
    [
        {"t": "event", "id": "a", "command": "stop"},
        {"t": "control", "command": "stop"},
        {"t": "control", "id": "", "command": "stop"},
        {"t": "control", "id": "x" * 33, "command": "stop"},
        {"t": "control", "id": "\x1b[2J", "command": "stop"},
        {"t": "control", "id": 7, "command": "stop"},
        {"t": "control", "id": "a"},
        {"t": "control", "id": "a", "command": ["stop"]},
        {"t": "control", "id": "a", "command": "stop" * 20},
    ],
)
@pytest.mark.parametrize("allowed", [True, False])
def test_what_is_no_command_is_garbage(message: dict[str, Any], allowed: bool) -> None:
    found, told = made_control(allowed)
    with pytest.raises(InvalidCommand):
        found.take(message)
    assert told == []


def nested(depth: int) -> list[Any]:
    made: list[Any] = [1]
    for _ in range(depth):
        made = [made]
    return made


@pytest.mark.parametrize(
    ("shock", "reason"),
    [
        (None, "a shock is a table"),
        ({}, "needs a kind"),
        ({"kind": "earthquake"}, "kind must be one of"),
        ({"kind": ["renoise"]}, "kind must be one of"),
        ({"kind": "renoise", "strength_db": float("nan")}, "strength_db"),
        ({"kind": "renoise", "strength_db": "much"}, ""),
        ({"kind": "renoise", "frames": [float("inf")]}, ""),
        ({"kind": "renoise", "streams": 3}, ""),
        ({"kind": "renoise", "mask": nested(900)}, ""),
        ({"kind": "renoise", "at": 0.5}, "take effect at the next step"),
        ({"kind": "renoise", "at_snr_db": -3.0}, "take effect at the next step"),
        ({"kind": "renoise", "sudo": True}, "has no sudo"),
    ],
)
def test_a_shock_that_is_none_is_refused_with_the_reason(shock: Any, reason: str) -> None:
    found, told = made_control()
    requests: list[Shock] = []
    found.shock = lambda shock, answer: requests.append(shock)
    found.call_begins(SimpleNamespace())
    assert not ask_for(found, "shock", shock=shock)
    assert requests == [] and reason in told[0]["payload"]["reason"] and len(told[0]["text"]) < 600


def test_shocks_go_to_who_carries_them_out_and_are_answered_once() -> None:
    found, told = made_control()
    requests: list[tuple[Shock, commands.AnswerCallback]] = []
    found.shock = lambda shock, answer: requests.append((shock, answer))
    found.call_begins(SimpleNamespace())
    for seed in range(commands.MAX_WAITING):
        assert ask_for(found, "shock", shock={"kind": "renoise", "seed": seed})
    assert not ask_for(found, "shock", shock={"kind": "renoise"})
    assert told.pop()["payload"]["reason"] == "8 commands are waiting for the next step"
    found.loops = SimpleNamespace(current=None, position=lambda: (1, 3))
    requests[0][1](True, "renoise: done", {"row": 4})
    requests[0][1](True, "renoise: done", {"row": 4})
    requests[1][1](False, "no model call is left", {})
    assert [(e["text"], e["stage"], e["step"]) for e in told] == [
        ("control: renoise: done", 1, 4),
        ("control refused: shock: no model call is left", 1, 3),
    ]
    assert told[0]["payload"] == {"id": "a", "command": "shock", "accepted": True, "row": 4}
    found.call_ends()
    assert [e["payload"]["reason"] for e in told[2:]] == [commands.TOO_LATE] * 6
    assert not ask_for(found, "stop") and told[-1]["payload"]["reason"] == commands.IDLE


def test_a_pipeline_without_a_switch_cannot_be_stopped() -> None:
    found, told = made_control()
    found.call_begins(object())
    assert ask_for(found, "stop")
    found.stepped()
    assert not found.stopping and "cannot be stopped between its steps" in told[0]["payload"]["reason"]
    # A pipeline that it calls in turn can be.
    inner = SimpleNamespace(_interrupt=False)
    found.call_begins(inner)
    assert ask_for(found, "stop")
    found.stepped()
    assert found.stopping and inner._interrupt


def test_unknown_commands_are_refused_and_a_closed_run_answers_nothing() -> None:
    found, told = made_control()
    assert not ask_for(found, "reboot") and "commands are shock, stop, snapshot" in told[0]["payload"]["reason"]
    found.call_begins(SimpleNamespace())
    assert ask_for(found, "stop")
    found.close()
    assert told[1]["payload"]["reason"] == commands.TOO_LATE
    assert not ask_for(found, "stop") and len(told) == 2


# -- peers of the server


class Peer:
    """A raw connection to a recorder."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_SECONDS)
        self._socket.connect(str(path))
        self._decoder = Decoder()
        self._count = 0

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def command(self, command: str, **more: Any) -> None:
        self._count += 1
        self.send(encode({"t": "control", "id": f"{id(self)}-{self._count}", "command": command, **more}))

    def events(self, count: int) -> list[dict[str, Any]]:
        """The next `count` `control` events."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            data = self._socket.recv(1 << 16)
            assert data, "the recorder closed the connection"
            self._decoder.feed(data)
            found += [m for m in self._decoder if m["t"] == "event" and m["kind"] == "control"]
        return found

    def dropped(self) -> bool:
        """Read to the end of the stream; False if it does not come."""
        try:
            while self._socket.recv(1 << 16):
                continue
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def served(tmp_path: Path, runtime_dir: Path) -> Iterator[SimpleNamespace]:
    """A server whose commands are only noted; `refuse` makes it refuse them."""
    journal = Journal(tmp_path / "a.journal")
    found = SimpleNamespace(heard=[], refuse=False, path=runtime_dir / "a.sock")

    def take(message: dict[str, Any]) -> bool:
        if message["t"] == "bug":
            raise RuntimeError("a fault of the recorder's own")
        if message["t"] != "control":
            raise InvalidCommand("not a command")
        found.heard.append(message)
        return not found.refuse

    found.server = Server(journal, found.path, take)
    journal.append(encode({"t": "header"}))
    yield found
    found.server.close()
    found.server.join(PATIENCE_SECONDS)
    assert not found.server._thread.is_alive()


def framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "little") + zlib.crc32(payload).to_bytes(4, "little") + payload


GARBAGE = {
    "text": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "too long": (protocol.MAX_VIEWER_MESSAGE + 1).to_bytes(4, "little") + bytes(4),
    "checksum": encode({"t": "control"})[:-1] + b"\xff",
    "not a map": framed(b"\x93\x01\x02\x03"),
    "deep": framed(b"\x82\xa1t\xa7control\xa5shock" + b"\x91" * 3000 + b"\x01"),
    "another type": encode({"t": "header", "id": "a", "command": "stop"}),
    "a fault": encode({"t": "bug"}),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_a_garbage_peer_is_dropped_and_nobody_else(served: SimpleNamespace, kind: str) -> None:
    good, bad = Peer(served.path), Peer(served.path)
    bad.send(GARBAGE[kind])
    assert bad.dropped()
    good.command("stop")
    until(lambda: len(served.heard) == 1)
    bad.close()
    good.close()


def test_a_chatty_peer_is_dropped_and_a_patient_one_is_not(served: SimpleNamespace) -> None:
    patient, chatty = Peer(served.path), Peer(served.path)
    flood = b"".join(encode({"t": "control", "id": str(i), "command": "stop"}) for i in range(500))
    chatty.send(flood)
    assert chatty.dropped()
    assert len(served.heard) == server.MAX_COMMANDS
    patient.command("snapshot")
    until(lambda: served.heard[-1]["command"] == "snapshot")
    chatty.close()
    patient.close()


def test_who_is_refused_again_and_again_is_dropped(served: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(peers, "time", SimpleNamespace(monotonic=lambda: now[0]))
    served.refuse = True
    peer = Peer(served.path)
    for i in range(server.MAX_REFUSED + 1):
        now[0] += 1.0  # never too fast
        peer.command("stop")
        until(lambda i=i: len(served.heard) == i + 1)  # type: ignore[misc]
    assert peer.dropped()
    peer.close()


def test_a_viewer_costs_no_more_memory_than_one_message(served: SimpleNamespace) -> None:
    peer = Peer(served.path)
    whole = encode({"t": "control", "id": "a", "command": "stop", "filling": bytes(protocol.MAX_VIEWER_MESSAGE - 100)})
    for _ in range(5):
        peer.send(whole[:-1])
        (viewer,) = until(lambda: list(served.server._viewers.values()))
        until(lambda v=viewer: v.heard.pending == len(whole) - 1)  # type: ignore[misc]
        assert len(viewer.heard._buffer) <= protocol.MAX_VIEWER_MESSAGE + 8 + server.HEAR_BYTES
        peer.send(whole[-1:])
    until(lambda: len(served.heard) == 5)
    assert len(viewer.heard._buffer) == 0
    peer.close()


def test_the_server_outlives_a_shortage_of_descriptors(
    served: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept, failed = socket.socket.accept, []

    def short(listener: socket.socket) -> Any:
        if len(failed) < 2:
            failed.append(1)
            raise OSError(24, "Too many open files")
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", short)
    peer = Peer(served.path)
    peer.command("stop")
    until(lambda: len(served.heard) == 1)
    assert len(failed) == 2
    peer.close()


def test_a_peer_of_another_user_is_turned_away(served: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says who connects; as far as one user can show it, by being another one than the recorder thinks."""
    assert (served.path.stat().st_mode & 0o777, served.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    uid = os.getuid()
    monkeypatch.setattr(peers, "os", SimpleNamespace(getuid=lambda: uid + 1))
    peer = Peer(served.path)
    assert peer.dropped() and served.heard == []
    peer.close()
    monkeypatch.undo()
    assert os.getuid() == uid


@pytest.mark.skipif(os.getuid() != 0, reason="only root can try as another user")
@pytest.mark.parametrize("opened", [False, True])
def test_another_user_cannot_command(served: SimpleNamespace, opened: bool) -> None:
    """Neither past the directory and the socket's mode nor, if both were opened by mistake, past the peer's uid."""
    if opened:
        served.path.parent.chmod(0o755)
        served.path.chmod(0o666)
    command = encode({"t": "control", "id": "a", "command": "stop"})
    code = (
        f"import os, socket; os.setgid({OTHER_USER}); os.setuid({OTHER_USER})\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(60)\n"
        f"try:\n    s.connect({str(served.path)!r}); s.sendall({command!r}); print('read', len(s.recv(1)))\n"
        "except PermissionError:\n    print('no way in')\n"
        "except (BrokenPipeError, ConnectionResetError):\n    print('read 0')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.stdout.strip() == ("read 0" if opened else "no way in"), done.stderr
    mine = Peer(served.path)
    mine.command("snapshot")
    until(lambda: len(served.heard) == 1)
    assert served.heard[0]["command"] == "snapshot"
    mine.close()


# -- the client and its command


def problem(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["control", *arguments])
    assert result.exit_code == 1 and result.stdout == "", result.output
    (line,) = result.stderr.strip().splitlines()
    return line


def test_what_the_user_can_mend_is_said_in_one_line(tmp_path: Path) -> None:
    assert "no live run; start one with: ltxtui record --allow-control" in problem("stop")
    assert "no live run with 'red' in its name" in problem("red", "snapshot")
    assert f"no live run answers at {tmp_path}/none.sock" in problem("stop", "--socket", f"{tmp_path}/none.sock")
    for wrong in ([], ["red"], ["stop", "now"], ["shock"], ["red", "halt"], ["shock", "renoise", "stop"]):
        assert "the command is missing or has too many arguments" in problem(*wrong)
    assert "strong" in problem("shock", "renoise:strong=1")
    assert "take effect at the next step; remove" in problem("shock", "renoise:sigma=0.5")
    with record(runs_dir=tmp_path, allow_control=True), record(runs_dir=tmp_path, allow_control=True) as second:
        assert "2 live runs match" in problem("stop")
        second.stage()
        assert problem(second.name, "shock", "restart:db=3") == f"control refused: shock: {commands.OWN_LOOP}"


def test_the_client_tells_why_no_answer_came(tmp_path: Path, runtime_dir: Path) -> None:
    with record(runs_dir=tmp_path, allow_control=True) as run:
        run.stage()
        with pytest.raises(NoAnswer, match="no answer in time"):
            send(run.socket_path, "stop", timeout=0.2)  # type: ignore[arg-type]
        later = asked(run, "snapshot")
        with pytest.raises(ValueError, match="goes with the command"):
            send(run.socket_path, "stop", shock=Shock("renoise"))  # type: ignore[arg-type]
    assert later().reason == commands.TOO_LATE
    with pytest.raises(NotLive, match="no live run answers"):
        send(runtime_dir / "gone.sock", "stop", timeout=1)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ([{"t": "header", "control": True}, {"t": "end"}], "the run ended before"),
        ([{"t": "header", "control": True}], "closed the connection|connection broke"),
        ([], "closed the connection|connection broke"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "not the stream of a run"),
        ([{"t": "header"}], "control is off"),
    ],
)
def test_a_recorder_that_goes_away_or_is_none(runtime_dir: Path, sent: list[Any], said: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(runtime_dir / "x.sock"))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for item in sent:
                connection.sendall(item if isinstance(item, bytes) else encode(item))

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises((NotLive, ControlOff), match=said):
        send(runtime_dir / "x.sock", "stop", timeout=PATIENCE_SECONDS)
    thread.join(PATIENCE_SECONDS)
    listener.close()


def test_the_event_line_shows_commands_and_shocks(tmp_path: Path) -> None:
    with record(runs_dir=tmp_path, allow_control=True) as run:
        run.stage([0.9, 0.8])
        own_step(run, 0.9)
        stop = asked(run, "stop")
        own_step(run, 0.8)
        stop()
    loaded = load(run.path)
    loaded.events = [e for e in loaded.events if e["kind"] == "control"]

    def line() -> str:
        return EventLine(Deck(loaded, Liveness.FINISHED), Style.BRAILLE).rows(100, 1)[0].text

    assert line().startswith("step 1 control: stop after step 1 of stage 0 ")
    shock = {
        "kind": "shock",
        "stage": 0,
        "step": 1,
        "stream": None,
        "time": 0.0,
        "text": "renoise: +6 dB",
        "payload": {},
    }
    loaded.events.append(shock)
    assert line().startswith("step 1 shock: renoise: +6 dB ")
