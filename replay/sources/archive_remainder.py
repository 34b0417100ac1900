"""What an archive has beyond its journal: a journal that is short, torn, damaged or empty hides none of it."""

from __future__ import annotations

from collections.abc import Iterator

from recorder.format.protocol import Message
from replay.archive.reader import Archive
from replay.sources.read_so_far import ReadSoFar


def beyond(read: ReadSoFar, archive: Archive) -> Iterator[Message]:
    """What an archive has and was not read yet, in an order that a run takes; it counts as read then.

    Of rows and pictures those that follow the ones that were read: an archive is written from its journal, so nothing
    before them is missing.

    Raises:
        AnotherRun: if it is another run's.
    """
    if not _may_have_more(read, archive):
        return
    again = read.again()
    for message in archive.messages():
        rest = again.rest(message)
        if rest is not None:
            yield rest


def _may_have_more(read: ReadSoFar, archive: Archive) -> bool:
    """Whether an archive may have more. One that was never ended has no events yet, so its numbers of rows tell."""
    if read.ended:
        return False
    if not read.begun or archive.ended:
        return True
    counts = ((archive.attributes["rows"], read.rows), (archive.attributes.get("previews", {}), read.previews))
    return any(count > ours.get(key, 0) for theirs, ours in counts for key, count in theirs.items())
