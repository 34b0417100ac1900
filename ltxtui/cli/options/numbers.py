"""Numbers on the command line: in ASCII digits, never NaN, and within the ranges that the libraries accept."""

from __future__ import annotations

import math
from typing import Any, Final

import click
from click.types import FloatParamType, IntParamType

SEED: Final = click.IntRange(min=0, max=2**63 - 1)
STEPS: Final = click.IntRange(max=100_000)
PIXELS: Final = click.IntRange(max=32_768)
FRAMES: Final = click.IntRange(max=100_001)


def strict(command: click.Command) -> click.Command:
    """The command and its subcommands, with every number restricted to ASCII digits and finite values."""
    for parameter in command.params:
        if isinstance(parameter.type, IntParamType | FloatParamType):
            parameter.type = _strict(parameter.type)
    if isinstance(command, click.Group):
        for each in command.commands.values():
            strict(each)
    return command


def _strict(known: click.ParamType[Any]) -> click.ParamType[Any]:
    """A copy of a parameter type that refuses other digits than 0 to 9, NaN and, without a range, infinity."""

    def convert(
        self: click.ParamType[Any], value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> Any:
        if isinstance(value, str) and (not value.isascii() or "_" in value):
            self.fail(f"{value!r} is not a number in the digits 0 to 9.", parameter, context)
        found = type(known).convert(known, value, parameter, context)
        if isinstance(found, float) and (math.isnan(found) or (math.isinf(found) and isinstance(value, str) and low)):
            self.fail(f"{value!r} is not a finite number.", parameter, context)
        return found

    low = not hasattr(known, "min")
    made: click.ParamType[Any] = object.__new__(type(type(known).__name__, (type(known),), {"convert": convert}))
    made.__dict__.update(known.__dict__)
    return made
