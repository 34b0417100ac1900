"""`ltxtui config`: show, edit and check the settings of the dashboard."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from ltxtui.cli.common import CliError
from recorder.system.open_folders import PRIVATE_MODE, make_folders, replace_file

NO_HOME = "the home directory is unknown; set LTXTUI_CONFIG to a settings file"


@click.command(
    epilog="""\b
Examples:
  ltxtui config               the current settings and the path of their file
  ltxtui config --edit        open the file in $VISUAL or $EDITOR; a new one explains every setting
  ltxtui config --check       one line for each mistake, and exit status 1 if there are any
  ltxtui config --keys        every action, with its name in the table [keys]
  ltxtui config --tour        show the tour again at the next start
"""
)
@click.option("--edit", is_flag=True, help="Edit the file, then check it.")
@click.option("--check", is_flag=True, help="List mistakes in the file with their lines.")
@click.option("--keys", "list_keys", is_flag=True, help="List the actions and their keys.")
@click.option("--tour", is_flag=True, help="Show the tour at the next start.")
def config(edit: bool, check: bool, list_keys: bool, tour: bool) -> None:
    """Show, edit and check the settings of the dashboard: theme, drawing, keys.

    They are stored in a TOML file in the XDG config directory, or in the file that LTXTUI_CONFIG names. A setting that
    is invalid is reported, and its default is used; the dashboard starts in any case.
    """
    if edit + check + list_keys + tour > 1:
        raise CliError("give one of --edit, --check, --keys and --tour")
    from ltxtui import settings

    if list_keys:
        _keys()
    elif tour:
        _tour()
    elif edit:
        _edit(settings.settings_path())
        _check()
    elif check:
        _check()
    else:
        loaded = settings.load()
        where = str(loaded.path) if settings.settings_path() is not None else NO_HOME
        click.echo(f"# {where}" + ("" if loaded.exists else " (no file; defaults shown)"))
        click.echo("\n".join(settings.as_lines(loaded)))
        if loaded.notice:
            click.echo(f"ltxtui: {loaded.notice}", err=True)


def _check() -> None:
    from ltxtui import settings

    if settings.settings_path() is None:
        click.echo(f"{NO_HOME}; defaults are used")
        return
    loaded = settings.load()
    if not loaded.exists:
        click.echo(f"{loaded.path} does not exist; defaults are used (create it with: ltxtui config --edit)")
        return
    for problem in loaded.problems:
        click.echo(f"{loaded.path}:{problem.line}: {problem.text}", err=True)
    if loaded.problems:
        sys.exit(1)
    click.echo(f"{loaded.path} is valid")


def _edit(path: Path | None) -> None:
    if path is None:
        raise CliError(NO_HOME)
    from ltxtui.reports.export import editor
    from ltxtui.settings import EXAMPLE

    try:
        make_folders(path.parent, PRIVATE_MODE)
        if not path.exists():
            replace_file(path, EXAMPLE.encode())
    except OSError as error:
        raise CliError(
            f"{path} cannot be written ({error.strerror}); choose another file with LTXTUI_CONFIG"
        ) from error
    command = [*editor(), str(path)]
    try:
        done = subprocess.run(command, check=False)
    except OSError as error:
        raise CliError(f"the editor {command[0]!r} cannot be started; set EDITOR, or edit {path} yourself") from error
    if done.returncode:
        raise CliError(f"the editor {command[0]!r} ended with status {done.returncode}; {path} was not checked")


def _keys() -> None:
    from ltxtui.actions import ACTIONS, keys_text
    from ltxtui.settings import load

    keymap = load().settings.keys
    rows = [(a.id, keys_text(a, keymap), ", ".join(a.screens), a.label) for a in ACTIONS]
    widths = [max(len(row[n]) for row in rows) for n in range(3)]
    for row in rows:
        click.echo("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))


def _tour() -> None:
    from ltxtui.state import SavedState

    state = SavedState()
    if state.path is None:
        raise CliError("the home directory is unknown; press F2 in the dashboard instead, or set LTXTUI_STATE")
    state.set_tour_seen(False)
    if SavedState().tour_seen:
        raise CliError(f"{state.path} cannot be written; press F2 in the dashboard instead")
    click.echo("the tour will be shown at the next start; F2 shows it at any time")
