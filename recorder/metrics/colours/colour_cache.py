"""Moments of decoded clips in the user's cache, one file per model: later runs have true colours from their start."""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from pathlib import Path
from typing import Final

import numpy as np

from recorder.format.colour_terms import TERMS
from recorder.format.events import reason_of
from recorder.format.locations import cache_folder
from recorder.metrics.colours.colour_map import Moments
from recorder.system.open_folders import PRIVATE_MODE, make_folders, replace_file

logger = logging.getLogger(__name__)

FORMAT: Final = 1
MAX_BYTES: Final = 64 << 20


def path_of(model: str) -> Path | None:
    """The file of a model's colours, by what identifies its latents; None without a cache directory."""
    folder = cache_folder()
    if folder is None:
        return None
    return folder / f"colours-{hashlib.sha256(model.encode()).hexdigest()[:24]}.npz"


def read(model: str) -> Moments | None:
    """The moments of a model; None if there are none. A file that is damaged is ignored with a line in the log."""
    path = path_of(model)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
        with np.load(io.BytesIO(data), allow_pickle=False) as held:
            version, known = int(held["format"]), str(held["model"])
            found = Moments(
                float(held["weight"]),
                np.asarray(held["products"], np.float64),
                np.asarray(held["colours"], np.float64),
            )
        side = len(found.products)
        if version != FORMAT or known != model:
            raise ValueError("it is of another version or model")
        if found.products.shape != (side, side) or found.colours.shape != (side, 3) or (side - 1) % TERMS:
            raise ValueError("its sizes do not fit together")
        if not (np.isfinite(found.products).all() and np.isfinite(found.colours).all() and found.weight > 0):
            raise ValueError("it has values that are not finite")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        logger.warning("the colours of previews in %s are ignored: %s", path, reason_of(error))
        return None
    return found


def write(model: str, moments: Moments) -> None:
    """Keep the moments of a model. A disk that fails is reported in the log: the next clip gives them again."""
    path = path_of(model)
    if path is None:
        return
    held = io.BytesIO()
    np.savez(
        held,
        format=np.int64(FORMAT),
        model=np.str_(model),
        weight=np.float64(moments.weight),
        # Half the bytes; the fit adds 1 % to the diagonal, and float32 has seven digits.
        products=moments.products.astype(np.float32),
        colours=moments.colours.astype(np.float32),
    )
    try:
        make_folders(path.parent, PRIVATE_MODE)
        replace_file(path, held.getvalue())
    except OSError as error:
        logger.warning("the colours of previews cannot be kept in %s: %s", path, reason_of(error))
