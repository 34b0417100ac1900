"""`ltxtui comfy`: put the recorder's nodes into ComfyUI, and take them out again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import click

from ltxtui.cli.common import CliError, LocalPath, command_line, load_run, recorded_path, say
from ltxtui.plot.text import clean

USUAL_PORT: Final = 8188
_FOLDER = click.argument("path", type=LocalPath(file_okay=False, path_type=Path))


@click.group(
    epilog="""\b
Examples:
  ltxtui comfy install ComfyUI           the nodes LTX Telemetry, LTX Shock and LTX Shock Sigmas
  ltxtui comfy install ComfyUI --all     record every LTX sampling, whatever the graph is
  ltxtui comfy uninstall ComfyUI
"""
)
def comfy() -> None:
    """Record LTX samplings in ComfyUI: one small file in its folder custom_nodes.

    The file imports ltxtui from the Python that runs ComfyUI, so ltxtui must be installed there too. Nothing else of
    ComfyUI is changed.
    """


@comfy.command(
    epilog="""\b
Examples:
  ltxtui comfy install ComfyUI
  ltxtui comfy install ComfyUI --all
"""
)
@_FOLDER
@click.option("--all", "record_all", is_flag=True, help="Record every LTX sampling, without a node in the graph.")
def install(path: Path, record_all: bool) -> None:
    """Write the file into the folder custom_nodes of the ComfyUI at PATH. A second time changes nothing."""
    from recorder.runners.comfyui import shim

    written, changed = _done(lambda: shim.install(path, record_all), path)
    click.echo(f"{'installed' if changed else 'already installed'}: {written}")
    what = "every LTX sampling is recorded" if record_all else "add the node LTX Telemetry to a graph"
    click.echo(
        f"restart ComfyUI; then {what}, and watch it with: {command_line('ltxtui', 'watch', '--wait')}", err=True
    )


@comfy.command(
    epilog="""\b
Examples:
  ltxtui comfy uninstall ComfyUI
"""
)
@_FOLDER
def uninstall(path: Path) -> None:
    """Remove the file from the folder custom_nodes of the ComfyUI at PATH. Recorded runs stay."""
    from recorder.runners.comfyui import shim

    written, changed = _done(lambda: shim.uninstall(path), path)
    click.echo(f"{'removed' if changed else 'not installed'}: {written}")


def _done(action: Callable[[], tuple[Path, bool]], path: Path) -> tuple[Path, bool]:
    """Do it. Raises CliError with the reason if that is not possible."""
    from recorder.runners.comfyui.shim import CannotInstall

    try:
        return action()
    except CannotInstall as error:
        raise CliError(str(error)) from error
    except OSError as error:
        raise CliError(f"{error.filename or path}: {error.strerror or os.strerror(error.errno or 0)}") from error


def queue_again(like: str, runs_dir: Path, changed: bool) -> bool:
    """Print the workflow of a run that ComfyUI made, and how to queue it again; False if ComfyUI did not make it.

    Args:
        like: the run.
        runs_dir: where it is looked for.
        changed: whether other options were given.

    Raises:
        CliError: if the run is not found, if its workflow is not recorded, or if options were given too.
    """
    from recorder.runners.comfyui.workflow import unpacked

    run = load_run(recorded_path(like, runs_dir))
    made = run.metadata.get("comfyui")
    if not isinstance(made, Mapping):
        return False
    by = f"ComfyUI {clean(made.get('version'), 40)}"
    if changed:
        raise CliError(f"{like} was made by {by}: what options would change are nodes of its workflow; change it there")
    try:
        workflow = unpacked(made.get("workflow"))
    except ValueError as error:
        raise CliError(f"{like} was made by {by}, and {error}; the saved clip may hold it") from error
    port = made.get("port")
    at = port if isinstance(port, int) and 0 < port < 1 << 16 else USUAL_PORT
    post = command_line(
        "curl", "-s", f"http://127.0.0.1:{at}/prompt", "-H", "Content-Type: application/json", "-d", "@-"
    )
    repeat = command_line("ltxtui", "record", "--like", like, "--runs-dir", runs_dir)
    say(f"{run.name} was made by {by}; queue its workflow again with: {repeat} | {post}")
    live = sum(1 for e in run.events if e["kind"] == "shock" and e.get("payload", {}).get("live") is True)
    if live:
        say(f"its {live} live shock{'s are' if live > 1 else ' is'} not in the workflow: add the node LTX Shock")
    click.echo(json.dumps({"prompt": workflow}))
    return True
