"""The trackers that runs are exported to: how each is set up, and how its runs begin and end."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any, Final

from replay.export.problems import library
from replay.export.trackers import Tracker

WANDB: Final = "wandb"
TRACKIO: Final = "trackio"


def wandb(project: str, folder: Path | None = None, *, offline: bool = False) -> Tracker:
    """Weights & Biases. Its own settings and environment variables hold, such as `WANDB_MODE` and `WANDB_ENTITY`.

    Args:
        project: that gets the runs.
        folder: where its folder `wandb` is made; by default the one that it chooses.
        offline: use neither network nor account; `wandb sync` uploads the runs later.

    Raises:
        MissingLibrary: if it is not installed.
    """
    module = library("wandb", WANDB)
    library("PIL", WANDB)  # for pictures
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)

    def start(name: str, config: dict[str, Any]) -> Any:
        # The machine's load is that of the recorder's machine, and the code there is not this command's.
        given = module.Settings(
            silent=True, console="off", disable_git=True, x_disable_stats=True, x_save_requirements=False
        )
        return module.init(
            project=project,
            name=name,
            config=config,
            dir=None if folder is None else os.fspath(folder),
            mode="offline" if offline else None,
            settings=given,
        )

    def finish(run: Any, complete: bool) -> None:
        run.finish(exit_code=0 if complete else 1)

    def place(run: Any) -> str:
        return str(run.url or Path(run.dir).parent)

    return Tracker(module, start, finish, place, keeps=True, own_time="_timestamp")


def trackio(project: str, folder: Path | None = None) -> Tracker:
    """Trackio, on this machine or, with `TRACKIO_SPACE_ID`, in a Space of Hugging Face.

    Args:
        project: that gets the runs.
        folder: where its database is; by default the one that it chooses.

    Raises:
        MissingLibrary: if it is not installed.
    """
    if folder is not None:
        os.environ["TRACKIO_DIR"] = os.fspath(folder.absolute())  # read when it is imported
    module = library("trackio", TRACKIO)

    def start(name: str, config: dict[str, Any]) -> Any:
        return module.init(
            project=project, name=name, config=config, embed=False, auto_log_gpu=False, auto_log_cpu=False
        )

    def finish(run: Any, complete: bool) -> None:
        module.finish()  # not the run's own: at exit the run would be ended again

    def place(run: Any) -> str:
        return f"trackio show --project {shlex.quote(project)}"

    return Tracker(module, start, finish, place, keeps=False)
