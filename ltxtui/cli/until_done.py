"""`ltxtui watch --until-done`: a run without the dashboard, as lines or JSON, until it has ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Final

import click

from ltxtui.alerts.alert import Alert
from ltxtui.alerts.follow import Follow
from ltxtui.alerts.notifier import Notifier
from ltxtui.cli.common import is_terminal, say
from ltxtui.cli.explain import met
from ltxtui.plot.text import clean
from ltxtui.reports import findings_text
from ltxtui.settings import load
from ltxtui.terminal.attention import sequence
from replay.model.run import Run
from replay.sources.open import Source

NOT_COMPLETE: Final = 4
"""Exit status of a run that failed, was interrupted or has no end."""
FAILED_ON: Final = 3
"""Exit status where `--fail-on` is met."""
_LINES: Final = 10
"""Progress lines of a stage, at most about, where the output is not a terminal."""


class _Printed:
    """Prints events and progress: one line that is overwritten on a terminal, a few lines elsewhere."""

    def __init__(self, run: Run, as_json: bool) -> None:
        self._run = run
        self._as_json = as_json
        self._overwrites = not as_json and is_terminal(sys.stdout)
        self._rings = is_terminal(sys.stdout) and load().settings.alerts
        self._begun = False
        self._shown = ""

    def alert(self, alert: Alert) -> None:
        if self._as_json:
            end = {"status": alert.status} if alert.status else {}
            click.echo(json.dumps({**alert.as_json(), **end}, allow_nan=False))
        else:
            self._clear()
            click.echo(self._line(alert))
        if alert.rings and self._rings:
            click.echo(sequence(f"{alert.run}: {alert.text}"), nl=False)
        sys.stdout.flush()

    def _line(self, alert: Alert) -> str:
        if (found := alert.finding) is not None:
            where = findings_text.place(found, self._run)
            return f"{found.severity} [{found.id}]{f' {where}' if where else ''}: {clean(found.text, 400)}"
        if alert.event == "stalled":
            return f"{clean(alert.run)}: {clean(alert.text)}"
        return f"{clean(alert.run)}: {clean(self._run.standing)}: {clean(alert.verdict.text)}"

    def progress(self, archive: str, note: str) -> None:
        if not self._run.header:
            self._show(note)
            return
        if not self._begun:
            self._begin(archive)
        if self._as_json or not self._run.stages:
            return
        stage = self._run.stages[-1]
        done, planned = stage.steps, len(stage.sigmas)
        of = f"/{planned}" if planned else ""
        named = f"stage {stage.index}, " if len(self._run.stages) > 1 else ""
        text = f"{named}step {done}{of}"
        if self._overwrites:
            self._show(f"{clean(self._run.name)}: {text}")
        elif done and (done == planned or done % max(1, planned // _LINES) == 0 if planned else done % 100 == 0):
            self._show(text)

    def _begin(self, archive: str) -> None:
        self._begun = True
        if self._as_json:
            verdict = {"severity": "ok", "text": "ok"}
            begun = {"event": "begun", "run": self._run.name, "archive": archive, "verdict": verdict, "finding": None}
            click.echo(json.dumps(begun))
            sys.stdout.flush()
        elif not self._overwrites:
            click.echo(f"{clean(self._run.name)} is being watched")

    def _show(self, text: str) -> None:
        if self._as_json or text == self._shown or not text:
            return
        self._shown = text
        if self._overwrites:
            click.echo(f"\r\x1b[K{text}", nl=False)
        else:
            click.echo(text)
        sys.stdout.flush()

    def close(self) -> None:
        """Leave the line that is overwritten."""
        if self._overwrites and self._shown:
            click.echo()

    def _clear(self) -> None:
        if self._overwrites and self._shown:
            click.echo("\r\x1b[K", nl=False)
            self._shown = ""


def until_done(source: Source, *, as_json: bool, fail_on: str | None, notify: Sequence[str], archive: str = "") -> int:
    """Follow a run until it has ended; the exit status.

    Raises:
        KeyboardInterrupt: as it comes; what was printed stays.
    """
    follow = Follow(source, archive=archive)
    printed = _Printed(follow.run, as_json)
    notifier = Notifier(notify, say) if notify else None
    status = NOT_COMPLETE
    try:
        while not follow.over:
            alerts = follow.turn()
            printed.progress(follow.log.archive, clean(source.note))
            for alert in alerts:
                printed.alert(alert)
                status = 0 if alert.event == "done" else status
                if notifier is not None:
                    notifier.send(alert)
            if not follow.over:
                follow.wait()
    finally:
        printed.close()
        follow.close()
        if notifier is not None:
            notifier.close()
    if follow.problem:
        say(f"ltxtui: {clean(follow.problem)}")
    if status == 0 and met(follow.log.findings.verdict.severity, fail_on):
        return FAILED_ON
    return status
