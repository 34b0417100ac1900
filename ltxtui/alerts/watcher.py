"""Follows a run of this process in a thread, and runs the user's command for its events."""

from __future__ import annotations

import contextlib
import threading
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ltxtui.alerts.follow import Follow
from ltxtui.alerts.notifier import Notifier
from replay.model.run import NotARun
from replay.sources.open import SocketSource, Source, open_path

PATIENCE_SECONDS: Final = 20.0
"""Seconds that the end of the context waits for the last messages of the run."""


class Watcher:
    """A context: a run that `begin` names is followed until it ends. The end waits for the last commands."""

    def __init__(self, words: Sequence[str], problem: Callable[[str], None]) -> None:
        self._problem = problem
        self._notifier = Notifier(words, problem)
        self._thread: threading.Thread | None = None

    def begin(self, socket: Path | None, archive: Path) -> None:
        """Follow a run, by its socket, or by its journal if it has none."""
        try:
            source: Source = SocketSource(socket) if socket is not None else open_path(archive)
        except (NotARun, OSError) as error:
            self._problem(f"--notify: the run cannot be followed: {error}")
            return
        self._thread = threading.Thread(
            target=self._follow, args=(source, str(archive)), name="ltxtui-watcher", daemon=True
        )
        self._thread.start()

    def _follow(self, source: Source, archive: str) -> None:
        follow = Follow(source, archive=archive)
        with contextlib.closing(follow):
            while not follow.over:
                for alert in follow.turn():
                    self._notifier.send(alert)
                if not follow.over:
                    follow.wait()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.join(PATIENCE_SECONDS)
        self._notifier.close()
