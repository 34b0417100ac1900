"""Claims on the jobs of a sweep, as small files in its folder. Imports no torch.

`KEY.1.claim` is the first claim on a job, `KEY.2.claim` the next one, after the first was given back, failed, or its
maker was gone. Each is made by exclusive creation, which is atomic on network disks too, and none is ever removed while
makers are at work. So two makers that find the same claim abandoned cannot both follow it, and one that was only
suspended is told by `KEY.done`, made in the same way, whose run counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

from recorder.format import locations
from recorder.sweep.makers import SUFFIX
from recorder.sweep.spec import Job
from recorder.system.open_folders import FILE_MODE, make_folders, replace_file

FOLDER: Final = "claims"
DONE: Final = ".done"
TORN_SECONDS: Final = 2.0
"""How long half a mark, which is being written, is read again."""
_CLAIM: Final = re.compile(r"(.+)\.(\d{1,9})\.claim")
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW

Ending = Literal["", "given back", "failed"]


@dataclass(frozen=True)
class Claim:
    """What a claim's file says.

    Attributes:
        maker: id of the one that made it.
        ended: how it ended; empty while its maker is at the job, and of a job that is done.
        failures: how often the job failed, this claim and those before it together.
        error: of a job that failed.
        no_plan: whether it fails with any seed, on any machine.
    """

    maker: str
    ended: Ending = ""
    failures: int = 0
    error: str = ""
    no_plan: bool = False

    @classmethod
    def parse(cls, data: bytes) -> Claim | None:
        """From the bytes of a file; None if they are not whole, or not understood."""
        try:
            given = json.loads(data)
            ended: Ending = given["ended"] if given["ended"] in ("given back", "failed") else ""
            failures, no_plan = int(given["failures"]), bool(given["no_plan"])
            return cls(str(given["maker"]), ended, failures, str(given["error"]), no_plan)
        except (ValueError, TypeError, KeyError, RecursionError):
            return None


@dataclass(frozen=True)
class Listed:
    """The names in a folder of claims, by one reading of it.

    Attributes:
        last: the number of the last claim on each key.
        done: the keys that are done.
        makers: how many there are.
        changed: when a name was last added, in nanoseconds of the file system's clock.
    """

    last: dict[str, int]
    done: frozenset[str]
    makers: int
    changed: int


def key_of(job: Job) -> str:
    """The name of a job's files, which no other job of any sweep has."""
    return f"{job.seed:04d}-{_arm_key(job.arm)}"


@lru_cache(maxsize=4096)
def _arm_key(arm: str) -> str:
    return f"{locations.safe_name(arm)[:50]}-{hashlib.sha256(arm.encode()).hexdigest()[:10]}"


class Claims:
    """The claims on the jobs of one sweep, with one maker's right to add to them. All methods raise OSError."""

    def __init__(self, folder: Path, sweep: str, maker: str) -> None:
        """`folder` is the sweep's; the claims of another sweep that was there before do not count.

        Args:
            folder: which `prepare` was called for.
            sweep: id of the sweep.
            maker: id of the maker.
        """
        self.folder = folder / FOLDER / sweep
        self.maker = maker
        make_folders(self.folder)

    def has_changed(self, since: Listed) -> bool:
        """Whether a name was added since a reading, as far as the file system says it at once."""
        return self.folder.stat().st_mtime_ns != since.changed

    def listed(self) -> Listed:
        """What there is, by one reading of the folder."""
        changed = self.folder.stat().st_mtime_ns  # first: what is added meanwhile may not be among the names
        last: dict[str, int] = {}
        done: set[str] = set()
        for name in os.listdir(self.folder):  # noqa: PTH208 - tens of thousands of names
            if name.endswith(DONE):
                done.add(name.removesuffix(DONE))
            elif found := _CLAIM.fullmatch(name):
                last[found[1]] = max(int(found[2]), last.get(found[1], 0))
        makers = sum(1 for _ in self.folder.parent.glob(f"*{SUFFIX}"))
        return Listed(last, frozenset(done), makers, changed)

    def file(self, key: str, number: int) -> Path:
        """Where a claim is kept."""
        return self.folder / f"{key}.{number}.claim"

    def read(self, key: str, number: int) -> Claim | None:
        """A claim; None if it is not whole."""
        try:
            return Claim.parse(self.file(key, number).read_bytes())
        except FileNotFoundError:
            return None

    def take(self, key: str, number: int, failures: int = 0) -> bool:
        """Make a claim, unless somebody has made it."""
        return _made(self.file(key, number), asdict(Claim(self.maker, failures=failures)))

    def end(self, key: str, number: int, how: Claim) -> None:
        """Say how an own claim ended."""
        replace_file(self.file(key, number), _text(asdict(how)))

    def is_done(self, key: str) -> bool:
        """Whether a job is done."""
        return (self.folder / f"{key}{DONE}").exists()

    def mark_done(self, key: str, run: str) -> bool:
        """Say that a job is done by a run, unless it is done already."""
        return _made(self.folder / f"{key}{DONE}", {"run": run, "maker": self.maker})

    def run_of(self, key: str) -> str | None:
        """The run by which a job is done; None if its mark stays half written."""
        limit = time.monotonic() + TORN_SECONDS
        while True:
            with contextlib.suppress(ValueError, TypeError, KeyError, FileNotFoundError):
                return str(json.loads((self.folder / f"{key}{DONE}").read_bytes())["run"])
            if time.monotonic() > limit:
                return None
            time.sleep(0.1)


def prepare(folder: Path) -> Path:
    """The folder of makers and claims in that of a sweep, made if missing. Raises OSError."""
    claims = folder / FOLDER
    make_folders(claims)
    return claims


def clear(folder: Path, keep: Iterable[Path] = ()) -> None:
    """Remove all claims of a sweep that no maker is at work on, for who has it alone. Raises OSError."""
    kept = set(keep)
    for found in (folder / FOLDER).iterdir():
        if found.is_dir() and not found.is_symlink():
            shutil.rmtree(found)
        elif found not in kept:
            found.unlink(missing_ok=True)


def _text(said: dict[str, object]) -> bytes:
    return json.dumps(said, ensure_ascii=False).encode() + b"\n"


def _made(file: Path, said: dict[str, object]) -> bool:
    """Make a file that nobody has made; False if somebody has."""
    try:
        fd = os.open(file, _NEW, FILE_MODE)
    except FileExistsError:
        return False
    try:
        with os.fdopen(fd, "wb") as new:
            new.write(_text(said))
    except OSError:
        with contextlib.suppress(OSError):
            file.unlink()  # half of it would be waited for
        raise
    return True
