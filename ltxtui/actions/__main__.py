"""`python -m ltxtui.actions README.md`: write the table of keys between its marks; without a file, print it."""

from __future__ import annotations

import sys
from pathlib import Path

from ltxtui.actions.markdown import table, written_into

if len(sys.argv) > 1:
    readme = Path(sys.argv[1])
    readme.write_text(written_into(readme.read_text("utf-8")), "utf-8")
else:
    print(table())
