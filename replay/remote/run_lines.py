"""Lines of a list of runs as JSON, checked where they are read: they come from another machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from recorder.findings.finding import SEVERITIES, Verdict
from recorder.format.nonfinite import Broken
from replay.library.run_info import MAX_TAGS, PROMPT_CHARACTERS, SIGMAS, TAG_CHARACTERS, RunInfo
from replay.remote.hello import NotALine

_TEXT: Final = 4096
_STATUS: Final = 20
_MOST_BROKEN: Final = 64
_WHOLE: Final = 2**53


def as_line(run: RunInfo) -> dict[str, Any]:
    """A run's line as a map that JSON can hold. Its path is absolute."""
    said: dict[str, Any] = {
        "name": run.name, "path": str(run.path.absolute()), "started": run.started, "stages": run.stages,
        "steps": run.steps, "planned": run.planned, "seconds": run.seconds, "status": run.status, "bytes": run.bytes,
        "prompt": run.prompt, "model": run.model, "shocks": run.shocks, "drift": run.drift,
        "sigmas": list(run.sigmas), "tags": list(run.tags), "missed": run.missed, "noise_left": run.noise_left,
        "broken": [[b.stage, b.stream, b.step, b.item, b.share] for b in run.broken[:_MOST_BROKEN]],
        "stalled": run.stalled_seconds,
    }  # fmt: skip
    if run.verdict is not None:
        said["verdict"] = [run.verdict.severity, run.verdict.text]
    return said


def read_run(said: Mapping[str, Any], host: str, address: str) -> RunInfo:
    """A run's line. Unknown fields are skipped, and those of newer programs that are missing have their defaults.

    Args:
        said: the map.
        host: the name of the machine that it came from.
        address: the address of that machine; with the path there it makes the path of the line, which is no path here.

    Raises:
        NotALine: if a field is not what it should be.
    """
    try:
        return _read(said, host, address)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise NotALine(f"a run that is not described as one ({error})") from None


def _read(said: Mapping[str, Any], host: str, address: str) -> RunInfo:
    known = said.get("verdict")
    verdict = None if known is None else _verdict(*known)
    sigmas, tags = said.get("sigmas", ()), said.get("tags", ())
    return RunInfo(
        name=_text(said["name"], 256),
        path=remote_path(address, _text(said["path"], _TEXT)),
        started=_number(said["started"]),
        stages=_count(said["stages"]),
        steps=_count(said["steps"]),
        planned=_count(said["planned"]),
        seconds=_maybe(said.get("seconds")),
        status=_text(said["status"], _STATUS),
        bytes=_count(said.get("bytes", 0)),
        prompt=_text(said.get("prompt", ""), PROMPT_CHARACTERS),
        model=_text(said.get("model", ""), PROMPT_CHARACTERS),
        shocks=_count(said.get("shocks", 0)),
        drift=_maybe(said.get("drift")),
        sigmas=tuple(_number(sigma) for sigma in sigmas[:SIGMAS]),
        tags=tuple(_text(tag, TAG_CHARACTERS) for tag in tags[:MAX_TAGS]),
        missed=_count(said.get("missed", 0)),
        broken=tuple(_broken(*one) for one in said.get("broken", ())[:_MOST_BROKEN]),
        noise_left=_number(said.get("noise_left", 0.0)),
        verdict=verdict,
        stalled_seconds=_maybe(said.get("stalled")),
        host=host,
    )


def remote_path(address: str, path: str) -> Path:
    """What stands for a path on another machine: no path here can be the same, and no command takes it for one."""
    return Path(f"{address}/{path.lstrip('/')}")


def path_there(address: str, path: Path) -> str:
    """The path on the other machine that `remote_path` was made of."""
    return "/" + str(path)[len(str(Path(address))) :].lstrip("/")


def _verdict(severity: object, text: object) -> Verdict:
    if severity not in ("ok", *SEVERITIES):
        raise ValueError("its verdict")
    return Verdict(severity, _text(text, 200))  # type: ignore[arg-type]


def _broken(stage: object, stream: object, step: object, item: object, share: object) -> Broken:
    return Broken(
        _count(stage), _text(stream, 40), _count(step), None if item is None else _count(item), _number(share)
    )


def _text(value: object, most: int) -> str:
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value[:most]


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < _WHOLE:
        raise TypeError("a count expected")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("a number expected")
    return float(value)


def _maybe(value: object) -> float | None:
    return None if value is None else _number(value)
