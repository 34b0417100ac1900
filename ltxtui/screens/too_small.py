"""The message for a terminal that is too small."""

from __future__ import annotations

from typing import Final

from ltxtui.panels.view import View
from ltxtui.plot.rows import TextRow

SMALLEST: Final = (60, 15)


class TooSmall(View):
    """Shows the terminal's size and the least size."""

    def rows(self, width: int, height: int) -> list[TextRow]:
        lines = (
            "Terminal too small",
            f"{self.screen.size.width}×{self.screen.size.height} now",
            f"{SMALLEST[0]}×{SMALLEST[1]} needed",
            "Enlarge it, or press q to quit",
        )
        blank = [self.row(width).filled() for _ in range(max(0, (height - len(lines)) // 2))]
        return [*blank, *(self.row(width).add(line, "alert" if line is lines[0] else "label") for line in lines)]
