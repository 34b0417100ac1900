"""The process behind one browser: `python -m ltxtui.terminal.browser.dashboard JSON`, with what to show."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from replay.sources.open import Source


@dataclass(frozen=True)
class Shown:
    """What a viewer sees: a run, live or recorded, or without one the list of runs; and whether it may change them."""

    run: str | None
    runs_dir: str
    read_only: bool

    def command(self) -> list[str]:
        """The words of its process."""
        return [sys.executable, "-m", "ltxtui.terminal.browser.dashboard", json.dumps(asdict(self))]


def source_of(run: str, runs_dir: Path) -> tuple[Source, tuple[str, str]]:
    """A run by its path or a part of its name, the newest live one first, and the command that shows it.

    Raises:
        CliError: if there is none, or several.
    """
    from ltxtui.cli.common import open_source, recorded_path, run_path
    from replay.library.listing import live_runs
    from replay.sources.reconnect import open_live

    if not run_path(run, runs_dir).exists():
        for live in live_runs():
            if run in live.name and live.answers:
                return open_live(live.socket, live.archive), ("watch", live.name)
    path = recorded_path(run, runs_dir)
    return open_source(path), ("replay", str(path))


def show(shown: Shown) -> int:
    """Run the dashboard until it is left. Raises CliError, OSError."""
    from ltxtui.app import Dashboard, Options
    from ltxtui.terminal.endings import show_app

    runs_dir = Path(shown.runs_dir)
    source, origin = (None, ()) if shown.run is None else source_of(shown.run, runs_dir)
    app = Dashboard(source, Options(origin=origin, runs_dir=runs_dir, read_only=shown.read_only))
    return show_app(app, mouse=app.settings.mouse)


def main() -> int:
    try:
        return show(Shown(**json.loads(sys.argv[1])))
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OSError as error:
        click.echo(f"ltxtui: {error.filename or ''} {error.strerror or error}".replace("  ", " "), err=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
