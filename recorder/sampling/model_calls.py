"""Watches a model's calls, for as many as want to at once: pipelines that share one, in several threads and runs."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

Before = Callable[[dict[str, Any]], None]
After = Callable[[dict[str, Any], Any], None]

_lock = threading.Lock()
_watched: weakref.WeakKeyDictionary[Any, _Watch] = weakref.WeakKeyDictionary()


def watch_model(model: Any, before: Before, after: After) -> Callable[[], None]:
    """Report the keyword arguments of every call of a model, and then its result; returns what ends that.

    Both are called in the thread that calls the model, and must not raise. The model is hooked once, whoever else
    watches it, until the last of them ends.
    """
    listener = before, after
    with _lock:
        watch = _watched.get(model)
        if watch is None:
            watch = _watched[model] = _Watch(model)
        watch.listeners = (*watch.listeners, listener)

    def end() -> None:
        with _lock:
            watch.listeners = tuple(one for one in watch.listeners if one is not listener)
            if not watch.listeners and _watched.get(model) is watch:
                del _watched[model]
                watch.remove()

    return end


class _Watch:
    """The hooks of one model.

    A module that was compiled in place would have its hooks compiled with it, and with `fullgraph` would fail on
    them: such a one is watched around the compiled call.
    """

    def __init__(self, model: Any) -> None:
        self.listeners: tuple[tuple[Before, After], ...] = ()
        """Replaced and never changed in place: other threads call the model meanwhile."""
        compiled = model.__dict__.get("_compiled_call_impl")
        if compiled is None:
            # PyTorch leaves the keyword arguments out when hooks are removed in the middle of a call by another thread.
            begins = model.register_forward_pre_hook(lambda module, args, *more: self._before(*more), with_kwargs=True)
            ends = model.register_forward_hook(lambda module, args, *more: self._after(*more), with_kwargs=True)

            def remove() -> None:
                begins.remove()
                ends.remove()

        else:

            def watched(*args: Any, **kwargs: Any) -> Any:
                self._before(kwargs)
                result = compiled(*args, **kwargs)
                self._after(kwargs, result)
                return result

            model._compiled_call_impl = watched

            def remove() -> None:
                if model.__dict__.get("_compiled_call_impl") is watched:  # else it was compiled again meanwhile
                    model._compiled_call_impl = compiled

        self.remove: Callable[[], None] = remove

    def _before(self, *given: dict[str, Any]) -> None:
        for before, _ in self.listeners if len(given) == 1 else ():
            before(given[0])

    def _after(self, *given: Any) -> None:
        for _, after in self.listeners if len(given) == 2 else ():
            after(*given)
