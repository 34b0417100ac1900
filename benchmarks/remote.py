"""What runs of other machines cost: `python -m benchmarks.remote`, and a part of `make bench`.

A hundred relays on loopback in one list, one of them dead; and, where an sshd is installed, the way of a row through
ssh with a round trip of 50 ms.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks import options
from benchmarks.reporting import median, ms, table
from ltxtui.home.model import HomeModel
from recorder.format.framing import encode
from recorder.format.protocol import Message
from recorder.journal.journal import Journal
from recorder.journal.server import Server
from replay.remote import sessions
from replay.remote.address import RemoteHost
from replay.remote.asked import Asked
from replay.remote.fleet import FleetWatcher
from replay.remote.run import open_remote
from tests import recorded
from tests.loopback_ssh import MISSING, loopback_sshd, ltxtui_in

HOSTS = 100
WATCHED_SECONDS = 20.0
ROUND_TRIP_SECONDS = 0.05
ROWS = 100
PERIOD = 0.1
WANTED = {"first": 1.5, "share": 0.15, "row": 0.04, "curve": 2.0}


class Paced:
    """A live run whose rows come at a pace, each with the time at which it was written."""

    def __init__(self, folder: Path, sockets: Path, name: str = "20261122-143015-red-disc") -> None:
        sockets.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(exist_ok=True)
        self._messages = recorded.whole(name, steps=10 * ROWS, at=time.time())
        self._journal = Journal(folder / f"{name}.journal")
        self._server = Server(self._journal, sockets / f"{name}.sock")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        for message in self._messages:
            step = message["t"] == "step"
            stamped: Message = {**message, "time": time.time()} if step else message
            self._journal.append(encode(stamped))
            self._server.notify()
            if self._over.wait(PERIOD if step and message["stream"] == "audio" else 0.0):
                return

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._journal.release(remove=True)
        self._server.close()
        self._server.join(5)


def fleet(folder: Path, count: int = HOSTS) -> None:
    """Relays as processes of this machine, without ssh, and one host that never answers."""
    runs, sockets = folder / "fleet-runs", folder / "fleet"
    run = Paced(runs, sockets)
    for number in range(3):
        recorded.archive(runs, f"20261121-10000{number}-old-{number}")
    there = ("env", f"LTXTUI_RUNTIME_DIR={sockets}", f"LTXTUI_CACHE={folder / 'fleet-cache'}")
    command = (sys.executable, "-m", "ltxtui")
    hosts = [RemoteHost("dead", prefix=("sh", "-c", "sleep 600"))]
    hosts += [RemoteHost(f"gpu{n}", prefix=there, command=command, runs_dir=str(runs)) for n in range(count - 1)]
    began = time.perf_counter()
    watcher, model = FleetWatcher(hosts), HomeModel()
    first = None
    try:
        while sum(host.ready for host in watcher.hosts) < count - 1:
            watcher.update()
            first = time.perf_counter() - began if first is None and watcher.runs else first
        whole = time.perf_counter() - began
        used, watched = time.process_time(), time.perf_counter()
        while time.perf_counter() - watched < WATCHED_SECONDS:
            watcher.update()
            model.set_runs(watcher.runs)
            time.sleep(1.0)
        share = (time.process_time() - used) / (time.perf_counter() - watched)
        assert first is not None and len(watcher.runs) == 4 * (count - 1)
        told = [each.text for each in watcher.unreadable]
    finally:
        watcher.close()
        run.close()
    table(
        f"A list of {count} hosts, one of them dead",
        [
            ("the first host's runs", f"{ms(first)} (wanted {WANTED['first']:.1f} s)"),
            ("every host's runs", ms(whole)),
            ("CPU once all are up", f"{share:.1%} of a core (wanted {WANTED['share']:.0%})"),
            ("the dead host", "; ".join(told)),
        ],
    )


class Far:
    """A port of loopback that leads to another one, half a round trip away."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                for one, other in ((near, far), (far, near)):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sent: queue.Queue[tuple[float, bytes]] = queue.Queue()
                    threading.Thread(target=self._read, args=(one, sent), daemon=True).start()
                    threading.Thread(target=self._pass_on, args=(sent, other), daemon=True).start()

    @staticmethod
    def _read(one: socket.socket, sent: queue.Queue[tuple[float, bytes]]) -> None:
        data = b"?"
        while data:
            try:
                data = one.recv(1 << 16)
            except OSError:
                data = b""
            sent.put((time.monotonic() + ROUND_TRIP_SECONDS / 2, data))

    @staticmethod
    def _pass_on(sent: queue.Queue[tuple[float, bytes]], other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = sent.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    other.shutdown(socket.SHUT_WR)
                    return
                other.sendall(data)

    def close(self) -> None:
        self._listener.close()


def through_ssh(folder: Path) -> None:
    """A live run through ssh, as far away as another country."""
    runs, sockets = folder / "ssh-runs", folder / "ssh"
    environment = {"PATH": f"{ltxtui_in(folder / 'bin')}:/usr/bin:/bin", "LTXTUI_RUNTIME_DIR": str(sockets)}
    # A session reads the user's own startup files otherwise, which may set another PATH.
    environment["HOME"] = str(folder)
    run = Paced(runs, sockets)
    with loopback_sshd(folder / "sshd", environment) as sshd:
        far = Far(sshd.port)
        config = sshd.config.read_text().replace(f"Port {sshd.port}", f"Port {far.port}")
        known = (folder / "sshd" / "known").read_text().replace(f":{sshd.port}", f":{far.port}")
        (folder / "sshd" / "known").write_text(known)
        sshd.config.write_text(config)
        os.environ["LTXTUI_SSH"] = sshd.command
        os.environ["LTXTUI_RUNTIME_DIR"] = str(sockets)
        try:
            host = RemoteHost("box", "box")
            began = time.perf_counter()
            assert sessions.open_session(host, ask=False)
            connected = time.perf_counter()
            source = open_remote(host, Asked())
            first, late = None, []
            while len(late) < ROWS:
                for message in source.poll():
                    if message["t"] == "step":
                        first = first or time.perf_counter()
                        late.append(time.time() - message["time"])
                descriptor = source.fileno()
                assert descriptor is not None, source.note
                select.select([descriptor], [], [], 1.0)
            late = late[len(late) // 2 :]  # what was there before is not late
            source.close()
        finally:
            sessions.close_sessions()
            del os.environ["LTXTUI_SSH"]
            far.close()
            run.close()
    assert first is not None
    table(
        f"A live run through ssh, {1000 * ROUND_TRIP_SECONDS:.0f} ms away and back",
        [
            ("connection", ms(connected - began)),
            ("first row, once connected", f"{ms(first - connected)} (wanted {WANTED['curve']:.0f} s)"),
            ("a row, written there to decoded here", f"{median(late)} (wanted {ms(WANTED['row'])})"),
            ("the same, worst of twenty", ms(statistics.quantiles(late, n=20)[-1])),
        ],
    )


def run(folder: Path, count: int = HOSTS) -> None:
    """Measure and print."""
    before = os.environ.get("LTXTUI_RUNTIME_DIR")
    try:
        fleet(folder, count)
        if MISSING:
            print(f"\nA live run through ssh: not measured, {MISSING}")
        else:
            through_ssh(folder)
    finally:
        if before is not None:
            os.environ["LTXTUI_RUNTIME_DIR"] = before


def main() -> None:
    parser = options.parser("benchmarks.remote", __doc__, "", "10")
    parser.add_argument("hosts", nargs="?", type=int, default=HOSTS, help="hosts in the list [%(default)s]")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ltx-remote-", dir=tempfile.gettempdir()))
    os.environ.setdefault("LTXTUI_RUNTIME_DIR", str(folder / "sockets"))
    try:
        run(folder, given.hosts)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
