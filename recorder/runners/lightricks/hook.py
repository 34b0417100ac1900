"""Wraps the loops of ltx-pipelines while something records them, and restores what is still its own."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

from recorder.runners.lightricks.api import EULER, LOOPS, Api
from recorder.runners.lightricks.frames import Surroundings, surroundings

logger = logging.getLogger(__name__)


class LoopWatcher(Protocol):
    """Records loops. `runs` runs one that it has claimed; its failures must not reach the generation."""

    def claims(self, around: Surroundings) -> bool: ...

    def runs(self, inner: Callable[..., Any], arguments: dict[str, Any], around: Surroundings) -> Any: ...


_lock = threading.Lock()
_watchers: tuple[LoopWatcher, ...] = ()
"""The newest last. Replaced and never changed in place: loops read it in any thread."""
_patch: _Patch | None = None


def watch(api: Api, watcher: LoopWatcher) -> Callable[[], bool]:
    """Let a watcher record the loops that it claims, until the function that is returned is called.

    That function says whether all hooks were still in place: another program may have replaced them.
    """
    global _watchers, _patch
    with _lock:
        if _patch is None or _patch.api != api:
            _patch = _Patch(api)
        _patch.put()
        _watchers = (*_watchers, watcher)

    def end() -> bool:
        global _watchers, _patch
        with _lock:
            _watchers = tuple(one for one in _watchers if one is not watcher)
            whole = _patch is None or _patch.in_place
            if not _watchers and _patch is not None:
                _patch.take_back()
                _patch = None
            return whole

    return end


def watchers() -> tuple[LoopWatcher, ...]:
    """All that record loops now, the newest last."""
    return _watchers


def in_place() -> bool:
    """Whether the hooks are where they were put."""
    patch = _patch
    return patch is None or patch.in_place


def _run(inner: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Run a loop, recorded by the newest watcher that claims it."""
    watchers = _watchers
    if watchers:
        try:
            around = surroundings()
            watcher = next((one for one in reversed(watchers) if one.claims(around)), None)
        except Exception:
            logger.exception("a loop of ltx-pipelines is not recorded")
            watcher = None
        if watcher is not None:
            return watcher.runs(inner, arguments, around)
    return inner(**arguments)


class _Patch:
    """The wrappers of one ltx-pipelines, and where they replace what."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._taken: list[tuple[Any, str, Any, Any]] = []
        """Owner, name, what was there, and the wrapper in its place."""

    @property
    def in_place(self) -> bool:
        return all(_of(owner, name) is wrapper for owner, name, _, wrapper in self._taken)

    def put(self) -> None:
        """Put the wrappers where they are not yet."""
        if self._taken:
            return
        if self.api.stage is not None:
            original = self.api.stage.__call__
            self._replace(
                self.api.stage, "__call__", original, _stage_call(original, getattr(self.api.samplers, EULER))
            )
            return
        loops = {name: getattr(self.api.samplers, name, None) for name in LOOPS}
        wrappers = {id(loop): (loop, _loop(loop)) for loop in loops.values() if loop is not None}
        # The pipelines have imported the loops by name, and so may a script have.
        for module in [m for m in list(sys.modules.values()) if isinstance(getattr(m, "__dict__", None), dict)]:
            for name, value in list(vars(module).items()):
                if id(value) in wrappers and value is wrappers[id(value)][0]:
                    self._replace(module, name, *wrappers[id(value)])

    def _replace(self, owner: Any, name: str, original: Any, wrapper: Any) -> None:
        setattr(owner, name, wrapper)
        self._taken.append((owner, name, original, wrapper))

    def take_back(self) -> None:
        """Restore what no other program has replaced; a wrapper that stays elsewhere only passes calls on."""
        ours = {id(wrapper): original for _, _, original, wrapper in self._taken}
        for owner, name, original, wrapper in self._taken:
            if _of(owner, name) is wrapper:
                setattr(owner, name, original)
        self._taken.clear()
        if self.api.stage is None:  # modules that were imported meanwhile have taken the wrappers by name
            for module in [m for n, m in list(sys.modules.items()) if n.split(".")[0] == "ltx_pipelines"]:
                for name, value in list(vars(module).items()):
                    if id(value) in ours:
                        setattr(module, name, ours[id(value)])


def _of(owner: Any, name: str) -> Any:
    return vars(owner).get(name)


def _stage_call(original: Any, euler: Any) -> Any:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _watchers:
            return original(self, *args, **kwargs)
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError:
            return original(self, *args, **kwargs)  # which refuses its arguments
        inner = bound.arguments.get("loop") or euler
        named = functools.wraps(inner)(lambda **arguments: _run(inner, arguments))
        bound.arguments["loop"] = named
        return original(*bound.args, **bound.kwargs)

    return call


def _loop(original: Any) -> Any:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def loop(*args: Any, **kwargs: Any) -> Any:
        if not _watchers:
            return original(*args, **kwargs)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return original(*args, **kwargs)
        return _run(original, dict(bound.arguments))

    return loop
