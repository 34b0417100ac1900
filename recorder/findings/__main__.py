"""Rewrites the generated parts of a page: `python -m recorder.findings docs/findings.md docs/healthy.json`.

The second file is what `python -m benchmarks.healthy --write docs/healthy.json` has written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from recorder.findings.page import rewritten


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    page, healthy = (Path(name) for name in sys.argv[1:])
    found = json.loads(healthy.read_text(encoding="utf-8"))
    page.write_text(rewritten(page.read_text(encoding="utf-8"), found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
