"""Turns a step of a sampling loop into a row on its way to the host; the row has priority over its attachments."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING

import torch

from recorder.format import sigma_math
from recorder.metrics.device_copy import no_time
from recorder.metrics.full_precision import full_precision
from recorder.metrics.measures import measured_row
from recorder.metrics.step import Step
from recorder.sampling.row_attachments import Attempts, along, did, kept_of, picture_of
from recorder.sampling.sampler_step import SamplerStep
from recorder.writing.items import RowItem

if TYPE_CHECKING:
    from recorder.sampling.stage import Stage, Stream
    from recorder.sampling.stages import Stages


def measure(stages: Stages, stage: Stage, stream: Stream, taken: SamplerStep, clock: float) -> None:
    """Measure a step and hand its row over; `clock` is when the step was handed over, by `perf_counter`.

    A failure in the row itself is raised. Failures of attachments and clocks are reported as events.
    """
    layout, shock, sigma, sigma_next = stream.layout, taken.shock, taken.sigma, taken.sigma_next
    name, number, now = layout.stream, stream.rows, time.time()
    attempt = Attempts(stages.trouble, stream.out_of_memory, stage.index, number)
    with torch.no_grad(), full_precision(taken.sample.device.type):
        step = Step(
            layout,
            sigma,
            layout.on_grid(taken.sample),
            layout.on_grid(taken.velocity),
            layout.on_grid(taken.result),
            stream.previous,
            {k: layout.on_grid(v) for k, v in taken.passes.items()},
            None if shock is None or shock.fresh is None else layout.on_grid(shock.fresh),
            taken.sampler.drift,
            taken.given_change,
        )
        taken.passes.clear()
        row = {"row": measured_row(step)}
        first = next(iter(stage.streams)) == name
        if first and stages.control.wants_snapshot():
            stage.kept.add(number)
        pictured, keep = stream.filmstrip is not None, number in stage.kept
        more = along(step, attempt, latents=stages.save_latents, picture=pictured, keep=keep)
        sent = attempt(f"attachments of {name}", lambda: attempt.to_host({**row, **more}), None)
        host, wait = sent or attempt.to_host(row)
        if not attempt(f"the path of {name}", did(stream.tracker.add, step, sigma_next), False):
            stream.lose_path()
        elif shock is not None:
            stream.tracker.broken()
    remembered = attempt(f"what the next step of {name} is compared with", did(step.forget), False)
    stream.previous = step if remembered and not stream.rest.left else None
    kept = None
    if "kept_x" in host:
        kept = kept_of(host, layout, stage.index, number, sigma, stages.control.snapshot_sent())
    elif first and keep:
        stage.kept.discard(number)  # the other streams do as the first one
        stages.control.snapshot_failed()
    measured, picture, snapshot = host.pop("row"), host.pop("picture", None), host or None
    gpu_ms, vram_peak = no_time, math.nan
    if (gpu := stream.gpu) is not None:
        gpu_ms = attempt("the time of a step on the GPU", partial(gpu.lap, name, number), no_time)
        vram_peak = attempt("the peak of the GPU's memory", partial(gpu.peak, number), math.nan)
    seconds = clock - (stream.last_time or stage.set_at)
    sigma_down = sigma_next if shock is None else min(sigma_next, shock.sigma_down)
    # Taken last: after this, the step costs only an entry in a queue.
    cost = time.perf_counter() - clock
    clocks = (seconds, cost, gpu_ms, vram_peak)
    schedule = (
        *(sigma, sigma_next, sigma_down, taken.timestep, sigma_math.snr_db(sigma)),
        *clocks,
        taken.sampler.guidance_scale,
        float(taken.evaluations),
    )
    shown = picture_of(stream.filmstrip, number, sigma, picture)
    watch = stream.watch.take
    stages.put(RowItem(stage.index, name, number, now, schedule, measured, wait, watch, snapshot, kept, shown))
    if kept is not None and first:
        stages.control.snapshot_begins(stage.index, number)
    stream.last_time = clock
    stream.rows += 1
    stream.rest.over()
