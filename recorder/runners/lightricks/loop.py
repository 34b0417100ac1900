"""One loop of ltx-pipelines under recording: its denoiser is watched, and what it returns is the last result."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Final

from torch import Tensor

from recorder.format import protocol, sigma_math
from recorder.format.events import event
from recorder.metrics.step import Drift
from recorder.runners.chain import Chain
from recorder.runners.evaluation import DriftRule, Evaluation, no_noise, unknown_noise
from recorder.runners.lightricks.api import EULER
from recorder.runners.lightricks.described import loop_description, loop_name
from recorder.runners.lightricks.frames import grid_of_positions
from recorder.runners.lightricks.passes import ModelPasses, forget_levels, guidance_scale, is_simple, of_result
from recorder.runners.lightricks.shocked import StepShocks
from recorder.runners.stop import GenerationStopped
from recorder.sampling.sampler_step import Injected
from recorder.sampling.stages import Stages
from recorder.shocks import noise, plan_warnings
from recorder.shocks.action import ShockAction

logger = logging.getLogger(__name__)

_DETERMINISTIC: Final = (EULER, "gradient_estimating_euler_denoising_loop")
_ANCESTRAL: Final = "euler_ancestral_denoising_loop"
Guard = Callable[..., None]


class LoopRecording:
    """Records one loop. `run` runs it; only `GenerationStopped` is raised by the recording itself."""

    def __init__(
        self,
        stages: Stages,
        call: Any,
        inner: Callable[..., Any],
        arguments: dict[str, Any],
        denoiser: str,
        grids: dict[str, tuple[int, ...]],
        metadata: dict[str, Any],
        guard: Guard,
        shocks: StepShocks | None,
    ) -> None:
        """Prepare to record.

        Args:
            stages: a line of stages of its own.
            call: what a viewer's stop interrupts: an object with `_interrupt`.
            inner: the loop.
            arguments: its arguments by name.
            denoiser: the name of the one that evaluates the model.
            grids: grids by stream, as far as they are known.
            metadata: of the pipeline call.
            guard: calls a function of the recorder, whose failure must not reach the generation.
            shocks: shocks of this loop, if any can act.
        """
        self._stages, self._call, self._inner, self._arguments = stages, call, inner, arguments
        self._key, self._grids, self._guard, self._shocks = denoiser, grids, guard, shocks
        self._denoiser = arguments[denoiser]
        self._chain = Chain(stages, call)
        self._passes = ModelPasses(self._denoiser)
        self._begun = False
        self._last: dict[str, Any] = {}
        self._waiting: list[tuple[int, str, ShockAction]] = []
        self._levels: list[float] = arguments["sigmas"].tolist()  # the one wait for the device, before the loop
        self._sigmas: Tensor = arguments["sigmas"]
        self._metadata = {**metadata, **loop_description(inner, arguments.get("stepper"), self._denoiser)}
        self._drift = _drift_of(loop_name(inner), arguments.get("stepper"))
        if shocks is not None:
            self._take_shocks(shocks)

    def _take_shocks(self, shocks: StepShocks) -> None:
        # A tensor of our own: decisions in the loop change its levels in place.
        if shocks.levels == self._levels[:-1] and self._levels[-1] == 0:
            self._sigmas = self._sigmas.clone()
        else:
            self._sigmas = self._sigmas.new_tensor([*shocks.levels, 0.0])
            self._levels = self._sigmas.tolist()
        self._arguments |= {"sigmas": self._sigmas, "stepper": shocks.stepper(self._arguments["stepper"])}
        shocks.arrived, shocks.moved = self._shocked, self._follow
        self._metadata |= shocks.conductor.as_metadata()

    def run(self) -> Any:
        """Run the loop."""
        arguments = {**self._arguments, self._key: _Watched(self._denoiser, self)}
        done = False
        try:
            video, audio = self._inner(**arguments)
            done = True
            self._guard("the end of a loop", self._ended, video, audio)
            return video, audio
        finally:
            self._guard("the end of a loop", self._passes.end)
            self._guard("the end of a loop", self._chain.end, done)
            self._guard("a shock", self._report)
            self._guard("the end of a loop", self._stages.end)

    # -- evaluations

    def before(self, states: dict[str, Any], sigmas: Tensor, index: int) -> None:
        """The model is about to be called: the step before has ended at these samples.

        Raises:
            GenerationStopped: if the run was stopped.
        """
        self._guard("the end of a step", self._before, states, sigmas, index)
        if self._call._interrupt and not _inside(sigmas, index):
            raise GenerationStopped(self._stages.control.stopped_by)

    def _before(self, states: dict[str, Any], sigmas: Tensor, index: int) -> None:
        self._passes.clear()
        if _inside(sigmas, index):
            return
        if sigmas is not self._sigmas and sigmas.shape[0] != len(self._levels):
            self._levels = sigmas.tolist()  # such as res_2s, which adds a level before 0
        if not self._begun:
            self._begin(states)
        for stream, state in states.items():
            self._guard(f"a step of {stream}", self._chain.reached, stream, state.latent, self._levels[index])
        self._report()

    def cannot_read(self) -> None:
        """The denoiser is called with arguments that are not those of the interface."""

        def refuse() -> None:
            raise ValueError(f"{loop_name(self._inner)} calls its denoiser with arguments that are not known")

        self._guard("an evaluation", refuse)

    def after(self, states: dict[str, Any], sigmas: Tensor, index: int, results: Any) -> None:
        """The model was called, or its last output is used again."""
        for stream, state in states.items():
            self._guard(f"a step of {stream}", self._evaluated, stream, state, sigmas, index, results)
        if self._shocks is not None:
            self._shocks.samples = {stream: state.latent for stream, state in states.items()}

    def _evaluated(self, stream: str, state: Any, sigmas: Tensor, index: int, results: Any) -> None:
        x0, passes = of_result(results[[*protocol.STREAMS].index(stream)])  # type: ignore[arg-type]
        if x0 is None:
            return
        reused = self._last.get(stream) is x0
        self._last[stream] = x0
        if _inside(sigmas, index):
            self._chain.counts(stream, reused)
            return
        sigma, shape = self._levels[index], tuple(x0.shape)
        if not passes and not reused:
            passes = self._passes.of(stream, shape) or ({"conditional": x0} if is_simple(self._denoiser) else {})
        self._chain.evaluated(
            Evaluation(
                stream,
                sigma,
                state.latent,
                x0=x0,
                passes=passes,
                grid=self._grid(stream, state),
                free=state.denoise_mask,
                reused=reused,
                guidance_scale=guidance_scale(self._denoiser, stream, sigma),
                drift=self._drift,
            )
        )

    def _grid(self, stream: str, state: Any) -> tuple[int, ...]:
        """The grid, from what is known around the loop or else from the positions of its tokens."""
        if stream not in self._grids:
            audio = stream == "audio"
            self._grids[stream] = (state.latent.shape[1],) if audio else grid_of_positions(state.positions)
        return self._grids[stream]

    # -- beginning and end

    def _begin(self, states: dict[str, Any]) -> None:
        self._begun = True
        planned = self._levels[:-1]
        warnings = plan_warnings.of_list([s for s in planned if s > 0], "own")
        self._stages.begin(self._call.number, planned, self._metadata, None, warnings)
        self._stages.announce()
        if self._shocks is not None:
            for stream, state in states.items():
                free = state.denoise_mask.reshape(state.denoise_mask.shape[0], -1, 1).float()
                self._shocks.conductor.where[stream] = noise.TokenInfo(self._grid(stream, state), free)
            self._shocks.conductor.notice = self._notice

    def _ended(self, video: Any, audio: Any) -> None:
        for stream, state in zip(protocol.STREAMS, (video, audio), strict=True):
            if state is not None:
                self._chain.reached(stream, state.latent, self._levels[-1])

    # -- shocks

    def _shocked(self, injected: dict[str, Injected], row: int, stream: str, action: ShockAction) -> None:
        self._guard("a shock", self._chain.injected, injected)
        self._waiting.append((row, stream, action))

    def _follow(self, levels: list[float]) -> None:
        self._sigmas[: len(levels)] = self._sigmas.new_tensor(levels)
        self._levels = self._sigmas.tolist()
        forget_levels(self._denoiser)
        if (stage := self._stages.current) is not None:
            stage.sigmas = self._levels[:-1]

    def _report(self) -> None:
        """Send the events of shocks whose rows are complete."""
        waiting, self._waiting = self._waiting, []
        shocks, stage = self._shocks, self._stages.current
        for row, stream, action in waiting if shocks is not None and stage is not None else ():
            assert shocks is not None and stage is not None
            if stream != action.shock.streams[0]:
                continue
            payload = {**action.as_dict(), **shocks.conductor.details(action)}
            payload |= {"sigmas": stage.sigmas} if "cautions" in payload else {}
            only = None if len(action.shock.streams) > 1 else stream
            text = shocks.conductor.describe(action)
            self._stages.put(event("shock", text, stage=stage.index, step=row, stream=only, payload=payload))

    def _notice(self, text: str, payload: dict[str, Any] | None = None) -> None:
        logger.warning("%s", text)
        self._stages.put(event("warning", text, stage=self._stages.position()[0], payload=payload))


class _Watched:
    """A denoiser that reports its evaluations; everything else is the wrapped one's."""

    def __init__(self, inner: Any, loop: LoopRecording) -> None:
        self._inner, self._loop = inner, loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = _read(args, kwargs)
        if given is None:
            self._loop.cannot_read()
        else:
            self._loop.before(*given)
        results = self._inner(*args, **kwargs)
        if given is not None:
            self._loop.after(*given, results)
        return results


def _read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dict[str, Any], Tensor, int] | None:
    """States by stream, levels and index that a denoiser is called with; None if it is called in an unknown way."""
    names = ["transformer", "video_state", "audio_state", "sigmas", "step_index"]
    if len(args) + len(kwargs) < len(names):  # 1.0.0 has no transformer here
        names = names[1:]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    pair = {str(stream): given.get(f"{stream}_state") for stream in protocol.STREAMS}
    sigmas, index = given.get("sigmas"), given.get("step_index")
    if not isinstance(sigmas, Tensor) or sigmas.ndim != 1 or not isinstance(index, int):
        return None
    return {stream: state for stream, state in pair.items() if state is not None}, sigmas, index


def _inside(sigmas: Tensor, index: int) -> bool:
    """Whether an evaluation is inside a step: a list of one level has no level that the step goes to."""
    return int(sigmas.shape[0]) == index + 1


def _drift_of(loop: str, stepper: Any) -> DriftRule:
    """The step of a loop without its own noise."""
    if loop in _DETERMINISTIC:
        return no_noise
    if loop != _ANCESTRAL:
        return unknown_noise
    eta, strength = float(getattr(stepper, "eta", math.nan)), float(getattr(stepper, "s_noise", math.nan))

    def ancestral(sigma: float, sigma_next: float) -> Drift | None:
        if sigma_next == 0 or eta == 0:
            return None
        down = sigma_math.ancestral_down(sigma, sigma_next, eta)
        scale = (1 - sigma_next) / (1 - down)
        return Drift(scale, scale * (down - sigma)) if strength == strength else Drift(math.nan, math.nan)

    return ancestral
