"""`--notify`, the same for every command that has it, and where its problems are shown."""

from __future__ import annotations

import click

from ltxtui.cli.common import Command


def notify_option(command: Command) -> Command:
    """`--notify COMMAND`, as the words of the command; empty without one."""
    return click.option(
        "--notify",
        metavar="COMMAND",
        callback=_words,
        help="Run this when the run ends, fails, becomes NaN or stalls, and for warnings and errors; the event comes "
        "as JSON on its standard input. Quotes work as in a shell; for more, write: sh -c '…'.",
    )(command)


def _words(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    from ltxtui.alerts.notifier import read_command

    if value is None:
        return ()
    try:
        return read_command(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def stop_if_option(command: Command) -> Command:
    """`--stop-if RULE[,RULE]`, as a tuple of rules' ids."""
    return click.option(
        "--stop-if",
        metavar="RULE[,RULE]",
        callback=rule_ids,
        help="Stop the run after the step in which one of these rules finds something, such as not-finite; the exit "
        "status is then 3. An unknown rule gets the list of rules.",
    )(command)


def rule_ids(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """The ids of rules in an option's value; a usage error for one that is not known."""
    from recorder.findings.named import read_rules

    if value is None:
        return ()
    try:
        return tuple(rule.id for rule in read_rules(value))
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None
