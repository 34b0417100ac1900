"""Where an archive keeps what is wrong with its run, and how large that may be.

The root attribute `findings` of an archive holds

    {"version": 1,
     "verdict": {"severity": "ok" | "note" | "warning" | "error", "text": "NaN since step 12"},
     "findings": [{"id", "severity", "stage", "stream", "clip", "step", "frames", "text", "evidence", "advice",
                   "short"}, …]}

`version` is that of the rules. Stages, clips, steps and frames count from 0 and are null where they do not apply;
`evidence` is an object of numbers, null where one is not finite. Findings come worst first.
"""

from __future__ import annotations

from typing import Final

ATTRIBUTE: Final = "findings"
MAX_FINDINGS: Final = 256
"""Findings that are kept, the worst of them."""
MAX_TEXT: Final = 1_000
"""Characters kept of each text of a finding."""
MAX_SHORT: Final = 120
MAX_EVIDENCE: Final = 32
