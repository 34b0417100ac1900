"""The makers of a shared sweep: who is at work, by a heartbeat file each, and who is gone. Imports no torch.

No clock is compared with another one, neither of two hosts nor with that of a file server: a maker is gone when its
file did not change for `GONE_SECONDS` of the observer's own monotonic clock. No lock is used.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from recorder.format.version import VERSION
from recorder.system.open_folders import FILE_MODE

SUFFIX: Final = ".maker"
CLAIMS_VERSION: Final = 1
BEAT_SECONDS: Final = 5.0
GONE_SECONDS: Final = 60.0
LONGEST_LOOK_SECONDS: Final = 5.0
"""What one look counts for at most: after a disk that was away, or a pause, everyone's file is old."""
_LENGTH: Final = 1023
"""A heartbeat file has always the same length, so that it is rewritten by one call."""


@dataclass(frozen=True)
class Maker:
    """A process that makes runs of a shared sweep, as its heartbeat file has it.

    Attributes:
        id: which no other maker has.
        host: name of its machine.
        machine: identity of the machine's running system, within which a process id means something; empty if unknown.
        processes: ids and start times of its process and its workers.
        alone: whether it takes the whole folder, as `ltxtui sweep` without `--join` does.
        ltxtui: version of the software.
        version: of the format of claims.
    """

    id: str
    host: str
    machine: str
    processes: tuple[tuple[int, int], ...]
    alone: bool
    ltxtui: str
    version: int

    @classmethod
    def here(cls, *, alone: bool) -> Maker:
        """This process."""
        host, own = socket.gethostname(), os.getpid()
        id = f"{host[:40]}-{own}-{uuid.uuid4().hex[:12]}"
        return cls(id, host, _machine(), ((own, _started(own)),), alone, VERSION, CLAIMS_VERSION)

    @classmethod
    def parse(cls, data: bytes) -> Maker | None:
        """From the bytes of a file; None if they are not whole, or not understood."""
        try:
            given = json.loads(data)
            processes = tuple((int(pid), int(start)) for pid, start in given["processes"])
            id, host, machine, ltxtui = (str(given[name]) for name in ("id", "host", "machine", "ltxtui"))
            return cls(id, host, machine, processes, bool(given["alone"]), ltxtui, int(given["version"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            return None

    @property
    def name(self) -> str:
        """Host and process, for messages."""
        return f"{self.host}:{self.processes[0][0]}" if self.processes else self.host

    @property
    def runs_here(self) -> bool | None:
        """Whether any of its processes is alive; None if it is of another machine."""
        if not self.machine or self.machine != _machine():
            return None
        return any(start and _started(pid) == start for pid, start in self.processes)


class Heartbeat:
    """Keeps this process's own file changing, in a thread, until the block ends; then removes it."""

    def __init__(self, folder: Path, say: Callable[[str], None], *, alone: bool = False) -> None:
        """
        Args:
            folder: of the claims, which exists.
            say: is told once when the file cannot be written, and once when it can again.
            alone: whether this maker takes the whole folder.
        """
        self.maker = Maker.here(alone=alone)
        self.file = folder / f"{self.maker.id}{SUFFIX}"
        self._say = say
        self._beats = 0
        self._workers: tuple[int, ...] = ()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        """Raises OSError if the file cannot be made."""
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(BEAT_SECONDS)  # longer only where the disk hangs
        with contextlib.suppress(OSError):
            self.file.unlink()

    def works_with(self, workers: Iterable[int]) -> None:
        """These processes work for this maker: it is not gone before they are."""
        self._workers = tuple(workers)
        with contextlib.suppress(OSError):  # the next beat says it
            self._beat()

    def _run(self) -> None:
        told = False
        while not self._ended.wait(BEAT_SECONDS):
            try:
                self._beat()
            except OSError as error:
                if not told:
                    self._say(f"the heartbeat cannot be written ({error.strerror or error}); it is tried again")
                told = True
            else:
                if told:
                    self._say("the heartbeat is written again")
                told = False

    def _beat(self) -> None:
        self._beats += 1
        processes = tuple((pid, _started(pid)) for pid in (os.getpid(), *self._workers))
        said = json.dumps({**asdict(self.maker), "processes": processes, "beat": self._beats})
        # In place: on a network disk a reader then never holds on to a file that was replaced.
        fd = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        try:
            os.pwrite(fd, said.ljust(_LENGTH).encode() + b"\n", 0)
        finally:
            os.close(fd)


class Watch:
    """One observer's view of who is gone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[Path, tuple[bytes, float, float]] = {}

    def maker(self, id: str) -> Maker | None:
        """A maker by its id; None if its file is missing or not whole. Raises OSError."""
        return Maker.parse(_bytes(self._file(id)))

    def newest_version(self) -> int:
        """The newest format of claims among the makers that are there; 0 if there are none. Raises OSError."""
        makers = (Maker.parse(_bytes(file)) for file in self._folder.glob(f"*{SUFFIX}"))
        return max((maker.version for maker in makers if maker is not None), default=0)

    def is_gone(self, id: str) -> bool:
        """Whether a maker is gone, as far as it was looked at until now. Raises OSError."""
        data, unchanged = self._look(self._file(id))
        maker = Maker.parse(data)
        # A process that is alive and does not beat is suspended, or hangs: that counts as gone, too.
        return (maker is not None and maker.runs_here is False) or unchanged >= GONE_SECONDS

    def is_left(self, file: Path) -> bool:
        """Whether a file that was begun, such as half a claim, did not change for as long. Raises OSError."""
        return self._look(file)[1] >= GONE_SECONDS

    def _file(self, id: str) -> Path:
        return self._folder / f"{Path(id).name}{SUFFIX}"

    def _look(self, file: Path) -> tuple[bytes, float]:
        """The bytes of a file, and the seconds that they were seen unchanged for."""
        data, now = _bytes(file), time.monotonic()
        before, last, unchanged = self._seen.get(file, (None, now, 0.0))
        unchanged = unchanged + min(now - last, LONGEST_LOOK_SECONDS) if data == before else 0.0
        self._seen[file] = data, now, unchanged
        return data, unchanged


def makers_at_work(folder: Path, but: str, say: Callable[[str], None], *, only_alone: bool = False) -> list[Maker]:
    """Other makers in a folder of claims that are at work; waits where only their heartbeats can say it.

    Args:
        folder: of the claims.
        but: the id of the own maker.
        say: is told once whom it waits for.
        only_alone: look only for those that take the whole folder.

    Raises:
        OSError: if the folder cannot be read.
    """
    watch = Watch(folder)
    first: dict[str, bytes] = {}
    live: list[Maker] = []
    told = False
    open_ids = {file.name.removesuffix(SUFFIX) for file in folder.glob(f"*{SUFFIX}")} - {but}
    while open_ids:
        for id in sorted(open_ids):
            file = folder / f"{id}{SUFFIX}"
            data = _bytes(file)
            maker = Maker.parse(data)
            if not file.exists() or (only_alone and maker is not None and not maker.alone):
                open_ids.discard(id)
            elif watch.is_gone(id):
                open_ids.discard(id)
                if maker is None or maker.alone:  # it claims no job, so nobody else waits for its end
                    file.unlink(missing_ok=True)
            elif maker is not None and (maker.runs_here or first.setdefault(id, data) != data):
                live.append(maker)
                open_ids.discard(id)
        if open_ids:
            if not told:
                say(f"waiting to see whether an earlier start is still at work: {', '.join(sorted(open_ids)[:4])}")
            told = True
            time.sleep(min(1.0, BEAT_SECONDS))
    return live


def _bytes(file: Path) -> bytes:
    """What a file holds; nothing if it is not there. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        return file.read_bytes()
    return b""


def _machine() -> str:
    """The running system and its table of processes; empty where that is not known.

    With the host's name, since virtual machines that are copied while they run have the same boot.
    """
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        namespace = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - follows no link to a file
        return f"{boot}-{namespace}-{socket.gethostname()}"
    return ""


def _started(pid: int) -> int:
    """When a process began, in ticks since the system did; 0 if it is gone or that is not known."""
    if sys.platform != "linux":
        return 0
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        state, *rest = stat.rpartition(")")[2].split()
        return 0 if state in "ZX" else int(rest[18])
    except (OSError, ValueError, IndexError):
        return 0
