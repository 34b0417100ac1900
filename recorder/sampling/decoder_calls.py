"""Watches the video decoder of a pipeline: its `decode` has latents and pixels of the same clip.

A decoder may be shared by pipelines, in several threads and runs. Its method is replaced on the object, once for all
listeners, so that one that was compiled in place is watched too, and restored after the last of them.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from recorder.format.protocol import Message
from recorder.metrics.colours.decoded_clip import LatentStatistics, reduced
from recorder.metrics.colours.true_colours import ModelColours
from recorder.metrics.device_copy import Report, to_host
from recorder.sampling.metadata import model_id
from recorder.writing.items import ClipItem

Decoded = Callable[[tuple[Any, ...], dict[str, Any], Any], None]

_METHOD = "decode"
_lock = threading.Lock()
_watched: weakref.WeakKeyDictionary[Any, _WatchedDecode] = weakref.WeakKeyDictionary()


class _WatchedDecode:
    """In the place of a decoder's method; a copy of the decoder has the method itself."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = weakref.ref(decoder)
        self._decode = getattr(decoder, _METHOD)
        self._own = _METHOD in decoder.__dict__
        """Whether the object had one of its own, such as a compiled one."""
        self.listeners: tuple[Decoded, ...] = ()
        """Replaced and never changed in place: other threads may decode meanwhile."""
        functools.update_wrapper(self, self._decode, updated=())
        decoder.__dict__[_METHOD] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self._decode(*args, **kwargs)
        for listener in self.listeners:
            listener(args, kwargs, result)
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        decoder = self._decoder()
        return _method_of(memo.get(id(decoder), decoder))

    def __reduce__(self) -> Any:
        return _method_of, (self._decoder(),)

    def remove(self) -> None:
        decoder = self._decoder()
        if decoder is None or decoder.__dict__.get(_METHOD) is not self:
            return  # it was replaced since
        if self._own:
            decoder.__dict__[_METHOD] = self._decode
        else:
            del decoder.__dict__[_METHOD]


def _method_of(decoder: Any) -> Any:
    return types.MethodType(getattr(type(decoder), _METHOD), decoder)


def watch_decoder(decoder: Any, decoded: Decoded) -> Callable[[], None]:
    """Report arguments and result of every `decode`; returns a function that ends this.

    `decoded` is called in the thread that decodes, and must not raise.
    """
    with _lock:
        watch = _watched.get(decoder)
        if watch is None:
            watch = _watched[decoder] = _WatchedDecode(decoder)
        watch.listeners = (*watch.listeners, decoded)

    def end() -> None:
        with _lock:
            watch.listeners = tuple(one for one in watch.listeners if one is not decoded)
            if not watch.listeners and _watched.get(decoder) is watch:
                del _watched[decoder]
                watch.remove()

    return end


def statistics_of(decoder: Any) -> LatentStatistics:
    """How a decoder's latents follow from those that are denoised. Raises AttributeError if it does not say."""
    return LatentStatistics(decoder.latents_mean, decoder.latents_std, float(decoder.config.scaling_factor))


def latents_id(pipe: Any) -> str:
    """Identifies a model's latents: its name, which may be empty, and the statistics of its latents.

    Waits for the device: call it before a loop, not inside one.
    """
    name = model_id(pipe)
    statistics = statistics_of(pipe.vae)
    digest = hashlib.sha256()
    for values in (statistics.mean, statistics.std):
        digest.update(values.detach().float().cpu().numpy().tobytes())
    return f"{name} {type(pipe.vae).__name__} {statistics.scale:g} {digest.hexdigest()[:16]}"


def clip_item(
    stage: int, colours: ModelColours, decoder: Any, call: tuple[tuple[Any, ...], dict[str, Any], Any], report: Report
) -> ClipItem:
    """What the pump makes messages of, from arguments and result of one `decode`.

    Raises:
        ValueError: if latents and pixels do not fit together.
    """
    latents, video = _clip(*call)
    with torch.no_grad():
        small, frames = reduced(latents, video, statistics_of(decoder))
        host, wait = to_host(small, report)
    return ClipItem(wait, partial(_messages, stage, colours, host, frames))


def _clip(args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> tuple[Tensor, Tensor]:
    latents = args[0] if args else kwargs["z"]
    return latents, result[0] if isinstance(result, tuple) else result.sample


def _messages(stage: int, colours: ModelColours, host: dict[str, Tensor], frames: Sequence[int]) -> Iterator[Message]:
    latents, pixels, thumbnails = (host[name].numpy() for name in ("latents", "pixels", "thumbnails"))
    return colours.decoded(stage, latents, pixels, thumbnails, frames)
