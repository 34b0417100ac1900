"""What `ltxtui run` asks of the processes that it records: one variable of their environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

OPTIONS: Final = "LTXTUI_RUN"
"""The environment's name for the options."""

Each = Literal["process", "call"]
Ranks = Literal["0", "all"]


@dataclass(frozen=True)
class LaunchOptions:
    """How calls are recorded.

    Attributes:
        runs_dir: absolute path of the folder for archives.
        name: follows the time in a run's name; empty for two random words.
        each: what is one run: all calls of a process, or each call.
        ranks: which of several ranks record.
        every: the first call of every so many is recorded.
        keep: how many runs of a process are kept, the newest; 0 for all.
        shocks: as `Shock.as_dict` gives them.
        stop_if: ids of rules.
        allow_control: viewers of the same user may send commands.
    """

    runs_dir: str
    name: str = ""
    each: Each = "process"
    ranks: Ranks = "0"
    every: int = 1
    keep: int = 0
    shocks: tuple[Mapping[str, Any], ...] = ()
    stop_if: tuple[str, ...] = ()
    allow_control: bool = False

    def as_text(self) -> str:
        """The value of the variable."""
        return json.dumps({**asdict(self), "shocks": [dict(s) for s in self.shocks]})

    @classmethod
    def from_text(cls, text: str) -> LaunchOptions:
        """The options that `as_text` wrote. Raises ValueError if they are not."""
        try:
            given = json.loads(text)
            return cls(**{**given, "shocks": tuple(given["shocks"]), "stop_if": tuple(given["stop_if"])})
        except (LookupError, TypeError) as error:
            raise ValueError(f"{OPTIONS} is not what ltxtui run writes: {error}") from error

    @classmethod
    def of_environment(cls) -> LaunchOptions:
        """The options of this process. Raises ValueError without any."""
        return cls.from_text(os.environ.get(OPTIONS, "null"))
