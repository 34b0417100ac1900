"""Counts what a run has recorded and missed, from the messages that are written."""

from __future__ import annotations

from collections import Counter

from recorder.format import protocol
from recorder.format.nonfinite import BrokenItems
from recorder.format.protocol import Message
from recorder.format.run_status import noise_left_of


class Tally:
    """What has been written so far. Fed in one thread, read in any."""

    def __init__(self) -> None:
        self.rows = 0
        """Rows written, of all streams."""
        self.missed: Counter[tuple[int, str]] = Counter()
        """Steps that were taken and could not be recorded, by stage and stream."""
        self.broken = BrokenItems()
        """The parts of the run that are NaN or Inf, from its events."""
        self.errors = 0
        """Events about something that could not be recorded."""
        self.noise_left = 0.0
        """The highest noise level that the result of a stage was left at, from the events."""

    @property
    def idle(self) -> bool:
        """True until a step is taken, or something fails that would have recorded one."""
        return not (self.rows or self.missed or self.errors)

    def feed(self, message: Message) -> None:
        """Count one message that is written. Missed steps are counted where their message is made."""
        if message["t"] == protocol.STEP:
            self.rows += message.get("count", 1)
        elif message["t"] == protocol.EVENT:
            self.errors += message.get("kind") == "error"
            self.broken.feed(message)
            self.noise_left = max(self.noise_left, noise_left_of(message))
