"""The pictures of a run's streams, within a number of bytes: where there are too many, every second one is dropped."""

from __future__ import annotations

from typing import Final

from recorder.format import protocol
from replay.model.checked import SentDecoded, SentPalette, SentPicture, StoredPreviews
from replay.model.colours import DecodedFrame, Palette, Recoloured
from replay.model.declarations import Preview
from replay.model.stream import StreamData
from replay.model.validation import NotARun

_OVERHEAD: Final = 600
_FRAME_BYTES: Final = 40


class Pictures:
    """Adds pictures to streams and counts what they take in memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._costs: dict[tuple[int, str], int] = {}
        self._streams: dict[tuple[int, str], StreamData] = {}
        self._bytes = 0
        self._clips: list[StreamData] = []
        """Streams with a decoded clip, the newest last."""
        self._clip_bytes = 0
        self.dropped = 0

    def add(self, stream: StreamData, sent: SentPicture, most: int) -> None:
        """Take in one picture, all pictures of an archive, which are read when they are drawn, or their true colours.

        Args:
            stream: the stream of the pictures.
            sent: what was sent.
            most: pictures of one stream that are kept.

        Raises:
            NotARun: if a picture does not fit the stream or its other pictures.
        """
        if isinstance(sent, SentPalette):
            self._recolour(stream, sent.palette)
            return
        if isinstance(sent, SentDecoded):
            self._decoded(stream, sent.frame)
            return
        known = stream.previews
        if isinstance(sent, StoredPreviews):
            stream.previews = {**sent.previews, **known} if known else sent.previews
            if known:
                self._count(stream)
                self._bound(stream, most)
            return
        step, made = sent.step, sent.preview
        if step > stream.rows + protocol.MAX_RECORDER_MESSAGE:
            raise NotARun(f"a preview of row {step} after {stream.rows} rows")
        if not isinstance(known, dict):
            stream.previews = known = dict(known)
            self._count(stream)
        if made.shape != next(iter(known.values()), made).shape:
            raise NotARun(f"a preview of shape {list(made.shape)} among others")
        if step in known:
            return
        known[step] = made if stream.palette is None else stream.palette.applied(made)
        self._set(stream, self._costs.get((stream.stage, stream.name), 0) + _cost(made))
        self._bound(stream, most)

    def _recolour(self, stream: StreamData, palette: Palette) -> None:
        """Show a stream's pictures in true colours from now on; the first palette of a stage counts."""
        if stream.palette is not None:
            return
        stream.palette, known = palette, stream.previews
        if isinstance(known, dict):
            stream.previews = {step: palette.applied(preview) for step, preview in known.items()}
        else:
            stream.previews = Recoloured(known, palette)

    def _decoded(self, stream: StreamData, sent: DecodedFrame) -> None:
        """Keep a picture of a decoded clip; of the clips of very many stages the newest are kept."""
        known = stream.decoded
        first = next(iter(known.values()), sent)
        if (sent.count, sent.preview.shape) != (first.count, first.preview.shape):
            raise NotARun(f"a decoded frame of shape {list(sent.preview.shape[1:])} among others")
        if sent.index in known:
            return
        self._clip_bytes += _cost(sent.preview)
        if not known:
            self._clips.append(stream)
        stream.decoded = dict(sorted([*known.items(), (sent.index, sent)]))
        while self._clip_bytes > self._limit // 4 and len(self._clips) > 1:
            oldest = self._clips.pop(0)
            self._clip_bytes -= sum(_cost(frame.preview) for frame in oldest.decoded.values())
            self.dropped += len(oldest.decoded)
            oldest.decoded = {}

    def _count(self, stream: StreamData) -> None:
        self._set(stream, sum(_cost(picture) for picture in stream.previews.values()))

    def _set(self, stream: StreamData, cost: int) -> None:
        key = stream.stage, stream.name
        self._bytes += cost - self._costs.get(key, 0)
        self._costs[key], self._streams[key] = cost, stream

    def _bound(self, stream: StreamData, most: int) -> None:
        while len(stream.previews) > most:
            self._thin(stream)
        if self._bytes <= self._limit:
            return
        while self._bytes > self._limit // 2:
            for key in sorted(self._costs, key=self._costs.__getitem__, reverse=True):
                self._thin(self._streams[key])
                if self._bytes <= self._limit // 2:
                    break

    def _thin(self, stream: StreamData) -> None:
        """Drop every second picture, or the only one."""
        known = list(stream.previews.items())
        stay = dict(known[::2]) if len(known) > 1 else {}
        self.dropped += len(known) - len(stay)
        stream.previews = stay
        self._count(stream)


def _cost(picture: Preview) -> int:
    pixels = len(picture.data) if isinstance(picture.data, bytes) else 0
    return _OVERHEAD + _FRAME_BYTES * len(picture.frames) + pixels
