"""Renders README's pictures from a real recorded nano run: `make pictures`."""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path

from ltxtui.app import Dashboard
from recorder.generate import Request, generate
from replay.source import open_path

HERE = Path(__file__).parent / "pictures"
SIZE = (120, 36)


async def picture(archive: Path, to: Path, keys: list[str]) -> None:
    """Save what the dashboard shows of an archive after some keys."""
    app = Dashboard(open_path(archive))
    async with app.run_test(size=SIZE) as pilot:
        for _ in range(100):
            await pilot.pause(0.05)
            if app.deck.total and not app.deck.loading:
                break
        await pilot.press(*keys)
        await pilot.pause(0.2)
        svg = app.export_screenshot(title="ltxtui replay")
    # Any monospace font will do; the file must not fetch one from anywhere.
    to.write_text(re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL).replace("Fira Code", "DejaVu Sans Mono"))


def main() -> None:
    HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        request = Request(
            model="nano", prompt="a red ball moving left", steps=40, runs_dir=Path(folder), name="red-ball"
        )
        outcome = generate(request)
        asyncio.run(picture(outcome.archive, HERE / "dashboard.svg", ["left"] * 12))


if __name__ == "__main__":
    main()
