"""Random bursts of keys and mouse events on every screen and dialog: `python -m benchmarks.keys`. None may crash.

Each burst is drawn from its own number and the seed: a screen (home, replay, live, compare), a terminal of 20×8 to
200×60 cells, and up to 40 events that are all sent before the first of them is handled. Keys are those of the screen's
actions, of dialogs and of text fields; clicks, double clicks, wheel turns, pastes and changes of size lie between them.
`--only` repeats the burst with that number and seed.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from textual import events
from textual.geometry import Size

from benchmarks import options
from ltxtui import actions
from ltxtui.app import Dashboard, Options
from ltxtui.plot.line_plot import Style
from ltxtui.screens.compare import CompareScreen
from ltxtui.state import SavedState
from tests.ltxtui.driving import key_event
from tests.ltxtui.fixture import fixture_messages, journal_file, open_fixture
from tests.ltxtui.sources import Live

SEED: Final = 20261122
BURSTS: Final = 2000
MOST: Final = 40
EACH: Final = 8
"""Bursts that one dashboard gets, if it is not quit before."""
SMALLEST, LARGEST = Size(20, 8), Size(200, 60)
SCREENS: Final = ("home", "run", "live", "compare")
_TYPED: Final = ("enter", "escape", "backspace", "delete", "tab", "space", "up", "down", *"0123456789qxyn%:-=./, ")
_QUITS: Final = frozenset({"ctrl+q", "ctrl+c", "ctrl+z"})
_PASTES: Final = ("12", "30%", "restart:db=3", "σ ٣\x1b[31m\x00", "x" * 300, "", "\n\n", "\ud800")


class Playground:
    """Runs in a folder, and dashboards on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "runs"
        self.folder.mkdir()
        self._state = folder / "state.json"
        self._messages = fixture_messages()

    def dashboard(self, screen: str, style: Style) -> Dashboard:
        """The kind of screen on top of nothing else; a live one has an unfinished run that takes commands."""
        for name in ("restart", "smooth"):  # as often as they are deleted and renamed
            journal_file(self.folder, name)
        known: dict[str, Any] = {"drawing": style, "runs_dir": self.folder, "state": SavedState(self._state)}
        if screen == "home":
            return Dashboard(options=Options(**known))
        if screen == "compare":
            paths = sorted(self.folder.glob("*.journal"))[:8]
            return Dashboard(options=Options(**known), first=lambda app: CompareScreen(paths))
        if screen == "run":
            return Dashboard(open_fixture(), Options(**known))
        source = Live()
        header, *rest = self._messages
        source.send([{**header, "control": True}, *(m for m in rest if m.get("step", 0) in (None, 0, 1, 2))][:-1])
        return Dashboard(source, Options(**known))


def keys_of(screen: str, chance: random.Random) -> list[str]:
    """Some keys: mostly what the screen's actions have, now and then what is typed into fields."""
    kind = "run" if screen == "live" else screen
    known = [key for action in actions.of_screen(kind) for key in (*action.keys, *action.also) if key not in _QUITS]
    found = []
    for _ in range(chance.randint(1, MOST)):
        found.append(chance.choice(known if chance.random() < 0.7 else _TYPED))
        while chance.random() < 0.3:
            found.append(found[-1])  # held, or pressed twice
    return found


def happenings(screen: str, size: Size, chance: random.Random) -> Iterator[events.Event]:
    """The events of one burst."""
    for key in keys_of(screen, chance):
        yield key_event(key)
        kind = chance.random()
        x, y = chance.randrange(size.width), chance.randrange(size.height)
        if kind < 0.1:
            for _ in range(chance.choice((1, 2, 2, 3))):
                yield _mouse(events.MouseDown, x, y, 1)
                yield _mouse(events.MouseUp, x, y, 1)
        elif kind < 0.14:
            yield _mouse(chance.choice((events.MouseScrollDown, events.MouseScrollUp)), x, y, 0)
        elif kind < 0.18:
            yield _mouse(events.MouseMove, x, y, 0)
        elif kind < 0.21:
            yield events.Paste(chance.choice(_PASTES))
        elif kind < 0.23:
            size = random_size(chance)
            yield events.Resize(size, size)


def _mouse(kind: type[events.MouseEvent], x: int, y: int, button: int) -> events.MouseEvent:
    return kind(None, x, y, 0, 0, button, False, False, False, x, y)


def random_size(chance: random.Random) -> Size:
    """A size of a terminal, small ones as often as large ones."""
    return Size(*(round(low * (high / low) ** chance.random()) for low, high in zip(SMALLEST, LARGEST, strict=True)))


async def settled(app: Dashboard) -> None:
    """Return when the event loop has nothing to do but timers and threads, or the app has ended."""
    loop = asyncio.get_running_loop()
    for _ in range(5_000):
        await asyncio.sleep(0)
        if not loop._ready and not app._message_queue.qsize():  # type: ignore[attr-defined]  # no public way to ask
            return


async def play(playground: Playground, screen: str, numbers: range, seed: int, told: Callable[[int], None]) -> int:
    """Bursts on one dashboard until it quits; how many it took. Raises what the dashboard raised."""
    first = random.Random(f"{seed} {numbers[0]}")
    size, style = random_size(first), first.choice(list(Style))
    app = playground.dashboard(screen, style)
    done = 0
    async with app.run_test(size=tuple(size)) as pilot:
        await pilot.pause(0.01)
        for number in numbers:
            told(number)
            for happening in happenings(screen, app.size, random.Random(f"{seed} burst {number}")):
                app.post_message(happening)
            await settled(app)
            done += 1
            if app.leaving or not app.is_running:
                break
    return done


def run(
    bursts: range, seed: int = SEED, say: Callable[[str], None] = lambda line: None
) -> list[tuple[int, BaseException]]:
    """The numbers of the bursts that ended in an error, with the error."""
    failed: list[tuple[int, BaseException]] = []
    with tempfile.TemporaryDirectory(prefix="ltx-keys-") as name, surroundings(Path(name)):
        playground = Playground(Path(name))
        at, began = bursts.start, time.monotonic()
        here = at

        def told(number: int) -> None:
            nonlocal here
            here = number

        while at < bursts.stop:
            screen = SCREENS[at // EACH % len(SCREENS)]
            here = at
            end = min(bursts.stop, at - at % EACH + EACH)
            try:
                at += asyncio.run(play(playground, screen, range(at, end), seed, told))
            except Exception as error:  # noqa: BLE001 - what is looked for
                failed.append((here, error))
                say(f"burst {here} on {screen}: {type(error).__name__}: {str(error)[:200]}")
                at = here + 1
            if at % 100 < EACH:
                say(f"{at} bursts, {len(failed)} failed, {time.monotonic() - began:.0f} s")
    return failed


class surroundings:
    """Default settings, and no command that leaves this process."""

    def __init__(self, folder: Path) -> None:
        names = ("CONFIG", "STATE", "CACHE", "RUNTIME_DIR")
        self._new = {f"LTXTUI_{name}": str(folder / name.lower()) for name in names}
        self._new |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        self._folder = folder
        self._old: dict[str, str | None] = {}

    def __enter__(self) -> None:
        self._old = {name: os.environ.get(name) for name in self._new}
        os.environ.update(self._new)
        (self._folder / "config").write_text(f'tour = false\nexport_dir = "{self._folder / "exports"}"\n')

    def __exit__(self, *_: object) -> None:
        for name, value in self._old.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def main() -> int:
    parser = options.parser("benchmarks.keys", __doc__, "--bursts 100", "--seed 3 --only 42")
    parser.add_argument("--seed", type=int, default=SEED, help="of the bursts [%(default)s]")
    parser.add_argument("--bursts", type=int, default=BURSTS, help="bursts in all [%(default)s]")
    parser.add_argument(
        "--only", type=int, help="repeat a burst, after those before it on the same dashboard, with its traceback"
    )
    asked = parser.parse_args()
    numbers = range(asked.bursts) if asked.only is None else range(asked.only - asked.only % EACH, asked.only + 1)
    print(f"seed {asked.seed}, {len(numbers)} bursts", flush=True)
    failed = run(numbers, asked.seed, lambda line: print(line, flush=True))
    for number, error in failed:
        print(f"burst {number}: {type(error).__name__}: {error}")
    if asked.only is not None and failed:
        raise failed[0][1]
    print(f"{len(numbers)} bursts, {len(failed)} ended in an error")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
