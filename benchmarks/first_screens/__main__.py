"""Ten real runs of the nano model, half of them faulty: can a new user tell, from the first screen, which and why?

The seed draws faults of different families, settings and the order. Each finished run is opened as `ltxtui replay`
opens it, in a terminal of 120×40. OUT/screens holds the first screen of each run as text and picture (01.txt, 01.svg,
…) and the output of `ltxtui runs` (runs.txt); OUT/answers/answers.json says what is wrong with which run. Read the
list first, then the screens, write down which runs are faulty and why, and open the answers last. Wanted: all ten told
apart and four of five causes named; eight of ten told apart from the list alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from benchmarks import options
from benchmarks.first_screens.draw import BY_ID, draw
from benchmarks.first_screens.screens import LISTING, first_screen, listing, surroundings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the nano model's tensors are too small to share


def make(folder: Path, seed: int, runs: int, only: tuple[str, ...] = (), small: bool = False) -> None:
    """Record a set of runs in a new folder, and write its screens and answers.

    Raises:
        FileExistsError: if the folder holds a set already.
        ValueError: for a fault that does not exist, or too many runs.
    """
    import torch

    from benchmarks.healthy import Bench

    drawn = draw(seed, runs, only, small)
    screens, answers, archives = (folder / name for name in ("screens", "answers", "runs"))
    for made in (screens, answers, archives):
        made.mkdir(parents=True)
    os.environ.pop("NO_COLOR", None)
    os.environ.update(surroundings(archives))
    torch.set_num_threads(1)
    bench, began, paths = Bench(), time.monotonic(), []
    for number, run in enumerate(drawn, 1):
        archive = run.setting.play(bench, archives, run.name)
        paths.append(archive if archive.exists() else archive.with_suffix(".journal"))
        _say(f"recorded {number} of {runs}", began)
    for number, path in enumerate(paths, 1):
        first_screen(path, screens / f"{number:02d}")
        _say(f"opened {number} of {runs}", began)
    (screens / LISTING).write_text(listing(archives), encoding="utf-8")
    answer = {"seed": seed, "runs": [run.as_json(number) for number, run in enumerate(drawn, 1)]}
    (answers / "answers.json").write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")


def _say(what: str, began: float) -> None:
    print(f"{what}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def main() -> int:
    parser = options.parser(
        "benchmarks.first_screens",
        __doc__ or "",
        "--seed 7 --out trial-7",
        "--seed 7 --out trial-7 --runs 4  a smaller set",
        "--seed 1 --out cut --runs 2 --fault other-scene  one fault, and a healthy run",
    )
    parser.add_argument("--seed", type=int, required=True, help="what is drawn; the same one gives the same set")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder for the set")
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="how many runs, half of them faulty [10]")
    parser.add_argument("--fault", action="append", default=[], metavar="ID", choices=sorted(BY_ID),
                        help="draw from these faults only; may be repeated: " + ", ".join(sorted(BY_ID)))  # fmt: skip
    given = parser.parse_args()
    try:
        make(given.out, given.seed, given.runs, tuple(given.fault))
    except FileExistsError as error:
        parser.error(f"{error.filename} exists; choose a new folder")
    except ValueError as error:
        parser.error(str(error))
    print(f"screens: {given.out / 'screens'}\nanswers: {given.out / 'answers' / 'answers.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
