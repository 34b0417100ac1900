"""Alerts: each event once, the command that gets them is bounded, and what a terminal is sent."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from ltxtui.alerts import notifier
from ltxtui.alerts.alert import Alert, AlertLog
from ltxtui.alerts.follow import Follow
from ltxtui.alerts.notifier import Notifier, read_command
from ltxtui.alerts.watcher import Watcher
from ltxtui.cli import cli, until_done
from ltxtui.terminal.attention import sequence
from recorder.findings.finding import Finding, Severity, Verdict
from recorder.format.protocol import Message
from replay.findings import RunFindings
from replay.model.pulse import Stall
from replay.model.run import Run
from replay.sources.open import Liveness
from tests import recorded
from tests.ltxtui import fake
from tests.ltxtui.sources import Archive, Live
from tests.waiting import until

NAME = "20261122-143015-red-disc"
DONE = Alert("done", NAME, "/runs/x.zarr", Verdict())
STALL = Stall(12.3, silent=True)


class Found(RunFindings):
    """Findings as a test says."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.now: list[Finding] = []

    def update(self) -> list[Finding]:
        return self.now


def log_of(*messages: Message) -> tuple[AlertLog, Found]:
    run = Run()
    for message in messages or list(fake.messages(3, end=None)):
        run.feed(message)
    found = Found(run)
    return AlertLog(run, found), found


def finding(id: str, severity: Severity) -> Finding:
    return Finding(id, severity, f"{id} is so", short=id)


# -- events


def test_each_event_comes_once_and_a_finding_again_if_it_is_worse() -> None:
    log, found = log_of()
    assert log.update() == []
    found.now = [finding("not-finite", "error"), finding("a", "note")]
    assert [(a.event, a.finding.id if a.finding else "") for a in log.update()] == [
        ("nan", "not-finite"), ("finding", "a")
    ]  # fmt: skip
    found.now = [finding("not-finite", "error"), finding("not-finite", "error"), finding("a", "warning")]
    assert [(a.event, a.is_note) for a in log.update()] == [("finding", False)]
    found.now = [finding("not-finite", "error"), finding("a", "note")]
    assert log.update() == []


def test_a_stall_is_said_once_and_not_of_a_run_that_is_over() -> None:
    log, _ = log_of()
    assert [(a.event, a.verdict.as_json()) for a in log.update(stall=STALL)] == [
        ("stalled", {"severity": "warning", "text": "stalled 12 s"})
    ]
    assert log.update(stall=Stall(20, silent=True)) == []
    ended, _ = log_of(*fake.messages(3))
    assert [a.event for a in ended.update(stall=STALL, over=True)] == ["done"]


@pytest.mark.parametrize(
    ("end", "event", "status"),
    [
        ("complete", "done", "complete"),
        ("failed", "failed", "failed"),
        ("interrupted", "failed", "interrupted"),
        (None, "failed", "unfinished"),
    ],
)
def test_a_run_is_done_or_has_failed(end: str | None, event: str, status: str) -> None:
    log, _ = log_of(*fake.messages(3, end=end))
    (alert,) = log.update(over=True)
    assert (alert.event, alert.status, alert.run) == (event, status, NAME)
    assert log.update(over=True) == []


def test_the_json_is_as_the_contract_says() -> None:
    found = finding("not-finite", "error")
    alert = Alert("nan", NAME, "/runs/x.zarr", Verdict("error", "NaN since step 4"), found)
    assert alert.as_json() == {
        "event": "nan",
        "run": NAME,
        "archive": "/runs/x.zarr",
        "verdict": {"severity": "error", "text": "NaN since step 4"},
        "finding": found.as_json(),
    }
    assert DONE.as_json()["finding"] is None


def test_what_rings() -> None:
    assert {e for e in ("done", "failed", "nan", "stalled", "finding") if Alert(e, "", "", Verdict()).rings} == {  # type: ignore[arg-type]
        "done", "failed", "nan", "stalled"
    }  # fmt: skip
    assert Alert("done", "", "", Verdict("error", "NaN since step 4")).text == "done: NaN since step 4"
    assert Alert("failed", "", "", Verdict(), status="unfinished").text == "unfinished"


# -- the terminal


def test_a_notification_is_one_sequence_without_what_ends_it() -> None:
    said = sequence("a\x07b\x1b\\;c", term="xterm-256color")
    assert said.startswith("\x1b]9;ltxtui: ab") and said.endswith("\x07") and said.count("\x07") == 1
    assert said.count("\x1b") == 4 and said.split("\x1b\\")[1].count(";") == 3
    assert sequence("σ", plain=True, term="xterm").isascii()
    assert len(sequence("x" * 9999, term="xterm")) < 500


@pytest.mark.parametrize("term", ["linux", "dumb", ""])
def test_terminals_without_notifications_only_ring(term: str) -> None:
    assert sequence("done", term=term) == "\x07"


# -- the command


@pytest.mark.parametrize("given", ["", "  ", "'a", "no-such-program-at-all x"])
def test_what_is_not_a_command_is_refused_with_status_2(given: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"command|program"):
        read_command(given)
    for words in (["record", "--model", "nano"], ["watch", "--until-done"]):
        done = CliRunner().invoke(cli, [*words, "--notify", given])
        assert done.exit_code == 2 and "--notify" in done.output
    assert read_command("sh -c 'a b'") == ("sh", "-c", "a b")


def test_the_command_gets_one_line_of_json_without_a_shell(tmp_path: Path) -> None:
    said: list[str] = []
    told = Notifier(["tee", "-a", str(tmp_path / "a;b $HOME")], said.append)
    told.send(DONE)
    told.send(Alert("finding", NAME, "", Verdict(), finding("a", "note")))
    told.send(Alert("finding", NAME, "", Verdict(), finding("a", "warning")))
    told.close()
    lines = (tmp_path / "a;b $HOME").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["done", "finding"] and not said


def test_a_slow_command_holds_nothing_up_and_is_ended(tmp_path: Path) -> None:
    said: list[str] = []
    told = Notifier(["sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 1000 & sleep 1000"], said.append, seconds=1.0)
    told.send(DONE)
    told.close()
    until(lambda: said)
    assert said == ["--notify: sh took longer than 1 s and was ended"]


@pytest.mark.parametrize("words", [["false"], ["sh", "-c", "exec 0<&-; exit 3"], ["/"]])
def test_a_command_that_fails_is_mentioned_once(words: list[str]) -> None:
    said: list[str] = []
    told = Notifier(words, said.append)
    told.send(DONE)
    told.send(DONE)
    told.close()
    assert len(said) == 1 and said[0].startswith(f"--notify: {words[0]} ")


def test_commands_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "MOST", 2)
    said: list[str] = []
    told = Notifier(["tee", "-a", str(tmp_path / "out")], said.append)
    for _ in range(5):
        told.send(DONE)
    told.close()
    assert len((tmp_path / "out").read_text().splitlines()) == 2
    assert said == ["--notify: 2 commands have been run; no further one is"]


def test_a_run_that_cannot_be_followed_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    with Watcher(["true"], said.append) as watcher:
        watcher.begin(tmp_path / "no.sock", tmp_path / "no.zarr")
    assert len(said) == 1 and said[0].startswith("--notify: the run cannot be followed: ")


# -- without a dashboard


def test_reading_that_breaks_ends_as_failed() -> None:
    follow = Follow(Archive([{"t": "stage"}]))
    assert [a.event for a in follow.turn()] == ["failed"]
    assert follow.over and follow.problem == "reading stopped: a run begins with its header"


def test_a_live_run_is_followed_to_its_end() -> None:
    source, messages = Live(), list(fake.messages(3))
    follow = Follow(source, clock=lambda: 0.0)
    source.send(messages[:-1])
    assert "done" not in {a.event for a in follow.turn()} and not follow.over
    source.send(messages[-1:])
    assert [a.event for a in follow.turn() if a.event != "finding"] == ["done"]
    source.liveness = Liveness.FINISHED
    assert follow.turn() == [] and follow.over


def test_a_silent_recorder_is_stalled() -> None:
    now = [0.0]
    source = Live()
    follow = Follow(source, clock=lambda: now[0])
    source.send([*list(fake.messages(30, end=None))[:20], {"t": "system", "time": fake.START, "host": {}}])
    follow.turn()
    follow.turn()
    now[0] = 100.0
    assert [a.event for a in follow.turn()] == ["stalled"]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Finished runs of every kind, and one that was killed."""
    folder = tmp_path / "runs"
    folder.mkdir()
    for end in ("complete", "failed", "interrupted"):
        recorded.archive(folder, f"20261122-143015-{end}", end=end)
    recorded.archive(folder, "20261122-143015-broken", nan_at=2)
    killed = recorded.Recording(folder, "20261122-143015-killed")
    killed.write(list(recorded.whole("20261122-143015-killed", end=None)))
    killed.die()
    monkeypatch.setenv("LTXTUI_RUNS_DIR", str(folder))
    return folder


def watched(*words: str) -> Result:
    return CliRunner().invoke(cli, ["watch", "--until-done", *words])


@pytest.mark.parametrize(
    ("name", "status"), [("complete", 0), ("failed", 4), ("interrupted", 4), ("killed", 4), ("broken", 0)]
)
def test_the_status_says_how_the_run_ended(name: str, status: int, runs: Path) -> None:
    for words in ([name], [name, "--json"], [str(runs / f"20261122-143015-{name}.zarr")]):
        done = watched(*words)
        assert done.exit_code == status, done.output
        assert name in done.output


def test_fail_on_looks_at_runs_that_are_complete(runs: Path) -> None:
    done = watched("broken", "--fail-on", "error", "--json")
    assert done.exit_code == 3, done.output
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [events[0]["event"], events[-1]["event"], events[-1]["status"]] == ["begun", "done", "complete"]
    assert [e["finding"]["id"] for e in events if e["event"] == "nan"] == ["not-finite"]
    assert all(set(e) - {"status"} == {"event", "run", "archive", "verdict", "finding"} for e in events)
    assert watched("failed", "--fail-on", "error").exit_code == 4


def test_options_that_need_until_done_say_so() -> None:
    for words in (["--json"], ["--fail-on", "error"]):
        done = CliRunner().invoke(cli, ["watch", *words])
        assert done.exit_code == 2 and "need --until-done" in done.output


def test_without_a_live_run_there_is_nothing_to_wait_for(runs: Path) -> None:
    assert watched().exit_code == 1
    assert watched("no-such").exit_code == 1


def test_an_interrupt_ends_with_130(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(until_done.Follow, "turn", interrupt)
    with pytest.raises(click.Abort):  # `main` gives it the status 130, as for every command
        CliRunner().invoke(cli, ["watch", "--until-done", "complete"], standalone_mode=False, catch_exceptions=False)
