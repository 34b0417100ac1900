"""What several subcommands share: options, checks that come before slow work, loading of runs, colours, errors."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from ltxtui.plot.text import clean
from ltxtui.terminal.served import is_served
from recorder.format import locations
from recorder.system.open_folders import make_folders
from replay.remote.address import Address, BadAddress, is_address, parse_address
from replay.remote.stores.address import StoreAddress, is_store, parse_store

if TYPE_CHECKING:
    from replay.model.run import Run
    from replay.sources.open import Source

Command = TypeVar("Command", bound=Callable[..., Any])

MAX_NAMED = 5
"""Most runs that an error lists by name."""
MAX_WIDTH = 100
"""Most columns of printed tables and plots."""
RUNS_DIR_HELP = "Folder of the recorded runs; also taken from LTXTUI_RUNS_DIR."
_COLOURS = {"s1": "cyan", "s2": "yellow", "s3": "magenta", "axis": "bright_black", "tick": "bright_black"}


class CliError(click.ClickException):
    """An error that the user can correct: one line on standard error, exit status 1."""

    def show(self, file: Any = None) -> None:
        # Most messages quote a file, and files may come from others: terminal controls are removed.
        click.echo(f"ltxtui: {clean(self.message)}", err=True)


def say(line: str) -> None:
    """Print a line on standard error; does nothing if the terminal is closed."""
    with contextlib.suppress(OSError):
        click.echo(line, err=True)


class LocalPath(click.Path):
    """A local path; a URL is refused with a one-line error."""

    takes_stores = False

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
    """Refuse a URL, such as `s3://bucket/runs`. Raises CliError."""
    try:
        locations.local_path(given, name)
    except ValueError as error:
        raise CliError(str(error)) from error


def runs_dir_option(command: Command, kind: type[LocalPath] = LocalPath) -> Command:
    """`--runs-dir`, the same for every command; one given to a group is the default of its subcommands.

    Args:
        command: that gets it.
        kind: what it takes, a local folder unless given.
    """
    return click.option(
        "--runs-dir",
        type=kind(file_okay=False, path_type=Path),
        default=Path("runs"),
        envvar="LTXTUI_RUNS_DIR",
        show_default=True,
        help=RUNS_DIR_HELP,
        callback=_inherited,
    )(command)


def json_option(help: str) -> Callable[[Command], Command]:
    """`--json`; one given to a group is that of its subcommands too."""

    def decorate(command: Command) -> Command:
        return click.option("--json", "as_json", is_flag=True, help=help, callback=_inherited)(command)

    return decorate


def _inherited(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """The value given to this command, otherwise the one of the group that it belongs to, if that has one.

    `ltxtui --runs-dir X runs check RUN`, `ltxtui runs --runs-dir X check RUN` and `ltxtui runs check --runs-dir X RUN`
    mean the same; the option closest to the end of the line wins.
    """
    name = str(parameter.name)
    if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE or context.parent is None:
        return value
    outer = context.parent.params.get(name)
    if isinstance(outer, StoreAddress) and not getattr(parameter.type, "takes_stores", False):
        check_local(str(outer), "--runs-dir")
    return value if outer is None else outer


def is_terminal(stream: IO[str] | None) -> bool:
    """True if a stream is open and is a terminal."""
    return stream is not None and not stream.closed and stream.isatty()


def coloured() -> bool:
    """True if standard output accepts colours."""
    return is_terminal(sys.stdout) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def text_width() -> int:
    """Columns for printed tables and plots: those of the terminal, within 40 and MAX_WIDTH."""
    return max(40, min(MAX_WIDTH, shutil.get_terminal_size((80, 24)).columns))


def painter() -> Callable[[str, str], str] | None:
    """A function that colours a piece of a plot by its role; None if standard output takes no colours."""
    return _painted if coloured() else None


def _painted(text: str, role: str) -> str:
    return click.style(text, fg=_COLOURS[role]) if role in _COLOURS else text


def page(text: str, *, pager: bool) -> None:
    """Print text, on a terminal with the user's pager if it is longer than the screen."""
    long = text.count("\n") + 1 > shutil.get_terminal_size((80, 24)).lines
    if pager and long and is_terminal(sys.stdout):
        click.echo_via_pager(text + "\n", color=coloured())
    else:
        click.echo(text, color=coloured())


def command_line(*words: object) -> str:
    """A command for a message, quoted for the shell."""
    from ltxtui.reports.export import shell_line

    return shell_line([str(word) for word in words])


def has_terminal() -> bool:
    """True if standard input and output are a terminal that can show the dashboard, or lead to a browser."""
    if is_served():
        return True
    return is_terminal(sys.stdin) and is_terminal(sys.stdout) and os.environ.get("TERM", "") != "dumb"


def need_terminal(instead: str) -> None:
    """Raise a CliError without a terminal; `instead` is what to do then."""
    if not has_terminal():
        raise CliError(f"the dashboard needs a terminal; {instead}")


def check_writable(runs_dir: Path) -> None:
    """Make the runs directory and check that it can be written, before minutes are spent on loading a model.

    Raises:
        CliError: if it cannot be written.
    """
    probe = runs_dir / f".ltxtui-{os.getpid()}"
    try:
        make_folders(runs_dir)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CliError(
            f"the runs directory {runs_dir} cannot be written ({error.strerror}); choose another with --runs-dir"
        ) from error


def run_path(given: str, runs_dir: Path) -> Path:
    """The path that an argument names: a path, or the full name of a run in the runs directory.

    The archive of a run of another machine, such as `ssh://gpu-box/red-disc`, or on a store is fetched.

    Raises:
        CliError: if it is a file URL or empty, or cannot be fetched.
    """
    if is_address(given):
        return fetched_path(given)
    if is_store(given):
        return stored_path(given)
    check_local(given, "a run")
    if not given:
        raise CliError("the name of a run is empty; list the runs with: ltxtui runs")
    path = locations.archive_in_place(Path(given))
    if path.exists() or os.sep in given:
        return path
    named = runs_dir / f"{given.removesuffix(locations.ARCHIVE_SUFFIX)}{locations.ARCHIVE_SUFFIX}"
    named = locations.archive_in_place(runs_dir / given if locations.is_packed(path) else named)
    return named if named.exists() or locations.journal_of(named).exists() else path


def address_of(text: str) -> Address:
    """The host and run of an address; a folder given with `--runs-dir` is one of that host.

    Raises:
        CliError: if it is not an address.
    """
    from ltxtui.settings import load

    try:
        address = parse_address(text, load().settings.hosts)
    except BadAddress as error:
        raise CliError(str(error)) from error
    folder = _given_folder()
    return replace(address, host=replace(address.host, runs_dir=folder)) if folder else address


def _given_folder() -> str:
    """The folder that `--runs-dir` names on the command line; empty for none."""
    context = click.get_current_context(silent=True)
    while context is not None:
        if context.get_parameter_source("runs_dir") is click.core.ParameterSource.COMMANDLINE:
            return str(context.params["runs_dir"])
        context = context.parent
    return ""


def connect(address: Address) -> None:
    """Connect to a host by ssh, which may ask for a password now. What fails is reported by what is done next."""
    from replay.remote.sessions import open_session

    open_session(address.host, ask=has_terminal())


def fetched_path(text: str) -> Path:
    """The packed archive of the run that an address names, in the cache.

    Raises:
        CliError: if it cannot be fetched.
    """
    from replay.remote.run import NotReached, fetch

    address = address_of(text)
    if not address.run:
        raise CliError(f"{text} names no run; list them with: ltxtui {address.host.address}")
    connect(address)
    try:
        return fetch(address.host, address.run)
    except NotReached as error:
        raise CliError(str(error)) from error


def stored_path(text: str, *, whole: bool = False) -> Path:
    """The archive that an address on a store names, in the cache; a part of a run's name is enough.

    Args:
        text: the address.
        whole: with the latents of a large archive.

    Raises:
        CliError: if it cannot be had.
    """
    from replay.remote.stores.fetch import fetch
    from replay.remote.stores.listing import find_run

    with store_problems():
        return fetch(find_run(parse_store(text)), whole=whole)


@contextlib.contextmanager
def store_problems() -> Iterator[None]:
    """What goes wrong with a store, in one line."""
    from replay.remote.stores.filesystem import MissingStoreExtra, UnknownScheme
    from replay.remote.stores.problems import StoreProblem

    try:
        yield
    except (BadAddress, StoreProblem, MissingStoreExtra, UnknownScheme) as error:
        raise CliError(str(error)) from error


def recorded_path(given: str, runs_dir: Path) -> Path:
    """The recorded run that an argument names: as in `run_path`, or any unique part of a run's name.

    Raises:
        CliError: if no run matches, or several do.
    """
    from replay.library.listing import archives_in

    path = run_path(given, runs_dir)
    if path.exists() or locations.journal_of(path).exists():
        return path
    found = sorted((p for p in archives_in(runs_dir) if given in locations.run_name(p)), reverse=True)
    if len(found) == 1:
        return found[0]
    look = f"list the runs with: {command_line('ltxtui', 'runs', '--runs-dir', runs_dir)}"
    if not found:
        raise CliError(f"{path} does not exist; {look}")
    names = ", ".join(locations.run_name(p) for p in found[:MAX_NAMED]) + ", …" * (len(found) > MAX_NAMED)
    raise CliError(f"{len(found)} runs match {given!r}: {names}; be more specific, or {look}")


def load_run(path: Path) -> Run:
    """Read a whole run from its archive or journal.

    Raises:
        CliError: if the path is not a run or cannot be read.
    """
    from replay.sources.open import load

    with _reading(path):
        return load(path)


def open_source(path: Path) -> Source:
    """Open a run, finished or not, to read its messages as they come.

    Raises:
        CliError: if the path is not a run or cannot be read.
    """
    from replay.sources.open import open_path

    with _reading(path):
        return open_path(path)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    from replay.model.run import NotARun

    try:
        yield
    except NotARun as error:
        raise CliError(str(error)) from error
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror or error}") from error
