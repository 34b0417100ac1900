"""Observes a call of a diffusers pipeline: where its denoising loops begin and end, and which tokens they step."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from recorder.format.events import event, reason_of
from recorder.metrics.latent_layout import LatentLayout
from recorder.sampling import decoder_calls, effective_settings, hooks, supported_pipelines, tokens
from recorder.sampling.commands import TOO_LATE, AnswerCallback, Position
from recorder.sampling.given_frames import GivenFrames, given_std
from recorder.sampling.guidance_passes import Passes
from recorder.sampling.metadata import call_arguments, call_metadata, given_names, model_id, scheduler_metadata
from recorder.sampling.observed_step import observed
from recorder.sampling.pipeline_loop import CallLoop, Schedule, grid_of
from recorder.sampling.stages import Stages
from recorder.sampling.supported_pipelines import Family
from recorder.shocks import noise, plan_warnings
from recorder.shocks.action import ShockAction
from recorder.shocks.conductor import Conductor, conductor_of, entrust
from recorder.shocks.spec import Shock

logger = logging.getLogger(__name__)

_MASK_LOST = (
    "the first frame is given and not denoised, but the model is called as if it were noise at the level of the step: "
    "the conditioning mask is lost, as by a custom `prepare_latents`; the other frames are recorded"
)

Watch = Callable[[Any], Callable[[], None]]


class CallObserver:
    """Reports the loops of one call of a pipeline to `stages`; never raises into the generation.

    Every call has its own observer, so that nothing here is shared between threads.
    """

    def __init__(self, stages: Stages, pipe: Any, outer: CallObserver | None, lent: Conductor | None) -> None:
        """Observe the call of a pipeline that begins now.

        Args:
            stages: its own line of stages.
            pipe: the pipeline.
            outer: the enclosing call, if any.
            lent: the conductor of shocks in this call, lent to every scheduler that can be shocked.
        """
        self.pipe = pipe
        self.pipes: tuple[Any, ...] = (*(outer.pipes if outer is not None else ()), pipe)
        """The pipelines of the calls around this one, and its own."""
        self.thread = threading.get_ident()
        self.over = False
        self.given_up = False
        """The rest of the call would be measured wrongly, so it is not recorded."""
        self.calls_itself = False
        """The model was called in the call's own context, and not only in threads that the pipeline started."""
        self.conductor: Conductor | None = None
        """The conductor of the loop under way: the lent one, or that of the user's ShockScheduler."""
        self.streams: tuple[str, ...] = ()
        self.prepared = False
        self.passes_known = False
        self._lent = lent
        if lent is not None:
            lent.notice = self._notice
        self._stages = stages
        self._number = stages.book.next_call()
        self._family = Family()
        self._metadata: dict[str, Any] = {}
        self._asked: dict[str, Any] = {}
        self._given: frozenset[str] = frozenset()
        self._loops = 0
        self._loop = CallLoop()
        self._passes = Passes()
        self._unwatch: list[Callable[[], None]] = []
        self._failed: set[str] = set()

    @property
    def loop_under_way(self) -> bool:
        return self._stages.current is not None

    def position(self) -> Position:
        """The stage of this call that is under way, and its last row."""
        return self._stages.position()

    def guard(self, what: str, function: Callable[..., None], *arguments: Any, vital: bool = False) -> None:
        """Call a function whose failure must not reach the generation; after a vital one fails, recording stops."""
        try:
            function(*arguments)
        except Exception as error:
            self.given_up = self.given_up or vital
            if what not in self._failed:  # once per kind and call, since a loop would repeat it at every step
                self._failed.add(what)
                text = f"{what} could not be recorded: {reason_of(error)}"
                logger.error("%s; the generation continues", text)
                logger.debug("%s", what, exc_info=error)
                self._stages.put(event("error", text, stage=self.position()[0]))

    def give_up(self, text: str) -> None:
        """Stop recording this call, and report the reason."""
        if not self.given_up and not self.over:
            self.given_up = True
            logger.error("%s; the generation continues", text)
            self._stages.put(event("error", text, stage=self.position()[0]))

    def shock(self, shock: Shock, answer: AnswerCallback) -> None:
        """Ask for a shock at the next step of the loop under way; called in the server's thread, waits for nothing."""
        conductor = self.conductor
        if conductor is None:
            begun = self.loop_under_way
            answer(False, "this loop's scheduler cannot be shocked" if begun else "its denoising has not begun yet", {})
            return
        conductor.request(shock, answer)
        if self.conductor is not conductor:  # the loop has ended since, perhaps before the request was queued
            conductor.abandon(TOO_LATE)

    # -- calls and loops

    def begin(self, observer: hooks.Observer, watch: Watch, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Prepare for the call's loops; `watch` starts watching a model, and returns the function that ends it."""
        family = supported_pipelines.check(self.pipe)
        hooks.hook_schedulers(self.pipe, observer)
        if self._lent is not None:
            for name, stream in hooks.SCHEDULER_NAMES.items():
                entrust(getattr(self.pipe, name, None), self._lent, stream)
        self._asked = call_arguments(self.pipe, args, kwargs)
        self._given = given_names(self.pipe, args, kwargs)
        begun = {name: self._asked.get(name) for name in ("latents", "audio_latents")}
        self._metadata = {**call_metadata(self.pipe, self._asked), "given_std": given_std(begun)}
        self._family, self.streams, self.prepared = family, family.streams, family.prepared
        self.passes_known = supported_pipelines.passes_are_known(self.pipe, family)
        self._unwatch.append(watch(self.pipe.transformer))

    def watch_decoder(self, watch: Watch) -> None:
        """Watch the decoder of a pipeline that has one, to learn the colours of its latents."""
        decoder = getattr(self.pipe, "vae", None)
        if decoder is None or not self._stages.previews or "video" not in self.streams:
            return
        # A model without a name may be another one in the next run.
        kept = bool(model_id(self.pipe))
        self._stages.model_colours = self._stages.colours.of(decoder_calls.latents_id(self.pipe), kept)
        self._unwatch.append(watch(decoder))

    def decoded(self, decoder: Any, *decode: Any) -> None:
        """The decoder has returned; `decode` are its arguments and its result."""
        stage, _ = self.position()
        if stage is None or (colours := self._stages.model_colours) is None:
            return
        trouble = partial(self._stages.trouble, "a decoded clip", stage=stage, not_done="copied without waiting")
        self._stages.put(decoder_calls.clip_item(stage, colours, decoder, decode, trouble))

    def end(self) -> None:
        """The call has ended, or the recording has."""
        self.over = True
        conductor, self.conductor = self.conductor, None  # first, so that no request is queued after the last check
        for one in (conductor, self._lent):
            if one is not None:
                one.release(TOO_LATE)
        while self._unwatch:
            self._unwatch.pop()()
        self._stages.end()
        self._passes.clear()

    def forget_model_calls(self) -> None:
        """Drop the model calls so far: they belong to another call."""
        self._passes.clear()
        if not self._family.prepared:
            self._loop.grids.clear()

    def latents_prepared(self, arguments: dict[str, Any], result: Any) -> None:
        """Take grid and conditioning from the pipeline's own preparation; the loop they are for begins next."""
        mask = result[1]  # conditioning strength of every token [B, S, 1]
        pipe = self.pipe
        space, time = pipe.vae_spatial_compression_ratio, pipe.vae_temporal_compression_ratio
        frames = (arguments["num_frames"] - 1) // time + 1
        grid = (frames, arguments["height"] // space, arguments["width"] // space)
        generated = tokens.generated_frames(mask.squeeze(-1) == 0, grid)
        self._loop = CallLoop({"video": grid}, generated, free=1 - mask.float(), sequence=mask.shape[1])

    def schedule_set(self, scheduler: Any, stream: str) -> None:
        """A schedule was set: that of the video begins a loop."""
        # Only here may the call wait for the device: before the loop, never inside it.
        schedule = Schedule.read(scheduler)
        if stream != "video":
            self._loop.schedules[stream] = schedule  # set just before the video's
            return
        prepared = self._loop
        audio = prepared.schedules.get("audio")
        self._loop = CallLoop(sequence=prepared.sequence)
        if self._family.prepared:
            self._loop.grids, self._loop.frames = prepared.grids, prepared.frames
            self._loop.free = prepared.free
        self._loop.schedules = {"video": schedule}
        if audio is not None and audio.steps == 0:
            self._loop.schedules["audio"] = audio
        self._passes.clear()
        metadata = {**self._metadata, "scheduler": scheduler_metadata(scheduler)}
        self.conductor = conductor_of(scheduler)
        if self.conductor is not None:
            self.conductor.notice = self._notice
            self._share_token_info()
            metadata |= self.conductor.as_metadata()
        tile = self._loops if self._family.tiled else None
        self._loops += 1
        planned = self.conductor.plan if self.conductor is not None and self.conductor.wanted else None
        warnings = plan_warnings.of_list(
            schedule.opened if planned is None else planned.native, supported_pipelines.stepping_of(scheduler)
        )
        self._stages.begin(self._number, schedule.planned, metadata, tile, warnings)
        in_effect = effective_settings.settings(self.pipe, self._asked)
        if planned is None and not self._family.prepared and "num_inference_steps" in self._asked:
            in_effect |= effective_settings.steps(self._asked, len(schedule.planned))
        self._use(in_effect)

    # -- model calls

    def model_begins(self, arguments: dict[str, Any]) -> None:
        """The model is called; the first call of a loop gives the grid."""
        loop = self._loop
        grid = grid_of(arguments)
        if grid is not None and not self._family.prepared:
            self._use(effective_settings.size(self.pipe, self._asked, grid))
        self._stages.announce()
        if isinstance(length := arguments.get("audio_num_frames"), int):
            loop.grids["audio"] = (length,)
        if "video" in loop.grids:
            return
        if grid is None:
            raise ValueError("the model was called without num_frames, height and width, so the grid is unknown")
        timestep, level = arguments.get("timestep"), arguments.get("sigma")
        if isinstance(timestep, Tensor) and timestep.ndim == 2:
            if not isinstance(level, Tensor):
                raise ValueError("the model was called with a timestep for every token but without the step's own")
            loop.frames = tokens.generated_frames(tokens.free_tokens(timestep, level), grid)
            loop.free = tokens.freedom(timestep, level)
            loop.given = GivenFrames(tokens.given_frames(loop.free, grid), grid)
        if first := self._family.first:
            free = loop.frames if loop.frames is not None else tuple(range(grid[0]))
            loop.frames = tuple(f for f in free if f >= first)
            if free[0] < first:
                self._notice(_MASK_LOST, {"finding": "condition-lost"})
        loop.grids["video"] = grid
        self._share_token_info()

    def _use(self, in_effect: dict[str, Any]) -> None:
        """Keep with the stage the settings in effect where others were requested; warn once per call."""
        if in_effect:
            texts = effective_settings.cautions(self._asked, self._given, in_effect)
            fresh = [text for text in texts if text not in self._failed]
            self._failed.update(fresh)
            self._stages.adds({"in_effect": in_effect}, fresh)

    def _share_token_info(self) -> None:
        """Give the conductor the positions of the clip's tokens and which of them are conditioned."""
        if self.conductor is not None and "video" in self._loop.grids:
            self.conductor.where["video"] = noise.TokenInfo(self._loop.grids["video"], self._loop.free)

    def _notice(self, text: str, payload: dict[str, Any] | None = None) -> None:
        logger.warning("%s", text)
        self._stages.put(event("warning", text, stage=self.position()[0], payload=payload))

    def model_ends(self, arguments: dict[str, Any], result: Any) -> None:
        """The model has returned: one pass of the next step."""
        loop = self._loop
        hidden = arguments.get("hidden_states")
        if loop.sequence is not None and isinstance(hidden, Tensor) and hidden.shape[1] != loop.sequence:
            return  # one spatial tile of the canvas: its raw velocity is not a pass of the complete step
        if isinstance(hidden, Tensor):
            loop.given.look(hidden)
        wanted = {s: LatentLayout(s, 1, g, loop.frames if s == "video" else None) for s, g in loop.grids.items()}
        streams = set(self._family.streams) - self._stages.resting()  # passes that will not be measured are not kept
        self._passes.add(arguments, result, {s: wanted[s] for s in wanted if s in streams})

    # -- steps

    def stepped(self, step: hooks.SchedulerStep) -> None:
        """A scheduler of this call has taken a step."""
        try:
            self._take_step(step)
        except Exception:
            self._stages.lost(step.stream)
            raise

    def _take_step(self, step: hooks.SchedulerStep) -> None:
        taken, row = observed(self.pipe, self._loop, self._passes, step)
        self._stages.step(taken)
        if (applied := step.applied) is not None and step.stream == applied.action.shock.streams[0]:
            self._report_shock(step.scheduler, applied.action, row)

    def _report_shock(self, scheduler: Any, action: ShockAction, row: int) -> None:
        stage = self._stages.current
        assert stage is not None and self.conductor is not None
        payload = {**action.as_dict(), **self.conductor.details(action)}
        made = scheduler.shock_plan
        if list(made.sigmas) != [s for s in stage.sigmas if s > 0]:  # decided in the run
            stage.sigmas = payload["sigmas"] = list(made.sigmas)
        self._stages.put(
            event(
                "shock",
                self.conductor.describe(action),
                stage=stage.index,
                step=row,
                stream=None if len(action.shock.streams) > 1 else action.shock.streams[0],
                payload=payload,
            )
        )
