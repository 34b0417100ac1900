"""A sweep as its folder keeps it: settings, seeds, arms; and the process that works on it. Imports no torch."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from recorder.format import locations
from recorder.nano.names import is_nano
from recorder.sweep.grid import Arm
from recorder.system import open_folders
from recorder.system.open_folders import make_folders

FORMAT: Final = "ltxtui-sweep"
FORMAT_VERSION: Final = 1
SPEC: Final = "sweep.json"
RESULTS: Final = "results.csv"
RUNS: Final = "runs"
MEASURES: Final = "measures"
LOG: Final = "workers.log"
LOGS: Final = "logs"
_NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_OWNER_LOCK: Final = "sweep.lock"
_WORKER_LOCK: Final = "workers.lock"


class NotASweep(ValueError):
    """A folder that holds no sweep, or a damaged one."""


class SweepBusy(RuntimeError):
    """Another process works on this sweep."""


@dataclass(frozen=True)
class SweepSettings:
    """What all runs of a sweep have in common; `prompts` are taken in turn, one per seed."""

    model: str
    prompts: tuple[str, ...]
    steps: int = 30
    negative_prompt: str | None = None
    height: int | None = None
    width: int | None = None
    frames: int | None = None
    guidance_scale: float | None = None
    distilled: bool = False
    offload: str = "model"
    device: str | None = None
    setup: Mapping[str, Any] = field(default_factory=dict)
    """More fields of a `recorder.recipes.request.Request`: schedule, sampler, guidance, stages and others."""

    def prompt(self, seed: int) -> str:
        """The prompt of a seed."""
        return self.prompts[seed % len(self.prompts)]

    @property
    def has_measures(self) -> bool:
        """True if the clip of every run is measured, which needs the nano model's own drawings to compare with."""
        return is_nano(self.model)


@dataclass(frozen=True)
class Job:
    """One run to be made."""

    arm: str
    seed: int

    @property
    def file(self) -> str:
        """A safe name for its run. Long names of arms may share one; then the run's name is numbered."""
        return f"{self.seed:04d}-{locations.safe_name(self.arm)[:70]}"


@dataclass(frozen=True)
class Sweep:
    """Everything a sweep was asked to do. `arms` include the controls; `id` marks its runs as its own."""

    settings: SweepSettings
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    id: str
    created: float
    versions: dict[str, str]

    @classmethod
    def make(
        cls, settings: SweepSettings, seeds: tuple[int, ...], arms: tuple[Arm, ...], versions: dict[str, str]
    ) -> Sweep:
        """A new one, with its own id."""
        return cls(settings, seeds, arms, uuid.uuid4().hex, time.time(), versions)

    def arm(self, name: str) -> Arm:
        """The arm of this name. Raises KeyError."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise KeyError(name)

    def jobs(self) -> list[Job]:
        """Every run, seed by seed, so that an interrupted sweep holds complete pairs."""
        return [Job(arm.name, seed) for seed in self.seeds for arm in self.arms]

    def as_dict(self) -> dict[str, Any]:
        """JSON-like form; `from_dict` reads it."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "id": self.id,
            "created": self.created,
            "settings": {**asdict(self.settings), "prompts": list(self.settings.prompts)},
            "seeds": list(self.seeds),
            "arms": [a.as_dict() for a in self.arms],
            "versions": self.versions,
        }

    @classmethod
    def from_dict(cls, given: Any) -> Sweep:
        """From what `as_dict` gave.

        Raises:
            NotASweep: if it is something else, or of a newer format.
        """
        try:
            if given["format"] != FORMAT:
                raise NotASweep("it was not written by ltxtui sweep")
            if given["version"] > FORMAT_VERSION:
                raise NotASweep("it was written by a newer version of ltxtui; upgrade this one")
            known = {f.name for f in fields(SweepSettings)}
            settings = {k: v for k, v in given["settings"].items() if k in known}
            settings["prompts"] = tuple(map(str, settings["prompts"]))
            made = cls(
                SweepSettings(**settings),
                tuple(int(s) for s in given["seeds"]),
                tuple(Arm.from_dict(a) for a in given["arms"]),
                str(given["id"]),
                float(given["created"]),
                {str(k): str(v) for k, v in given["versions"].items()},
            )
        except NotASweep:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NotASweep(f"it is damaged: {error!r}") from error
        if not made.settings.prompts or not made.seeds or not made.arms:
            raise NotASweep("it names no prompt, no seed or no arm")
        return made

    def differences(self, asked: Sweep) -> list[str]:
        """Differences of another request, one phrase each; empty if it is the same sweep."""
        found = self.settings_differences(asked)
        if self.seeds != asked.seeds:
            found.append(f"seeds {_seeds(self.seeds)} there, {_seeds(asked.seeds)} asked for")
        here, there = ({a.name: a for a in s.arms} for s in (asked, self))
        if new := [n for n in here if n not in there]:
            found.append(f"{len(new)} new arm{'s' * (len(new) > 1)}: {_listed(new)}")
        if gone := [n for n in there if n not in here]:
            found.append(f"{len(gone)} arm{'s' * (len(gone) > 1)} not asked for now: {_listed(gone)}")
        return found

    def settings_differences(self, asked: Sweep) -> list[str]:
        """Differences of another request that no extension can reconcile."""
        mine, other = asdict(self.settings), asdict(asked.settings)
        found = []
        for name, value in mine.items():
            if name == "prompts" and value != other[name]:
                found.append("other prompts")
            elif name == "setup" and value != other[name]:
                keys = sorted(k for k in {*value, *other[name]} if value.get(k) != other[name].get(k))
                found.append(f"another {' and '.join(keys)}")
            elif value != other[name]:
                found.append(f"{name} {_said(value)} there, {_said(other[name])} asked for")
        same = {a.name for a in self.arms} & {a.name for a in asked.arms}
        changed = [n for n in same if self.arm(n) != asked.arm(n)]
        return found + [f"the arm {name} means other shocks there" for name in sorted(changed)]

    def extended(self, asked: Sweep) -> Sweep:
        """The same sweep with the seeds and arms of another request added; the settings must agree."""
        from recorder.sweep.grid import with_controls

        arms = {a.name: a for a in (*self.arms, *asked.arms)}
        return replace(self, seeds=tuple(sorted({*self.seeds, *asked.seeds})), arms=with_controls(arms.values()))


def _seeds(seeds: tuple[int, ...]) -> str:
    whole = seeds == tuple(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]} to {seeds[-1]}" if whole else f"{len(seeds)} of {seeds[0]} to {seeds[-1]}"


def _said(value: Any) -> str:
    return "not given" if value is None else str(value)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


# -- in the folder


def read(folder: Path) -> Sweep:
    """The sweep in a folder.

    Raises:
        NotASweep: if there is none.
        OSError: if it cannot be read.
    """
    file = folder / SPEC
    if not file.is_file():
        raise NotASweep(f"{folder} holds no sweep: it has no {SPEC}")
    try:
        return Sweep.from_dict(json.loads(file.read_bytes()))
    except (NotASweep, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotASweep(f"{file}: {error}") from error


def write(folder: Path, sweep: Sweep) -> None:
    """Keep a sweep in its folder, which is made if missing. Raises OSError."""
    make_folders(folder / RUNS)
    make_folders(folder / MEASURES)
    replace_file(folder / SPEC, _document(sweep))


def _document(sweep: Sweep) -> str:
    return json.dumps(sweep.as_dict(), indent=1, ensure_ascii=False) + "\n"


def begin(folder: Path, sweep: Sweep) -> Sweep:
    """Keep a sweep in its folder, unless that has one; the one that it has then. For makers that start at once.

    Raises:
        NotASweep: if something else is there.
        OSError: if the folder cannot be used.
    """
    if (folder / SPEC).exists():
        return read(folder)
    make_folders(folder / RUNS)
    make_folders(folder / MEASURES)
    beside = folder / f"{SPEC}.{sweep.id}.part"
    replace_file(beside, _document(sweep))
    try:
        os.link(beside, folder / SPEC)  # unlike a renaming, it replaces nothing
    except FileExistsError:
        return read(folder)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        beside.replace(folder / SPEC)
    finally:
        beside.unlink(missing_ok=True)
    return read(folder)


def replace_file(file: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new one, and never a part. Raises OSError."""
    beside = file.with_name(f"{file.name}.{uuid.uuid4().hex}.part")  # process ids of several hosts may be the same
    try:
        open_folders.replace_file(beside, text.encode(), sync=True)
        beside.replace(file)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def measures_file(folder: Path, run: str) -> Path:
    """Where what was measured on a run's final latents is kept; by the run's name, which no other run has."""
    return folder / MEASURES / f"{run}.json"


@contextlib.contextmanager
def ownership(folder: Path) -> Iterator[None]:
    """The right to start workers in a folder, until the block ends or the process dies.

    Raises:
        SweepBusy: if another process has it.
        OSError: if the folder cannot be written.
    """
    fd = _lock_file(folder / _OWNER_LOCK)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SweepBusy(f"another ltxtui sweep is at work in {folder}") from error
        yield
    finally:
        os.close(fd)


def working(folder: Path) -> bool:
    """True while workers are alive there, also those that a killed sweep left behind."""
    fd = _lock_file(folder / _WORKER_LOCK)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def worker_lock(folder: Path) -> int:
    """A file descriptor that marks a worker as alive, for the worker to inherit; freed however it ends."""
    fd = _lock_file(folder / _WORKER_LOCK)
    fcntl.flock(fd, fcntl.LOCK_SH)
    return fd


def _lock_file(path: Path) -> int:
    """Open a lock file, which only its owner can open: a user who may read a file can hold its `flock`."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with contextlib.suppress(PermissionError):  # root's, or on a file system that has no modes
        os.fchmod(fd, 0o600)
    return fd
