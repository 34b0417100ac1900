"""`ltxtui pack` and `ltxtui unpack`: a recorded run as one file, to be sent or kept, and back as a folder."""

from __future__ import annotations

from pathlib import Path

import click

from ltxtui.cli.common import CliError, LocalPath, runs_dir_option
from ltxtui.cli.stores.elsewhere import is_elsewhere, whole_path
from ltxtui.plot.text import clean
from recorder.format import locations

_OUTPUT = LocalPath(path_type=Path)


@click.command(
    epilog="""\b
Examples:
  ltxtui pack red-disc                         next to it: ….zarr.zip, which every command reads
  ltxtui pack smooth spike --output results    two runs, into the folder results
  ltxtui pack red-disc --small --output red-disc.zarr.zip
  ltxtui pack red-disc --replace               keep only the packed run
"""
)
@click.argument("given", metavar="RUN...", nargs=-1, required=True)
@click.option("--output", "-o", type=_OUTPUT, help="A folder, or with one run a file. Default: next to the run.")
@click.option("--small", is_flag=True, help="Compress: half the size, for mail. Parts cannot be read over a network.")
@click.option("--replace", is_flag=True, help="Remove the folder of the run once the file is on the disk.")
@runs_dir_option
def pack(given: tuple[str, ...], output: Path | None, small: bool, replace: bool, runs_dir: Path) -> None:
    """Write the archive of a finished run as one file.

    RUN is a path, or a part of a run's name. The file holds every byte of the archive, and every command reads it as it
    reads the folder. The printed path is that of the file.
    """
    from replay.library.edit import CannotChange, delete
    from replay.packed.pack import CannotPack
    from replay.packed.pack import pack as write

    for name in given:
        archive = whole_path(name, runs_dir)
        place = Path.cwd() if output is None and is_elsewhere(name) else output
        target = _target(place, locations.packed_of(archive).name, len(given), locations.PACKED_SUFFIX)
        try:
            made = write(archive, target, small=small)
            if replace:
                delete(archive)
        except (CannotPack, CannotChange) as error:
            raise CliError(clean(error, 400)) from error
        except OSError as error:
            raise _failed(error, name) from error
        click.echo(clean(str(made), 4000))


@click.command(
    epilog="""\b
Examples:
  ltxtui unpack red-disc                       next to it, as a folder
  ltxtui unpack red-disc.zarr.zip --output /data/runs
"""
)
@click.argument("given", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--output", "-o", type=_OUTPUT, help="The folder to put runs in, or with one run its path. Default: here."
)
@runs_dir_option
def unpack(given: tuple[str, ...], output: Path | None, runs_dir: Path) -> None:
    """Write a packed run as a folder; the file stays.

    RUN is a path, or a part of a run's name. The exit status is 1 if parts have changed since they were packed: the
    folder has what can be read, and `ltxtui runs repair` makes a sound run of it.
    """
    from replay.packed.pack import CannotPack
    from replay.packed.unpack import unpack as write

    damaged = False
    for name in given:
        packed = locations.packed_of(path) if (path := whole_path(name, runs_dir)).is_dir() else path
        place = Path.cwd() if output is None and is_elsewhere(name) else output
        target = _target(place, locations.archive_of(packed).name, len(given), locations.ARCHIVE_SUFFIX)
        try:
            made = write(packed, target)
        except CannotPack as error:
            raise CliError(clean(error, 400)) from error
        except OSError as error:
            raise _failed(error, name) from error
        click.echo(clean(str(made.archive), 4000))
        for line in made.damaged[:100]:
            click.echo(f"  damaged: {clean(line, 400)}", err=True)
        damaged = damaged or bool(made.damaged)
    if damaged:
        raise click.exceptions.Exit(1)


def _target(output: Path | None, name: str, count: int, suffix: str) -> Path | None:
    """Where one of several runs is written; None for next to it."""
    if output is None:
        return None
    if output.is_dir() and not output.name.endswith(suffix):
        return output / name
    if count > 1:
        output.mkdir(parents=True, exist_ok=True)
        return output / name
    if not output.name.endswith(suffix):
        raise CliError(f"--output {output} is not a folder; make it first, or give a file name that ends in {suffix}")
    return output


def _failed(error: OSError, name: str) -> CliError:
    return CliError(f"{error.filename or name}: {error.strerror or error}")
