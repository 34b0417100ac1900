"""Watches a model's calls for several listeners: pipelines that share a model, in several threads and runs."""

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
    """Report the keyword arguments of every call of a model, then its result; returns a function that ends this.

    `before` and `after` are called in the thread that calls the model, and must not raise. The model is hooked once for
    all its listeners, until the last of them ends.
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

    A module that was compiled in place would compile its hooks too, and with `fullgraph` would fail on them. It is
    watched around the compiled call instead.
    """

    def __init__(self, model: Any) -> None:
        self.listeners: tuple[tuple[Before, After], ...] = ()
        """Replaced and never changed in place: other threads call the model meanwhile."""
        compiled = model.__dict__.get("_compiled_call_impl")
        if compiled is None:
            # PyTorch omits the keyword arguments if another thread removes hooks in the middle of a call.
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
                if model.__dict__.get("_compiled_call_impl") is watched:  # else it was compiled again since
                    model._compiled_call_impl = compiled

        self.remove: Callable[[], None] = remove

    def _before(self, *given: dict[str, Any]) -> None:
        for before, _ in self.listeners if len(given) == 1 else ():
            before(given[0])

    def _after(self, *given: Any) -> None:
        for _, after in self.listeners if len(given) == 2 else ():
            after(*given)
