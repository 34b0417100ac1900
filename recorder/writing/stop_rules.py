"""Rules that stop a run: evaluated over its messages in a thread of their own, never in the sampling thread."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final

from recorder.findings.finding import Finding
from recorder.findings.follow import Follower
from recorder.findings.rule import Rule
from recorder.findings.rules import BY_ID
from recorder.format import protocol
from recorder.format.events import reason_of
from recorder.format.protocol import Message

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 20.0
"""Seconds that the end of a run waits for the rules."""
_DECIDING: Final = frozenset({protocol.STEP, protocol.EVENT, protocol.END})
"""Messages after which a rule may decide."""


def stops(finding: Finding) -> bool:
    """Whether a finding of a named rule stops a run: a note does only if the rule makes nothing worse."""
    return finding.severity != "note" or BY_ID[finding.id].severity == "note"


def reason_to_stop(finding: Finding) -> str:
    """The run's error: `stopped by rule not-finite from step 12 of stage 0: NaN since step 12`."""
    place = "" if finding.step is None else f" from step {finding.step}"
    place += "" if finding.stage is None else f"{' of' if place else ' in'} stage {finding.stage}"
    return f"stopped by rule {finding.id}{place}: {finding.short or finding.text}"


class StopRules:
    """Follows a run's messages until one of the rules has a finding; `met` is called once with it, in this thread."""

    def __init__(self, rules: Sequence[Rule], met: Callable[[Finding], None]) -> None:
        self._follower = Follower(rules)
        self._met = met
        self._queue: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.finding: Finding | None = None
        """The first finding that stops the run."""
        self._over = False
        self._thread = threading.Thread(target=self._follow, name="ltxtui-rules", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Hand over a message that is written."""
        if not self._over:
            self._queue.put(message)

    def close(self) -> None:
        """Look at everything that was put before, then end the thread."""
        self._queue.put(None)
        self._thread.join(PATIENCE_SECONDS)

    def _follow(self) -> None:
        try:
            while (message := self._queue.get()) is not None and self.finding is None:
                self._follower.feed(message)
                if message["t"] in _DECIDING:
                    self._look()
        except Exception as error:
            logger.error("no rule stops this run: %s", reason_of(error), exc_info=error)
        finally:
            self._over = True

    def _look(self) -> None:
        found = next((f for f in self._follower.findings() if stops(f)), None)
        if found is not None:
            self._met(found)
            self.finding = found
