"""File systems in loop devices, and clones of their images taken while they are in use. Needs root."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZES = {"ext4": 64, "xfs": 320, "btrfs": 128}
"""MiB of an image; xfs makes none below 300, btrfs none below 109."""
FORCE = {"ext4": ["-q", "-F"], "xfs": ["-q", "-f"], "btrfs": ["-q", "-f"]}
FICLONE = 0x40049409


class Unavailable(RuntimeError):
    """Why a file system cannot be tried here."""


def command(*words: str | Path) -> None:
    """Run a command. Raises Unavailable with its message."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"{words[0]}: {lines[-1] if lines else done.returncode}")


@contextmanager
def mounted(fs: str, image: Path, place: Path, options: str = "") -> Iterator[None]:
    """A file system in an image; always unmounted and detached. Raises Unavailable."""
    place.mkdir(exist_ok=True)
    command("mount", "-t", fs, "-o", ",".join(["loop", *filter(None, [options])]), image, place)
    try:
        yield
    finally:
        for attempt in range(50):
            if subprocess.run(["umount", str(place)], capture_output=True).returncode == 0:
                break
            time.sleep(0.1 * (1 + attempt // 10))  # a process that is ending still uses it
        else:
            subprocess.run(["umount", "--lazy", str(place)], check=False)


def make(fs: str, image: Path, megabytes: int) -> None:
    """A new file system in a sparse file. Raises Unavailable."""
    if shutil.which(f"mkfs.{fs}") is None:
        raise Unavailable(f"mkfs.{fs} is not installed")
    image.touch()
    os.truncate(image, megabytes << 20)
    command(f"mkfs.{fs}", *FORCE[fs], image)


def clone(image: Path, to: Path) -> None:
    """A copy that shares all blocks, taken in one moment: writes wait meanwhile. Raises OSError."""
    with image.open("rb") as source, to.open("wb") as target:
        fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
