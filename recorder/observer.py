"""Watches the sampling loops: follows stages, takes one row per scheduler step and stream, and hands rows over."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recorder import declarations, describe, hooks, words
from recorder.measures import Layout, Step, measured_row
from recorder.pump import Row, event
from recorder.spectra import bin_centres
from recorder.words import Message

logger = logging.getLogger(__name__)


@dataclass
class _Stream:
    """What is remembered of one stream of a stage between its steps."""

    layout: Layout
    nan_at: slice
    rows: int = 0
    previous: Step | None = None
    last_time: float = 0.0


@dataclass
class _Stage:
    index: int
    call: int
    sigmas: list[float]
    timesteps: list[float]
    metadata: dict[str, Any]
    set_at: float
    announced: bool = False
    ended: bool = False
    streams: dict[str, _Stream] = field(default_factory=dict)

    @property
    def planned(self) -> list[float]:
        """The levels the model will be called at; a call at σ = 0 has no noise left to measure."""
        return [s for s in self.sigmas[:-1] if s > 0]


class SamplingObserver(hooks.Observer):
    """Reports the loops of one or several pipelines to `put`; never raises into the generation.

    `put` takes messages and rows and must not wait.
    """

    def __init__(self, put: Callable[[Message | Row], None], save_latents: bool = False) -> None:
        self._put = put
        self._save_latents = save_latents
        self._stages = 0
        self._calls = 0
        self._stage: _Stage | None = None
        self._call: dict[str, Any] = {}
        self._grids: dict[str, tuple[int, ...]] = {}
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
        self._guard(f"a {stream} step", self._stepped, scheduler, stream, model_output, sample, result)

    def _guard(self, what: str, function: Callable[..., None], *arguments: Any) -> None:
        try:
            function(*arguments)
        except Exception as error:
            if what not in self._failed:  # once per kind: a loop of 50 steps must not say it 50 times
                self._failed.add(what)
                logger.exception("%s could not be recorded; the generation goes on", what)
                self._put(event("error", f"{what} could not be recorded: {error}"))

    # -- calls and stages

    def _call_begins(self, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._end_stage()
        hooks.hook_schedulers(pipe, self)
        self.schedulers.extend(s for name in hooks.SCHEDULER_NAMES if (s := getattr(pipe, name, None)) is not None)
        arguments = describe.call_arguments(pipe, args, kwargs)
        self._call = describe.call_metadata(pipe, arguments)
        self._grids = {}
        if self._hook is not None:
            self._hook.remove()
        self._hook = pipe.transformer.register_forward_pre_hook(self._before_model, with_kwargs=True)

    def _call_ends(self) -> None:
        self._end_stage()
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        self._calls += 1

    def _before_model(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self._guard("a model call", self._model_called, kwargs)

    def _model_called(self, kwargs: dict[str, Any]) -> None:
        video = tuple(kwargs.get(k) for k in ("num_frames", "height", "width"))
        if all(isinstance(n, int) for n in video):
            self._grids["video"] = video  # type: ignore[assignment]
        if isinstance(kwargs.get("audio_num_frames"), int):
            self._grids["audio"] = (kwargs["audio_num_frames"],)
        if self._stage is not None:
            self._announce(self._stage)

    def _schedule_set(self, scheduler: Any, stream: str) -> None:
        if stream != "video":
            return  # the audio copy follows the video's schedule and is set just before it
        self._end_stage()
        # The one place that may wait for the device: before the loop, never inside it.
        sigmas = [float(s) for s in scheduler.sigmas.tolist()]
        timesteps = [float(t) for t in scheduler.timesteps.tolist()]
        metadata = {**self._call, "scheduler": describe.scheduler_metadata(scheduler)}
        self._stage = _Stage(self._stages, self._calls, sigmas, timesteps, metadata, time.perf_counter())

    def _announce(self, stage: _Stage) -> None:
        """Tell of a stage once its model is called: a schedule that is set and never used is no stage."""
        if stage.announced:
            return
        stage.announced = True
        self._stages += 1
        now = time.time()
        self._put(
            {
                "t": words.STAGE,
                "stage": stage.index,
                "call": stage.call,
                "tile": None,
                "time": now,
                "sigmas": stage.planned,
                "metadata": stage.metadata,
            }
        )
        text = f"stage {stage.index} begins: {len(stage.planned)} steps"
        self._put(event("stage_start", text, stage=stage.index))

    def _end_stage(self) -> None:
        stage, self._stage = self._stage, None
        if stage is not None:
            self._finish(stage)

    def _finish(self, stage: _Stage) -> None:
        if not stage.announced or stage.ended:
            return
        stage.ended = True
        done = max((s.rows for s in stage.streams.values()), default=0)
        text = f"stage {stage.index} ends after {done} of {len(stage.planned)} steps"
        self._put(event("stage_end", text, stage=stage.index, step=done - 1 if done else None))
        for stream in stage.streams.values():
            stream.previous = None

    def close(self) -> None:
        """End the stage that is open and forget the model."""
        self._call_ends()

    # -- steps

    def _stepped(self, scheduler: Any, name: str, velocity: Tensor, sample: Tensor, result: Tensor) -> None:
        stage = self._stage
        if stage is None:
            raise RuntimeError("a scheduler stepped before its schedule was set")
        self._announce(stage)
        index = scheduler.step_index - 1
        sigma, sigma_next = stage.sigmas[index], stage.sigmas[index + 1]
        if sigma <= 0:
            return
        stream = stage.streams.get(name) or self._declare(stage, name, sample)
        now, clock = time.time(), time.perf_counter()
        layout = stream.layout
        with torch.no_grad(), torch.autocast(sample.device.type, enabled=False):
            step = Step(
                layout,
                sigma,
                layout.on_grid(sample),
                layout.on_grid(velocity),
                layout.on_grid(result),
                stream.previous,
            )
            send = {"row": measured_row(step)}
            if self._save_latents:
                send |= {"latents": step.x.half(), "x0": step.x0.half()}
            host, wait = to_host(send)
        step.forget()
        measured, snapshot = host.pop("row"), host or None
        schedule = (
            sigma,
            sigma_next,
            stage.timesteps[index],
            _snr_db(sigma),
            clock - (stream.last_time or stage.set_at),
        )
        self._put(Row(stage.index, name, stream.rows, now, schedule, measured, wait, stream.nan_at, snapshot))
        stream.previous, stream.last_time = step, clock
        stream.rows += 1
        if all(s.rows >= len(stage.planned) for s in stage.streams.values()) and len(stage.streams) > 1:
            self._finish(stage)

    def _declare(self, stage: _Stage, name: str, sample: Tensor) -> _Stream:
        if sample.ndim != 3:
            raise ValueError(f"packed latents [batch, tokens, channels] are needed, not {list(sample.shape)}")
        grid = self._grids.get(name) or ((sample.shape[1],) if name == "audio" else None)
        if grid is None:
            raise ValueError("the model was called without num_frames, height and width, so the grid is unknown")
        layout = Layout(name, sample.shape[0], grid)
        layout.on_grid(sample)  # fails here, before anything is declared, if the tokens do not fill the grid
        metrics = declarations.on_stream(name)
        measured = [m for m in metrics if not m.on_host]
        sizes = [int(torch.Size(layout.row_shape(m)).numel()) for m in measured]
        first = sum(size for m, size in zip(measured, sizes, strict=True) if m.name not in ("nan_count", "inf_count"))
        axis = "spatial_frequency" if name == "video" else "temporal_frequency"
        coordinates = {axis: {"values": bin_centres(layout.axes), "attributes": {"units": "Nyquist"}}}
        if name == "video":
            coordinates["frame"] = {"values": list(range(grid[0])), "attributes": {"units": "latent frame"}}
        self._put(
            {
                "t": words.STREAM,
                "stage": stage.index,
                "stream": name,
                "grid": list(grid),
                "shape": list(sample.shape),
                "dtype": str(sample.dtype).removeprefix("torch."),
                "metrics": [m.as_message(name, layout.row_shape(m)) for m in metrics],
                "coordinates": coordinates,
            }
        )
        stream = _Stream(layout, slice(first, None))
        stage.streams[name] = stream
        return stream


def _snr_db(sigma: float) -> float:
    return -math.inf if sigma >= 1 else 20 * math.log10((1 - sigma) / sigma)


def to_host(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], Callable[[], None]]:
    """Start copying tensors to the host; returns the copies and what to call before they are read."""
    if all(t.device.type != "cuda" for t in tensors.values()):
        return {name: t.cpu() for name, t in tensors.items()}, _ready
    host = {name: torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for name, t in tensors.items()}
    for name, tensor in tensors.items():
        host[name].copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()
    return host, copied.synchronize


def _ready() -> None:
    """Nothing to wait for: the tensors are on the host already."""
