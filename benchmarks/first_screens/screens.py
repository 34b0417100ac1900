"""What a new user sees: the list of `ltxtui runs`, and the dashboard's first screen as text and picture."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.terminal import SIZE

LISTING = "runs.txt"
PATIENCE = 120.0
"""Seconds that a screen may take until its run is read and examined."""


def listing(folder: Path) -> str:
    """The output of `ltxtui runs` on a folder."""
    command = [sys.executable, "-m", "ltxtui", "runs", "--runs-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=surroundings(folder))
    return done.stdout + done.stderr


def surroundings(folder: Path) -> dict[str, str]:
    """An environment with all colours, and without settings, data or baselines of the user."""
    own = {f"LTXTUI_{name}": str(folder.parent / f".{name.lower()}") for name in ("CONFIG", "STATE", "CACHE", "DATA")}
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "LTXTUI_RUNS_DIR")}
    return {**kept, **own, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8"}


def first_screen(run: Path, to: Path) -> None:
    """Write the dashboard's first screen of a finished run, as `ltxtui replay RUN` shows it, to TO.txt and TO.svg.

    Raises:
        TimeoutError: if the run is not read and examined in two minutes.
    """
    text, picture = asyncio.run(_drawn(run))
    to.with_suffix(".txt").write_text(text, encoding="utf-8")
    to.with_suffix(".svg").write_text(picture, encoding="utf-8")


async def _drawn(run: Path) -> tuple[str, str]:
    from ltxtui.app import Dashboard
    from replay.sources.open import open_path

    app = Dashboard(open_path(run))
    async with app.run_test(size=SIZE) as pilot:
        until = time.monotonic() + PATIENCE
        before, equal = "", 0
        while equal < 4:  # Textual styles, lays out and draws in several turns
            if time.monotonic() > until:
                raise TimeoutError(f"{run.name} was not read and examined in {PATIENCE:.0f} s")
            await pilot.pause(0.02)
            deck = app.deck
            now = app.export_screenshot() if not deck.loading and deck.findings.current else ""
            equal = equal + 1 if now and now == before else 0
            before = now
        strips = app.screen._compositor.render_strips()
        text = "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)
        return text + "\n", app.export_screenshot(title="ltxtui")
