"""Reads the compared runs: they are opened and read in threads, then followed while they grow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ltxtui.compare.member import Member
from ltxtui.viewmodel.feed import Feed
from recorder.format.framing import CorruptMessage
from replay.model.pulse import Pulse
from replay.model.run import NotARun, Run
from replay.sources.open import Source, damage_of, open_path

_AT_ONCE: Final = 2
"""Runs that are read at a time; more threads would only wait for one another."""

Opener = Callable[[Path], Source]


class Loader:
    """Fills the members that have a path and no run; `changed` is called, on the event loop, when one has changed."""

    def __init__(self, members: Sequence[Member], changed: Callable[[], None], opener: Opener = open_path) -> None:
        self._members = [m for m in members if m.run is None and m.path is not None]
        self._changed = changed
        self._open = opener

    async def run(self) -> None:
        """Read until every run is over or reading stops."""
        gate = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._load(member, gate) for member in self._members))

    async def _load(self, member: Member, gate: asyncio.Semaphore) -> None:
        try:
            async with gate:
                # Shielded: a thread cannot be stopped, so it ends and closes what it opened.
                reading = asyncio.ensure_future(asyncio.to_thread(self._caught_up, member))
                try:
                    source, run, pulse = await asyncio.shield(reading)
                except asyncio.CancelledError:
                    reading.add_done_callback(_close)
                    raise
        except (NotARun, CorruptMessage, OSError) as error:
            member.problem = f"cannot be read: {error}"
            self._changed()
            return
        member.run, member.liveness = run, source.liveness
        member.note = "; ".join(note for note in (source.note, run.note) if note)
        self._changed()
        await self._follow(member, source, run, pulse)

    async def _follow(self, member: Member, source: Source, run: Run, pulse: Pulse) -> None:
        def changed() -> None:
            member.liveness, member.note = feed.liveness, "" if feed.problem else feed.note
            member.stall = feed.stall
            member.problem = feed.problem
            self._changed()

        feed = Feed(source, run, changed, pulse)
        try:
            await feed.run()
        finally:
            await feed.close()

    def _caught_up(self, member: Member) -> tuple[Source, Run, Pulse]:
        """The source, the run as recorded so far, and what is known of its recorder; in a thread."""
        assert member.path is not None
        source = self._open(member.path)
        run, pulse = Run(), Pulse()
        try:
            while messages := source.poll():
                pulse.feed(messages)
                for message in messages:
                    run.feed(message)
            run.damage = damage_of(source)
        except BaseException:
            source.close()
            raise
        return source, run, pulse


def _close(reading: asyncio.Future[tuple[Source, Run, Pulse]]) -> None:
    if not reading.cancelled() and reading.exception() is None:
        reading.result()[0].close()
