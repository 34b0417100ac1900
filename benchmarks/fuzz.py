"""A million changed inputs through the five readers: `python -m benchmarks.fuzz`. None may crash, hang or grow.

Messages, journals, archives, packed archives and commands of viewers are changed by seeded mutations
(`benchmarks/mutations.py`): bits, lengths, splices, and values and containers inside messages with valid checksums.
Each input has a time limit and the process a memory limit, so a reader that trusts a size in its input fails. Each
input has a number; `--only` repeats the input with that number and seed.
"""

from __future__ import annotations

import contextlib
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks import mutations, options
from recorder.archive.writer import ArchiveWriter
from recorder.format import locations, paths, protocol
from recorder.format.framing import CorruptMessage, Decoder, encode
from recorder.sampling.commands import Control
from replay.comparison.compare import CannotCompare, compare
from replay.comparison.run_differences import facts
from replay.integrity.check import check
from replay.integrity.repair import CannotRepair, repair
from replay.library import listing
from replay.model.run import Run
from replay.model.validation import NotARun
from replay.packed.pack import CannotPack, pack
from replay.packed.unpack import unpack
from replay.rerun import CannotRepeat, request_of
from replay.sources.open import Source, open_path

SHARES: Final = {"messages": 0.5, "control": 0.45, "journal": 0.03, "archive": 0.01, "packed": 0.01}
"""An archive is many files, and takes forty times as long as a command."""
CPU_SECONDS: Final = 4.0
REAL_SECONDS: Final = 60.0
MEMORY: Final = 1 << 30
"""Address space that all inputs together may take beyond what is loaded."""
LOOK: Final = 1000


class Hang(BaseException):
    """An input that takes too long; not an Exception, so that no reader swallows it."""


def use(run: Run, compared: bool = False) -> None:
    """What a dashboard and the comparison look at in a run."""
    for stage in run.stages:
        for stream in stage.streams.values():
            rows = stream.rows
            if len(stream.times) != rows or stream.data.shape != (rows, stream.width):
                raise AssertionError("rows do not fit")
            for name, info in stream.metrics.items():
                if stream.values(name).shape != (rows, *info.shape):
                    raise AssertionError(f"{name} does not fit")
            for step in stream.previews:
                with contextlib.suppress(NotARun):
                    stream.previews[step].pixels()
    if compared:
        facts(run)
        with contextlib.suppress(CannotRepeat):
            request_of(run)
        with contextlib.suppress(CannotCompare):
            compare([run, run])


def followed(source: Source) -> Run:
    """All that a source has."""
    run = Run()
    try:
        while messages := source.poll():
            for message in messages:
                run.feed(message)
    finally:
        source.close()
    str(source.note)
    return run


class Readers:
    """The five readers, each with its own inputs, in a folder that is reused."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.messages = mutations.valid_messages()
        self.few = mutations.valid_messages(1, ("video",))
        self.commands = mutations.valid_commands()
        self.archive_path = folder / "run.zarr"
        self._make_archive()
        self.files = {p: p.read_bytes() for p in sorted(self.archive_path.rglob("*")) if p.is_file()}
        self.documents = [p for p in self.files if p.name == paths.DOCUMENT]
        self.packed = mutations.packed_archives(pack(self.archive_path))
        locations.packed_of(self.archive_path).unlink()
        self._control: Control | None = None

    def _make_archive(self) -> None:
        shutil.rmtree(self.archive_path, ignore_errors=True)
        writer = ArchiveWriter(self.archive_path)
        for message in mutations.valid_messages(1, ("video",)):
            writer.feed(message)

    def input(self, reader: str, seed: str) -> Any:
        """The input with this seed."""
        rng = random.Random(f"{reader}:{seed}")
        if reader == "control":
            return mutations.stream_of(rng, [rng.choice(self.commands) for _ in range(3)])
        if reader == "archive":
            return rng
        if reader == "packed":
            return mutations.changed_zip(rng, rng.choice(self.packed))
        return mutations.stream_of(rng, self.messages if rng.random() < 0.2 else self.few)

    def read(self, reader: str, given: Any, number: int) -> None:
        """Let one reader have an input. What it raises beyond what it documents is a failure."""
        by_name = {"messages": self._messages, "journal": self._journal, "control": self._take}
        {**by_name, "archive": self._archive, "packed": self._packed}[reader](given, number)

    def _messages(self, data: bytes, number: int) -> None:
        decoder, run = Decoder(), Run()
        with contextlib.suppress(CorruptMessage, NotARun):
            for at in range(0, len(data), 1000):
                decoder.feed(data[at : at + 1000])
                for message in decoder:
                    run.feed(message)
        if number % 2 == 0:
            use(run, number % 16 == 0)

    def _journal(self, data: bytes, number: int) -> None:
        path = self.folder / "journals" / "x.journal"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        with contextlib.suppress(NotARun):
            use(followed(open_path(path)), number % 16 == 0)
        if number % 4 == 0:
            with contextlib.suppress(NotARun):
                listing.describe_run(locations.archive_of(path)).as_json()
        if number % 32 == 0:
            check(path)
        if number % 128 == 0:
            self._repaired(path)
            shutil.rmtree(path.parent)

    def _repaired(self, path: Path) -> None:
        try:
            done = repair(path)
        except (CannotRepair, OSError):
            return
        if not (report := check(done.archive)).sound:
            raise AssertionError(f"after repair: {report.problems[:3]}")
        use(followed(open_path(done.archive)))

    def _archive(self, rng: random.Random, number: int) -> None:
        touched = []
        try:
            for _ in range(rng.choice((1, 1, 2, 4))):
                path = rng.choice(self.documents if rng.random() < 0.7 else list(self.files))
                if path not in touched:
                    touched.append(path)
                    mutations.changed_file(rng, path, self.files[path])
            with contextlib.suppress(NotARun):
                use(followed(open_path(self.archive_path)))
            with contextlib.suppress(NotARun, OSError):
                listing.describe_run(self.archive_path).as_json()
            if number % 16 == 0:
                check(self.archive_path)
            if number % 64 == 0:
                self._repaired_copy()
        finally:
            for path in touched:
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                else:
                    path.unlink(missing_ok=True)
                path.write_bytes(self.files[path])

    def _packed(self, data: bytes, number: int) -> None:
        path = self.folder / "packed" / "x.zarr.zip"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        with contextlib.suppress(NotARun):
            use(followed(open_path(path)), number % 16 == 0)
        with contextlib.suppress(NotARun, OSError):
            listing.describe_run(path).as_json()
        if number % 4 == 0:
            check(path)
        if number % 8 == 0:
            with contextlib.suppress(CannotPack):
                check(unpack(path).archive)
            if there := {p.name for p in path.parent.iterdir()} - {"x.zarr", "x.zarr.zip"}:
                raise AssertionError(f"unpacking has left {there}")
            shutil.rmtree(path.parent)

    def _repaired_copy(self) -> None:
        inside = self.folder / "repaired"
        shutil.rmtree(inside, ignore_errors=True)
        inside.mkdir()
        self.archive_path.rename(inside / "run.zarr")
        try:
            self._repaired(inside / "run.zarr")
        finally:
            kept = inside / "run.before-repair" / "run.zarr"
            (kept if kept.exists() else inside / "run.zarr").rename(self.archive_path)

    def _take(self, data: bytes, number: int) -> None:
        answers: list[protocol.Message] = []
        control = Control(answers.append, allowed=number % 16 != 0)
        control.shock = (
            (lambda shock, answer: answer(True, shock.describe(), {"shock": shock.as_dict()})) if number % 2 else None
        )
        control.call_begins(object())
        decoder = Decoder(protocol.MAX_VIEWER_MESSAGE)
        taken = 0
        with contextlib.suppress(ValueError):
            decoder.feed(data)
            for message in decoder:
                control.take(message)
                taken += 1
        control.stepped()
        control.wants_snapshot()
        control.call_ends()
        control.close()
        if len(answers) != taken:
            raise AssertionError(f"{taken} commands had {len(answers)} answers")
        for message in answers:
            encode(message)


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """No more memory than `MEMORY` beyond what is loaded, and an alarm for the time of one input."""

    def late(signum: int, frame: Any) -> None:
        raise Hang(f"an input took longer than {CPU_SECONDS} s of CPU or {REAL_SECONDS} s")

    used = psutil.Process().memory_info().vms
    before = resource.getrlimit(resource.RLIMIT_AS)
    handlers = [(number, signal.signal(number, late)) for number in (signal.SIGPROF, signal.SIGALRM)]
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        for number, handler in handlers:
            signal.setitimer(signal.ITIMER_PROF if number == signal.SIGPROF else signal.ITIMER_REAL, 0)
            signal.signal(number, handler)


def numbered(count: int) -> Iterator[tuple[str, int]]:
    """Readers by their shares, interleaved, with the number of the input."""
    names = [name for name, share in SHARES.items() for _ in range(round(share * 100))]
    for number in range(count):
        yield names[number % len(names)], number


def fuzz(readers: Readers, inputs: Iterator[tuple[str, int]], seed: int, told: Callable[[int], None]) -> list[str]:
    """Run inputs; returns what failed, with the number of the input and where."""
    failed: list[str] = []
    for done, (reader, number) in enumerate(inputs, 1):
        given = readers.input(reader, f"{seed}:{number}")
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        signal.setitimer(signal.ITIMER_REAL, REAL_SECONDS)
        try:
            readers.read(reader, given, number // 100)
        except (Exception, Hang) as error:  # noqa: BLE001 - any error here is a finding
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            failed.append(
                f"{reader} --seed {seed} --only {number}: {type(error).__name__} at {place}: {str(error)[:200]}"
            )
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
        if done % LOOK == 0:
            told(done)
    return failed


def main() -> int:
    parser = options.parser("benchmarks.fuzz", __doc__, "--count 10000", "--seed 3 --only 4711")
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs in all [1000000]")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations [0]")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of inputs to repeat, with what they raise")
    given = parser.parse_args()
    room = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # thousands of small files are written
    folder = Path(tempfile.mkdtemp(prefix="ltx-fuzz-", dir=room))
    process, memory, began = psutil.Process(), [], time.monotonic()
    try:
        readers = Readers(folder)
        inputs = list(numbered(max(given.only) + 1)) if given.only else []

        def told(done: int) -> None:
            memory.append(process.memory_info().rss / 1e6)
            if done % (20 * LOOK) == 0:
                print(f"{done:,} of {given.count:,}, {memory[-1]:.0f} MB, {time.monotonic() - began:.0f} s", flush=True)

        if given.only:
            for number in given.only:
                reader = inputs[number][0]
                readers.read(reader, readers.input(reader, f"{given.seed}:{number}"), number // 100)
            return 0
        with limits():
            failed = fuzz(readers, numbered(given.count), given.seed, told)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    shares = ", ".join(f"{round(given.count * share):,} {name}" for name, share in SHARES.items())
    print(f"{given.count:,} inputs in {time.monotonic() - began:.0f} s: {shares}; failed: {len(failed)}")
    if len(memory) > 10:
        print(f"memory: {memory[len(memory) // 10]:.0f} MB after a tenth, {memory[-1]:.0f} MB at the end")
    for line in failed[:50]:
        print("  " + line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
