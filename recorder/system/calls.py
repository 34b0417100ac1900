"""A function of any kind with each of its calls inside a context manager."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def inside(function: F, context: Callable[[], AbstractContextManager[Any]]) -> F:
    """The function, each call of which enters a new context and leaves it when the call has ended.

    The call of a coroutine function ends when the coroutine has been awaited; that of a generator function, whether it
    is asynchronous or not, when the generator is exhausted, closed or collected. `contextlib.ContextDecorator` leaves
    the context before any of these has begun.

    Args:
        function: what is called; a callable object counts by its `__call__`.
        context: makes the context manager of one call.
    """
    plain = inspect.isroutine(function) or isinstance(function, functools.partial)
    kind = function if plain else type(function).__call__
    if inspect.iscoroutinefunction(kind):

        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            with context():
                return await function(*args, **kwargs)

        made: Callable[..., Any] = coroutine
    elif inspect.isasyncgenfunction(kind):

        async def asynchronous(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            with context():
                inner = function(*args, **kwargs)
                try:
                    item = await anext(inner)
                    while True:
                        try:
                            sent = yield item
                        except GeneratorExit:
                            raise
                        except BaseException as error:  # noqa: BLE001 - the function's own to handle
                            item = await inner.athrow(error)
                        else:
                            item = await inner.asend(sent)
                except StopAsyncIteration:
                    return
                finally:
                    await inner.aclose()

        made = asynchronous
    elif inspect.isgeneratorfunction(kind):

        def generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            with context():
                return (yield from function(*args, **kwargs))

        made = generator
    else:

        def call(*args: Any, **kwargs: Any) -> Any:
            with context():
                return function(*args, **kwargs)

        made = call
    return cast(F, functools.wraps(function)(made))
