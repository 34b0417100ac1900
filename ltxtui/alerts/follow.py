"""Follows a source without a screen: its messages into a run, and what is new in it."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from typing import Final

from ltxtui.alerts.alert import Alert, AlertLog
from recorder.format.framing import CorruptMessage
from replay.model.pulse import Pulse, Stall
from replay.model.run import NotARun, Run
from replay.sources.open import Liveness, Source, damage_of

PERIOD: Final = 0.1
"""Least seconds between two polls."""
_PATIENCE: Final = 0.4


class Follow:
    """A run that is read from its source until it is over."""

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic, archive: str = "") -> None:
        self._source = source
        self.run = Run()
        self._pulse = Pulse(clock)
        self._log = AlertLog(self.run, archive=archive)
        self._caught_up = False
        self.over = False
        self.problem = ""
        """Why reading stopped before the run was over; empty if it did not."""

    @property
    def log(self) -> AlertLog:
        return self._log

    @property
    def connected(self) -> bool:
        return bool(getattr(self._source, "connected", True))

    def turn(self) -> list[Alert]:
        """Take what has come, and say what is new in the run."""
        try:
            messages = self._source.poll()
            self._pulse.feed(messages)
            for message in messages:
                self.run.feed(message)
        except (NotARun, CorruptMessage, OSError) as error:
            self.problem, self.over = f"reading stopped: {error}", True
            return self._log.update(over=True)
        if not messages and not self._caught_up:
            self._caught_up = True
            self._pulse.aged(getattr(self._source, "quiet_seconds", 0.0))
        if not self.connected:
            self._pulse.rest()
        self.over = not messages and self._source.liveness is not Liveness.LIVE
        if self.over:
            self.run.damage = damage_of(self._source)
        return self._log.update(stall=self.stall, over=self.over)

    @property
    def stall(self) -> Stall | None:
        live = self._source.liveness is Liveness.LIVE and self.run.end is None and self.connected
        return self._pulse.stall if live and self._caught_up else None

    def wait(self) -> None:
        """Wait until there may be something new."""
        time.sleep(PERIOD)
        descriptor = self._source.fileno()
        if descriptor is None:
            time.sleep(PERIOD)
        else:
            with selectors.DefaultSelector() as selector:
                selector.register(descriptor, selectors.EVENT_READ)
                selector.select(_PATIENCE)

    def close(self) -> None:
        self._source.close()
