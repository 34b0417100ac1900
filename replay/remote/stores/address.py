"""Addresses of archives and of folders of runs on object stores, such as `s3://bucket/runs/red-disc.zarr.zip`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal
from urllib.parse import unquote

from recorder.format import locations
from replay.remote.address import SCHEMES as HOST_SCHEMES
from replay.remote.address import BadAddress

EXTRAS: Final = {
    "s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hf", "http": "http", "https": "http",
}  # fmt: skip
"""By the scheme of an address, the extra that brings the package of its file system."""
_STORE: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+(?:::[A-Za-z0-9+.-]+)*):/")
_HERE: Final = ("file", "local")
Kind = Literal["packed", "archive", "runs"]


@dataclass(frozen=True)
class StoreAddress:
    """An object or a folder on a store.

    Attributes:
        scheme: such as `s3`, in lower case.
        path: what follows `://`, without slashes at its end; of `https` up to the query.
        query: what follows the path of an `http` address, with its `?`; empty for none.
    """

    scheme: str
    path: str
    query: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}{self.query}"

    @property
    def shown(self) -> str:
        """The address for people: without a query, which may hold a signature."""
        return f"{self.scheme}://{self.path}"

    @property
    def kind(self) -> Kind:
        """By its ending: a packed archive, an archive that is a folder, or anything else, such as a folder of runs."""
        last = self.path.rpartition("/")[2]
        if last.endswith(".zip") and last != ".zip":
            return "packed"
        return "archive" if last.endswith(locations.ARCHIVE_SUFFIX) and last != locations.ARCHIVE_SUFFIX else "runs"

    @property
    def name(self) -> str:
        """The name of the run, or of the folder."""
        last = unquote(self.path) if self.scheme in ("http", "https") else self.path
        last = last.rpartition("/")[2].removesuffix(".zip").removesuffix(locations.ARCHIVE_SUFFIX)
        return locations.safe_name(last)

    @property
    def above(self) -> StoreAddress:
        """The folder that it is in."""
        return replace(self, path=self.path.rpartition("/")[0], query="")

    def below(self, name: str) -> StoreAddress:
        """Something in the folder."""
        return replace(self, path=f"{self.path}/{name}")


def is_store(text: str) -> bool:
    """Whether a word of the command line is the address of something on a store; hosts and files have their own."""
    found = _STORE.match(text)
    return found is not None and found[1].lower() not in (*HOST_SCHEMES, *_HERE)


def parse_store(text: str) -> StoreAddress:
    """Read an address such as `s3://bucket/runs`.

    Raises:
        BadAddress: if it is not one, with the way out.
    """
    found = _STORE.match(text)
    if found is None:
        raise BadAddress(f"{text} is no address of a store; write one such as s3://bucket/runs")
    scheme, path = found[1].lower(), text[found.end() :].removeprefix("/").rstrip("/")
    if "::" in scheme:
        raise BadAddress(f"{text}: leave out the part up to ::, packed archives are read as they are")
    if scheme in HOST_SCHEMES or scheme in _HERE:
        raise BadAddress(f"{text} is no address of a store")
    query = ""
    if scheme in ("http", "https"):
        at = min((i for mark in "?#" if (i := path.find(mark)) >= 0), default=len(path))
        path, query = path[:at].rstrip("/"), path[at:].partition("#")[0]
    if not path or "\0" in path:
        raise BadAddress(f"{text} names nothing on the store; write one such as {scheme}://bucket/runs")
    if "@" in path.partition("/")[0] and scheme != "hf":
        raise BadAddress(f"{scheme}://…: leave out user and password; log in as the store's own tools do")
    return StoreAddress(scheme, path, query)
