"""Watches diffusers pipelines: tells where one denoising loop begins and ends, and which tokens its steps carry."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from torch import Tensor

from recorder import describe, hooks
from recorder.pump import event
from recorder.stages import Stages
from recorder.step import Layout

logger = logging.getLogger(__name__)


class SamplingObserver(hooks.Observer):
    """Reports the loops of one or several pipelines to `stages`; never raises into the generation."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._calls = 0
        self._call: dict[str, Any] = {}
        self._sigmas: list[float] = []
        self._timesteps: list[float] = []
        self._grids: dict[str, tuple[int, ...]] = {}
        self._layouts: dict[str, Layout] = {}
        self._hook: Any = None
        self._failed: set[str] = set()
        self.schedulers: list[Any] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> SamplingObserver:
        return self  # it holds threads and files, and both copies of a scheduler report to the same run

    # -- what the hooks call; every one of these is guarded, since telemetry must not kill a run

    def call_begins(self, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._guard("the beginning of a call", self._call_begins, pipe, args, kwargs)

    def call_ends(self, pipe: Any) -> None:
        self._guard("the end of a call", self._call_ends)

    def schedule_set(self, scheduler: Any, stream: str) -> None:
        self._guard("a schedule", self._schedule_set, scheduler, stream)

    def stepped(self, scheduler: Any, stream: str, model_output: Any, timestep: Any, sample: Any, result: Any) -> None:
        self._guard(f"a step of {stream}", self._stepped, scheduler, stream, model_output, sample, result)

    def _guard(self, what: str, function: Callable[..., None], *arguments: Any) -> None:
        try:
            function(*arguments)
        except Exception as error:
            if what not in self._failed:  # once per kind: a loop of 50 steps must not say it 50 times
                self._failed.add(what)
                logger.exception("%s could not be recorded; the generation goes on", what)
                self._stages.put(event("error", f"{what} could not be recorded: {error}"))

    # -- calls and stages

    def _call_begins(self, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._stages.end()
        hooks.hook_schedulers(pipe, self)
        self.schedulers.extend(s for name in hooks.SCHEDULER_NAMES if (s := getattr(pipe, name, None)) is not None)
        arguments = describe.call_arguments(pipe, args, kwargs)
        self._call = describe.call_metadata(pipe, arguments)
        self._grids = {}
        self._unhook_model()
        self._hook = pipe.transformer.register_forward_pre_hook(self._before_model, with_kwargs=True)

    def _call_ends(self) -> None:
        self._stages.end()
        self._unhook_model()
        self._calls += 1

    def _unhook_model(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _before_model(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self._guard("a model call", self._model_called, kwargs)

    def _model_called(self, kwargs: dict[str, Any]) -> None:
        video = tuple(kwargs.get(k) for k in ("num_frames", "height", "width"))
        if all(isinstance(n, int) for n in video):
            self._grids["video"] = video  # type: ignore[assignment]
        if isinstance(kwargs.get("audio_num_frames"), int):
            self._grids["audio"] = (kwargs["audio_num_frames"],)
        self._stages.announce()

    def _schedule_set(self, scheduler: Any, stream: str) -> None:
        if stream != "video":
            return  # the audio copy follows the video's schedule and is set just before it
        # The one place that may wait for the device: before the loop, never inside it.
        self._sigmas = [float(s) for s in scheduler.sigmas.tolist()]
        self._timesteps = [float(t) for t in scheduler.timesteps.tolist()]
        self._layouts = {}
        metadata = {**self._call, "scheduler": describe.scheduler_metadata(scheduler)}
        self._stages.begin(self._calls, [s for s in self._sigmas[:-1] if s > 0], metadata)

    def close(self) -> None:
        """End the stage that is open and let go of the model."""
        self._call_ends()

    # -- steps

    def _stepped(self, scheduler: Any, stream: str, velocity: Tensor, sample: Tensor, result: Tensor) -> None:
        index = scheduler.step_index - 1
        layout = self._layouts.get(stream) or self._layout(stream, sample)
        self._stages.step(
            layout, self._sigmas[index], self._sigmas[index + 1], self._timesteps[index], sample, velocity, result
        )

    def _layout(self, stream: str, sample: Tensor) -> Layout:
        if sample.ndim != 3:
            raise ValueError(f"packed latents [batch, tokens, channels] are needed, not {list(sample.shape)}")
        grid = self._grids.get(stream) or ((sample.shape[1],) if stream == "audio" else None)
        if grid is None:
            raise ValueError("the model was called without num_frames, height and width, so the grid is unknown")
        layout = Layout(stream, sample.shape[0], grid)
        self._layouts[stream] = layout
        return layout
