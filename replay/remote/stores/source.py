"""A run on a store for the dashboard: nothing here waits for the store but a thread of its own.

A small packed archive is fetched whole. Of a folder, and of an archive with latents, what is drawn is fetched first;
values that are not here yet are NaN until then, and `arrived` counts when the screen has to be drawn again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from recorder.format import paths
from recorder.format.protocol import Message
from replay.archive.lazy_rows import ArchivedRows
from replay.archive.safe_files import Damaged
from replay.model.liveness import Liveness
from replay.model.validation import NotARun
from replay.remote.stores.address import StoreAddress
from replay.remote.stores.fetch import fetch_whole, is_small, look_at, open_mirror
from replay.remote.stores.files import files_of
from replay.remote.stores.filesystem import MissingStoreExtra, UnknownScheme, file_system
from replay.remote.stores.mirror import Mirror, MirrorStorage, batches
from replay.remote.stores.problems import StoreProblem
from replay.sources.archive_source import ArchiveSource
from replay.sources.interface import MAX_POLL_MESSAGES

DRAWN_SECONDS: Final = 0.5
"""How long nothing must have been asked for before what is not on the screen is fetched."""
_READ_FIRST: Final = (paths.TIME, paths.PREVIEW_FIT, paths.PREVIEW_FRAME, paths.DECODED_FRAME)
_LOOK_SECONDS: Final = 0.03
_FIRST_REST: Final = 1.0
_LONGEST_REST: Final = 30.0


class StoreSource:
    """One run on a store. No method waits for it.

    Attributes:
        arrived: how often values have come that were asked for before they were here.
        fetching: whether values are still to come without being asked for.
        failed: why the run cannot be shown; empty while it may.
    """

    def __init__(self, address: StoreAddress) -> None:
        """Start to fetch.

        Raises:
            MissingStoreExtra, UnknownScheme, StoreProblem: if there is no way to reach it.
        """
        self._address = address
        self._fs: Any = file_system(address)
        self._source: ArchiveSource | None = None
        self._messages: deque[Message] | None = None
        self._note = f"fetching {address.shown}"
        self.arrived = 0
        self.fetching = True
        self.failed = ""
        self._closed = threading.Event()
        threading.Thread(target=self._work, name="ltxtui-fetch", daemon=True).start()

    @property
    def opened(self) -> bool:
        """Whether messages can come."""
        return self._messages is not None

    @property
    def quiet(self) -> bool:
        """Whether everything that was asked for is here."""
        return self.opened and not self._note

    @property
    def note(self) -> str:
        said = self._source.note if self._source is not None else ""
        return "; ".join(part for part in (self._note, said) if part)

    @property
    def damage(self) -> str:
        return self._source.damage if self._source is not None else ""

    @property
    def liveness(self) -> Liveness:
        return self._source.liveness if self._source is not None else Liveness.FINISHED

    def poll(self) -> list[Message]:
        """Raises OSError once the run cannot be shown."""
        if self.failed:
            raise OSError(self.failed)
        if self._messages is None:
            return []
        found: list[Message] = []
        while self._messages and len(found) < MAX_POLL_MESSAGES:
            found.append(self._messages.popleft())
        return found

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        """The thread ends with its request, which nobody waits for."""
        self._closed.set()

    # In the thread

    def _work(self) -> None:
        try:
            opened = self._open()
            if opened is not None:
                self._serve(*opened)
        except (StoreProblem, MissingStoreExtra, UnknownScheme, NotARun) as error:
            self.failed = str(error)
        except Damaged as error:
            self.failed = f"{self._address.shown} cannot be read: a file {error}"
        except OSError as error:
            self.failed = f"the cache cannot be written: {error.strerror or error}"
        finally:
            self.fetching = False

    def _open(self) -> tuple[Mirror, MirrorStorage] | None:
        """The mirror that values come from; None if all of them are here. Raises as `fetch` and `ArchiveSource`."""
        address, files = self._address, None
        if address.kind == "packed":
            found = look_at(self._fs, address)
            if found.small:
                path = fetch_whole(self._fs, found, self._tell)
                self._take_whole(path)
                return None
            files = files_of(self._fs, address, found.size, found.stamp)
        mirror = open_mirror(address, files or files_of(self._fs, address))
        mirror.fetch([name for name in mirror.sizes if _is_read_first(name)])  # all at once, not one by one
        if is_small(mirror.files) and not mirror.missing(pictures=True, latents=True):
            mirror.settle()
            self._take_whole(mirror.folder)
            return None
        storage = MirrorStorage(mirror)
        source = ArchiveSource(storage, {})
        # The machine's load is read from many files, and is not on the first screen.
        self._take(source, source.archive.messages(system=False))
        return mirror, storage

    def _take_whole(self, path: Path) -> None:
        source = ArchiveSource(path)
        self._take(source, _all_of(source))

    def _take(self, source: ArchiveSource, found: Iterable[Message]) -> None:
        """Take a run's messages, and the times of its rows, which every axis needs."""
        messages = deque(found)
        for message in messages:
            if isinstance(rows := message.get("data"), ArchivedRows):
                rows.times()
        self._source, self._note = source, ""
        self._messages = messages

    def _tell(self, done: int, total: int) -> None:
        self._note = f"fetching {self._address.shown}: {done / 1e6:.1f} of {total / 1e6:.1f} MB"

    def _serve(self, mirror: Mirror, storage: MirrorStorage) -> None:
        """Fetch what is drawn, and then the rest; raises nothing: what fails is tried again."""
        asked, rest = time.monotonic(), _FIRST_REST
        while not self._closed.wait(_LOOK_SECONDS):
            wanted = storage.take_wanted()
            if self._messages:  # nothing can be drawn before they are taken
                asked = time.monotonic()
            try:
                if wanted:
                    self._note = f"fetching {len(wanted)} files of {self._address.shown}"
                    mirror.fetch(wanted)
                    self._note = ""
                    self.arrived += 1
                    asked = time.monotonic()
                elif time.monotonic() - asked > DRAWN_SECONDS and self.fetching:
                    left = mirror.missing(pictures=is_small(mirror.files), latents=False)
                    batch = next(batches(left, mirror.sizes), None)
                    if batch is None:
                        self._complete(mirror)
                        if is_small(mirror.files):
                            return  # nothing is left that could be asked for
                    else:
                        self._note = f"fetching {len(left)} more files of {self._address.shown}"
                        mirror.fetch(batch)
                rest = _FIRST_REST
            except (StoreProblem, Damaged, OSError) as error:
                self._note = f"{error}; trying again in {rest:.0f} s"
                storage.want(wanted)
                self._closed.wait(rest)
                rest = min(_LONGEST_REST, 2 * rest)

    def _complete(self, mirror: Mirror) -> None:
        """All values are here: what is damaged is known now, and the load of the machine can be read."""
        assert self._source is not None and self._messages is not None
        self._messages.extend(self._source.archive.system())
        self._note = ""
        if is_small(mirror.files):
            mirror.settle()
            looked = ArchiveSource(mirror.folder)
            deque(_all_of(looked), 0)
            self._source = looked
        self.arrived += 1  # first: who sees that nothing is fetched any more looks no further
        self.fetching = False


def _is_read_first(name: str) -> bool:
    """Whether a file is read with the declarations of a run: times of rows, and which steps have pictures."""
    node = paths.parse(name.partition(f"/{paths.CHUNKS}/")[0])
    return node is not None and node.array in _READ_FIRST


def _all_of(source: ArchiveSource) -> Iterator[Message]:
    while messages := source.poll():
        yield from messages
