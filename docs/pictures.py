"""Renders the pictures of README.md and the pages in docs/ from real recorded nano runs: `make pictures`."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import comfyui_picture
import finding_pictures

from ltxtui.app import Dashboard
from ltxtui.reports.export import self_contained
from ltxtui.screens.compare import CompareScreen
from recorder.generate import Request, generate
from recorder.shocks.spec import Shock
from replay.sources.open import load, open_path

HERE = Path(__file__).parent / "pictures"
SIZE = (120, 36)


async def picture(make: Callable[[], Dashboard], to: Path, keys: list[str]) -> None:
    """Save what the dashboard shows after some keys."""
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        for _ in range(100):
            await pilot.pause(0.05)
            deck = getattr(app.screen, "deck", None)
            if deck is not None and not deck.loading:
                break
        await pilot.press(*keys)
        await pilot.pause(0.5)
        svg = app.export_screenshot(title="ltxtui")
    to.write_text(self_contained(svg).replace("Fira Code", "DejaVu Sans Mono"))


def shifted_again(runs: Path) -> Path:
    """A run that went wrong: the distilled levels, given to a scheduler that shifts them again."""
    from recorder import nano, record

    levels = [1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875]
    pipe = nano.load()
    with record(pipe, runs_dir=runs, name="distilled") as run:
        pipe("a red ball moving left", sigmas=levels, num_inference_steps=len(levels), **nano.HOME, **nano.CALL)
    return run.path


def main() -> None:
    HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        # A terminal with all colours, whatever this one has, and nobody's own settings.
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", LC_ALL="C.UTF-8")
        os.environ.update({f"LTXTUI_{name}": str(runs / name.lower()) for name in ("CONFIG", "STATE", "RUNTIME_DIR")})
        os.environ.pop("NO_COLOR", None)
        request = Request(model="nano", prompt="a red ball moving left", steps=40, runs_dir=runs, name="smooth")
        smooth = generate(request).archive
        spike = (Shock("restart", at=0.9, strength_db=6, seed=1),)
        shocked = generate(
            Request(
                model="nano", prompt="a red ball moving left", steps=40, runs_dir=runs, name="restart", shocks=spike
            )
        ).archive
        back = ["left"] * 12
        faulty = shifted_again(runs)
        asyncio.run(picture(lambda: Dashboard(open_path(faulty)), HERE / "dashboard.svg", ["f"]))
        for name, keys in (("drift", ["2", *back]), ("frequency", ["3", *back])):
            asyncio.run(picture(lambda: Dashboard(open_path(shocked)), HERE / f"{name}.svg", keys))
        pair = [smooth, shocked]
        compared = Dashboard(first=lambda app: CompareScreen(pair))
        asyncio.run(picture(lambda: compared, HERE / "compare.svg", back))
        levels = [*load(smooth).stages[0].sigmas, 0.0]
        if (comfyui := comfyui_picture.sampled(levels, runs)) is not None:
            asyncio.run(picture(lambda: Dashboard(open_path(comfyui)), HERE / "comfyui.svg", []))
        finding_pictures.main(runs)


if __name__ == "__main__":
    main()
