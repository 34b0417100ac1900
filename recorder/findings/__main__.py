"""Rewrites the rules in a page: `python -m recorder.findings docs/findings.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from recorder.findings.page import rewritten


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    page = Path(sys.argv[1])
    page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
