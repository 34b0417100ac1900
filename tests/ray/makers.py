"""Workers that make no run, and fail as a test says. Processes of the cluster import this module."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from recorder.sweep.on_ray.maker import Made, Ready, RunMaker

ARCHIVE = b"not really an archive"


class DryMaker(RunMaker):
    """Loads nothing, and answers every job at once with an archive that is none."""

    def ready(self, version: str) -> Ready:
        return Ready("node", {"python": "3"})

    def make(self, arm: str, seed: int) -> Made:
        return Made(0.0, name=f"{seed:05d}-{arm}", archive=ARCHIVE, measures={"colour": 1.0})


class EmptyMaker(DryMaker):
    """Its answers bring nothing home, as on a shared disk."""

    def make(self, arm: str, seed: int) -> Made:
        return Made(0.0, name=f"{seed:05d}-{arm}")


class DyingMaker(DryMaker):
    """Its process ends during the runs of the arm `deadly`, and during the first attempt at those of `once`."""

    def make(self, arm: str, seed: int) -> Made:
        first = Path(str(self._made["settings"]["model"])) / f"{arm}-{seed}"
        if arm == "deadly" or (arm == "once" and not first.exists()):
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().make(arm, seed)


class DeadMaker(DryMaker):
    """Its process ends while it loads the model."""

    def ready(self, version: str) -> Ready:
        os._exit(1)


class FailingMaker(DryMaker):
    """Every run fails."""

    def make(self, arm: str, seed: int) -> Made:
        return Made(0.0, "RuntimeError: out of memory", log="Traceback")


class HalfBrokenMaker(DryMaker):
    """The first worker to be ready fails in every run, and the others in none."""

    def ready(self, version: str) -> Ready:
        try:
            (Path(str(self._made["settings"]["model"])) / "broken").touch(exist_ok=False)
            self._broken = True
        except FileExistsError:
            self._broken = False
        return super().ready(version)

    def make(self, arm: str, seed: int) -> Made:
        return Made(0.0, "RuntimeError: device is lost") if self._broken else super().make(arm, seed)


class UnplannableMaker(DryMaker):
    """The arm `a` cannot act on the schedule."""

    def make(self, arm: str, seed: int) -> Made:
        return Made(0.0, "PlanError: beyond", no_plan=True) if arm == "a" else super().make(arm, seed)


class RaisingMaker(DryMaker):
    """Its code raises what it never should, in the runs of the arm `a`."""

    def make(self, arm: str, seed: int) -> Made:
        if arm == "a":
            raise AssertionError("an oversight")
        return super().make(arm, seed)


class OldMaker(RunMaker):
    """The node has another version of ltxtui."""

    def ready(self, version: str) -> Ready:
        return super().ready("0.0.1")


class OtherLibrariesMaker(DryMaker):
    """Each worker has another version of torch."""

    def ready(self, version: str) -> Ready:
        return Ready("node", {"torch": f"2.{os.getpid()}"})
