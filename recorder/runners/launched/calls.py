"""Records a call that the start-up hook has seen: of a pipeline, of a stage of ltx-pipelines, of ComfyUI's sampler.

Whatever goes wrong here, the call itself is made, once, and gives what it gives. Two things may be raised into it:
a shock that cannot act as asked, and in ltx-pipelines a stop.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from recorder.format.events import reason_of
from recorder.runners.launched.launched_run import LaunchedRun
from recorder.runners.launched.notes import note, note_once
from recorder.runners.launched.process import LaunchedProcess, say, this_process
from recorder.runners.lightricks import hook
from recorder.runners.lightricks import observer as lightricks
from recorder.runners.lightricks.api import NAME
from recorder.runners.lightricks.frames import Surroundings
from recorder.sampling import hooks, supported_pipelines
from recorder.shocks.plan import PlanError

_here: ContextVar[LaunchedRun | None] = ContextVar("ltxtui_launched", default=None)
"""The run of the call under way in this context."""
_left_alone: ContextVar[bool] = ContextVar("ltxtui_left_alone", default=False)
"""Whether the call under way in this context is not recorded, and neither is what it calls, such as its stages."""

Method = Callable[..., Any]


def call(
    kind: str, owner: type[Any], original: Method, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Make a call that was intercepted, and record it if it is wanted.

    Args:
        kind: the runner: `diffusers`, `ltx-pipelines`, `stage` or `comfyui`.
        owner: the class whose method is wrapped.
        original: the method.
        pipe: what it is called on.
        args: its arguments.
        kwargs: its arguments by name.
    """
    if kind == "comfyui":
        from recorder.runners.launched.comfyui import sample

        return sample(owner, original, pipe, args, kwargs)
    if _left_alone.get() or _refused(kind, pipe):
        return original(pipe, *args, **kwargs)
    outer = _here.get()
    if outer is not None and outer.under_way:
        return _inside(kind, outer, original, pipe, args, kwargs)
    run = _run_of(kind, pipe)
    if run is None:
        left = _left_alone.set(True)
        try:
            return original(pipe, *args, **kwargs)
        finally:
            _left_alone.reset(left)
    process = this_process()
    token = _here.set(run)
    failure: BaseException | None = None
    try:
        if kind == "stage":
            return _stage(run, owner, original, pipe, args, kwargs)
        return _joined(run, original, pipe, args, kwargs)
    except BaseException as error:
        failure = error
        raise
    finally:
        _here.reset(token)
        _guarded(lambda: process.call_ended(run, failure), "a run could not be completed")


def _inside(
    kind: str, run: LaunchedRun, original: Method, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """A call within a recorded one: of its stage, of its parent's method, or of another pipeline."""
    if kind == "stage" or run.has(pipe) or _records_itself(kind, pipe, ()):
        return original(pipe, *args, **kwargs)
    return _joined(run, original, pipe, args, kwargs)


def _run_of(kind: str, pipe: Any) -> LaunchedRun | None:
    """The run that a call is recorded in; None if it is not recorded."""
    try:
        process = this_process()
        if _records_itself(kind, pipe, process.open):
            note_once("itself")
            return None
        note_once("called", type(pipe).__name__)
        return process.run_for(NAME if kind == "stage" else pipe) if process.wants_next() else None
    except PlanError:
        raise
    except Exception as error:
        if this_process().options.shocks and isinstance(error, ValueError):
            raise  # an unshocked clip is not what was asked for
        _not_recorded(error)
        return None


def _refused(kind: str, pipe: Any) -> bool:
    """Whether a pipeline is one that denoises nothing, such as the upsampler between two stages."""
    if kind != "diffusers":
        return False
    try:
        supported_pipelines.family_of(pipe)
    except ValueError:
        return True
    return False


def _records_itself(kind: str, pipe: Any, ours: tuple[LaunchedRun, ...]) -> bool:
    """Whether the script has this call recorded already."""
    if kind == "diffusers":
        return hooks.is_hooked(pipe)
    if kind == "ltx-pipelines" and lightricks.is_recorded(pipe):
        return True
    around = Surroundings(pipe=pipe if kind == "ltx-pipelines" else None)
    own = [run.watcher for run in ours]
    return any(one.claims(around) for one in hook.watchers() if not any(one is watcher for watcher in own))


def _joined(run: LaunchedRun, original: Method, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a pipeline, whose call joins the run."""
    try:
        ended = run.joins(pipe, args, kwargs)
    except Exception as error:  # noqa: BLE001 - the script continues
        _not_recorded(error)
        return original(pipe, *args, **kwargs)
    try:
        return original(pipe, *args, **kwargs)
    finally:
        _guarded(ended, "the end of a call was not recorded")


def _stage(
    run: LaunchedRun, owner: type[Any], original: Method, stage: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call a stage outside of any pipeline."""
    ours = vars(owner).get("__call__")
    try:
        run.joins_stages()
    except Exception as error:  # noqa: BLE001 - the script continues
        _not_recorded(error)
        return original(stage, *args, **kwargs)
    patched = vars(owner).get("__call__")
    if patched is ours or patched is None:  # this call has come through the recorder's wrapper already
        return original(stage, *args, **kwargs)
    return patched(stage, *args, **kwargs)


def _guarded(function: Callable[[], None], what: str) -> None:
    try:
        function()
    except Exception as error:  # noqa: BLE001 - the script continues
        say(f"ltxtui run: {what}: {reason_of(error)}")


_told: set[str] = set()


def _not_recorded(error: Exception) -> None:
    """Say once, per reason, that a call is not recorded."""
    reason = f"a call was not recorded, since {reason_of(error)}"
    note("trouble", reason)
    if reason not in _told and len(_told) < 20:
        _told.add(reason)
        say(f"ltxtui run: {reason}")


__all__ = ["LaunchedProcess", "call"]
