"""What several subcommands share: options, checks before anything slow, and how problems are said."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from ltxtui.plot.text import clean
from recorder.format import locations
from recorder.system.open_folders import make_folders

Command = TypeVar("Command", bound=Callable[..., Any])

MAX_NAMED = 5
"""Runs that are named where several could be meant."""
RUNS_DIR_HELP = "Where archives of runs are kept; also taken from LTXTUI_RUNS_DIR."


class Problem(click.ClickException):
    """Something the user can mend: one line on standard error, exit status 1."""

    def show(self, file: Any = None) -> None:
        # Most reasons quote a file, and files come from other people.
        click.echo(f"ltxtui: {clean(self.message)}", err=True)


def say(line: str) -> None:
    """A line on standard error; nothing where the terminal has been closed."""
    with contextlib.suppress(OSError):
        click.echo(line, err=True)


class LocalPath(click.Path):
    """A path of this machine; a URL is refused in one line."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name = (
            "the path"
            if param is None
            else param.opts[0]
            if isinstance(param, click.Option)
            else param.human_readable_name
        )
        check_local(value, name)
        return super().convert(value, param, ctx)


def check_local(given: str | os.PathLike[str], name: str) -> None:
    """Refuse a URL, such as `s3://bucket/runs`. Raises Problem."""
    try:
        locations.local_path(given, name)
    except ValueError as error:
        raise Problem(str(error)) from error


def runs_dir_option(command: Command) -> Command:
    """`--runs-dir`, the same for every subcommand."""
    return click.option(
        "--runs-dir",
        type=LocalPath(file_okay=False, path_type=Path),
        default=Path("runs"),
        envvar="LTXTUI_RUNS_DIR",
        show_default=True,
        help=RUNS_DIR_HELP,
        callback=_said_before,
    )(command)


def _said_before(context: click.Context, parameter: click.Parameter, value: Path) -> Path:
    """`ltxtui --runs-dir X COMMAND` is `ltxtui COMMAND --runs-dir X`; what stands nearest to the command counts."""
    root = context.find_root()
    given: Path | None = root.params.get("runs_dir") if root is not context else None
    here = context.get_parameter_source(str(parameter.name)) is click.core.ParameterSource.COMMANDLINE
    return value if given is None or here else given


def is_terminal(stream: IO[str] | None) -> bool:
    """True if a stream is there at all, which it is not where it was closed, and is a terminal."""
    return stream is not None and not stream.closed and stream.isatty()


def coloured() -> bool:
    """True if text on standard output may have colours."""
    return is_terminal(sys.stdout) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def has_terminal() -> bool:
    """True if a dashboard can be shown and typed at."""
    return is_terminal(sys.stdin) and is_terminal(sys.stdout) and os.environ.get("TERM", "") != "dumb"


def need_terminal(instead: str) -> None:
    """Raise a Problem if there is no terminal to draw on."""
    if not has_terminal():
        raise Problem(f"the dashboard needs a terminal; {instead}")


def check_writable(runs_dir: Path) -> None:
    """Make the runs directory and see that files can be made in it, before a model is loaded for minutes.

    Raises:
        Problem: with the reason.
    """
    probe = runs_dir / f".ltxtui-{os.getpid()}"
    try:
        make_folders(runs_dir)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise Problem(
            f"the runs directory {runs_dir} cannot be written ({error.strerror}); choose another with --runs-dir"
        ) from error


def run_path(given: str, runs_dir: Path) -> Path:
    """The path that an argument means: a path as it is, or the whole name of a run in the runs directory.

    Raises:
        Problem: if it is a URL or empty.
    """
    check_local(given, "a run")
    if not given:
        raise Problem("the name of a run is empty; see the runs there are with: ltxtui runs")
    path = Path(given)
    if path.exists() or os.sep in given:
        return path
    named = runs_dir / f"{given.removesuffix(locations.ARCHIVE_SUFFIX)}{locations.ARCHIVE_SUFFIX}"
    return named if named.exists() or locations.journal_of(named).exists() else path


def recorded_path(given: str, runs_dir: Path) -> Path:
    """The recorded run that an argument means: as `run_path`, or a part of a name that one run alone has.

    Raises:
        Problem: if there is none, or if there are several.
    """
    from replay.library.listing import archives_in

    path = run_path(given, runs_dir)
    if path.exists() or locations.journal_of(path).exists():
        return path
    found = sorted((p for p in archives_in(runs_dir) if given in p.stem), reverse=True)
    if len(found) == 1:
        return found[0]
    look = f"see the runs there are with: ltxtui runs --runs-dir {runs_dir}"
    if not found:
        raise Problem(f"{path} does not exist; {look}")
    names = ", ".join(p.stem for p in found[:MAX_NAMED]) + ", …" * (len(found) > MAX_NAMED)
    raise Problem(f"{len(found)} runs have {given!r} in their name: {names}; give more of one, {look}")
