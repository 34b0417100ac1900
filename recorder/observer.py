"""Watches diffusers pipelines: tells where one denoising loop begins and ends, and which tokens its steps carry."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from recorder import describe, families, hooks, tokens
from recorder.control import TOO_LATE
from recorder.events import event, reason_of
from recorder.families import Family
from recorder.passes import Passes
from recorder.shocks import noise
from recorder.shocks.conductor import Answer, Conductor, conductor_of
from recorder.shocks.plan import Action
from recorder.shocks.spec import Shock
from recorder.stages import Injected, Stages
from recorder.step import Layout

logger = logging.getLogger(__name__)


@dataclass
class _Schedule:
    """Noise levels and timesteps of one scheduler, read once; `source` is the tensor they were read from."""

    source: Tensor
    sigmas: list[float]
    timesteps: list[float]
    steps: int = 0


@dataclass
class _Loop:
    """What is known of one denoising loop of a call."""

    grids: dict[str, tuple[int, ...]] = field(default_factory=dict)
    frames: tokens.Frames | None = None
    layouts: dict[str, Layout] = field(default_factory=dict)
    schedules: dict[str, _Schedule] = field(default_factory=dict)
    free: Tensor | None = None
    """1 − conditioning strength of every token of the video [B, S, 1]; None if none is conditioned."""
    sequence: int | None = None
    """Tokens of the whole sequence, where the model may be called with a part of it."""


@dataclass
class _Call:
    """One call of a recorded pipeline."""

    pipe: Any
    family: Family
    passes_known: bool
    metadata: dict[str, Any]
    loops: int = 0


class SamplingObserver(hooks.Observer):
    """Reports the loops of one or several pipelines to `stages`; never raises into the generation."""

    def __init__(self, stages: Stages, conductor: Conductor | None = None) -> None:
        """`conductor` is in charge of shocks, and is lent to every scheduler that can be shocked."""
        self._stages = stages
        self._lent = conductor
        self._conductor: Conductor | None = None
        """In charge of the loop under way: the lent one, or that of a ShockScheduler of the user's."""
        self._calls = 0
        self._call: _Call | None = None
        self._loop = _Loop()
        self._passes = Passes()
        self._unwatch: Callable[[], None] | None = None
        self._failed: set[tuple[int, str]] = set()
        self.schedulers: weakref.WeakSet[Any] = weakref.WeakSet()

    def __deepcopy__(self, memo: dict[int, Any]) -> SamplingObserver:
        return self  # it holds threads and files, and both copies of a scheduler report to the same run

    # -- what the hooks call; every one of these is guarded, since telemetry must not kill a run

    def call_begins(self, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._stages.control.call_begins(pipe)
        self._guard("the beginning of a call", self._call_begins, pipe, args, kwargs)

    def call_ends(self, pipe: Any) -> None:
        self._guard("the end of a call", self._call_ends)
        self._guard("a viewer's command", self._stages.control.call_ends)

    def scheduler_joins(self, scheduler: Any, stream: str) -> None:
        if self._lent is None:
            return
        from recorder.shocks.scheduler import lend_shocks  # brings diffusers, which a loop of one's own need not have

        try:
            lend_shocks(scheduler, self._lent, stream)
        except ValueError as error:
            if self._lent.wanted:
                self._notice(f"no shocks in this call: {error}")

    def scheduler_hooked(self, scheduler: Any) -> None:
        self.schedulers.add(scheduler)

    # Outside a call, and after one was given up, a scheduler that others use too has nothing to report.

    def latents_prepared(self, pipe: Any, arguments: dict[str, Any], result: Any) -> None:
        if self._call is not None and self._call.family.prepared:
            self._guard("the layout of a clip", self._latents_prepared, pipe, arguments, result, vital=True)

    def schedule_set(self, scheduler: Any, stream: str) -> None:
        if self._call is not None:
            self._guard("a schedule", self._schedule_set, scheduler, stream, vital=True)
        if stream == "video":
            self._guard("a viewer's command", self._stages.control.loop_begins)

    def model_begins(self, arguments: dict[str, Any]) -> None:
        if self._call is not None:
            self._guard("the layout of a clip", self._model_begins, arguments, vital=True)

    def model_ends(self, arguments: dict[str, Any], result: Any) -> None:
        if self._call is not None and self._call.passes_known:
            self._guard("a guidance pass", self._model_ends, arguments, result)

    def stepped(self, step: hooks.SchedulerStep) -> None:
        if self._call is not None and step.stream in self._call.family.streams:
            self._guard(f"a step of {step.stream}", self._stepped, step)
        self._guard("a viewer's command", self._stages.control.stepped)

    def request_shock(self, shock: Shock, answer: Answer) -> None:
        """Ask for a shock at the next step of the loop under way; called in the server's thread, waits for nothing."""
        conductor = self._conductor
        if conductor is None:
            begun = self._stages.current is not None
            answer(False, "this loop's scheduler cannot be shocked" if begun else "its denoising has not begun yet", {})
            return
        conductor.request(shock, answer)
        if self._conductor is not conductor:  # the loop ended meanwhile, maybe before this request was there
            conductor.abandon(TOO_LATE)

    def _guard(self, what: str, function: Callable[..., None], *arguments: Any, vital: bool = False) -> None:
        try:
            function(*arguments)
        except Exception as error:
            if vital:
                self._call = None  # what follows in this call would be measured wrongly
            if (self._calls, what) not in self._failed:  # once per kind and call: a loop must not say it 50 times
                self._failed.add((self._calls, what))
                text = f"{what} could not be recorded: {reason_of(error)}"
                logger.error("%s; the generation goes on", text)
                logger.debug("%s", what, exc_info=error)
                self._stages.put(event("error", text))

    # -- calls and loops

    def _call_begins(self, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._call is not None:
            text = "a pipeline was called inside a call of another; the rest of the outer call is not recorded"
            self._stages.put(event("error", text))
        self._leave()
        family = families.check(pipe)
        hooks.hook_schedulers(pipe, self)
        self._unwatch = hooks.watch_model(pipe.transformer, self.model_begins, self.model_ends)
        metadata = describe.call_metadata(pipe, describe.call_arguments(pipe, args, kwargs))
        self._call = _Call(pipe, family, families.passes_are_known(pipe, family), metadata)
        self._loop = _Loop()

    def _call_ends(self) -> None:
        self._leave()
        self._calls += 1

    def _leave(self) -> None:
        self._call = None
        conductor, self._conductor = self._conductor, None  # first, so that no request comes after the last look
        if conductor is not None:
            conductor.abandon(TOO_LATE)
        self._stages.end()
        self._passes.clear()
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None

    def close(self) -> None:
        """End the stage that is open and let go of the model."""
        self._leave()

    def _latents_prepared(self, pipe: Any, arguments: dict[str, Any], result: Any) -> None:
        """Take grid and conditioning from the pipeline's own preparation; the loop they are for begins next."""
        mask = result[1]  # conditioning strength of every token [B, S, 1]
        space, time = pipe.vae_spatial_compression_ratio, pipe.vae_temporal_compression_ratio
        frames = (arguments["num_frames"] - 1) // time + 1
        grid = (frames, arguments["height"] // space, arguments["width"] // space)
        generated = tokens.generated_frames(mask.squeeze(-1) == 0, grid)
        self._loop = _Loop({"video": grid}, generated, free=1 - mask.float(), sequence=mask.shape[1])

    def _schedule_set(self, scheduler: Any, stream: str) -> None:
        # The one place that may wait for the device: before the loop, never inside it.
        schedule = self._read(scheduler)
        if stream != "video":
            self._loop.schedules[stream] = schedule  # set just before the video's
            return
        call, prepared = self._call, self._loop
        assert call is not None
        audio = prepared.schedules.get("audio")
        self._loop = _Loop(sequence=prepared.sequence)
        if call.family.prepared:
            self._loop.grids, self._loop.frames = prepared.grids, prepared.frames
            self._loop.free = prepared.free
        self._loop.schedules = {"video": schedule}
        if audio is not None and audio.steps == 0:
            self._loop.schedules["audio"] = audio
        self._passes.clear()
        metadata = {**call.metadata, "scheduler": describe.scheduler_metadata(scheduler)}
        self._conductor = conductor_of(scheduler)
        if self._conductor is not None:
            self._conductor.notice = self._notice
            self._tell_where()
            metadata |= self._conductor.as_metadata()
        tile = call.loops if call.family.tiled else None
        call.loops += 1
        self._stages.begin(self._calls, [s for s in schedule.sigmas[:-1] if s > 0], metadata, tile)

    def _read(self, scheduler: Any) -> _Schedule:
        sigmas, timesteps = scheduler.sigmas.tolist(), scheduler.timesteps.tolist()
        return _Schedule(scheduler.sigmas, sigmas, timesteps)

    # -- model calls

    def _model_begins(self, arguments: dict[str, Any]) -> None:
        loop = self._loop
        self._stages.announce()
        if isinstance(length := arguments.get("audio_num_frames"), int):
            loop.grids["audio"] = (length,)
        if "video" in loop.grids:
            return
        grid = tuple(arguments.get(k) for k in ("num_frames", "height", "width"))
        if not all(isinstance(n, int) for n in grid):
            raise ValueError("the model was called without num_frames, height and width, so the grid is unknown")
        timestep, level = arguments.get("timestep"), arguments.get("sigma")
        if isinstance(timestep, Tensor) and timestep.ndim == 2:
            if not isinstance(level, Tensor):
                raise ValueError("the model was called with a timestep for every token but without the step's own")
            loop.frames = tokens.generated_frames(tokens.free_tokens(timestep, level), grid)  # type: ignore[arg-type]
            loop.free = tokens.freedom(timestep, level)
        loop.grids["video"] = grid  # type: ignore[assignment]
        self._tell_where()

    def _tell_where(self) -> None:
        """Tell who injects noise where the clip's tokens lie and which of them are conditioned."""
        if self._conductor is not None and "video" in self._loop.grids:
            self._conductor.where["video"] = noise.Where(self._loop.grids["video"], self._loop.free)

    def _notice(self, text: str) -> None:
        logger.warning("%s", text)
        stage = self._stages.current
        self._stages.put(event("warning", text, stage=None if stage is None else stage.index))

    def _model_ends(self, arguments: dict[str, Any], result: Any) -> None:
        loop = self._loop
        hidden = arguments.get("hidden_states")
        if loop.sequence is not None and isinstance(hidden, Tensor) and hidden.shape[1] != loop.sequence:
            return  # one spatial tile of the canvas: its raw velocity is no pass of the whole step
        assert self._call is not None
        wanted = {s: Layout(s, 1, g, loop.frames if s == "video" else None) for s, g in loop.grids.items()}
        self._passes.add(arguments, result, {s: wanted[s] for s in self._call.family.streams if s in wanted})

    # -- steps

    def _stepped(self, step: hooks.SchedulerStep) -> None:
        if step.per_token:
            raise ValueError("the scheduler moves every token from a noise level of its own")
        loop, stream = self._loop, step.stream
        schedule = loop.schedules.get(stream)
        if schedule is None or schedule.source is not step.scheduler.sigmas:
            # A copy made after the schedule was set, or one that was replaced since: read again, once.
            count = schedule.steps if schedule else 0
            loop.schedules[stream] = schedule = self._read(step.scheduler)
            schedule.steps = count
        called, index = schedule.steps, step.index
        schedule.steps += 1
        if index + 1 >= len(schedule.sigmas):
            return  # the ancestral scheduler leaves the sample alone at the end of its list, where σ is 0
        if schedule.timesteps[called] != schedule.timesteps[index]:
            raise ValueError(
                f"the model was called at timestep {schedule.timesteps[called]:g}, but the scheduler stepped from "
                f"σ = {schedule.sigmas[index]:g}; does the schedule begin with the same σ twice?"
            )
        layout = loop.layouts.get(stream)
        if layout is None:
            if stream not in loop.grids:
                raise ValueError("the model was not called before the step, so the grid is unknown")
            frames = loop.frames if stream == "video" else None
            layout = loop.layouts[stream] = tokens.clip_layout(stream, step.sample, loop.grids[stream], frames)
        sample = tokens.take(step.sample, layout)
        applied = step.applied
        injected = None
        if applied is not None:
            fresh = None if applied.fresh is None else tokens.take(applied.fresh, layout)
            injected = Injected(applied.action.reaches, fresh)
        self._stages.step(
            layout,
            schedule.sigmas[index],
            schedule.sigmas[index + 1],
            schedule.timesteps[index],
            sample,
            tokens.take(step.velocity, layout),
            tokens.take(step.result, layout),
            self._passes.of_step(stream, sample.shape[0], sample.shape),
            injected,
        )
        if applied is not None and stream == applied.action.shock.streams[0]:
            self._tell_shock(step.scheduler, applied.action, called)

    def _tell_shock(self, scheduler: Any, action: Action, row: int) -> None:
        stage = self._stages.current
        assert stage is not None and self._conductor is not None
        payload = {**action.as_dict(), **self._conductor.details(action)}
        made = scheduler.shock_plan
        if list(made.sigmas) != stage.sigmas:  # decided in the run
            stage.sigmas = payload["sigmas"] = list(made.sigmas)
        self._stages.put(
            event(
                "shock",
                self._conductor.describe(action),
                stage=stage.index,
                step=row,
                stream=None if len(action.shock.streams) > 1 else action.shock.streams[0],
                payload=payload,
            )
        )
