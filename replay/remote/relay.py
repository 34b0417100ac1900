"""The remote side: what `ltxtui relay` does on the pipe that ssh, or another program, gives it."""

from __future__ import annotations

from pathlib import Path

from replay.remote.asked import Asked
from replay.remote.hello import hello_line
from replay.remote.pipe_ends import PipeEnds, ViewerLeft


def relay_list(runs_dir: Path, *, follow: bool, ends: PipeEnds | None = None) -> int:
    """Say which runs this machine has; gives the exit status."""
    ends = ends or PipeEnds()
    try:
        ends.write(hello_line())
        from replay.remote.serve_list import serve_list  # after the hello: it is what takes long to import

        return serve_list(ends, runs_dir, follow=follow)
    except ViewerLeft:
        return 0


def relay_run(runs_dir: Path, *, asked: Asked, ends: PipeEnds | None = None) -> int:
    """Send one run; gives the exit status."""
    ends = ends or PipeEnds()
    try:
        ends.write(hello_line())
        from replay.remote.serve_run import serve_run

        return serve_run(ends, runs_dir, asked)
    except ViewerLeft:
        return 0
