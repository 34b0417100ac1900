"""The user's settings: a TOML file in the XDG config directory, read once; mistakes are reported with their lines."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from ltxtui.actions import ACTIONS, BY_ID
from ltxtui.actions.keys import Keymap, key_name, keys_of, read_key
from ltxtui.plot.line_plot import Style
from ltxtui.themes import THEMES
from ltxtui.viewmodel.layout import PRESETS
from recorder.format.locations import user_folder
from replay.remote.address import BadAddress, RemoteHost, read_host

FILE: Final = "config.toml"
ENVIRONMENT: Final = "LTXTUI_CONFIG"
"""The environment variable that names another settings file."""

EXAMPLE: Final = """\
# Settings of ltxtui. All of them are optional; `ltxtui config` shows the current ones.

# theme = "dark"           # dark, light or safe (for all kinds of colour vision); default: as the terminal
# drawing = "braille"      # braille, block or ascii; default: braille, or ascii without a UTF-8 locale
# preset = 1               # the set of panels that a run opens with
# export_dir = "."         # folder of screenshots and CSV files
# tour = true              # show the tour at the first start
# mouse = true             # false: the terminal selects text
# alerts = true            # ring and notify when a live run ends, fails, becomes NaN or stalls

[hosts]
# Machines whose runs the list of runs shows too, by ssh or by another command that reaches them.
# gpu-box = "ssh://me@gpu-box:2222"
# node = { prefix = "srun --jobid 4711 --overlap", command = "/opt/ltx/bin/ltxtui", runs_dir = "/data/runs" }

[keys]
# Keys by action (`ltxtui config --keys` lists them): one key, or as many as the action has; [] for none.
# They replace all keys of the action. To use a key of another action on the same screen, change that action too.
# theme = "T"
# cursor = ["h", "l"]      # where h hides a panel and l marks a loop:
# hide = "D"
# loop = "O"
# quit = "Q"               # replaces Ctrl+Q, Ctrl+C and, unless `back` is set too, q
"""


@dataclass(frozen=True)
class SettingsProblem:
    """One mistake in a settings file."""

    line: int
    text: str


@dataclass(frozen=True)
class Settings:
    """The current settings. None leaves the choice to the terminal."""

    theme: str | None = None
    drawing: Style | None = None
    preset: int = 1
    export_dir: Path = field(default_factory=Path)
    tour: bool = True
    mouse: bool = True
    alerts: bool = True
    hosts: Mapping[str, RemoteHost] = field(default_factory=dict)
    keys: Keymap = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """Settings, their file, and the mistakes in it."""

    settings: Settings
    path: Path
    exists: bool = False
    problems: tuple[SettingsProblem, ...] = ()

    @property
    def notice(self) -> str:
        """One line for the screen; empty if the settings have no errors."""
        if not self.problems:
            return ""
        first = self.problems[0]
        more = f", and {len(self.problems) - 1} more" if len(self.problems) > 1 else ""
        return f"{self.path} line {first.line}: {first.text}{more}; the default is used (ltxtui config --check)"


def settings_path() -> Path | None:
    """The settings file, which may not exist; None if the home directory is unknown."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    folder = user_folder("config")
    return None if folder is None else folder / FILE


def load(path: Path | None = None) -> Loaded:
    """Read the settings. A mistake is reported and its setting falls back to the default; nothing is raised."""
    path = path or settings_path()
    if path is None:
        return Loaded(Settings(), Path(FILE))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Loaded(Settings(), path)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        return Loaded(Settings(), path, True, (SettingsProblem(1, f"cannot be read: {why}"),))
    settings, problems = parse(text)
    return Loaded(settings, path, True, tuple(problems))


def parse(text: str) -> tuple[Settings, list[SettingsProblem]]:
    """Settings from TOML, and the mistakes in it."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        said = re.sub(r" \(at .*\)$", "", str(error))
        return Settings(), [
            SettingsProblem(int(found[1]) if found else len(text.splitlines()), f"not valid TOML: {said}")
        ]
    problems: list[SettingsProblem] = []
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name in _TABLES:
            values[name] = _TABLES[name](value, text, problems)
            continue
        reader = _READERS.get(name)
        if reader is None:
            known = ", ".join([*_READERS, *(f"[{table}]" for table in sorted(_TABLES))])
            problems.append(SettingsProblem(_line(text, name), f"{name!r} is not a setting; settings are {known}"))
            continue
        try:
            values[name] = reader(value)
        except ValueError as error:
            problems.append(SettingsProblem(_line(text, name), f"{name}: {error}"))
    return Settings(**values), sorted(problems, key=lambda p: p.line)


def _hosts(table: object, text: str, problems: list[SettingsProblem]) -> dict[str, RemoteHost]:
    if not isinstance(table, dict):
        problems.append(SettingsProblem(_line(text, "hosts"), "hosts is a table: write [hosts] on a separate line"))
        return {}
    hosts: dict[str, RemoteHost] = {}
    for name, value in table.items():
        try:
            hosts[name] = read_host(name, value)
        except BadAddress as error:
            problems.append(SettingsProblem(_line(text, name, "hosts"), f"hosts.{name}: {error}"))
    return hosts


def _keys(table: object, text: str, problems: list[SettingsProblem]) -> dict[str, tuple[str, ...]]:
    if not isinstance(table, dict):
        problems.append(SettingsProblem(_line(text, "keys"), "keys is a table: write [keys] on a separate line"))
        return {}
    keymap: dict[str, tuple[str, ...]] = {}
    for id, value in table.items():
        try:
            keymap[id] = _keys_of(id, value)
        except ValueError as error:
            problems.append(SettingsProblem(_line(text, id, "keys"), f"keys.{id}: {error}"))
    if keymap.get("quit") and "back" not in keymap:
        keymap["back"] = ()  # q quits too, and keys that are replaced have no effect
    while (found := _clash(keymap)) is not None:
        id, said = found
        problems.append(SettingsProblem(_line(text, id, "keys"), f"keys.{id}: {said}"))
        del keymap[id]  # its default keys apply again, which may clash with those set for another action
    return keymap


def _clash(keymap: Mapping[str, tuple[str, ...]]) -> tuple[str, str] | None:
    """An action whose key belongs to another one on the same screen, with the message; None if there is none."""
    owners: dict[tuple[str, str], str] = {}
    # Actions of the file come last, in its order: of two that clash, the later one is reported.
    for id in (*(a.id for a in ACTIONS if a.id not in keymap), *keymap):
        keys, also = keys_of(BY_ID[id], keymap)
        for screen in BY_ID[id].screens:
            for key in (*keys, *also):
                other = owners.setdefault((screen, key), id)
                if other != id:
                    named = key_name((key,))
                    if other in keymap:
                        return id, f"{named!r} is already given to {other!r}"
                    way = f"give {other} another key here, or [] for none"
                    return id, f"{named!r} is the key of {other!r} on the {screen} screen; {way}"
    return None


def _keys_of(id: str, value: object) -> tuple[str, ...]:
    if id not in BY_ID:
        raise ValueError("is not an action; ltxtui config --keys lists them")
    written = [value] if isinstance(value, str) else value
    if not isinstance(written, list) or not all(isinstance(key, str) for key in written):
        raise ValueError('is neither a key such as "x" nor a list such as ["x", "ctrl+x"]')
    keys = tuple(read_key(key) for key in written)
    needed = len(BY_ID[id].keys)
    if keys and needed > 1 and len(keys) != needed:
        raise ValueError(f"needs {needed} keys, in the order of help, or [] for none; it has {len(keys)}")
    if len(set(keys)) != len(keys):
        raise ValueError("names a key twice")
    return keys


def _one_of(**choices: Any) -> Callable[[object], Any]:
    def read(value: object) -> Any:
        if not isinstance(value, str) or value.lower() not in choices:
            raise ValueError(f"{value!r} is not one of {', '.join(choices)}")
        return choices[value.lower()]

    return read


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not true or false")
    return value


def _preset(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= len(PRESETS):
        raise ValueError(f"{value!r} is not a number from 1 to {len(PRESETS)}")
    return value


def _folder(value: object) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a folder")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"{value!r} is in an unknown home directory") from None


_READERS: Final[dict[str, Callable[[object], Any]]] = {
    "theme": _one_of(**{theme.name.removeprefix("ltxtui-"): theme.name for theme in THEMES}),
    "drawing": _one_of(**{style.value.lower(): style for style in Style}),
    "preset": _preset,
    "export_dir": _folder,
    "tour": _flag,
    "mouse": _flag,
    "alerts": _flag,
}


_TABLES: Final[dict[str, Callable[[object, str, list[SettingsProblem]], Any]]] = {"keys": _keys, "hosts": _hosts}


def _line(text: str, name: str, table: str = "") -> int:
    """The line that sets a name, in a table or before the first table."""
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            inside = found[1]
            if not table and inside == name:
                return number
        elif inside == table and re.match(rf"""\s*["']?{re.escape(name)}["']?\s*[=.]""", line):
            return number
    return 1


def as_lines(loaded: Loaded) -> list[str]:
    """The current settings as TOML, for display."""
    lines = []
    for each in fields(Settings):
        value = getattr(loaded.settings, each.name)
        if each.name in _TABLES:
            continue
        if value is None:
            lines.append(f"# {each.name}: chosen for the terminal")
            continue
        if isinstance(value, bool):
            shown = str(value).lower()
        elif isinstance(value, int):
            shown = str(value)
        else:
            word = value.value.lower() if isinstance(value, Style) else str(value).removeprefix("ltxtui-")
            shown = _quoted(word)
        lines.append(f"{each.name} = {shown}")
    if loaded.settings.hosts:
        lines += ["", "[hosts]", *(f"# {name}: {host.address}" for name, host in loaded.settings.hosts.items())]
    lines += ["", "[keys]"]
    lines += [f"{id} = [{', '.join(map(_quoted, keys))}]" for id, keys in loaded.settings.keys.items()]
    return lines


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
