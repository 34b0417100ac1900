"""Feeds a source's messages into a run, in slices, so that the screen stays responsive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from recorder.format.framing import CorruptMessage
from recorder.format.protocol import Message
from replay.model.pulse import Pulse, Stall
from replay.model.run import NotARun, Run
from replay.sources.open import Liveness, Source, damage_of

PERIOD: Final = 0.1
"""Least seconds between two polls."""
SLICE: Final = 0.02
"""Seconds that feeding may hold the event loop."""
OPENING: Final = 0.25
"""Seconds between two redraws of a recorded run that is still being read: each redraw delays the reading."""
REST: Final = 3.0
"""The wait between two redraws of a live run, as a multiple of the time that the last one took: in a run of a million
steps every redraw takes long, and drawing must not occupy a core."""
LONGEST_REST: Final = 2.0
_PATIENCE: Final = 1.0
_QUIET: Final = 0.25


class Feed:
    """Polls a source until its run is over; `changed` is called whenever the run or its state changed."""

    def __init__(self, source: Source, run: Run, changed: Callable[[], None], pulse: Pulse | None = None) -> None:
        """`pulse` has been fed with what the run has already; by default nothing has been read."""
        self._source = source
        self._run = run
        self._changed = changed
        self._pulse = pulse or Pulse()
        self.liveness = source.liveness
        """As of what has been fed: a run that ended is live until its last message is in."""
        self.problem = ""
        self.read = False
        """Whether all messages are in that the source had; values may still be on their way from a store."""
        self.done = False
        self._announced = 0.0
        self._rest = 0.0
        self._polling: asyncio.Future[list[Message]] | None = None
        self._closed = asyncio.Event()

    @property
    def note(self) -> str:
        return self.problem or "; ".join(note for note in (self._source.note, self._run.note) if note)

    @property
    def stall(self) -> Stall | None:
        """Whether the run, as far as it has a recorder, is stalled, and for how long."""
        if self.liveness is not Liveness.LIVE or self._run.end is not None or not connected(self._source):
            return None
        return self._pulse.stall

    @property
    def fetching(self) -> bool:
        """Whether values of the run are still to come, as from a store."""
        return not self.problem and bool(getattr(self._source, "fetching", False))

    @property
    def arrived(self) -> int:
        """How often values have come that were asked for before."""
        return int(getattr(self._source, "arrived", 0))

    async def run(self) -> None:
        """Feed until the run has ended, or reading stops, and all of its values are here."""
        self._announced = asyncio.get_running_loop().time()
        try:
            caught_up = False
            first, shown, owed = True, (self.liveness, "", -1, 0), True
            while not self.done and not self._closed.is_set():
                # As of before the poll, which gives what has come until then.
                fetching, opened = self.fetching, bool(getattr(self._source, "opened", True))
                messages = await self._poll()
                if self._closed.is_set():
                    return
                if first:
                    # Only now is it known whether this run was live when it was opened.
                    self.liveness, first = self._source.liveness, False
                self._pulse.feed(messages)
                if not messages and not caught_up:
                    caught_up = True
                    self._pulse.aged(getattr(self._source, "quiet_seconds", 0.0))
                if not connected(self._source):
                    self._pulse.rest()
                await self._take(messages)
                self._run.damage = damage_of(self._source)
                if self._closed.is_set():
                    return
                self.done = not messages and not fetching and self._source.liveness is not Liveness.LIVE
                self.read = self.read or self.done or (fetching and opened and not messages)
                if self.done or self._source.liveness is Liveness.LIVE:
                    self.liveness = self._source.liveness
                # The state may change between two polls: for how long a connection is dead, or a run stalled.
                stall = self.stall
                known = self.liveness, self.note, -1 if stall is None else int(stall.seconds), self.arrived
                owed = owed or bool(messages) or shown != known
                if self.done or (owed and self._due() <= 0):
                    shown, owed = known, False
                    self._announce()
                if not self.done and (fetching or self.liveness is Liveness.LIVE):
                    await self._wait(busy=bool(messages), owed=owed)
        except (NotARun, CorruptMessage, OSError) as error:
            self.problem = f"reading stopped: {error}"
            self.liveness = Liveness.UNFINISHED if self._run.end is None else Liveness.FINISHED
            self.read = self.done = True
            self._changed()

    def drawn(self, seconds: float) -> None:
        """Record the seconds that drawing after `changed` took."""
        self._rest = min(LONGEST_REST, REST * seconds)

    def _due(self) -> float:
        """Seconds until the next redraw is due."""
        pause = self._rest if self.liveness is Liveness.LIVE else OPENING
        return self._announced + pause - asyncio.get_running_loop().time()

    def _announce(self) -> None:
        self._changed()
        self._announced = asyncio.get_running_loop().time()

    async def _poll(self) -> list[Message]:
        if self._source.fileno() is not None:
            return self._source.poll()
        # A source without a descriptor reads files, which takes time, so it is polled in a thread.
        self._polling = asyncio.ensure_future(asyncio.to_thread(self._source.poll))
        return await asyncio.shield(self._polling)

    async def close(self) -> None:
        """Close the source, after a poll that is still under way; no further poll begins."""
        self._closed.set()
        if self._polling is not None and not self._polling.done():
            await asyncio.wait({self._polling})
        self._source.close()

    async def _take(self, messages: list[Message]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + SLICE
        for message in messages:
            self._run.feed(message)
            if loop.time() > until:
                if self._due() <= 0:
                    self._announce()
                await asyncio.sleep(0)
                until = loop.time() + SLICE

    async def _wait(self, busy: bool, owed: bool) -> None:
        """Wait for messages, or until a pending redraw is due: on the descriptor if there is one, else briefly."""
        await asyncio.sleep(PERIOD)
        descriptor = self._source.fileno()
        if descriptor is None:
            await asyncio.sleep(0 if busy else _QUIET - PERIOD)
            return
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(descriptor, readable.set)
        try:
            # Check now and then anyway: a peer's machine can vanish without notice.
            async with asyncio.timeout(max(0.0, self._due()) if owed else _PATIENCE):
                await readable.wait()
        except TimeoutError:
            return
        finally:
            loop.remove_reader(descriptor)


def connected(source: Source) -> bool:
    """Whether messages can come now: not while waiting for a run or reconnecting."""
    return bool(getattr(source, "connected", True))
