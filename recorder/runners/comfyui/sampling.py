"""One sampling of ComfyUI as rows: its evaluations, ordered by the steps that the sampler reports."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from torch import Tensor

from recorder.format.events import event, reason_of
from recorder.runners.chain import Chain
from recorder.runners.comfyui.host import Host
from recorder.runners.comfyui.passes import passes_of
from recorder.runners.comfyui.sampled import Sampled, WaitingEvaluation
from recorder.runners.evaluation import Evaluation, same_level
from recorder.sampling.commands import TOO_LATE, AnswerCallback
from recorder.sampling.sampler_step import Injected
from recorder.shocks.conductor import Conductor
from recorder.shocks.spec import Shock

if TYPE_CHECKING:
    from recorder.recording import RunHandle

logger = logging.getLogger(__name__)

NOT_EULER: Final = "this sampler cannot be shocked while it runs; plain Euler can"
REPLACED: Final = (
    "steps are reported whose evaluations are not seen: another custom node has replaced the hook predict_noise; "
    "this sampling is not recorded further"
)


MAX_WAITING: Final = 8
"""Evaluations that are kept for a report of their step; no sampler needs more than four."""


class ComfySampling:
    """Wraps the calls of one sampling. Nothing here changes a value or raises into the sampler, except for a stop.

    A step of the schedule is the last evaluation before the sampler's report that was made at the step's level: most
    samplers report a step after its first evaluation, others after their last, and some report the last step twice.
    """

    def __init__(self, host: Host, guider: Any, sampled: Sampled, run: Callable[[], RunHandle | None]) -> None:
        """`run` waits until the run is open."""
        self.sampled = sampled
        self._interrupt = False  # set by a viewer's stop; `Control` looks for this attribute
        self.conductor: Conductor | None = None
        """Of a sampler that can be shocked."""
        self.shock_waits = False
        """A viewer has asked for a shock."""
        self.levels = list(sampled.levels)
        self.each_is_a_step = False
        """Every evaluation is a step: levels need not be compared."""
        self._host = host
        self.guider = guider
        self._open = run
        self._run: RunHandle | None = None
        self._chain: Chain | None = None
        self._waiting: list[WaitingEvaluation] = []
        self._passes: dict[str, Tensor] = {}
        self._unreported = False
        """The sampler does not report its steps."""
        self._reported: Any = None
        """The step that was reported last."""
        self._early: list[str] = []
        self._refused: set[str] = set()
        """Streams that cannot be measured."""
        self._over = False

    # -- the hooks

    def predict_noise(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """PREDICT_NOISE: one evaluation, with guidance."""
        given = dict(zip(("x", "timestep"), args, strict=False)) | kwargs
        kept = self._guarded(self._before, given)
        if self._interrupt and not self._over:
            self._guarded(self._stopped, kept)
            raise self._host.interrupt
        self._passes = {}
        x0 = executor(*args, **kwargs)
        if kept is not None:
            self._guarded(self._after, kept, x0)
        return x0

    def calc_cond_batch(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """CALC_COND_BATCH: the passes of one evaluation, all at once or one by one."""
        predictions = executor(*args, **kwargs)
        given = dict(zip(("model", "conds", "x_in", "timestep", "model_options"), args, strict=False)) | kwargs
        self._guarded(self._take_passes, given, predictions)
        return predictions

    def callback(self, original: Callable[..., Any] | None) -> Callable[..., Any]:
        """The sampler's callback, which reports the steps."""

        def reported(step: Any, *args: Any, **kwargs: Any) -> Any:
            self._guarded(self._boundary, step)
            return None if original is None else original(step, *args, **kwargs)

        return reported

    # -- evaluations

    def _before(self, given: Mapping[str, Any]) -> tuple[float, Tensor] | None:
        if self._over:
            return None
        x = given["x"]
        # One wait for the device; ComfyUI's own loop has several at the same place.
        return float(given["timestep"].flatten()[0]), x.detach().clone()

    def _after(self, kept: tuple[float, Tensor], x0: Tensor) -> None:
        sigma, sample = kept
        one = WaitingEvaluation(sigma, sample, x0.detach().clone(), self._passes)
        self._passes = {}
        if self._unreported:
            self._hand_over(one, midpoint=None)
            return
        self._waiting.append(one)
        if len(self._waiting) > MAX_WAITING:  # a sampler that reports nothing must not fill the memory
            self._without_reports()

    def _without_reports(self) -> None:
        """From here on the schedule decides which evaluations are steps."""
        self._unreported = True
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self._hand_over(one, midpoint=None)

    def _take_passes(self, given: Mapping[str, Any], predictions: Any) -> None:
        if self._over:
            return
        options = given["model_options"].get("transformer_options", {})
        negative = (getattr(self.guider, "conds", None) or {}).get("negative")
        for name, prediction in passes_of(given["conds"], predictions, negative, options).items():
            if name not in self._passes:
                self._passes[name] = prediction.detach().clone()

    def _boundary(self, step: Any) -> None:
        """The sampler has reported a step."""
        if self._over or self._unreported:
            return
        if not self._waiting:
            if step != self._reported:  # some samplers report the last step again
                self.give_up(REPLACED)
            return
        self._reported = step
        level = self.levels[step] if isinstance(step, int) and 0 <= step < len(self.levels) else None
        chosen = len(self._waiting) - 1
        if level is not None and self.sampled.follows and not self.each_is_a_step:
            at_level = [i for i, one in enumerate(self._waiting) if same_level(one.sigma, level)]
            chosen = at_level[-1] if at_level else chosen
        waiting, self._waiting = self._waiting, []
        for number, one in enumerate(waiting):
            self._hand_over(one, midpoint=number != chosen)

    def _hand_over(self, one: WaitingEvaluation, midpoint: bool | None) -> None:
        chain = self._begun()
        if chain is None:
            return
        split = self.sampled.shapes.split
        samples, x0s, passes = split(one.sample), split(one.x0), {n: split(p) for n, p in one.passes.items()}
        free = split(self.sampled.free) if self.sampled.free is not None else {}
        for stream, sample in samples.items():
            if stream in self._refused:
                continue
            mine = {name: part[stream] for name, part in passes.items()} if "conditional" in passes else {}
            evaluation = Evaluation(
                stream,
                one.sigma,
                sample,
                x0=x0s[stream],
                passes=mine,
                free=free[stream].expand_as(sample) if stream in free else None,
                midpoint=midpoint,
                guidance_scale=self.sampled.guidance_scale,
                drift=self.sampled.drift,
            )
            try:
                chain.evaluated(evaluation)
            except ValueError as error:  # such as a mask that leaves nothing to measure
                self._refused.add(stream)
                self.put("warning", f"{stream} is not recorded: {reason_of(error)}")

    # -- the stage

    def _begun(self) -> Chain | None:
        """The chain of this sampling, whose stage begins with the first step; None if it is not recorded."""
        if self._chain is None and not self._over:
            self._run = run = self._open()
            if run is None:
                self._over = True
                return None
            line = run.stages.sibling()
            sampled = self.sampled
            shocks = self.conductor.as_metadata() if self.conductor is not None else {}
            planned = [s for s in self.levels[:-1] if s > 0] if sampled.follows else []
            line.begin(
                line.book.next_call(),
                planned,
                {**sampled.metadata, **shocks},
                cautions=(*sampled.cautions, *self._early),
            )
            self._chain = Chain(line, self)
            self._line = line
            run.control.call_begins(self)
            run.control.shock = self.request_shock
        return self._chain

    def injected(self, noise: Mapping[str, Injected]) -> None:
        """The step under way ends with fresh noise, by stream, in the shape of its latents."""
        self._guarded(lambda: self._chain.injected(noise) if self._chain is not None else None)

    def levels_changed(self, levels: list[float]) -> None:
        """A shock has changed the levels that are left."""
        self.levels = levels
        if self._chain is not None and (stage := self._line.current) is not None:
            stage.sigmas = [s for s in levels[:-1] if s > 0]

    def put(self, kind: Any, text: str, **more: Any) -> None:
        """Send an event of this stage; one that comes before the first step is a warning that the stage begins with."""
        if self._chain is None or self._run is None:
            self._early.append(text)
            return
        self._run.stages.put(event(kind, text, stage=self._line.position()[0], **more))

    def end(self, result: Callable[[], Tensor]) -> None:
        """The sampling has ended with these latents, at the last level."""
        self._guarded(self._finish, result)
        self.leave()

    def _finish(self, result: Callable[[], Tensor]) -> None:
        if self._over:
            return
        if self._waiting and self._chain is None:
            self._without_reports()
        for one in self._waiting:
            self._hand_over(one, midpoint=True)
        self._waiting = []
        if self._chain is not None:
            for stream, sample in self.sampled.shapes.split(result()).items():
                self._chain.reached(stream, sample, self._last_level())

    def _last_level(self) -> float:
        levels = self.levels
        return levels[-2] if not self.sampled.follows and levels[-1] == 0 and len(levels) > 1 else levels[-1]

    def _stopped(self, kept: tuple[float, Tensor] | None) -> None:
        """A viewer's stop is obeyed: the step before has gone to this sample."""
        if kept is not None and self._chain is not None:
            for stream, sample in self.sampled.shapes.split(kept[1]).items():
                self._chain.reached(stream, sample, kept[0])

    def leave(self) -> None:
        """The sampling is over, or its recording is; a step whose end is not known has no row."""
        if self._over:
            return
        self._over = True
        self._waiting = []
        if self.conductor is not None:
            self._guarded(self.conductor.release, TOO_LATE)
        if self._chain is not None and self._run is not None:
            self._guarded(self._chain.end, False)
            self._guarded(self._line.end)
            self._guarded(self._run.control.call_ends, self)

    def give_up(self, text: str) -> None:
        """Stop recording this sampling, and report the reason; the sampling continues."""
        if self._over:
            return
        self._begun()
        logger.error("%s", text)
        if self._run is not None:
            self._run.stages.put(event("error", text, stage=self._line.position()[0]))
        self.leave()

    # -- viewers

    def request_shock(self, shock: Shock, answer: AnswerCallback) -> None:
        """Ask for a shock at the next step; called in the server's thread."""
        conductor = self.conductor
        if conductor is None or self._over:
            answer(False, TOO_LATE if self._over else NOT_EULER, {})
            return
        conductor.request(shock, answer)
        self.shock_waits = True
        self._abandon_late(conductor)

    def _abandon_late(self, conductor: Conductor) -> None:
        """Refuse what was asked for after the end."""
        if self._over:
            conductor.abandon(TOO_LATE)

    def _guarded(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function whose failure must not reach the sampler: it ends the recording of this sampling."""
        try:
            return function(*args)
        except Exception as error:
            logger.debug("recording failed", exc_info=error)
            self._fail(error)
            return None

    def _fail(self, error: Exception) -> None:
        text = f"this sampling is not recorded further: {reason_of(error)}"
        logger.error("%s", text)
        try:
            if self._run is not None:
                self._run.stages.put(event("error", text))
            self.leave()
        except Exception as again:
            logger.debug("the recording could not be ended", exc_info=again)


under_way: ContextVar[ComfySampling | None] = ContextVar("ltxtui_comfy_sampling", default=None)
"""The sampling that is recorded in this context."""
