"""A run that is stalled, lost or damaged: what the run screen and the compare screen say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltxtui.app import Dashboard
from ltxtui.screens.compare import CompareScreen
from recorder.format.protocol import Message
from replay.model import pulse
from replay.sources.open import Liveness, Source, open_path
from tests.ltxtui.driving import loaded, resized, shown, until
from tests.ltxtui.fake import messages
from tests.ltxtui.fixture import journal_file
from tests.ltxtui.sources import Archive, Live

SMALL, ROOMY = (80, 24), (120, 40)
SIGN: Message = {"t": "system", "time": 1.0, "values": {}}
DAMAGE = "stage_0/video/sigma: chunk 0 is not what was written; all of it: ltxtui runs check runs/x.zarr"


def live() -> Live:
    """A live run that has done 8 of 12 steps."""
    source = Live()
    source.send(m for m in messages(12, end=None) if not (isinstance(m.get("step"), int) and m["step"] >= 8))
    return source


@pytest.mark.parametrize("size", [SMALL, ROOMY])
async def test_a_stalled_run_says_since_when_at_every_size(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "SILENT_SECONDS", 0.2)
    source = live()
    app = Dashboard(source)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.deck.visible == 8)
        source.send([SIGN])
        await until(pilot, lambda: "STALLED" in shown(pilot, "#header"))
        for keys in ((), ("left",)):
            await pilot.press(*keys)
            header = shown(pilot, "#header")
            assert "STALLED" in header and "stalled for" in header and "since " in header
            assert (
                "no sign of its recorder" in header and "step 8/12" in header and " left" not in header.splitlines()[1]
            )


async def test_a_recorder_that_is_lost_is_said_to_be() -> None:
    source = live()
    app = Dashboard(source)
    async with app.run_test(size=ROOMY) as pilot:
        await until(pilot, lambda: app.deck.visible == 8)
        await pilot.press("5")
        await until(pilot, lambda: "live" in shown(pilot, "#cost"))
        source.liveness = Liveness.UNFINISHED
        await until(pilot, lambda: not app.deck.live)
        await until(pilot, lambda: "recorder lost" in shown(pilot, "#cost"))
        assert "unfinished" in shown(pilot, "#header")
        assert "everything written so far is kept" in [n.message for n in app._notifications][-1]


async def test_a_connection_that_stays_away_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "LOST_SECONDS", 5.0)
    source = live()
    app = Dashboard(source)
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: app.deck.visible == 8)
        source.reconnecting = True  # type: ignore[attr-defined]
        for seconds, word in ((1.0, "! RECONNECTING"), (6.0, "! LOST")):
            source.disconnected_seconds = seconds  # type: ignore[attr-defined]
            source.note = f"connection lost {seconds:.0f} s ago"
            await until(pilot, lambda word=word: word in shown(pilot, "#header"))
        assert "no answer; reconnecting" in shown(pilot, "#header")


@pytest.mark.parametrize("size", [SMALL, ROOMY])
@pytest.mark.parametrize(("ended", "said"), [("complete", "complete, damaged"), (None, "unfinished, damaged")])
async def test_damage_is_in_the_header_and_its_place_below(size: tuple[int, int], ended: str | None, said: str) -> None:
    source = Archive(messages(6, end=ended), Liveness.FINISHED if ended else Liveness.UNFINISHED, DAMAGE)
    source.damage = DAMAGE  # type: ignore[attr-defined]
    app = Dashboard(source)
    async with app.run_test(size=size) as pilot:
        await loaded(pilot)
        assert said in shown(pilot, "#header") and "stage_0/video/sigma" in shown(pilot, "#event")


async def test_compare_says_which_run_is_stalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "SILENT_SECONDS", 0.2)
    paths = [journal_file(tmp_path, "smooth"), tmp_path / "live.zarr"]
    source = live()

    def opened(path: Path) -> Source:
        return source if path == paths[1] else open_path(path)

    app = Dashboard(first=lambda app: CompareScreen(paths, opener=opened))
    async with app.run_test(size=ROOMY) as pilot:
        screen = app.screen_stack[0]
        assert isinstance(screen, CompareScreen)
        await until(pilot, lambda: not screen.deck.loading)
        source.send([SIGN])
        await until(pilot, lambda: screen.deck.members[1].status == "stalled")
        await until(pilot, lambda: "! STALLED" in shown(pilot, "#header"))
        assert (
            "stalled" in shown(pilot, "#runs").splitlines()[2] and "complete" in shown(pilot, "#runs").splitlines()[1]
        )
        await resized(pilot, *SMALL)
        await pilot.press("down")
        await until(pilot, lambda: "stalled" in shown(pilot, "#runs"))
