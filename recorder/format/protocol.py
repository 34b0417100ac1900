"""Words that recorder, replay and dashboard share: format, message types, statuses, streams, limits."""

from __future__ import annotations

from typing import Any, Final, Literal

FORMAT: Final = "ltxtui-run"
FORMAT_VERSION: Final = 1

Message = dict[str, Any]
"""One decoded message; its type is under the key `t`."""

Stream = Literal["video", "audio"]
STREAMS: Final[tuple[Stream, ...]] = ("video", "audio")
"""In this order: a stream's index is part of the seed of its shocks' noise, see `recorder.shocks.noise`."""

# Message types, in the order a run sends them first.
HEADER: Final = "header"  # once, first: format, version, run, time, archive, metadata
STAGE: Final = "stage"  # a denoising loop begins: stage, call, tile, time, sigmas, metadata
STREAM: Final = "stream"  # a stream of a stage is first stepped: stage, stream, grid, shape, metrics, coordinates
STEP: Final = "step"  # rows: stage, stream, step, count, time, data
MISSED: Final = "missed"  # steps taken and not recorded so far, of one stream: stage, stream, count
EVENT: Final = "event"  # a marker: time, stage, step, stream, kind, text, payload
SYSTEM: Final = "system"  # machine load: time, values
PREVIEW: Final = "preview"  # a small picture of x0: stage, step, …
DECODED: Final = "decoded"  # a small picture of a decoded frame: stage, stream, index, count, frame, shape, data
PALETTE: Final = "palette"  # true colours of a stage's pictures: stage, stream, recolour, and what was fitted
END: Final = "end"  # once, last: time, status, error

# The one message type that goes the other way, from a viewer to the recorder.
CONTROL: Final = "control"  # a command: id, command, and for a shock its dict form under shock; answered by an event

Command = Literal["shock", "stop", "snapshot"]
COMMANDS: Final[tuple[Command, ...]] = ("shock", "stop", "snapshot")
MAX_COMMAND_ID: Final = 32
"""Characters of a command's id, which its answer carries."""

Status = Literal["recording", "complete", "interrupted", "failed"]
"""Stored in an archive. Readers show `live` or `unfinished` instead of `recording`."""

FALSE_COLOURS: Final = "components"
FITTED_COLOURS: Final = "fitted"
"""What the colours of a picture are, under `colours`: components of the latents, or true colours by a fitted map."""

EventKind = Literal["stage_start", "stage_end", "nan", "warning", "error", "degraded", "shock", "critical", "control"]

MAX_RECORDER_MESSAGE: Final = 1 << 20
MAX_VIEWER_MESSAGE: Final = 64 << 10
MAX_SOCKET_PATH: Final = 103
"""Longest Unix socket path in bytes that works on every system."""
