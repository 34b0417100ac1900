"""`ltxtui demo`: a nano LTX 2.3 run in a separate process, and the live dashboard on it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from ltxtui.cli.common import CliError, check_writable, command_line, has_terminal, runs_dir_option, say
from ltxtui.cli.options.numbers import SEED
from ltxtui.cli.options.shock import read_shocks, shock_option
from ltxtui.plot.text import clean

if TYPE_CHECKING:
    from replay.model.pulse import Stall
    from replay.model.run import Run
    from replay.sources.open import Source

STOP_SECONDS = 15.0


class Recorder:
    """The recording process of the demo; it ends with the demo."""

    def __init__(self, runs_dir: Path, prompt: str, steps: int, seed: int, more: list[str], log: IO[bytes]) -> None:
        self._log = log
        command = [sys.executable, "-m", "ltxtui", "record", "--model", "nano", "--name", "demo"]
        command += ["--runs-dir", str(runs_dir), "--prompt", prompt, "--steps", str(steps), "--seed", str(seed), *more]
        # A separate session, so that Ctrl-C in the terminal reaches only the dashboard, which then stops it.
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )

    def last_line(self) -> str:
        """The last line that it printed."""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def stop(self) -> None:
        """Stop the recording as Ctrl-C does, which completes the archive; kill it if that takes too long."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextlib.contextmanager
def _recording(runs_dir: Path, prompt: str, steps: int, seed: int, more: list[str]) -> Iterator[Recorder]:
    with tempfile.TemporaryFile() as log:
        recorder = Recorder(runs_dir, prompt, steps, seed, more, log)
        try:
            yield recorder
        finally:
            recorder.stop()


@click.command(
    epilog="""\b
Examples:
  ltxtui demo
  ltxtui demo --prompt "a yellow cross moving up" --steps 60
  ltxtui demo --shock restart:sigma=0.8,db=3
  ltxtui demo | cat            without a terminal: progress lines, then the curves as text
"""
)
@runs_dir_option
@click.option("--prompt", default="a red ball moving left", show_default=True, help="What to show.")
@click.option("--steps", type=click.IntRange(1, 100_000), default=40, show_default=True, help="Denoising steps.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the noise.")
@shock_option
@click.option("--allow-control", is_flag=True, help="Accept commands of: ltxtui control.")
def demo(runs_dir: Path, prompt: str, steps: int, seed: int, shocks: tuple[str, ...], allow_control: bool) -> None:
    """Watch a real but tiny LTX 2.3 denoise on the CPU of this machine.

    The nano model is an LTX2Pipeline with all its components at toy size. It knows prompts of the form "a COLOUR SHAPE
    moving DIRECTION": red, green, blue or yellow; ball, box or cross; left, right, up or down. `q` ends the dashboard
    and the run.
    """
    from recorder.generate import CannotGenerate, check_extra

    try:
        check_extra()
    except CannotGenerate as error:
        raise CliError(str(error)) from error
    check_writable(runs_dir)
    read_shocks(shocks)
    more = [part for text in shocks for part in ("--shock", text)] + (["--allow-control"] if allow_control else [])
    from recorder.system.signals import as_ctrl_c

    status = 0
    try:
        # The dashboard handles these signals itself while it is shown.
        with as_ctrl_c(), _recording(runs_dir, prompt, steps, seed, more) as recorder:
            if has_terminal():
                status = _dashboard(recorder)
            else:
                _headless(recorder)
            recorder.stop()
            last = recorder.last_line()
    except KeyboardInterrupt:
        say("ltxtui: interrupted; what was recorded is kept: ltxtui runs")
        sys.exit(130)
    if not status and recorder.process.returncode not in (0, 130):
        raise CliError(f"the demo's recording failed: {last.removeprefix('ltxtui: ')}")
    archive = Path(last)
    if archive.exists():
        click.echo(f"open it again with: {command_line('ltxtui', 'replay', archive)}", err=True)
    sys.exit(status)


def _find(recorder: Recorder) -> Source | None:
    """The run of the demo as soon as its recorder answers; None before.

    Raises:
        LookupError: if the recording ended without a run.
    """
    from recorder.format.locations import UnsafeLocation
    from replay.library.listing import live_runs
    from replay.sources.open import SocketSource, open_path

    ended = recorder.process.poll() is not None
    try:
        for run in live_runs():
            if run.process == recorder.process.pid:
                return SocketSource(run.socket)
    except UnsafeLocation as error:
        raise LookupError(str(error)) from error
    if not ended:
        return None
    archive = Path(recorder.last_line())
    if recorder.process.returncode == 0 and archive.exists():
        return open_path(archive)  # it ended before its socket was found
    raise LookupError(f"the recording ended: {recorder.last_line()}")


def _dashboard(recorder: Recorder) -> int:
    from ltxtui.app import Dashboard
    from ltxtui.terminal.endings import show_app
    from replay.sources.open import AwaitedSource

    source = AwaitedSource(lambda: _find(recorder), "loading torch and the nano model, which takes about ten seconds")
    app = Dashboard(source)
    return show_app(app, mouse=app.settings.mouse)


def _headless(recorder: Recorder) -> None:
    """Follow the run as a viewer does and print progress lines, then a summary."""
    from ltxtui.reports.run_text import summary
    from replay.model.pulse import Pulse
    from replay.model.run import Run
    from replay.sources.open import AwaitedSource, Liveness

    click.echo("loading torch and the nano model")
    source = AwaitedSource(lambda: _find(recorder), "")
    run, pulse = Run(), Pulse()
    printed, stalled = 0, False
    with contextlib.closing(source):
        while True:
            messages = source.poll()
            pulse.feed(messages)
            for message in messages:
                run.feed(message)
            stalled = _print_stalled(pulse.stall if source.connected and not run.end else None, stalled)
            printed = _print_progress(run, printed)
            if source.liveness is not Liveness.LIVE:
                break
            if not source.connected:
                pulse.rest()
            if not messages:
                time.sleep(0.05)
    with contextlib.suppress(subprocess.TimeoutExpired):
        recorder.process.wait(STOP_SECONDS)  # the run has ended; let its process finish
    click.echo(summary(run) if run.stages else clean(source.note))


def _print_stalled(stall: Stall | None, printed: bool) -> bool:
    """Print a line when the run stalls and when it continues; returns whether it is stalled."""
    if stall is not None and not printed:
        click.echo(f"stalled for {stall.seconds:.0f} s: {stall.text}")
    elif stall is None and printed:
        click.echo("no longer stalled")
    return stall is not None


def _print_progress(run: Run, printed: int) -> int:
    """Print a progress line for each new tenth of the steps; returns the tenths printed so far."""
    if not run.stages:
        return printed
    stage = run.stages[-1]
    stream = stage.streams.get("video")
    planned = max(1, len(stage.sigmas))
    if stream is None or stream.rows * 10 // planned <= printed:
        return printed
    row = stream.rows - 1
    sigma, snr = stream.series("sigma")[row], stream.series("snr_measured_db")[row]
    click.echo(f"step {stream.rows:3}/{planned}   sigma {sigma:.3f}   SNR measured {snr:6.1f} dB")
    return stream.rows * 10 // planned
