"""How a generation is stopped in a host whose loops cannot be ended from outside, and how a run has ended."""

from __future__ import annotations

from recorder.format import protocol
from recorder.format.events import named, text_of


class GenerationStopped(Exception):
    """A viewer or a rule has stopped the run, and the host's loop has no other way to end than an exception."""


def ending_of(
    error: BaseException | None, stopping: bool, stopped_by: str | None
) -> tuple[protocol.Status, str | None]:
    """Status and error text of a run that was left with an exception, or with none.

    Args:
        error: the exception.
        stopping: whether a viewer or a rule has stopped the run.
        stopped_by: which one.
    """
    if error is None:
        return ("interrupted", stopped_by) if stopping else ("complete", None)
    if isinstance(error, GenerationStopped) and stopping:
        return "interrupted", stopped_by
    if isinstance(error, Exception):
        try:
            return "failed", named(error)
        except BaseException:  # noqa: BLE001 - its text is the user's code, which may raise SystemExit too
            return "failed", type(error).__name__
    return "interrupted", type(error).__name__  # Ctrl-C, exit, a generator that is closed, a task that is cancelled


def without_frames(failure: BaseException) -> BaseException:
    """An exception of the same name and text. The one that was raised holds its frames, and with them latents."""
    if isinstance(failure, GenerationStopped):
        return GenerationStopped(text_of(failure))
    kind = Exception if isinstance(failure, Exception) else BaseException
    made: type[BaseException] = type(type(failure).__name__, (kind,), {})
    return made(text_of(failure))
