"""What the children do: record small random tensors through `run.step`, and meet one fault or several."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.single_rows import single_rows
from recorder import record, recording
from recorder.archive import journal_removal, zarr_writer
from recorder.format import locations
from recorder.journal import backlog, journal
from recorder.journal.journal import is_being_written
from recorder.recording import RunHandle
from tests.waiting import until

PLANNED = 12
SIGMAS = [1 - i / PLANNED for i in range(PLANNED)]


def say(**what: Any) -> None:
    """Print a line; in one piece, since threads say something too."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def tensors(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    return torch.randn(1, 4, 3, 6, 8, generator=made), torch.randn(1, 20, 4, generator=made)


def steps(run: RunHandle, count: int = PLANNED, first: int = 0, seed: int = 0, both: bool = False) -> None:
    """`count` steps from `first` on, of the video or of both streams; the rows differ from step to step."""
    video, audio = tensors(seed)
    for i in range(first, first + count):
        sigma = max(1 - i / PLANNED, 0.01)
        after = sigma - 0.005 if i + 1 < PLANNED else 0.0
        run.step(sigma=sigma, sigma_next=after, sample=video + i, velocity=video)
        if both:
            run.step(sigma=sigma, sigma_next=after, sample=audio + i, velocity=audio, stream="audio")


def settle(run: RunHandle) -> None:
    """Wait until all that was handed over has been written and folded, however slow the disk is.

    An empty queue is not enough: the last item may be under way. A thread that waits for the next one is in its loop.
    """
    for _ in range(2):
        until(lambda: _waits(run._pump, "_take_all") and _waits(run._archivist, "_write_all"))
        time.sleep(0.02)


def _waits(worker: Any, loop: str) -> bool:
    """Whether the thread of a pump or an archivist waits for something to do."""
    frame = sys._current_frames().get(worker._thread.ident)
    return not worker._queue.qsize() and (frame is None or frame.f_code.co_name == loop)


@contextmanager
def recorded(runs: str, **more: Any) -> Iterator[RunHandle]:
    """A run with a stage under way; its path and socket are reported."""
    with record(runs_dir=runs, name=more.pop("name", "hurt"), **{"previews": False, **more}) as run:
        say(path=str(run.path), socket=str(run.socket_path))
        run.stage(SIGMAS)
        yield run


def await_viewer(run: RunHandle) -> None:
    """Continue once a viewer is connected, so that what it had received can be compared."""
    until(lambda: run._server is not None and run._server._viewers)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(owner: Any, name: str, number: int, act: Callable[..., None]) -> None:
    """Let `act` see the arguments of the call with this number, from 1 on, before it is carried out."""
    original, calls = getattr(owner, name), [0]

    def wrapper(*arguments: Any, **more: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            act(*arguments)
        return original(*arguments, **more)

    setattr(owner, name, wrapper)


# -- nothing, and ends from outside


def plain(runs: str, steps_: int = PLANNED) -> None:
    """A run as it should be, in two stages."""
    with recorded(runs) as run:
        steps(run, steps_)
        run.stage(SIGMAS)
        steps(run, steps_, seed=1)


def until_killed(runs: str) -> None:
    """Steps until the process is ended."""
    with recorded(runs) as run:
        for i in range(100_000):
            steps(run, 1, first=i)
            time.sleep(0.002)
            if i == 4:
                say(under_way=True)


def killed(runs: str, where: str, number: int = 1) -> None:
    """Two stages with a viewer; SIGKILL exactly there, and of the archive's files once the viewer has a row."""

    def torn_write(fd: int, data: bytes) -> None:
        os.pwrite(fd, bytes(data)[: len(data) // 2], os.fstat(fd).st_size)
        die()

    def torn_file(name: str, data: bytes, folder: int) -> None:
        os.write(os.open(f"{name}.{os.getpid()}.part", os.O_CREAT | os.O_WRONLY, dir_fd=folder), data[: len(data) // 2])
        die_seen()

    def die_seen(*_: object) -> None:
        until(lambda: run.rows and all(v.offset == run._journal.size for v in viewers.values()))
        die()

    with recorded(runs) as run:
        await_viewer(run)
        viewers = run._server._viewers  # type: ignore[union-attr]
        if where == "journal write":
            real = os.write
            calls = [0]

            def write(fd: int, data: bytes) -> int:
                calls[0] += fd == run._journal._fd
                if calls[0] == number:
                    torn_write(fd, data)
                return real(fd, data)

            journal.os.write = write  # type: ignore[assignment]
        elif where == "fold":
            at_call(zarr_writer, "replace_file", number, torn_file)
        elif where == "renaming":
            at_call(zarr_writer.os, "replace", number, die_seen)
        elif where == "consolidation":
            at_call(zarr_writer.StoreWriter, "consolidate", 1, die_seen)
        elif where == "journal's removal":
            at_call(journal.Journal, "release", 1, die_seen)
        elif where == "unlocking":
            at_call(journal.file_locks, "release", 1, lambda *a: die())
        elif where == "end of the server":
            at_call(recording.Server, "close", 1, lambda *a: die())
        steps(run, both=True)
        run.stage(SIGMAS)
        steps(run, seed=1)
    die()  # later than asked for


def command_line(runs: str) -> None:
    """`ltxtui record`, with a loop of small tensors in the place of a model."""
    from ltxtui.cli import main
    from recorder import generate

    def small(request: Any, progress: Any = None, begun: Any = None) -> Any:
        until_killed(str(request.runs_dir))

    generate.generate = small
    sys.argv = ["ltxtui", "record", "--model", "nano", "--runs-dir", runs]
    main()


def interrupted(runs: str, times: int) -> None:
    """Ctrl-C in a step, then again while the archive is being completed, which takes a while here."""

    def slow(*arguments: Any) -> None:
        for _ in range(times - 1):
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3 if times < 3 else 600)

    at_call(zarr_writer.StoreWriter, "consolidate", 1, slow)
    with recorded(runs) as run:
        steps(run, 5)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)


# -- the disk


def disk_full(runs: str, filler: str, heals: bool) -> None:
    """A disk that is full after some steps; room is made later, if it heals."""
    journal.RETRY_SECONDS = 0.02
    with recorded(runs) as run:
        await_viewer(run)
        steps(run, 3)
        settle(run)
        _fill(Path(filler))
        done = 3
        while run._journal.error is None:
            assert done < 3000
            steps(run, 1, first=done)
            settle(run)
            done += 1
        steps(run, 5, first=done)
        done += 5
        settle(run)
        say(steps=done, error=str(run._journal.error))
        if heals:
            Path(filler).unlink()
            time.sleep(0.05)
            steps(run, 5, first=done)
            say(steps=done + 5)
    say(status=run.status)


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def file_limit(runs: str, kilobytes: int, late: bool = False) -> None:
    """No file may grow beyond a limit, as with a quota. A `late` archive reaches the disk after the block."""
    if late:
        journal_removal.SETTLE_SECONDS = 0.0
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, kilobytes << 10))
    with recorded(runs) as run:
        await_viewer(run)
        steps(run, 300)
    say(status=run.status, error=str(run._journal.error))


def folder_trouble(runs: str, what: str) -> None:
    """Something happens to the folder of runs, or to what is in it, between two steps."""
    journal.LOOK_SECONDS = 0.02
    folder = Path(runs)
    with recorded(runs) as run:
        steps(run, 4)
        settle(run)
        if what == "folder deleted":
            _delete(folder)
        elif what == "journal deleted":
            locations.journal_of(run.path).unlink()
        elif what == "archive deleted":
            shutil.rmtree(run.path)
        elif what == "folder replaced by a file":
            folder.rename(folder.with_name("aside"))
            folder.write_text("in the way")
            shutil.rmtree(folder.with_name("aside"))
        elif what == "folder moved":
            folder.rename(folder.with_name("moved"))
        elif what == "folder read-only":
            folder.chmod(0o555)
        elif what == "permission lost":
            run.path.chmod(0o000)
        time.sleep(0.05)
        steps(run, 4, first=4)
        settle(run)
        run.stage(SIGMAS)
        settle(run)  # a failure to fold the first stage is reported before the run ends
        steps(run, 4, seed=1)
        if what == "folder deleted at the end":
            settle(run)
            journal.LOOK_SECONDS = 60.0
            run._journal._look_at = time.monotonic() + 60
            _delete(folder)
    say(status=run.status)


def _delete(folder: Path) -> None:
    """At one go, before the recorder can put anything back."""
    aside = folder.with_name("aside")
    folder.rename(aside)
    shutil.rmtree(aside)


def hanging_disk(runs: str, which: str) -> None:
    """A disk that takes a write and never answers."""
    from recorder.writing import archive_thread

    archive_thread.MAX_PATIENCE_SECONDS = 0.3
    answer = threading.Event()
    with recorded(runs) as run:
        steps(run, 4)
        settle(run)
        if which == "journal":
            at_call(run._journal, "append", 3, lambda *a: answer.wait())
        else:
            at_call(zarr_writer, "replace_file", 3, lambda *a: answer.wait())
        steps(run, 4, first=4)
    say(status=run.status)


def hesitating_disk(runs: str) -> None:
    """A disk that answers only after the block has ended without it."""
    from recorder.writing import archive_thread

    archive_thread.MAX_PATIENCE_SECONDS = 0.3
    answer = threading.Event()
    with recorded(runs) as run:
        steps(run, 4)
        settle(run)
        at_call(run._journal, "append", 1, lambda *a: answer.wait())
        steps(run, 4, first=4)
    journal = locations.journal_of(run.path)
    say(status=run.status, locked=is_being_written(journal))
    answer.set()
    limit = time.monotonic() + 60
    while journal.exists() or any(t.name.startswith("ltxtui") for t in threading.enumerate()):
        assert time.monotonic() < limit, "it is never completed"
        time.sleep(0.005)


def little_memory(runs: str) -> None:
    """A disk that takes nothing, and a backlog that is soon full; then it takes everything again."""
    backlog.MEMORY_BYTES = 2000
    journal.RETRY_SECONDS = 0.02
    real = os.write
    full = [False]
    with recorded(runs) as run:

        def write(fd: int, data: bytes) -> int:
            if full[0] and fd == run._journal._fd:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(fd, data)

        journal.os.write = write  # type: ignore[assignment]
        steps(run, 4)
        settle(run)
        full[0] = True
        steps(run, 8, first=4)
        run.stage(SIGMAS)
        steps(run, 8, seed=1)
        settle(run)
        say(dropped=run._journal.dropped, memory=run._journal.size - run._journal._on_disk)
        full[0] = False
        time.sleep(0.05)
        run.stage(SIGMAS)
        steps(run, 4, seed=2)
        if run._journal.dropped:
            run._archivist.error = RuntimeError("not folded on the way")  # what the journal alone can give
    say(status=run.status)


# -- time, names, processes


def clock_back(runs: str) -> None:
    """The wall clock falls back by an hour between two steps, and later leaps into the future."""
    real, shift = time.time, [0.0]
    time.time = lambda: real() + shift[0]
    with recorded(runs) as run:
        steps(run, 4)
        settle(run)
        shift[0] = -3600.0
        steps(run, 4, first=4)
        settle(run)
        shift[0] = 1e9
        run.stage(SIGMAS)
        steps(run, 4, seed=1)
        settle(run)
        shift[0] = -3600.0


def same_second(runs: str, gate: str) -> None:
    """A run of the same name as others, in the same second."""
    time.time = lambda: 1_800_000_000.5
    say(ready=True)
    while not Path(gate).exists():
        time.sleep(0.0005)
    with recorded(runs, name="twin") as run:
        steps(run, 4, seed=os.getpid())


def forks(runs: str) -> None:
    """Children forked in mid-run: one leaves the block, one records on, one runs to the end of the interpreter."""
    import atexit
    import multiprocessing

    parent = os.getpid()
    try:
        with recorded(runs) as run:
            steps(run, 4)
            settle(run)
            for kind in ("leaves the block", "exits", "steps on"):
                pid = os.fork()
                if pid == 0:
                    steps(run, 50, first=100)
                    if kind == "leaves the block":
                        raise RuntimeError(kind)
                    if kind == "exits":
                        atexit._run_exitfuncs()
                    os._exit(0)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in (0, 9)
            helper = multiprocessing.get_context("fork").Process(target=steps, args=(run, 20, 200))
            helper.start()
            helper.join()
            assert helper.exitcode == 0
            say(journal=locations.journal_of(run.path).exists(), socket_there=run.socket_path.exists())
            with record(runs_dir=runs, name="second") as second:
                steps(second, 3)
            steps(run, 4, first=4)
    except RuntimeError:
        os._exit(9 if os.getpid() != parent else 1)


def outlived_by_a_child(runs: str) -> None:
    """Forks a helper that lives on, and is killed."""
    with recorded(runs) as run:
        await_viewer(run)
        steps(run, 4)
        settle(run)
        helper = os.fork()
        if helper == 0:
            time.sleep(600)
            os._exit(0)
        say(helper=helper)
        time.sleep(600)


def two_at_once(runs: str) -> None:
    """Two loops in two threads of one process, each recorded."""

    def loop(seed: int) -> None:
        with record(runs_dir=runs, name=f"loop-{seed}") as run:
            for stage in range(2):
                run.stage(SIGMAS)
                steps(run, PLANNED, seed=seed + stage, both=True)
        say(**{f"loop-{seed}": str(run.path)})

    threads = [threading.Thread(target=loop, args=(seed,)) for seed in (10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def never_left(runs: str) -> None:
    """A block that is not left before the process ends, as in a notebook."""
    entered = record(runs_dir=runs, name="hurt")
    run = entered.__enter__()
    say(path=str(run.path))
    run.stage(SIGMAS)
    steps(run, 4)
    globals()["kept"] = entered


def views(runs: str, socket: str) -> None:
    """A viewer, until the run has ended."""
    from replay.sources.open import Liveness, SocketSource

    source = SocketSource(Path(socket))
    received = 0
    while source.liveness is Liveness.LIVE:
        received += sum(m["t"] == "step" for m in single_rows(source.poll()))
        if received > 4:
            say(received=True)
        time.sleep(0.002)
    say(liveness=source.liveness.value)


# -- the end without what it may need


def no_descriptors(runs: str, when: str) -> None:
    """A process that may open nothing more: from the end of the block on, from mid-run on, or when the run begins."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def starve() -> None:
        highest = max(int(n.name) for n in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, before[1]))
        while True:
            try:
                kept.append(os.dup(0))
            except OSError:
                return

    kept: list[int] = []
    if when == "beginning":
        starve()
        try:
            with record(runs_dir=runs):
                raise AssertionError("it cannot be recorded")
        except OSError as error:
            say(refused=error.errno == errno.EMFILE)
    else:
        with recorded(runs, allow_control=True) as run:
            steps(run, 3, both=True)
            settle(run)
            if when == "mid-run":
                starve()
            steps(run, 3, first=3, both=True)
            if when == "end":
                settle(run)
                starve()
        say(status=run.status, standing=run.standing)
    limit = time.monotonic() + 30
    while (left := [t.name for t in threading.enumerate() if t.name.startswith("ltxtui")]) and time.monotonic() < limit:
        time.sleep(0.005)
    for descriptor in kept:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    say(left=left)


def under_nohup(runs: str) -> None:
    """`ltxtui record` in a process that ignores hangups."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    command_line(runs)


def on_a_terminal(runs: str, terminal: str) -> None:
    """`ltxtui record` on a terminal that a test may close: the kernel then sends SIGHUP."""
    os.setsid()
    opened = os.open(terminal, os.O_RDWR)  # it becomes the session's own
    for into in (0, 2):
        os.dup2(opened, into)
    os.close(opened)
    command_line(runs)


def handlers(runs: str) -> None:
    """Handlers of a program's own are its own again after a recording command."""
    from ltxtui.cli import cli

    def mine(number: int, frame: Any) -> None:
        raise AssertionError

    from recorder import generate

    before = {}
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        before[number] = mine
        signal.signal(number, mine)
    during = {}

    def small(request: Any, progress: Any = None, begun: Any = None) -> Any:
        during.update({n: signal.getsignal(n) for n in before})
        raise generate.CannotGenerate("no more is needed")

    generate.generate = small
    try:
        cli(["record", "--model", "nano", "--runs-dir", runs], standalone_mode=False)
    except Exception as error:  # noqa: BLE001 - it is told
        say(error=str(error))
    say(
        taken=all(h is signal.default_int_handler for h in during.values()) and len(during) == 3,
        back=all(signal.getsignal(n) is mine for n in before),
    )


def sweep_worker(runs: str) -> None:
    """A worker of a sweep, with a loop of small tensors in the place of its runs."""
    from recorder.sweep import worker

    worker.serve = lambda *_: until_killed(runs)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of a process that was started in the background
    sys.exit(worker.main([runs]))


def sweep_command(runs: str) -> None:
    """`ltxtui sweep` while its workers are at it; it ends them as its own interrupt would."""
    from ltxtui.cli import main
    from recorder.sweep import runner

    def run_jobs(*_: Any, **__: Any) -> Any:
        say(under_way=True)
        try:
            time.sleep(60)
        finally:
            say(workers_ended=True)

    runner.run_jobs = run_jobs
    sys.argv = ["ltxtui", "sweep", runs, "--model", "nano", "--seeds", "1", "--shock", "restart:sigma=0.9,db=3"]
    main()


def demo(runs: str) -> None:
    """`ltxtui demo` without a terminal, with another process in the place of its recorder."""
    import importlib
    import subprocess

    from ltxtui.cli import main

    module = importlib.import_module("ltxtui.cli.demo")
    stand_in = "import signal, sys\nsignal.sigwait({signal.SIGINT})\nsys.exit(130)"

    def begins(self: Any, *given: Any) -> None:
        self._log = given[-1]
        # Blocked from the beginning on, so that it cannot come too early.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self.process = subprocess.Popen([sys.executable, "-c", stand_in], start_new_session=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def shows(recorder: Any) -> None:
        say(under_way=True)
        try:
            time.sleep(60)
        finally:
            globals()["stood_in"] = recorder.process

    module.Recorder.__init__ = begins
    module._headless = shows
    sys.argv = ["ltxtui", "demo", "--runs-dir", runs]
    try:
        main()
    finally:
        say(recorder=globals()["stood_in"].returncode)
