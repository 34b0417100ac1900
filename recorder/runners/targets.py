"""What `record` is asked to record: diffusers pipelines, those of ltx-pipelines, or all that the latter runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recorder.runners.lightricks import api as lightricks_api
from recorder.runners.lightricks import observer as lightricks
from recorder.runners.lightricks.described import checkpoint_of
from recorder.sampling import hooks, supported_pipelines
from recorder.sampling.metadata import brief, command, device_name, model_id, versions
from recorder.shocks.conductor import Conductor
from recorder.shocks.schedules import free
from recorder.shocks.spec import Shock
from recorder.system.ranks import rank_here


@dataclass
class Targets:
    """What is recorded in one run.

    Attributes:
        pipes: diffusers pipelines.
        others: pipelines of ltx-pipelines.
        all_others: everything that ltx-pipelines runs is recorded.
        api: the interface of ltx-pipelines, if something of it is recorded.
        joining: pipelines join the run later, call by call, and shocks act in them.
    """

    pipes: list[Any] = field(default_factory=list)
    others: list[Any] = field(default_factory=list)
    all_others: bool = False
    api: lightricks_api.Api | None = None
    joining: bool = False

    @classmethod
    def of(cls, given: Any) -> Targets:
        """What `record` was given: a pipeline, a runner's name, a sequence of them, or None for an own loop.

        Raises:
            ValueError: if something cannot be observed correctly.
            RuntimeError: if something is being recorded already, or is listed twice.
        """
        several = isinstance(given, Sequence) and not isinstance(given, str)
        listed = list(given) if several else [] if given is None else [given]
        made = cls()
        for one in listed:
            if not lightricks.takes(one):
                supported_pipelines.check(one)
                made.pipes.append(one)
            elif isinstance(one, str):
                made.all_others = True
            else:
                made.others.append(one)
        if made.others or made.all_others:
            made.api = lightricks_api.read_api()
        for i, one in enumerate(listed):
            if hooks.is_hooked(one) or lightricks.is_recorded(one):
                raise RuntimeError(f"this {type(one).__name__} is being recorded already; end that recording first")
            if any(one is other for other in listed[:i]):
                raise RuntimeError(f"this {type(one).__name__} is listed more than once; list each pipeline once")
        return made

    def __bool__(self) -> bool:
        return bool(self.pipes or self.others or self.all_others or self.joining)

    def conductor(
        self,
        shocks: Sequence[Shock | Mapping[str, Any]],
        sigmas: Sequence[float] | None,
        allow_control: bool,
    ) -> Conductor | None:
        """The conductor that decides on the shocks of a run; None if no shock can act in it.

        Raises:
            ValueError: if shocks are requested and a pipeline cannot apply them exactly.
        """
        read = [s if isinstance(s, Shock) else Shock.from_dict(s) for s in shocks]
        own = None if sigmas is None else free(sigmas)
        if not self or not (read or own):
            if read or own:
                raise ValueError("shocks act in a pipeline's scheduler; a custom loop injects its noise itself")
            return Conductor() if self and allow_control else None
        if self.pipes:
            # Imports diffusers, which a process that runs ltx-pipelines may lack.
            from recorder.shocks.scheduler import check_lendable

            for pipe in self.pipes:
                for name in hooks.SCHEDULER_NAMES:
                    if getattr(pipe, name, None) is not None:
                        check_lendable(getattr(pipe, name))
        return Conductor(read, own)

    def known(self, conductor: Conductor | None, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
        """The metadata that is known when a run begins."""
        pipes, others = self.pipes, self.others
        device = pipes[0].device if pipes else getattr(others[0], "device", None) if others else None
        packages = lightricks_api.versions() if self.api is not None else {}
        runner = {"runner": lightricks_api.NAME} if self.api is not None else {}
        return {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "command": command(),
            "pipelines": [type(p).__name__ for p in (*pipes, *others)],
            "model": model_id(pipes[0]) if pipes else checkpoint_of(others[0]) if others else "",
            "device": "" if device is None else device_name(device),
            "versions": {**versions(), **packages},
            **runner,
            "shocks": [s.as_dict() for s in conductor.shocks] if conductor else [],
            **(rank.as_metadata() if (rank := rank_here()) is not None else {}),
            "user": {} if metadata is None else brief(metadata),
        }
