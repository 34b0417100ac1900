"""`ltxtui run`: record a command that does not know of the recorder."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from ltxtui.cli.common import CliError, check_writable, command_line, runs_dir_option
from ltxtui.cli.options.alert import rule_ids
from ltxtui.cli.options.shock import SHOCK_KEYS, read_shocks, shock_option

if TYPE_CHECKING:
    from recorder.runners.launched.options import LaunchOptions

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
_COUNT: Final = click.IntRange(min=1, max=1_000_000)

EXAMPLES = f"""\b
Examples:
  ltxtui run -- python two_stages.py                          one run; each pipeline call is a stage of it
  ltxtui run --name fox -- python generate.py --prompt "a fox in the snow"
  ltxtui run -- torchrun --nproc-per-node 2 generate.py       rank 0 is recorded
  ltxtui run --ranks all -- torchrun --nproc-per-node 2 prompts.py
  ltxtui run --each call --every 10 --keep 20 -- python server.py
  ltxtui run --shock restart:sigma=0.93,db=3 -- python generate.py
  ltxtui run -- python ComfyUI/main.py                        one run per prompt

{SHOCK_KEYS}
\b
Watch it from another terminal with: ltxtui watch
"""


@click.command(epilog=EXAMPLES, context_settings={"allow_interspersed_args": False}, options_metavar="[OPTIONS] --")
@click.option("--name", help="Name added to the start time. Default: two random words.")
@click.option(
    "--each",
    type=click.Choice(["process", "call"]),
    help="What is one run: all calls of a process, or each call of a pipeline, for servers.  [default: process]",
)
@click.option(
    "--ranks",
    type=click.Choice(["0", "all"]),
    default="0",
    show_default=True,
    help="Which ranks record: under context parallelism all see the same latents.",
)
@click.option("--every", type=_COUNT, default=1, show_default=True, help="Record the first of every N calls.")
@click.option("--keep", type=_COUNT, help="Keep only the N newest runs of a process; each call is then a run.")
@shock_option
@click.option(
    "--stop-if",
    metavar="RULE[,RULE]",
    callback=rule_ids,
    help="Stop a run after the step in which one of these rules finds something, such as not-finite. Loops of "
    "diffusers end early, and those of ltx-pipelines raise GenerationStopped in the script.",
)
@click.option("--allow-control", is_flag=True, help="Accept commands of: ltxtui control.")
@runs_dir_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="COMMAND…")
def run(
    name: str | None,
    each: Literal["process", "call"] | None,
    ranks: Literal["0", "all"],
    every: int,
    keep: int | None,
    shocks: tuple[str, ...],
    stop_if: tuple[str, ...],
    allow_control: bool,
    runs_dir: Path,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND unchanged, and record what it and its children denoise with LTX 2.x.

    Recorded are the LTX pipelines of diffusers, Lightricks' ltx-pipelines and ComfyUI, in every Python that has ltxtui
    installed. COMMAND takes the place of this process: its output, exit status, signals and terminal are its own.
    Results are bit-identical without shocks. Paths of runs are printed on standard error at the end, or one line with
    the reason why nothing was recorded.

    A script that records itself is left alone. A shock that cannot act raises ValueError in the script.
    """
    from recorder.runners.launched.options import LaunchOptions

    if not command:
        raise CliError(f"give a command, such as: {command_line('ltxtui', 'run', '--', 'python', 'generate.py')}")
    if keep is not None and each == "process":
        raise CliError("--keep counts runs, and --each process makes one per process; remove one of them")
    program = program_of(command[0])
    check_writable(runs_dir)
    options = LaunchOptions(
        runs_dir=os.path.abspath(runs_dir),  # noqa: PTH100 - keeps links
        name=name or "",
        each=each or ("process" if keep is None else "call"),
        ranks=ranks,
        every=every,
        keep=keep or 0,
        shocks=tuple(shock.as_dict() for shock in read_shocks(shocks)),
        stop_if=stop_if,
        allow_control=allow_control,
    )
    become(program, command, options)


def program_of(name: str) -> str:
    """The program of a command. Exits as a shell does if there is none."""
    if (found := shutil.which(name)) is not None:
        return found
    there = os.sep in name and Path(name).exists()
    click.echo(f"ltxtui: {name}: {'permission denied, or not a program' if there else 'command not found'}", err=True)
    sys.exit(NOT_EXECUTABLE if there else NOT_FOUND)


def become(program: str, command: tuple[str, ...], options: LaunchOptions) -> None:
    """Replace this process by the command.

    Raises:
        CliError: if the system refuses.
    """
    from recorder.runners.launched import watcher
    from recorder.runners.launched.environment import compile_hook, environment

    notes = Path(tempfile.mkdtemp(prefix="ltxtui-run-")) / "notes"
    notes.touch()
    compile_hook()
    made = environment(os.environ, options, notes)
    watcher.watch(notes, command)
    sys.stdout.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and a command would inherit that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(program, command, made)
    except OSError as error:
        raise CliError(f"{program} cannot be executed: {error.strerror}") from error
