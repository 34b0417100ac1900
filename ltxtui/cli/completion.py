"""What a shell completes besides commands and options: names of runs, tags, models and kinds of shocks.

Names come from folders that others may write to, and a shell inserts them into a command line as they are, so only
names of plain characters are offered. Nothing here imports a model's libraries or opens a run, and after an error
nothing is offered.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem
from click.types import StringParamType

from recorder.format import locations, protocol

MOST: Final = 500
"""Names that are offered, and archives whose tags are read: the newest."""
MODELS: Final = ("nano", "diffusers/LTX-2.3-Diffusers", "diffusers/LTX-2.3-Distilled-Diffusers")
SEVERAL: Final = {"ancestral": "a weak renoise at every step", "spikes": "restarts at a list of levels"}
"""Words of `--shock` that mean several shocks."""
_TIME: Final = re.compile(r"\d{8}-\d{6}-")
_PLAIN: Final = re.compile(r"\w[\w./-]*")

Values = Callable[[click.Context, str], Iterable[CompletionItem]]


class Completed(StringParamType):
    """Text for which a shell offers values."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            return list(self._values(ctx, incomplete))
        except Exception:  # noqa: BLE001 - it would be written over the line that is being typed
            return []


def complete(command: click.Command) -> click.Command:
    """The same command, whose parameters of text offer values by their names; its subcommands likewise."""
    own = {**VALUES, **OF_COMMAND.get(command.name or "", {})}
    for parameter in command.params:
        if type(parameter.type) is StringParamType and parameter.name in own:
            parameter.type = Completed(own[parameter.name])
    if isinstance(command, click.Group):
        for each in command.commands.values():
            complete(each)
    return command


def under_way() -> bool:
    """True if a shell asks for completions, so that nothing may be written to the terminal."""
    return os.environ.get("_LTXTUI_COMPLETE", "").endswith("_complete")


# -- the values of one parameter


def recorded(context: click.Context, typed: str) -> Iterator[CompletionItem]:
    """Runs of the runs directory: full names, and the part after the time where it is unique."""
    names = _recorded_names(context)
    yield from _or_files([*names, *_short(names)] if typed else names, typed)


def live(context: click.Context, typed: str) -> Iterator[CompletionItem]:
    """Live runs, by their sockets."""
    names = _live_names()
    yield from _or_files([*names, *_short(names)] if typed else names, typed)


def tags(context: click.Context, typed: str) -> Iterator[CompletionItem]:
    """Tags of the runs in the runs directory."""
    from replay.archive.open_storage import attributes_of, storage_of
    from replay.archive.safe_files import Damaged
    from replay.library.run_info import known_tags

    found: dict[str, None] = {}
    folder = _runs_dir(context)
    for name in _recorded_names(context):
        try:
            archive = locations.archive_in_place(folder / f"{name}{locations.ARCHIVE_SUFFIX}")
            attributes = attributes_of(storage_of(archive))
        except (Damaged, OSError):
            continue
        found |= dict.fromkeys(known_tags(attributes))
    yield from _items(sorted(filter(_PLAIN.fullmatch, found)), typed)


def models(context: click.Context, typed: str) -> Iterator[CompletionItem]:
    """The nano model, LTX 2.3 on the hub, what the hub's cache has of LTX, and folders."""
    found = dict.fromkeys((*MODELS, *_cached_models()))
    matching = list(_items(found, typed))
    yield from matching or [CompletionItem(typed, type="dir")]


def shocks(context: click.Context, typed: str) -> Iterator[CompletionItem]:
    """Kinds of shocks, with their meanings."""
    from recorder.shocks.spec import KINDS, MEANINGS

    meanings = {str(kind): MEANINGS[kind] for kind in KINDS} | SEVERAL
    yield from (CompletionItem(k, help=meaning) for k, meaning in meanings.items() if k.startswith(typed))


def control_words(context: click.Context, typed: str) -> Iterator[CompletionItem]:
    """`[RUN] COMMAND`, and the kind of a shock."""
    given = list(context.params.get("arguments") or ())
    if given and given[-1] == "shock":
        yield from shocks(context, typed)
    elif not given:
        yield from _items([*protocol.COMMANDS, *_live_names()], typed)
    elif len(given) == 1 and given[0] not in protocol.COMMANDS:
        yield from _items(protocol.COMMANDS, typed)


VALUES: Final[dict[str, Values]] = {
    "given": recorded,
    "like": recorded,
    "path": recorded,
    "runs": recorded,
    "tag": tags,
    "model": models,
    "shocks": shocks,
    "arguments": control_words,
}
"""By the name of a parameter, in every command."""
OF_COMMAND: Final[dict[str, dict[str, Values]]] = {"watch": {"run": live}}
"""What differs in one command."""


# -- where the values come from


def _runs_dir(context: click.Context) -> Path:
    at: click.Context | None = context
    while at is not None:
        if (found := at.params.get("runs_dir")) is not None:
            return Path(found)
        at = at.parent
    return Path(os.environ.get("LTXTUI_RUNS_DIR") or "runs")


def _recorded_names(context: click.Context) -> list[str]:
    from replay.library.listing import archives_in

    return _newest(locations.run_name(path) for path in archives_in(_runs_dir(context)))


def _live_names() -> list[str]:
    folder = locations.runtime_path()
    locations.check_runtime_directory(folder)
    return _newest(path.stem for path in folder.glob(f"*{locations.SOCKET_SUFFIX}"))


def _newest(names: Iterable[str]) -> list[str]:
    """Names of plain characters, newest first: they begin with the time."""
    return sorted(filter(_PLAIN.fullmatch, names), reverse=True)[:MOST]


def _short(names: list[str]) -> list[str]:
    """The parts after the time that occur in a single name; commands accept these."""
    parts = (_TIME.sub("", name, count=1) for name in names if _TIME.match(name))
    return [part for part in parts if part and sum(part in name for name in names) == 1]


def _cached_models() -> Iterator[str]:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    folder = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    for path in sorted(folder.glob("models--*")):
        name = path.name.removeprefix("models--").replace("--", "/")
        if "ltx" in name.lower() and _PLAIN.fullmatch(name):
            yield name


def _items(values: Iterable[str], typed: str) -> Iterator[CompletionItem]:
    return (CompletionItem(value) for value in values if value.startswith(typed))


def _or_files(values: Iterable[str], typed: str) -> Iterator[CompletionItem]:
    """Values, or files and folders if no value has this beginning."""
    matching = list(_items(values, typed))
    yield from matching or [CompletionItem(typed, type="file")]
