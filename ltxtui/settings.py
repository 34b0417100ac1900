"""The user's settings: a TOML file under the XDG config directory, read once, every mistake told with its line."""

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

FILE: Final = "config.toml"
ENVIRONMENT: Final = "LTXTUI_CONFIG"
"""Names another settings file."""

EXAMPLE: Final = """\
# Settings of ltxtui. Everything may be left out; `ltxtui config` shows what is in force.

# theme = "dark"           # dark, light or safe (for every kind of colour vision); by default what the terminal is
# drawing = "braille"      # braille, block or ascii; by default braille, ascii without a UTF-8 locale
# preset = 1               # the panels that a run opens with
# export_dir = "."         # where screenshots and CSV files go
# tour = true              # show the tour at the first start
# mouse = true             # false leaves selecting text to the terminal

[keys]
# By action (`ltxtui config --keys` lists them): one key, or as many as the action has; [] for none.
# They replace all keys of the action. A key that has another job on the same screen has to be taken from it first.
# theme = "T"
# cursor = ["h", "l"]      # where h hides a panel and l marks a loop:
# hide = "D"
# loop = "O"
# quit = "Q"               # replaces Ctrl+Q, Ctrl+C and, unless `back` is set too, q
"""


@dataclass(frozen=True)
class SettingsProblem:
    """One thing in a settings file that cannot be used."""

    line: int
    text: str


@dataclass(frozen=True)
class Settings:
    """What is in force. None leaves the choice to the terminal."""

    theme: str | None = None
    drawing: Style | None = None
    preset: int = 1
    export_dir: Path = field(default_factory=Path)
    tour: bool = True
    mouse: bool = True
    keys: Keymap = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """Settings with the file that they are from, and what in it could not be used."""

    settings: Settings
    path: Path
    exists: bool = False
    problems: tuple[SettingsProblem, ...] = ()

    @property
    def notice(self) -> str:
        """One line for the screen; empty if all is well."""
        if not self.problems:
            return ""
        first = self.problems[0]
        more = f", and {len(self.problems) - 1} more" if len(self.problems) > 1 else ""
        return f"{self.path} line {first.line}: {first.text}{more}; defaults are used there (ltxtui config --check)"


def settings_path() -> Path | None:
    """The settings file, whether it exists or not; None where no home directory is known."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    folder = user_folder("config")
    return None if folder is None else folder / FILE


def load(path: Path | None = None) -> Loaded:
    """Read the settings; what is wrong falls back to its default and is told, never raised."""
    path = path or settings_path()
    if path is None:
        return Loaded(Settings(), Path(FILE))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Loaded(Settings(), path)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        return Loaded(Settings(), path, True, (SettingsProblem(1, f"cannot be read: {why}"),))
    settings, problems = parse(text)
    return Loaded(settings, path, True, tuple(problems))


def parse(text: str) -> tuple[Settings, list[SettingsProblem]]:
    """Settings from TOML, and what in it could not be used."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        said = re.sub(r" \(at .*\)$", "", str(error))
        return Settings(), [SettingsProblem(int(found[1]) if found else len(text.splitlines()), f"no TOML: {said}")]
    problems: list[SettingsProblem] = []
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name == "keys":
            values["keys"] = _keys(value, text, problems)
            continue
        reader = _READERS.get(name)
        if reader is None:
            known = ", ".join([*_READERS, "[keys]"])
            problems.append(SettingsProblem(_line(text, name), f"{name!r} is no setting; there are {known}"))
            continue
        try:
            values[name] = reader(value)
        except ValueError as error:
            problems.append(SettingsProblem(_line(text, name), f"{name}: {error}"))
    return Settings(**values), sorted(problems, key=lambda p: p.line)


def _keys(table: object, text: str, problems: list[SettingsProblem]) -> dict[str, tuple[str, ...]]:
    if not isinstance(table, dict):
        problems.append(SettingsProblem(_line(text, "keys"), "keys is a table: write [keys] on a line of its own"))
        return {}
    keymap: dict[str, tuple[str, ...]] = {}
    for id, value in table.items():
        try:
            keymap[id] = _keys_of(id, value)
        except ValueError as error:
            problems.append(SettingsProblem(_line(text, id, "keys"), f"keys.{id}: {error}"))
    if keymap.get("quit") and "back" not in keymap:
        keymap["back"] = ()  # q quits too, and keys that are replaced do nothing any more
    while (found := _clash(keymap)) is not None:
        id, said = found
        problems.append(SettingsProblem(_line(text, id, "keys"), f"keys.{id}: {said}"))
        del keymap[id]  # its own keys are in force again, which may clash with what was set for another action
    return keymap


def _clash(keymap: Mapping[str, tuple[str, ...]]) -> tuple[str, str] | None:
    """An action that is given a key which another one has on the same screen, and what to say; None without any."""
    owners: dict[tuple[str, str], str] = {}
    # The user's own come last, in the order of the file: where two clash, the later one is at fault.
    for id in (*(a.id for a in ACTIONS if a.id not in keymap), *keymap):
        keys, also = keys_of(BY_ID[id], keymap)
        for screen in BY_ID[id].screens:
            for key in (*keys, *also):
                other = owners.setdefault((screen, key), id)
                if other != id:
                    named = key_name((key,))
                    if other in keymap:
                        return id, f"{named!r} is given to {other!r} already"
                    way = f"give {other} another key here, or [] for none"
                    return id, f"{named!r} is the key of {other!r} on the {screen} screen; {way}"
    return None


def _keys_of(id: str, value: object) -> tuple[str, ...]:
    if id not in BY_ID:
        raise ValueError("is no action; ltxtui config --keys lists them")
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
        raise ValueError(f"{value!r} is no folder")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"{value!r} is in a home directory that is not known here") from None


_READERS: Final[dict[str, Callable[[object], Any]]] = {
    "theme": _one_of(**{theme.name.removeprefix("ltxtui-"): theme.name for theme in THEMES}),
    "drawing": _one_of(**{style.value.lower(): style for style in Style}),
    "preset": _preset,
    "export_dir": _folder,
    "tour": _flag,
    "mouse": _flag,
}


def _line(text: str, name: str, table: str = "") -> int:
    """The line that a name is set on, in a table or before the first one."""
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
    """The settings in force as TOML, for people to read."""
    lines = []
    for each in fields(Settings):
        value = getattr(loaded.settings, each.name)
        if each.name == "keys":
            continue
        if value is None:
            lines.append(f"# {each.name}: what suits the terminal")
            continue
        if isinstance(value, bool):
            shown = str(value).lower()
        elif isinstance(value, int):
            shown = str(value)
        else:
            word = value.value.lower() if isinstance(value, Style) else str(value).removeprefix("ltxtui-")
            shown = _quoted(word)
        lines.append(f"{each.name} = {shown}")
    lines += ["", "[keys]"]
    lines += [f"{id} = [{', '.join(map(_quoted, keys))}]" for id, keys in loaded.settings.keys.items()]
    return lines


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
